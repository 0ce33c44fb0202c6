"""BERT and its kin without padding, and in the last layer without the tokens that nobody pools.

The layers are transformers' own; only what is handed from one to the next differs. Linear layers, normalisation and
dropout see the tokens of all rows one behind the other, and attention alone sees rows:

rows    a b c . .    tokens  a b c d e f g h
        d e f g h

The last layer's queries, and all that follows them, are computed for the pooled tokens alone: every other token of that
layer matters only by its key and value. Of a pair whose completion is an eighth of its tokens that spares three
quarters of a layer.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from accord.errors import ConfigError
from accord.preference.prefix import Prefix

BERT_KIN = ("bert", "camembert", "electra", "ernie", "roberta", "xlm-roberta")
"""Architectures whose layers are BERT's: attention.self, attention.output, then a feed-forward block, each with its
residual and normalisation after it."""


class Layout(NamedTuple):
    """Chosen tokens [N] of rows as a grid, those of each row from its beginning: `is_token` [rows, width]; `places` [N]
    of the tokens in the flattened grid."""

    is_token: Tensor
    places: Tensor

    @property
    def is_full(self) -> bool:
        """Whether every place holds a token."""
        return len(self.places) == self.is_token.numel()

    def heads(self, values: Tensor, head_size: int) -> Tensor:
        """Values [N, D] of the tokens as the grid [rows, heads, width, head size], 0 where there is no token."""
        if not self.is_full:
            values = values.new_zeros(self.is_token.numel(), values.shape[1]).index_copy(0, self.places, values)
        return values.view(*self.is_token.shape, -1, head_size).transpose(1, 2)

    def tokens(self, grid: Tensor) -> Tensor:
        """The grid [rows, heads, width, head size] as values [N, D] of the tokens."""
        values = grid.transpose(1, 2).reshape(self.is_token.numel(), -1)
        return values if self.is_full else values[self.places]


def has_bert_layers(encoder: Any) -> bool:
    """Whether its layers are those of `BERT_KIN`, which `unpadded_states` computes."""
    return encoder.config.model_type in BERT_KIN and not getattr(encoder.config, "is_decoder", False)


def require_prefix(encoder: Any, name: str) -> None:
    """Check that this encoder takes a prefix.

    Raises:
        ConfigError: it does not.
    """
    if not has_bert_layers(encoder):
        raise ConfigError(
            f"tuning is 'prefix', but {name} (architecture {encoder.config.model_type}) cannot take one: expected one "
            f"of {', '.join(BERT_KIN)}. Use tuning: lora, which trains every architecture."
        )


def unpadded_states(
    encoder: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    wanted_mask: Tensor,
    token_type_ids: Tensor | None = None,
    *,
    prefix: Prefix | None = None,
) -> Tensor:
    """Last hidden states [W, D] of the tokens that `wanted_mask` keeps, row by row; arguments [S, T].

    Only tokens that `attention_mask` keeps can be wanted.
    """
    base = encoder.get_base_model() if hasattr(encoder, "get_base_model") else encoder
    kept = attention_mask.bool()
    everything, wanted = _layout(kept), _layout(wanted_mask)
    states = _embedded(base, input_ids, kept, token_type_ids)
    *lower, last = base.encoder.layer
    for number, layer in enumerate(lower):
        states = _layer(layer, states, states, everything, everything, _of_layer(prefix, number))
    own = states[wanted_mask[kept].bool()]
    return _layer(last, own, states, wanted, everything, _of_layer(prefix, len(lower)))


def _position_ids(base: Any, input_ids: Tensor) -> Tensor:
    """The positions [S, T] that the plain encoder gives these tokens; RoBERTa and its kin count from behind the padding
    id."""
    embeddings = base.embeddings
    if hasattr(embeddings, "create_position_ids_from_input_ids"):
        positions: Tensor = embeddings.create_position_ids_from_input_ids(input_ids, embeddings.padding_idx)
        return positions
    return torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)


def _layout(mask: Tensor) -> Layout:
    """The tokens that a mask [S, T] keeps."""
    counts = mask.sum(1, keepdim=True)
    is_token = torch.arange(int(counts.max()), device=mask.device) < counts
    return Layout(is_token, is_token.flatten().nonzero()[:, 0])


def _embedded(base: Any, input_ids: Tensor, kept: Tensor, token_type_ids: Tensor | None) -> Tensor:
    """What the first layer reads [N, D]: the embeddings of the kept tokens, as one row."""
    types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
    states: Tensor = base.embeddings(
        input_ids=input_ids[kept][None],
        token_type_ids=types[kept][None],
        position_ids=_position_ids(base, input_ids)[kept][None],
    )[0]
    return base.embeddings_project(states) if hasattr(base, "embeddings_project") else states


def _of_layer(prefix: Prefix | None, number: int) -> tuple[Tensor, Tensor] | None:
    return None if prefix is None else (prefix.keys[number], prefix.values[number])


def _layer(
    layer: Any, own: Tensor, states: Tensor, asking: Layout, seen: Layout, prefix: tuple[Tensor, Tensor] | None
) -> Tensor:
    """The layer's states of the tokens `own`, which stand as in `asking`, where they attend to `states`."""
    attention, size = layer.attention.self, layer.attention.self.attention_head_size
    keys, values = seen.heads(attention.key(states), size), seen.heads(attention.value(states), size)
    mask = None if seen.is_full else seen.is_token[:, None, None, :]
    if prefix is not None:
        keys, values = (_before(part, of_text) for part, of_text in zip(prefix, (keys, values), strict=True))
        mask = None if mask is None else F.pad(mask, (prefix[0].shape[1], 0), value=True)
    found = F.scaled_dot_product_attention(
        asking.heads(attention.query(own), size),
        keys,
        values,
        attn_mask=mask,
        dropout_p=attention.dropout.p if attention.training else 0.0,
    )
    result: Tensor = layer.feed_forward_chunk(layer.attention.output(asking.tokens(found), own))
    return result


def _before(prefix: Tensor, of_text: Tensor) -> Tensor:
    """A layer's prefix [heads, P, head size] before every row's keys or values [rows, heads, T, head size]."""
    return torch.cat([prefix.to(of_text).expand(len(of_text), -1, -1, -1), of_text], dim=2)
