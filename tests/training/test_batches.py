"""The batch plan is a pure function: every row once, whatever the step order."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.training.batches import (
    least_padded_batches,
    padding_share,
    step_indices,
    steps_per_epoch,
    token_budget_batches,
)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 3))
def test_an_epoch_is_a_permutation(n_items: int, batch_size: int, epoch: int) -> None:
    n_steps = steps_per_epoch(n_items, batch_size)
    rows = [step_indices(n_items, batch_size, epoch * n_steps + step, seed=7) for step in range(n_steps)]
    assert sorted(np.concatenate(rows).tolist()) == list(range(n_items))
    assert all(len(batch) == batch_size for batch in rows[:-1])


def test_epochs_and_seeds_differ() -> None:
    first = step_indices(50, 50, 0, seed=0).tolist()
    assert first != step_indices(50, 50, 1, seed=0).tolist()
    assert first != step_indices(50, 50, 0, seed=1).tolist()


@given(st.lists(st.integers(1, 30), max_size=60), st.integers(1, 60), st.integers(1, 20))
def test_budget_batches_hold_every_row_once_within_the_budget(lengths: list[int], max_tokens: int, window: int) -> None:
    batches = token_budget_batches(lengths, max_tokens=max_tokens, window=window)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= max_tokens for batch in batches)


def test_padding_share_by_hand() -> None:
    """Batches (5, 3) and (2): 10 + 2 = 12 padded tokens, 10 real ones, so 2/12 are padding."""
    assert padding_share([5, 2, 3], [[0, 2], [1]]) == pytest.approx(2 / 12)
    assert np.isnan(padding_share([], []))


def test_least_padded_batches_by_hand() -> None:
    """(9, 8), (3, 2, 2): 18 + 9 padded tokens and two batches of 4 make 35; one of five rows would be 49 and cost 4."""
    assert least_padded_batches([2, 9, 3, 8, 2], max_rows=5, batch_cost=4) == [[1, 3], [2, 0, 4]]
    assert least_padded_batches([2, 9, 3, 8, 2], max_rows=5, batch_cost=100) == [[1, 3, 2, 0, 4]]
    assert least_padded_batches([2, 9, 3, 8, 2], max_rows=5, batch_cost=0) == [[1], [3], [2], [0, 4]]
    assert least_padded_batches([], max_rows=5, batch_cost=4) == []


@given(st.lists(st.integers(1, 30), min_size=1, max_size=7), st.integers(1, 4), st.integers(0, 20))
def test_no_other_cut_pads_less(lengths: list[int], max_rows: int, batch_cost: int) -> None:
    """Against every way to cut the sorted rows."""
    batches = least_padded_batches(lengths, max_rows=max_rows, batch_cost=batch_cost)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(len(batch) <= max_rows for batch in batches)
    in_order = sorted(lengths, reverse=True)
    costs = []
    for cuts in product([False, True], repeat=len(lengths) - 1):
        ends = [0, *(place for place, is_cut in enumerate(cuts, start=1) if is_cut), len(lengths)]
        sizes = np.diff(ends)
        if max(sizes) <= max_rows:
            costs.append(sum(size * in_order[start] + batch_cost for size, start in zip(sizes, ends, strict=False)))
    found = sum(len(batch) * max(lengths[row] for row in batch) + batch_cost for batch in batches)
    assert found == min(costs)
