"""MultiESC's response generator (Cheng et al. 2022) as a transformers model: BART that also attends to turn vectors.

The prompt is read twice by the one encoder: flat, as BART reads it, and turn by turn, where each turn gives the vector
at its first position. Each decoder layer attends to both, h₁ to the flat states and h₂ to the turn vectors, and goes on
with g·h₁ + (1 − g)·h₂, where g = σ(W[h₁; h₂] + b), one number per hidden unit. With g = 1 it is BART.

1. The turns are found in the flat token ids, so that the model is a function of these alone: a separator ends a turn,
   except right after a strategy token, where it stands between a turn's strategy and its text.
2. What a token says about emotion is a number per token (see `accord.candidates.generators.emotions`), saved with the
   weights; its embedding is added in the turn-by-turn reading only.
3. The parameters that BART has keep BART's names; the new ones are `turn_attn` and `gate` of each decoder layer's
   cross-attention and the encoder's `emotions`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSeq2SeqLM, BartConfig, BartForConditionalGeneration
from transformers.cache_utils import DynamicCache, DynamicLayer, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.bart.modeling_bart import BartAttention, BartDecoder, BartEncoder

from accord.candidates.generators.emotions import N_EMOTIONS, UNKNOWN

MODEL_TYPE = "accord_multiesc"
CLOSED = 100.0
"""σ(100) is 1 in every precision."""


@strict
class MultiEscConfig(BartConfig):
    """BART's config, and how a prompt falls into turns."""

    model_type = MODEL_TYPE
    max_turns: int = 64
    """Turn vectors that the decoder attends to; of more turns the last ones."""
    max_turn_tokens: int = 32
    """Longest turn that is read, its marks of beginning and end counted; a longer one loses its end."""
    separator_token_id: int = 2
    """Ends a turn."""
    strategy_token_ids: list[int] | None = None
    """The tokens of the support strategies; a separator after one ends no turn."""


def split_turns(prompt_ids: Sequence[int], config: MultiEscConfig) -> list[list[int]]:
    """The last `max_turns` turns of a prompt, each framed as BART frames a text: <s> tokens </s>.

    A prompt without a word has one empty turn, so that there always is something to attend to.
    """
    strategies = set(config.strategy_token_ids or ())
    turns: list[list[int]] = [[]]
    for token in prompt_ids[:-1] if prompt_ids[-1] == config.separator_token_id else prompt_ids:
        if token == config.separator_token_id and not (turns[-1] and turns[-1][-1] in strategies):
            turns.append([])
        elif token != config.bos_token_id:
            turns[-1].append(token)
    begin, end = int(config.bos_token_id or 0), config.separator_token_id
    kept = [turn for turn in turns if turn][-config.max_turns :] or [[]]
    return [[begin, *turn[: config.max_turn_tokens - 2], end] for turn in kept]


class TwoStreamEncoder(BartEncoder):
    """BART's encoder; its states are the flat ones, [B, S, D], then `max_turns` turn vectors: [B, S + max_turns, D].

    The vector of a turn that is not there is zero, which no layer norm gives: that is how the decoder knows.
    """

    def __init__(self, config: MultiEscConfig) -> None:
        super().__init__(config)
        self.emotions = nn.Embedding(N_EMOTIONS, config.d_model)
        self.token_emotions = nn.Buffer(torch.full((config.vocab_size,), UNKNOWN))

    def forward(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **options: Any
    ) -> BaseModelOutput:
        if input_ids is None:
            raise ValueError("MultiESC finds the turns in input_ids; it cannot read inputs_embeds alone.")
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        flat = super().forward(input_ids=input_ids, attention_mask=attention_mask, **options)
        states = torch.cat([flat.last_hidden_state, self.turn_vectors(input_ids, mask)], dim=1)
        return BaseModelOutput(states, hidden_states=flat.hidden_states, attentions=flat.attentions)

    def turn_vectors(
        self, input_ids: Int[Tensor, " B S"], attention_mask: Int[Tensor, " B S"]
    ) -> Float[Tensor, " B N D"]:
        """The vector at the first position of each turn, read on its own; zeros in the places after the last turn."""
        prompts = [ids[mask.bool()].tolist() for ids, mask in zip(input_ids, attention_mask, strict=True)]
        turns = [split_turns(prompt, self.config) for prompt in prompts]
        owners = torch.tensor([row for row, group in enumerate(turns) for _ in group], device=input_ids.device)
        places = torch.tensor([place for group in turns for place in range(len(group))], device=input_ids.device)
        lines = [torch.tensor(turn, device=input_ids.device) for group in turns for turn in group]
        ids = nn.utils.rnn.pad_sequence(lines, batch_first=True, padding_value=self.padding_idx)
        lengths = torch.tensor([len(line) for line in lines], device=ids.device)
        present = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).long()
        embeddings = self.embed_tokens(ids) + self.emotions(self.token_emotions[ids])
        read = super().forward(inputs_embeds=embeddings, attention_mask=present).last_hidden_state[:, 0]
        vectors = read.new_zeros(len(input_ids), self.config.max_turns, read.shape[1])
        return vectors.index_put((owners, places), read)


