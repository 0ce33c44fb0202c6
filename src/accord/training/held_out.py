"""Who trains and who validates: the rows of a split, or whole groups held out by a keyed draw."""

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from accord.errors import DataError
from accord.randomness import keyed_rng
from accord.records import CandidateSet, PromptRow

RowT = TypeVar("RowT", CandidateSet, PromptRow)


class TrainDev(NamedTuple, Generic[RowT]):
    train: list[RowT]
    dev: list[RowT]


def train_dev_rows(rows: Sequence[RowT], *, dev_fraction: float, seed: int) -> TrainDev[RowT]:
    """Training and validation prompts: by `split`, or by drawing groups where no row has split "dev".

    Rows of split "test" take no part. A group (a row without one goes by its prompt) never straddles the two.

    Raises:
        DataError: one of the two is empty.
    """
    pool = [row for row in rows if row.split in ("train", None)]
    dev = [row for row in rows if row.split == "dev"]
    if not dev:
        held_out = _held_out_groups(pool, dev_fraction=dev_fraction, seed=seed)
        dev = [row for row in pool if group_of(row) in held_out]
        pool = [row for row in pool if group_of(row) not in held_out]
    if not pool or not dev:
        raise DataError(
            f"{len(pool)} training and {len(dev)} validation prompts among {len(rows)} rows. Expected at least one of "
            'each: give rows the split "train" or "dev", or raise --dev-fraction.'
        )
    return TrainDev(pool, dev)


def group_of(row: CandidateSet | PromptRow) -> str:
    """What must not straddle training and validation: the row's group, or its prompt."""
    return f"group:{row.group}" if row.group is not None else f"prompt:{row.prompt}"


def _held_out_groups(rows: Sequence[CandidateSet | PromptRow], *, dev_fraction: float, seed: int) -> set[str]:
    """A keyed draw of groups, at least one of two or more."""
    groups = sorted({group_of(row) for row in rows})
    n_held_out = min(len(groups) - 1, max(1, round(dev_fraction * len(groups)))) if len(groups) > 1 else 0
    order: np.ndarray = keyed_rng(seed, "dev groups").permutation(len(groups))
    return {groups[number] for number in order[:n_held_out]}
