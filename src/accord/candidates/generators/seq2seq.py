"""Any sequence-to-sequence language model as a generator: T5 and Flan-T5, BART, Pegasus, BlenderBot and their kin.

The encoder reads each prompt once, and each decoder layer turns its states into keys and values once per prompt.
"""

import inspect
import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from accord.candidates.generators.layers import layer_stack
from accord.candidates.generators.packed import require_tokens, unwrapped
from accord.candidates.generators.protocol import FreelyWritten
from accord.candidates.generators.shared_prompts import (
    REPLACES,
    OwnTokens,
    RowsOfPrompts,
    evaluating,
    following,
    rows_share_prompts,
)
from accord.candidates.generators.tokens import all_ends, end_of_sequence, ended, rendered, turns, uses_template
from accord.errors import ConfigError
from accord.records import Prompt

TOLERANCE = 1e-2
SAME = 1e-3
DECODER_ARGUMENTS = {"input_ids", "encoder_hidden_states", "encoder_attention_mask", "past_key_values", "use_cache"}


class Seq2SeqGenerator(FreelyWritten):
    """A sequence-to-sequence model and its tokenizer behind the Generator protocol.

    The decoder starts from `start_ids`: the decoder's start token and, where the generation config forces a first
    token, that one too. Nobody chooses these, so they are no part of a completion, and neither their log-probability
    nor their number counts. `forced_eos_token_id` is not followed: it would end a completion in mid-sentence at the
    limit, and calibration would learn to do so. Further rules of the generation config are the settings' business.

    Args:
        model, tokenizer: from `accord.pretrained`; the model may be a PEFT model.
        name: what the user called it.
        system_prompt: put before prompts that bring no system message.
        chat: use the tokenizer's chat template. None: where there is one.

    Raises:
        ConfigError: `chat` without a chat template; no start token, no end of sequence, no padding token; an
            architecture that `completion_states` and `output_logits` would not serve exactly.
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, name: str = "", system_prompt: str | None = None, chat: bool | None = None
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name or str(getattr(model, "name_or_path", ""))
        self.system_prompt = system_prompt
        self.chat = uses_template(tokenizer, chat, name=self.name)
        self.end_id = end_of_sequence(tokenizer, name=self.name)
        self.eos_ids = all_ends(model, tokenizer, first=self.end_id)
        self.pad_id = int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.end_id)
        self.start_ids = self._start_ids()
        self._output_scale = self._find_output_scale()
        self._shares_prompts = self._find_sharing()

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def layer_stacks(self) -> dict[str, nn.ModuleList]:
        """See `Generator.layer_stacks`: the encoder's layers, then the decoder's."""
        whole = unwrapped(self.model)
        return dict([layer_stack(whole, whole.get_encoder()), layer_stack(whole, whole.get_decoder())])

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """The chat template, or plain text with the tokenizer's special tokens.

        Plain text: a system message stands first as it is. A single other message follows as it is; of several each
        is a line "role: content", so that it stays clear who spoke, also for a tokenizer that reads line ends as
        blanks.
        """
        messages = turns(prompt, self.system_prompt)
        if self.chat:
            return self._ids(rendered(self.tokenizer, messages, add_generation_prompt=True), special=False)
        several = sum(message.role != "system" for message in messages) > 1
        lines = [
            f"{message.role}: {message.content}" if several and message.role != "system" else message.content
            for message in messages
        ]
        return self._ids("\n".join(lines), special=True)

    def completion_ids(self, text: str) -> list[int]:
        """The tokenizer's own target tokens of `text` after `start_ids`, the end of sequence once at the end."""
        ids = list(self.tokenizer(text_target=text)["input_ids"])
        return ended(ids[1:] if ids[:1] == self.start_ids[1:] else ids, self.end_id)

    def text(self, ids: Sequence[int]) -> str:
        """The text of `ids` without special tokens and without white space at either end."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.strip()

    @torch.no_grad()
    def encode(self, prompt_ids: Sequence[Sequence[int]]) -> "Seq2SeqEncoded":
        """Right-padded, one pass of the encoder for all prompts; the decoder has read `start_ids`."""
        return Seq2SeqEncoded(self, prompt_ids)

    def completion_states(
        self, prompt_ids: Sequence[Sequence[int]], completion_ids: Sequence[Sequence[Sequence[int]]]
    ) -> Tensor:
        """See `Generator.completion_states`.

        Encoder, start tokens and the decoder's keys and values over the prompt once per prompt; then one right-padded
        decoder row per completion. The decoder looks to the left only, so padding on the right needs no mask.

        Raises:
            DataError: an empty prompt or completion. ConfigError: a text longer than the model's positions.
        """
        require_tokens(prompt_ids, completion_ids)
        rows = [list(completion) for group in completion_ids for completion in group]
        if not rows:
            embeddings = unwrapped(self.model).get_input_embeddings().weight
            return embeddings.new_zeros(0, embeddings.shape[1])
        decoding = _Decoding(self, prompt_ids, shares_prompts=self._shares_prompts)
        owners = [number for number, group in enumerate(completion_ids) for _ in group]
        decoding.reorder(torch.tensor(owners, device=self.device))
        states = decoding.states[:, None]
        inputs = _right_padded([row[:-1] for row in rows], self.pad_id).to(self.device)
        if inputs.shape[1]:
            states = torch.cat([states, decoding.read(inputs)], dim=1)
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        return states[torch.arange(states.shape[1], device=self.device) < lengths[:, None]]

    def output_logits(self, states: Tensor) -> Tensor:
        """The model's output layer, [T, D] -> [T, V]: T5's scale, BART's `final_logits_bias`, T5Gemma's soft cap."""
        return self._scaled_logits(states, self._output_scale)

    def _scaled_logits(self, states: Tensor, scale: float) -> Tensor:
        whole = unwrapped(self.model)
        logits: Tensor = whole.get_output_embeddings()(states if scale == 1.0 else states * scale)
        bias = getattr(whole, "final_logits_bias", None)
        if bias is not None:
            logits = logits + bias
        cap = getattr(whole.get_decoder().config, "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def _ids(self, text: str, *, special: bool) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=special)["input_ids"])

    def _start_ids(self) -> list[int]:
        """Decoder start (else beginning of sequence) and forced first token, as transformers' `generate` has them."""
        config = unwrapped(self.model).generation_config
        start = config.decoder_start_token_id if config.decoder_start_token_id is not None else config.bos_token_id
        if not isinstance(start, int):
            raise ConfigError(
                f"generator {self.name!r}: its decoder start token is {start!r}. Expected one token id; set "
                "decoder_start_token_id in its generation_config.json."
            )
        return [start] if config.forced_bos_token_id is None else [start, config.forced_bos_token_id]

    def require_positions(self, n_tokens: int, what: str) -> None:
        """Refuse a prompt or completion (`what`) that is longer than the table of positions, if the model has one.

        Raises:
            ConfigError: names the model, what it was given, and the setting to change.
        """
        limit = getattr(unwrapped(self.model).config, "max_position_embeddings", None)
        if limit is not None and n_tokens > limit:
            raise ConfigError(
                f"generator {self.name!r}: a {what} of {n_tokens} tokens, but it has positions for {limit}. "
                f"Expected no more; lower --max-{'prompt' if what == 'prompt' else 'new'}-tokens."
            )

    @torch.no_grad()
    def _find_sharing(self) -> bool:
        """Whether rows may share prompts: two rows after each of two short prompts say what rows on their own say."""
        if _decoder(unwrapped(self.model)).config._attn_implementation != REPLACES:
            return False
        tokens = torch.arange(4, device=self.device) % unwrapped(self.model).config.vocab_size

        def said(*, shares_prompts: bool) -> Tensor:
            decoding = _Decoding(self, [[self.end_id] * 3, [self.end_id]], shares_prompts=shares_prompts)
            decoding.reorder(torch.tensor([0, 0, 1, 1], device=self.device))
            decoding.read(tokens[:, None])
            return decoding.read(tokens[:, None])

        with evaluating(self.model):
            try:
                found = said(shares_prompts=True)
            except (NotImplementedError, AttributeError, RuntimeError):
                return False
            return _relative_error(found, said(shares_prompts=False)) <= SAME

    @torch.no_grad()
    def _find_output_scale(self) -> float:
        """What the model multiplies decoder states by before its output layer: 1, or 1/√D (T5 with tied embeddings).

        Found by comparison with the model's own forward pass on one token, because configs of different kinds and
        versions say it differently. No scale fits an architecture whose output does more than we know.
        """
        whole = unwrapped(self.model)
        if set(inspect.signature(_decoder(whole).forward).parameters) >= DECODER_ARGUMENTS:
            ids = torch.tensor([[self.end_id]], device=self.device)
            start = torch.tensor([self.start_ids], device=self.device)
            expected = whole(input_ids=ids, decoder_input_ids=start).logits[:, -1]
            states = _Decoding(self, [[self.end_id]], shares_prompts=False).states
            errors = {
                scale: _relative_error(self._scaled_logits(states, scale), expected)
                for scale in (1.0, states.shape[1] ** -0.5)
            }
            best = min(errors, key=lambda scale: errors[scale])
            if errors[best] <= TOLERANCE:
                return best
        raise ConfigError(
            f"generator {self.name!r}: its architecture ({whole.config.model_type}) is built otherwise than accord "
            "knows. Expected T5, BART, Pegasus, BlenderBot, Marian, LED or a model built like them."
        )


