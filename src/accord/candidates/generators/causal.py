"""Any causal language model as a generator: chat template or plain text, left padding, one prefill per prompt."""

import inspect
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from accord.candidates.generators.layers import layer_stack
from accord.candidates.generators.packed import causal_trunk, packed_completion_states, unwrapped
from accord.candidates.generators.protocol import Encoded, FreelyWritten
from accord.candidates.generators.shared_causal import SharedCausalEncoded, shares_prompts
from accord.candidates.generators.tokens import all_ends, end_of_sequence, ended, rendered, turns, uses_template
from accord.records import Message, Prompt

SENTINEL = "sentinel"


class CausalGenerator(FreelyWritten):
    """A causal model and its tokenizer behind the Generator protocol.

    Args:
        model, tokenizer: from `accord.pretrained`; the model may be a PEFT model.
        name: what the user called it.
        system_prompt: put before prompts that bring no system message. With None some chat templates insert their own.
        chat: use the tokenizer's chat template. None: where there is one.

    Raises:
        ConfigError: `chat` without a chat template; a tokenizer and a model without any end-of-sequence token.
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, name: str = "", system_prompt: str | None = None, chat: bool | None = None
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name or str(getattr(model, "name_or_path", ""))
        self.system_prompt = system_prompt
        self.chat = uses_template(tokenizer, chat, name=self.name)
        self.end_id = self._end_of_completion()
        self.eos_ids = all_ends(model, tokenizer, first=self.end_id)
        self.pad_id = int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.end_id)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def layer_stacks(self) -> dict[str, nn.ModuleList]:
        """See `Generator.layer_stacks`: the one stack of a causal model."""
        return dict([layer_stack(unwrapped(self.model), causal_trunk(self.model))])

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """Template with the generation prompt, or plain text (turns and system prompt one line each)."""
        messages = turns(prompt, self.system_prompt)
        if self.chat:
            return self._ids(rendered(self.tokenizer, messages, add_generation_prompt=True), special=False)
        if isinstance(prompt, str) and len(messages) == 1:
            return self._ids(prompt, special=True)
        return self._ids("".join(message.content + "\n" for message in messages), special=True)

    def completion_ids(self, text: str) -> list[int]:
        """Tokens of `text` and the end: the chat template's end of turn, or the end of sequence."""
        return ended(self._ids(text, special=False), self.end_id)

    def text(self, ids: Sequence[int]) -> str:
        """The text of `ids` without special tokens; a chat message loses white space at both ends."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.strip() if self.chat else text

    @torch.no_grad()
    def encode(self, prompt_ids: Sequence[Sequence[int]]) -> Encoded:
        """Every prompt is read once, together with those of like length; its rows share what was read."""
        if self._shares_prompts:
            return SharedCausalEncoded(self.model, prompt_ids, self._prefill)
        return self._prefill(prompt_ids)

    @cached_property
    def _shares_prompts(self) -> bool:
        return shares_prompts(self.model, self._prefill, self.end_id)

    @torch.no_grad()
    def _prefill(self, prompt_ids: Sequence[Sequence[int]]) -> "CausalEncoded":
        """Left-padded prompts in one forward pass; positions count from each prompt's first token."""
        longest = max(len(ids) for ids in prompt_ids)
        rows = [[self.pad_id] * (longest - len(ids)) + list(ids) for ids in prompt_ids]
        mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompt_ids], device=self.device)
        return CausalEncoded(self.model, torch.tensor(rows, device=self.device), mask)

    def completion_states(
        self, prompt_ids: Sequence[Sequence[int]], completion_ids: Sequence[Sequence[Sequence[int]]]
    ) -> Tensor:
        """See `Generator.completion_states`; a prompt and its completions share one packed row."""
        return packed_completion_states(self.model, prompt_ids, completion_ids, pad_id=self.pad_id)

    def output_logits(self, states: Tensor) -> Tensor:
        """The model's output layer, [T, D] -> [T, V], with the scale or soft cap its config declares."""
        logits: Tensor = self.model.get_output_embeddings()(states)
        config = self.model.config
        if getattr(config, "logit_scale", None) is not None:
            logits = logits * config.logit_scale
        if getattr(config, "logits_scaling", None) is not None:
            logits = logits / config.logits_scaling
        cap = getattr(config, "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def _ids(self, text: str, *, special: bool) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=special)["input_ids"])

    def _end_of_completion(self) -> int:
        """The special token that the template puts after an assistant's turn, else the end of sequence."""
        if self.chat:
            messages = [Message("user", SENTINEL), Message("assistant", SENTINEL)]
            after = rendered(self.tokenizer, messages, add_generation_prompt=False).rpartition(SENTINEL)[2]
            ids = self._ids(after, special=False)
            if ids and ids[0] in self._special_ids():
                return ids[0]
        return end_of_sequence(self.tokenizer, name=self.name)

    def _special_ids(self) -> set[int]:
        added = {number for number, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        return added | set(self.tokenizer.all_special_ids)


class CausalEncoded:
    """Left-padded rows, each with a key/value cache of its own; see `Encoded`.

    Args:
        tokens, mask: int64 [R, T], 1 in the mask keeps and 0 ignores.
    """

    def __init__(self, model: Any, tokens: Tensor, mask: Tensor) -> None:
        self._model = model
        self._accepted = _forward_arguments(model)
        self.cache: Any = None
        self.mask = mask
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        self.logits = self._forward(tokens, positions)
        self.position = positions[:, -1]

    @property
    def takes_positions(self) -> bool:
        """Whether the model is told each token's position."""
        return "position_ids" in self._accepted

    def expand(self, copies: int) -> None:
        if copies > 1:
            self.reorder(torch.arange(len(self.logits), device=self.logits.device).repeat_interleave(copies))

    def reorder(self, rows: Tensor) -> None:
        self.cache.reorder_cache(rows)
        self.mask, self.position, self.logits = self.mask[rows], self.position[rows], self.logits[rows]

    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
        self.position = self.position + 1
        self.logits = self._forward(tokens[:, None], self.position[:, None])
        return self.logits

    def _forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        options = {"position_ids": positions, "logits_to_keep": 1}
        output = self._model(
            input_ids=tokens,
            attention_mask=self.mask,
            past_key_values=self.cache,
            use_cache=True,
            **{key: value for key, value in options.items() if key in self._accepted},
        )
        self.cache = output.past_key_values
        logits: Tensor = output.logits[:, -1].float()
        return logits


def _forward_arguments(model: Any) -> frozenset[str]:
    """Names that the model's own forward takes: models with ALiBi take no positions, old ones keep all logits."""
    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    return frozenset(inspect.signature(bare.forward).parameters)