class GatedCrossAttention(BartAttention):
    """BART's cross-attention, to the flat states, and a second one, to the turn vectors, mixed by a learned gate."""

    def __init__(self, config: MultiEscConfig, layer_idx: int) -> None:
        options = {"dropout": config.attention_dropout, "is_decoder": True, "config": config}
        super().__init__(config.d_model, config.decoder_attention_heads, layer_idx=layer_idx, **options)
        self.turn_attn = BartAttention(  # its keys and values lie in the cache after those of all layers' first ones
            config.d_model, config.decoder_attention_heads, layer_idx=config.decoder_layers + layer_idx, **options
        )
        self.gate = nn.Linear(2 * config.d_model, config.d_model)

    def forward(
        self, hidden_states: Tensor, key_value_states: Tensor, *, attention_mask: Tensor | None = None, **options: Any
    ) -> tuple[Tensor, Tensor | None]:
        n_flat = key_value_states.shape[1] - self.config.max_turns
        masks = (None, None) if attention_mask is None else attention_mask.tensor_split([n_flat], dim=-1)
        to_flat, weights = super().forward(
            hidden_states, key_value_states[:, :n_flat], attention_mask=masks[0], **options
        )
        to_turns, _ = self.turn_attn(hidden_states, key_value_states[:, n_flat:], attention_mask=masks[1], **options)
        gate = torch.sigmoid(self.gate(torch.cat([to_flat, to_turns], dim=-1)))
        return gate * to_flat + (1 - gate) * to_turns, weights


class TwoStreamDecoder(BartDecoder):
    """BART's decoder over the states of a `TwoStreamEncoder`; the mask that it is given is that of the flat states."""

    def __init__(self, config: MultiEscConfig) -> None:
        super().__init__(config)
        for number, layer in enumerate(self.layers):
            layer.encoder_attn = GatedCrossAttention(config, number)

    def forward(
        self,
        input_ids: Tensor | None = None,
        *,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor | None = None,
        past_key_values: EncoderDecoderCache | None = None,
        use_cache: bool | None = None,
        **options: Any,
    ) -> Any:
        n_flat = encoder_hidden_states.shape[1] - self.config.max_turns
        turn_mask = encoder_hidden_states[:, n_flat:].ne(0).any(dim=2).long()
        if encoder_attention_mask is None:
            encoder_attention_mask = turn_mask.new_ones(len(turn_mask), n_flat)
        use_cache = self.config.use_cache if use_cache is None else use_cache
        if use_cache and past_key_values is None:
            past_key_values = EncoderDecoderCache(DynamicCache(config=self.config), DynamicCache(config=self.config))
        if past_key_values is not None:
            kept = past_key_values.cross_attention_cache.layers
            kept.extend(DynamicLayer() for _ in range(2 * len(self.layers) - len(kept)))
        return super().forward(
            input_ids=input_ids,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=torch.cat([encoder_attention_mask.long(), turn_mask], dim=1),
            past_key_values=past_key_values,
            use_cache=use_cache,
            **options,
        )


class MultiEscForConditionalGeneration(BartForConditionalGeneration):
    """BART with a `TwoStreamEncoder` and a `TwoStreamDecoder`; everything else, `generate` too, is BART's own."""

    config: MultiEscConfig
    config_class = MultiEscConfig
    _supports_flash_attn = False
    _supports_flex_attn = False

    def __init__(self, config: MultiEscConfig) -> None:
        super().__init__(config)
        self.model.encoder = TwoStreamEncoder(config)
        self.model.decoder = TwoStreamDecoder(config)
        self.post_init()  # again: draws the new parts and ties their embeddings

    @torch.no_grad()
    def close_gates(self) -> None:
        """Let no turn vector through: what remains is plain BART, exactly."""
        for layer in self.model.decoder.layers:
            layer.encoder_attn.gate.weight.zero_()
            layer.encoder_attn.gate.bias.fill_(CLOSED)


def register_multiesc() -> None:
    """Make the model known to transformers' Auto classes, once per process."""
    AutoConfig.register(MODEL_TYPE, MultiEscConfig, exist_ok=True)
    AutoModelForSeq2SeqLM.register(MultiEscConfig, MultiEscForConditionalGeneration, exist_ok=True)