class _Decoding:
    """A batch of decoder rows over encoded prompts, with or without gradient: R rows, each of one prompt.

    Rows of one prompt have the same encoder states and the same keys and values over them. With `shares_prompts` these
    exist once per prompt, whatever rows there are; without, they are copied for each row.
    """

    def __init__(
        self, generator: Seq2SeqGenerator, prompt_ids: Sequence[Sequence[int]], *, shares_prompts: bool
    ) -> None:
        generator.require_positions(max(map(len, prompt_ids)), "prompt")
        device, whole = generator.device, unwrapped(generator.model)
        tokens = _right_padded(prompt_ids, generator.pad_id).to(device)
        lengths = torch.tensor([len(ids) for ids in prompt_ids], device=device)
        self._encoder_mask = (torch.arange(tokens.shape[1], device=device) < lengths[:, None]).long()
        self._encoder_states = whole.get_encoder()(
            input_ids=tokens, attention_mask=self._encoder_mask
        ).last_hidden_state
        self._generator, self._decoder, self._n_read = generator, _decoder(whole), 0
        self._prompts = torch.arange(len(tokens), device=device)
        self._shares_prompts, self._is_following = shares_prompts, False
        self._cache: Any = None
        self.states = self.read(torch.tensor([generator.start_ids] * len(tokens), device=device))[:, -1]
        if shares_prompts and not torch.is_grad_enabled():  # in place is no way with gradients
            cache: Any = self._cache
            cache.self_attention_cache.layers = list(map(_own_tokens, cache.self_attention_cache.layers))

    def read(self, tokens: Int[Tensor, " R T"]) -> Tensor:
        """Hidden states after each of `tokens`, which follow what was read before, [R, T, D]."""
        self._n_read += tokens.shape[1]
        self._generator.require_positions(self._n_read, "completion")
        with rows_share_prompts(self._decoder.config) if self._is_following else nullcontext():
            output = self._decoder(
                input_ids=tokens,
                encoder_hidden_states=self._encoder_states,
                encoder_attention_mask=self._encoder_mask,
                past_key_values=self._cache,
                use_cache=True,
            )
        self._cache = output.past_key_values
        states: Tensor = output.last_hidden_state
        return states

    def reorder(self, rows: Tensor) -> None:
        """See `Encoded.reorder`; brings `states` along."""
        prompts = self._prompts[rows]
        self._cache.self_attention_cache.reorder_cache(rows)
        if self._shares_prompts:
            self._follow(prompts)
        elif not torch.equal(prompts, self._prompts):
            self._keep(rows)
            self._prompts = prompts
        self.states = self.states[rows]

    def _follow(self, prompts: Tensor) -> None:
        """Rows follow these prompts [R]; one that none follows goes."""
        present = torch.unique(prompts)
        if len(present) < len(self._encoder_mask):
            self._keep(present)
        self._prompts, self._is_following = torch.searchsorted(present, prompts), True
        rows = RowsOfPrompts(self._prompts, len(present))
        for layer in self._cache.cross_attention_cache.layers:
            layer.keys = following(layer.keys, rows)

    def _keep(self, numbers: Tensor) -> None:
        """Of what belongs to prompts these places alone, in this order."""
        self._cache.cross_attention_cache.reorder_cache(numbers)
        self._encoder_states, self._encoder_mask = self._encoder_states[numbers], self._encoder_mask[numbers]


