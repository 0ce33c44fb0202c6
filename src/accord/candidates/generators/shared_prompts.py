"""Attention of rows that share prompts: the keys and values over a prompt exist once, however many rows follow it.

A row is one sequence under way. To the attention of transformers every row brings keys of its own, so K rows after one
prompt need K copies of the prompt's. Here the rows of a prompt look at it together, as so many more queries, and each
looks at its own tokens besides; one softmax runs over both. The numbers are the same, to float tolerance.

Shape letters: R rows, B prompts, W rows of the prompt that has most, H heads of keys, N query heads for each of those,
P tokens of the longest prompt, T new tokens, D width of a head.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "accord_shared_prompts"
REPLACES = "sdpa"
UNSUPPORTED = ("softcap", "s_aux", "sliding_window")
MORE_ROOM = 32


class RowsOfPrompts:
    """Which prompt each row follows, and the rows of a prompt side by side.

    Args:
        owners: int64 [R], the number of each row's prompt. n_prompts: B.
    """

    def __init__(self, owners: Tensor, n_prompts: int) -> None:
        counts = owners.bincount(minlength=n_prompts)
        self.owners, self.n_prompts, self.width = owners, n_prompts, int(counts.max())
        order = owners.argsort(stable=True)
        numbers = torch.arange(len(owners), device=owners.device)
        place = torch.empty_like(owners)
        place[order] = numbers - (counts.cumsum(0) - counts)[owners[order]]
        self._slots = owners * self.width + place
        self._is_full = len(owners) == n_prompts * self.width and torch.equal(self._slots, numbers)

    def together(self, queries: Tensor) -> Tensor:
        """[R, H, N, T, D] -> [B, H, W · N · T, D]; places without a row hold zeros."""
        n_heads, size = queries.shape[1], queries.shape[-1]
        if not self._is_full:
            filled = queries.new_zeros(self.n_prompts * self.width, *queries.shape[1:])
            queries = filled.index_copy(0, self._slots, queries)
        beside = queries.view(self.n_prompts, self.width, *queries.shape[1:]).transpose(1, 2)
        return beside.reshape(self.n_prompts, n_heads, -1, size)

    def apart(self, values: Tensor, n_per_head: int, n_tokens: int) -> Tensor:
        """[B, H, W · N · T, X] -> [R, H, N, T, X]; undoes `together`."""
        n_prompts, n_heads, _, size = values.shape
        beside = values.view(n_prompts, n_heads, self.width, n_per_head, n_tokens, size).transpose(1, 2)
        rows = beside.reshape(n_prompts * self.width, n_heads, n_per_head, n_tokens, size)
        return rows if self._is_full else rows[self._slots]


class Prompts(NamedTuple):
    """What rows share in one layer: keys and values [B, H, P, D] over the prompts, and who follows which.

    `mask`: 0 where a prompt has a token and the most negative number where it is padded, [B, 1, 1, P].
    """

    keys: Tensor
    values: Tensor
    rows: RowsOfPrompts
    mask: Tensor


class OwnTokens(DynamicLayer):
    """A layer's keys and values of the rows' own tokens, written in place into a block that grows now and then.

    Args:
        n_before: tokens that the rows have read before and that lie elsewhere.
    """

    def __init__(self, n_before: int = 0) -> None:
        super().__init__()
        self.n_before = n_before
        self.prompts: Prompts | None = None
        self._blocks: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append [R, H, T, D]; the keys say which prompts come before them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        start, end = self.keys.shape[2], self.keys.shape[2] + key_states.shape[2]
        if self._blocks is None or self._blocks[0].shape[2] < end:
            self._blocks = (_with_room(self.keys, end + MORE_ROOM), _with_room(self.values, end + MORE_ROOM))
        for block, states in zip(self._blocks, (key_states, value_states), strict=True):
            block[:, :, start:end] = states
        self.keys, self.values = (block[:, :, :end] for block in self._blocks)
        return (self.keys if self.prompts is None else following(self.keys, self.prompts)), self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep these rows, int64, in that order."""
        if self.is_initialized:
            self.keys, self.values, self._blocks = self.keys[beam_idx], self.values[beam_idx], None

    def get_seq_length(self) -> int:
        return self.n_before + (self.keys.shape[2] if self.is_initialized else 0)


