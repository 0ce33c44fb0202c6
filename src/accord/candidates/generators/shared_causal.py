"""Rows of a causal model that share their prompts: what is kept of a prompt is kept once, and never copied.

Serves models whose layers all attend to everything before them through transformers' attention interface (Llama,
SmolLM, Qwen2, GPT-2, …); `shares_prompts` finds out.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from accord.candidates.generators.packed import causal_trunk, unwrapped
from accord.candidates.generators.protocol import Encoded
from accord.candidates.generators.shared_prompts import (
    REPLACES,
    OwnTokens,
    Prompts,
    RowsOfPrompts,
    evaluating,
    rows_share_prompts,
)

LEAST_ALIKE = 0.7
FEW_TOKENS = 16
"""Prompts are read together that have this share of the longest one's tokens, or so few tokens less."""
TOLERANCE = 1e-3

Prefill = Callable[[Sequence[Sequence[int]]], Any]


class SharedCausalEncoded:
    """See `Encoded`.

    Args:
        prefill: reads some prompts, left-padded, in one pass; gives a `CausalEncoded`.
    """

    def __init__(self, model: Any, prompt_ids: Sequence[Sequence[int]], prefill: Prefill) -> None:
        self._model = model
        groups = of_like_length([len(ids) for ids in prompt_ids])
        parts = [prefill([prompt_ids[row] for row in group]) for group in groups]
        self._place = _inverse([row for group in groups for row in group], parts[0].logits.device)
        self.logits = torch.cat([part.logits for part in parts])[self._place]
        self._position = torch.cat([part.position for part in parts])[self._place]
        mask = _left_padded([part.mask for part in parts], dim=1)[self._place]
        smallest = torch.finfo(parts[0].cache.layers[0].keys.dtype).min
        self._mask = torch.zeros(mask.shape, dtype=parts[0].cache.layers[0].keys.dtype, device=mask.device)
        self._mask = self._mask.masked_fill(mask == 0, smallest)[:, None, None]
        self._layers = [self._merged([part.cache.layers for part in parts], n) for n in range(len(parts[0].cache))]
        self._cache = Cache(layers=self._layers)
        self._follow(torch.arange(len(prompt_ids), device=mask.device))

    def _merged(self, stacks: Sequence[list[Any]], number: int) -> OwnTokens:
        """One layer of all groups; what the groups kept goes."""
        layer = OwnTokens(n_before=self._mask.shape[-1])
        if len(stacks) == 1:
            keys, values = stacks[0][number].keys, stacks[0][number].values
        else:
            keys, values = (
                _left_padded([getattr(stack[number], name) for stack in stacks], dim=2)[self._place]
                for name in ("keys", "values")
            )
        for stack in stacks:
            stack[number] = None
        layer.prompts = Prompts(keys, values, _NOBODY, self._mask)
        return layer

    def expand(self, copies: int) -> None:
        if copies > 1:
            self.reorder(torch.arange(len(self.logits), device=self.logits.device).repeat_interleave(copies))

    def reorder(self, rows: Tensor) -> None:
        """Rows take the tokens of their own along; what belongs to a prompt moves only when a prompt leaves."""
        owners = self._rows.owners[rows]
        present = torch.unique(owners)
        self._cache.reorder_cache(rows)
        if len(present) < self._rows.n_prompts:
            self._mask = self._mask[present]
            for layer in self._layers:
                assert layer.prompts is not None
                kept = layer.prompts
                layer.prompts = kept._replace(keys=kept.keys[present], values=kept.values[present], mask=self._mask)
        self._follow(torch.searchsorted(present, owners))
        self.logits, self._position = self.logits[rows], self._position[rows]

    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        self._position = self._position + 1
        with rows_share_prompts(causal_trunk(self._model).config):
            output = self._model(
                input_ids=tokens[:, None],
                position_ids=self._position[:, None],
                past_key_values=self._cache,
                use_cache=True,
            )
        self.logits = output.logits[:, -1].float()
        return self.logits

    def _follow(self, owners: Tensor) -> None:
        self._rows = RowsOfPrompts(owners, len(self._mask))
        for layer in self._layers:
            assert layer.prompts is not None
            layer.prompts = layer.prompts._replace(rows=self._rows)


@torch.no_grad()
def shares_prompts(model: Any, prefill: Prefill, token: int) -> bool:
    """Whether rows may share prompts: two rows after each of two short prompts say the same as rows on their own."""
    if causal_trunk(model).config._attn_implementation != REPLACES:
        return False
    prompts = [[token] * 3, [token]]

    def said(encoded: Encoded) -> Tensor:
        encoded.expand(2)
        tokens = torch.arange(4, device=encoded.logits.device) % unwrapped(model).config.vocab_size
        encoded.step(tokens)
        return encoded.step(tokens)

    with evaluating(model):
        plain = prefill(prompts)
        if not plain.takes_positions or any(type(layer) is not DynamicLayer for layer in plain.cache.layers):
            return False
        try:
            found = said(SharedCausalEncoded(model, prompts, prefill))
        except (NotImplementedError, AttributeError, RuntimeError):
            return False
        expected = said(plain)
    return torch.allclose(found, expected, atol=TOLERANCE * float(expected.abs().max()), rtol=0)


def of_like_length(lengths: Sequence[int]) -> list[list[int]]:
    """Numbers of the rows in groups, the longest first, whose rows are not much shorter than their longest.

    Within a group they stand in the order of the input, so that a single group is the input as it is.
    """
    groups: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        longest = lengths[groups[-1][0]] if groups else 0
        if not groups or lengths[row] < min(LEAST_ALIKE * longest, longest - FEW_TOKENS):
            groups.append([])
        groups[-1].append(row)
    return [sorted(group) for group in groups]


def _left_padded(parts: Sequence[Tensor], *, dim: int) -> Tensor:
    """Tensors of different length along `dim` as one, zeros before the shorter ones."""
    longest = max(part.shape[dim] for part in parts)
    shape = list(parts[0].shape)
    shape[0], shape[dim] = sum(len(part) for part in parts), longest
    filled, start = parts[0].new_zeros(shape), 0
    for part in parts:
        target = filled[start : start + len(part)]
        target.narrow(dim, longest - part.shape[dim], part.shape[dim]).copy_(part)
        start += len(part)
    return filled


def _inverse(order: Sequence[int], device: torch.device) -> Tensor:
    """Where each number stands in `order`."""
    places = torch.empty(len(order), dtype=torch.long)
    places[torch.tensor(order)] = torch.arange(len(order))
    return places.to(device)


_NOBODY = RowsOfPrompts(torch.zeros(1, dtype=torch.long), 1)
