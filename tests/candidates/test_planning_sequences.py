"""Sequences of strategies as prompts and texts."""

from pathlib import Path

import pytest

from accord.candidates.planning.sequences import sequence_of, sequence_rows, sequence_text, sequences_stage
from accord.candidates.planning.settings import SequenceSettings
from accord.errors import ConfigError, DataError
from accord.json_files import read_jsonl, write_jsonl
from accord.records import Message, PromptRow

FIRST = (Message("user", "sad"),)
SECOND = (*FIRST, Message("assistant", "why", "Question"), Message("user", "job"))
ROWS = [
    PromptRow("a1", FIRST, ("why",), group="a", strategy="Question"),
    PromptRow("b1", "hello", ("hi",), group="b", strategy="Others"),
    PromptRow("a2", SECOND, ("try",), group="a", strategy="Information"),
    PromptRow("a3", SECOND, ("oh",), group="a", strategy="Self-disclosure"),
]


def test_references_are_the_strategies_from_the_reply_on() -> None:
    found = {row.id: row.references for row in sequence_rows(ROWS, horizon=2)}
    assert found == {
        "a1": ("@[Question] @[Providing-Suggestions-or-Information]",),
        "b1": ("@[Others]",),
        "a2": ("@[Providing-Suggestions-or-Information] @[Self-disclosure]",),
        "a3": ("@[Self-disclosure]",),
    }


def test_prompts_tell_the_strategies_so_far() -> None:
    first, other, second, _ = sequence_rows(ROWS, horizon=2)
    assert (first.prompt, other.prompt) == (FIRST, "hello")
    assert second.prompt == (*FIRST, Message("assistant", "@[Question] why"), Message("user", "job"))


def test_texts_are_read_up_to_what_is_no_strategy() -> None:
    names = ("Reflection of feelings", "Self-disclosure")
    assert sequence_of(sequence_text(names)) == names
    assert sequence_of("@[Question]@[Others] well @[Advice] @[Question]") == ("Question", "Others")
    assert sequence_of("well") == ()


def test_a_row_without_a_strategy_is_named() -> None:
    with pytest.raises(DataError, match="prompt 'x' has no strategy"):
        sequence_rows([PromptRow("x", "hello")], horizon=2)


def test_the_stage_writes_what_accord_tune_reads(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", ROWS)
    folder = sequences_stage(tmp_path / "in.jsonl", output_dir=tmp_path / "s", settings=SequenceSettings(2), seed=0)
    assert list(read_jsonl(folder / "prompts.jsonl", PromptRow)) == sequence_rows(ROWS, horizon=2)


def test_a_sequence_holds_a_strategy(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", ROWS)
    with pytest.raises(ConfigError, match=r"horizon is 0\. Expected a number from 1"):
        sequences_stage(tmp_path / "in.jsonl", output_dir=tmp_path / "s", settings=SequenceSettings(0), seed=0)