def following(keys: Tensor, prompts: Prompts | RowsOfPrompts) -> Tensor:
    """`keys` on their way to `attend`: of rows, with the prompts before them; or of prompts, with their rows."""
    keys.prompts = prompts  # type: ignore[attr-defined]
    return keys


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    position_bias: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """An attention function of transformers: that of `sdpa`, but for keys that were sent by `following`.

    Raises:
        NotImplementedError: an option beyond plain attention; the model is then run row by row.
    """
    prompts: Prompts | RowsOfPrompts | None = getattr(key, "prompts", None)
    if prompts is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, position_bias=position_bias,
            **options,
        )  # fmt: skip
    found = [name for name in UNSUPPORTED if options.get(name) is not None]
    if found:
        raise NotImplementedError(f"{', '.join(found)} where rows share prompts")
    n_rows, n_query_heads, n_tokens, size = query.shape
    n_heads = key.shape[1]
    grouped = query.view(n_rows, n_heads, n_query_heads // n_heads, n_tokens, size)
    scaling = size**-0.5 if scaling is None else scaling
    if isinstance(prompts, Prompts):
        states = _over_prompts_and_own(grouped, key, value, prompts, scaling=scaling, dropout=dropout)
    else:
        together = prompts.together(grouped)
        bias = _bias(attention_mask, position_bias, prompts.width * grouped.shape[2])
        over = scaled_dot_product_attention(together, key, value, attn_mask=bias, dropout_p=dropout, scale=scaling)
        states = prompts.apart(over, *grouped.shape[2:4])
    return states.reshape(n_rows, n_query_heads, n_tokens, size).transpose(1, 2), None


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


@contextmanager
def rows_share_prompts(config: Any) -> Iterator[None]:
    """Let the model of this config attend by `attend`."""
    before = config._attn_implementation
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """No part of the model drops out meanwhile."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _bias(mask: Tensor | None, position_bias: Tensor | None, n_beside: int) -> Tensor | None:
    """What decides on the scores [B, H, n_beside · T, P] over prompts; `mask` [B, 1, T, P] is the same for all T."""
    if mask is not None:
        mask = mask[:, :, :1]
    if position_bias is None:
        return mask
    wide = position_bias.repeat(1, 1, n_beside, 1)
    if mask is None:
        return wide
    return wide.masked_fill(~mask, torch.finfo(wide.dtype).min) if mask.dtype == torch.bool else wide + mask


def _over_prompts_and_own(
    queries: Tensor, key: Tensor, value: Tensor, prompts: Prompts, *, scaling: float, dropout: float
) -> Tensor:
    """Attention of [R, H, N, 1, D] over the prompts and the rows' own tokens, [R, H, T, D] each."""
    n_per_head, n_tokens = queries.shape[2:4]
    assert n_tokens == 1, "rows go on token by token"
    queries = queries * scaling
    over_prompts = prompts.rows.together(queries) @ prompts.keys.transpose(2, 3) + prompts.mask
    n_prompt = over_prompts.shape[-1]
    over_own = queries[:, :, :, 0] @ key.transpose(2, 3)
    scores = torch.cat([prompts.rows.apart(over_prompts, n_per_head, 1)[:, :, :, 0], over_own], dim=-1)
    weights = torch.dropout(scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype), dropout, train=True)
    together = prompts.rows.together(weights[:, :, :, None, :n_prompt])
    states = prompts.rows.apart(together @ prompts.values, n_per_head, 1)[:, :, :, 0]
    return (states + weights[..., n_prompt:] @ value)[:, :, :, None]


def _with_room(states: Tensor, n_tokens: int) -> Tensor:
    """`states` [R, H, T, D] at the beginning of a block for `n_tokens`."""
    block = states.new_empty(*states.shape[:2], n_tokens, states.shape[3])
    block[:, :, : states.shape[2]] = states
    return block
