"""Who trains and who validates."""

import pytest

from accord.errors import DataError
from accord.records import PromptRow, Split
from accord.training.held_out import train_dev_rows


def row(
    number: int, *, prompt: str = "i feel sad .", group: str | None = None, split: Split | None = None
) -> PromptRow:
    return PromptRow(f"p{number}", prompt, group=group, split=split)


def test_published_splits_are_kept() -> None:
    rows = [row(0, split="train"), row(1, split="dev"), row(2, split="test"), row(3)]
    split = train_dev_rows(rows, dev_fraction=0.5, seed=1)
    assert [r.id for r in split.train] == ["p0", "p3"]
    assert [r.id for r in split.dev] == ["p1"]


def test_held_out_groups_stay_whole() -> None:
    rows = [row(number, group=f"g{number // 3}") for number in range(30)]
    split = train_dev_rows(rows, dev_fraction=0.2, seed=1)
    assert len(split.dev) == 6
    assert not {r.group for r in split.train} & {r.group for r in split.dev}
    assert split == train_dev_rows(rows, dev_fraction=0.2, seed=1)
    assert split != train_dev_rows(rows, dev_fraction=0.2, seed=2)


def test_one_group_cannot_be_split() -> None:
    with pytest.raises(DataError, match="2 training and 0 validation prompts among 2 rows"):
        train_dev_rows([row(0, group="g"), row(1, group="g")], dev_fraction=0.5, seed=1)


def test_without_groups_equal_prompts_stay_together() -> None:
    rows = [row(number, prompt=("sad", "tired", "lost")[number % 3]) for number in range(12)]
    split = train_dev_rows(rows, dev_fraction=0.3, seed=1)
    assert (len(split.train), len(split.dev)) == (8, 4)
    assert len({r.prompt for r in split.dev}) == 1
