"""The batch plan: a pure function of sizes, seed and step number, so that training resumes without replay."""

import math
from collections.abc import Sequence

import numpy as np

from accord.randomness import keyed_rng

WINDOW = 4096


def steps_per_epoch(n_items: int, batch_size: int) -> int:
    """Number of steps in which every item is seen once; the last one may be smaller."""
    return math.ceil(n_items / batch_size)


def step_indices(n_items: int, batch_size: int, step: int, *, seed: int) -> np.ndarray:
    """Item numbers of training step `step` (0-based): a random set of `batch_size` items, fewer at an epoch's end.

    Each epoch is a fresh permutation keyed by (seed, epoch). Items are not sorted by length across steps, so a
    step's statistics are not those of one length.
    """
    epoch, position = divmod(step, steps_per_epoch(n_items, batch_size))
    order = keyed_rng(seed, "epoch", epoch).permutation(n_items)
    return order[position * batch_size : (position + 1) * batch_size]


def token_budget_batches(lengths: Sequence[int], *, max_tokens: int, window: int = WINDOW) -> list[list[int]]:
    """Batches for inference: rows sorted by length within windows, filled to `max_tokens` padded tokens.

    Longest first within a window, so that running out of memory shows at once. A row longer than the budget gets a
    batch of its own. Row numbers 0 … N−1, each exactly once; ties keep input order.
    """
    batches: list[list[int]] = []
    for start in range(0, len(lengths), window):
        rows = sorted(range(start, min(start + window, len(lengths))), key=lambda row: (-lengths[row], row))
        batch: list[int] = []
        for row in rows:
            longest = lengths[batch[0]] if batch else lengths[row]
            if batch and (len(batch) + 1) * longest > max_tokens:
                batches.append(batch)
                batch = []
            batch.append(row)
        if batch:
            batches.append(batch)
    return batches


def least_padded_batches(lengths: Sequence[int], *, max_rows: int, batch_cost: int) -> list[list[int]]:
    """Rows in order of length, longest first, cut where padded tokens + `batch_cost` for each batch are fewest.

    Exact, by dynamic programming over the last cut: O(N · max_rows). Row numbers 0 … N−1, each exactly once; ties keep
    input order.

    Args:
        max_rows: of one batch. batch_cost: what a batch costs beside its tokens, in tokens.
    """
    rows = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    costs, starts = [0], [0]
    for end in range(1, len(rows) + 1):
        cost, start = min(
            (costs[start] + (end - start) * lengths[rows[start]] + batch_cost, start)
            for start in range(max(0, end - max_rows), end)
        )
        costs.append(cost)
        starts.append(start)
    batches: list[list[int]] = []
    end = len(rows)
    while end:
        batches.append(rows[starts[end] : end])
        end = starts[end]
    return batches[::-1]


def padding_share(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    """Share of the padded tokens that are padding, in [0, 1); nan without batches."""
    padded = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
    return 1.0 - sum(lengths[row] for batch in batches for row in batch) / padded if padded else math.nan