def _own_tokens(layer: Any) -> OwnTokens:
    """A layer of the decoder's own cache that is written in place."""
    own = OwnTokens()
    own.update(layer.keys, layer.values)
    return own


class Seq2SeqEncoded:
    """Decoder rows under way; see `Encoded`."""

    def __init__(self, generator: Seq2SeqGenerator, prompt_ids: Sequence[Sequence[int]]) -> None:
        self._output_logits = generator.output_logits
        self._decoding = _Decoding(generator, prompt_ids, shares_prompts=generator._shares_prompts)
        self.logits = self._output_logits(self._decoding.states).float()

    def expand(self, copies: int) -> None:
        if copies > 1:
            self.reorder(torch.arange(len(self.logits), device=self.logits.device).repeat_interleave(copies))

    @torch.no_grad()
    def reorder(self, rows: Tensor) -> None:
        self._decoding.reorder(rows)
        self.logits = self.logits[rows]

    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        self._decoding.states = self._decoding.read(tokens[:, None])[:, -1]
        self.logits = self._output_logits(self._decoding.states).float()
        return self.logits


def _decoder(whole: Any) -> Any:
    """The decoder without a vocabulary head of its own."""
    decoder = whole.get_decoder()
    return getattr(decoder, "base_model", decoder)


def _relative_error(found: Tensor, expected: Tensor) -> float:
    """The largest difference as a share of the largest number; infinite between different shapes."""
    if found.shape != expected.shape:
        return math.inf
    return float((found - expected).abs().max() / expected.abs().max())


def _right_padded(rows: Sequence[Sequence[int]], pad_id: int) -> Int[Tensor, " R T"]:
    longest = max(map(len, rows))
    filled = [[*row, *[pad_id] * (longest - len(row))] for row in rows]
    return torch.tensor(filled, dtype=torch.long).view(len(rows), longest)
