"""The feedback predictor: its grades by hand, its numbers free of neighbours, its fit from the verb to the plan."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from accord.candidates.planning.feedback import FeedbackConfig, FeedbackInput, FeedbackModel
from accord.candidates.planning.fit_feedback import (
    feedback_input,
    grade,
    graded_sequences,
    load_feedback_model,
    predicted_feedback,
)
from accord.cli.main import main
from accord.errors import DataError
from accord.json_files import read_jsonl, write_jsonl
from accord.records import CandidateSet, Message, PromptRow
from toys import tiny_bert, word_tokenizer

INPUTS = [
    FeedbackInput([[2, 10, 11, 3], [2, 12, 3]], [0, 3]),
    FeedbackInput([[2, 13, 14, 15, 16, 3]], [5]),
    FeedbackInput([[2, 17, 3], [2, 18, 19, 3], [2, 20, 3]], [1, 1, 4]),
]


@pytest.fixture
def model() -> FeedbackModel:
    torch.manual_seed(1)
    found = FeedbackModel.from_encoder(tiny_bert(2), FeedbackConfig())
    for value in found.parameters():
        torch.nn.init.normal_(value, std=0.3)
    return found


def candidates(number: int, *, split: str | None = None) -> CandidateSet:
    """People ask, then go on otherwise; the beams find it likelier to give information at once."""
    return CandidateSet(
        id=f"p{number}",
        prompt=(Message("user", f"i feel {('sad', 'tired', 'bad')[number % 3]}"),),
        completions=("@[Question] @[Others]", "@[Providing-Suggestions-or-Information]", "@[Question]", "well"),
        sum_logps=(-1.0, -0.5, -2.0, -0.1),
        n_tokens=(3, 2, 2, 2),
        search_scores=(-1.0, -0.5, -2.0, -3.0),
        references=("@[Question] @[Others]",),
        group=f"g{number}",
        split="dev" if split == "dev" else None,
    )


def test_grades_as_in_the_original() -> None:
    """5, 4 and 1, of which 1 is taken off and to what is above 1 then 2 added."""
    taken = ("Question", "Others")
    assert grade(taken, taken) == 6.0
    assert grade(("Question",), taken) == grade(("Question", "Question"), taken) == 5.0
    assert grade(("Others", "Question"), taken) == 0.0


def test_each_sequence_once_and_what_was_done_first() -> None:
    found = graded_sequences([candidates(1)], word_tokenizer(pair_template=True), FeedbackConfig())
    assert [(one.input.strategies, one.target) for one in found] == [([0, 7], 6.0), ([6], 0.0), ([0], 5.0)]
    assert {one.group for one in found} == {"group:g1"}
    assert found[0].input.turns == [[2, *found[0].input.turns[0][1:-1], 3]]


def test_rows_without_what_was_done_are_named() -> None:
    row = CandidateSet("p", "sad", ("@[Question]",), (-1.0,), (2,), (-1.0,), references=("why ?",))
    with pytest.raises(DataError, match="prompt 'p' has no sequence of strategies as its reference"):
        graded_sequences([row], word_tokenizer(pair_template=True), FeedbackConfig())


@torch.no_grad()
def test_padding_and_neighbours_move_nothing(model: FeedbackModel) -> None:
    together = model(INPUTS)
    for number, one in enumerate(INPUTS):
        assert_close(together[number], model([one])[0], atol=1e-5, rtol=0)
    assert len(set(together.tolist())) == 3


@torch.no_grad()
def test_turns_strategies_and_emotions_all_matter(model: FeedbackModel) -> None:
    one = INPUTS[0]
    before = model([one])
    assert not torch.equal(model([one._replace(turns=one.turns[::-1])]), before)
    assert not torch.equal(model([one._replace(strategies=one.strategies[::-1])]), before)
    model.token_emotions[10] = 5
    assert not torch.equal(model([one]), before)


def test_many_turns_lose_their_first_and_long_ones_their_end() -> None:
    prompt = tuple(Message("user", text) for text in ("sad", "i feel very sad", "why"))
    config = FeedbackConfig(max_turns=2, max_turn_tokens=4)
    found = feedback_input(prompt, ("Greeting",), word_tokenizer(pair_template=True), config)
    assert [len(turn) for turn in found.turns] == [4, 3]
    assert found.strategies == [1]


def test_from_beams_to_planned_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The predictor learns what people did, and the plan follows it, not the likeliest beam."""
    monkeypatch.chdir(tmp_path)
    _save_distinct_encoder(tmp_path / "encoder")
    write_jsonl(
        tmp_path / "beams.jsonl", [candidates(number, split="dev" if number > 15 else None) for number in range(20)]
    )

    def accord(line: str) -> str:
        assert main(line.split()) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    options = "--model encoder --vad none --epochs 6 --batch-size 8 --learning-rate 0.01 --eval-every 12"
    out = accord(f"multiesc feedback beams.jsonl --output-dir f {options}")
    assert "next: accord multiesc plan PROMPTS --candidates FOLDER --feedback f" in out
    errors = {row["system"]: row["value"] for row in json.loads((tmp_path / "f" / "results.json").read_text())}
    assert errors["trained"] < 0.5 * errors["best constant"]

    model, tokenizer = load_feedback_model(tmp_path / "f")
    inputs = [one.input for one in graded_sequences([candidates(0)], tokenizer, model.config)]
    again, _ = load_feedback_model(tmp_path / "f")
    assert np.array_equal(predicted_feedback(model, inputs, 8), predicted_feedback(again, inputs, 8))

    rows = [
        PromptRow(one.id, one.prompt, ("okay",), one.group, "test", ("question", "Information")[number % 2])
        for number, one in enumerate(map(candidates, range(4)))
    ]
    write_jsonl(tmp_path / "prompts.jsonl", rows)
    write_jsonl(tmp_path / "test_beams.jsonl", [candidates(number) for number in range(3)])
    out = accord("multiesc plan prompts.jsonl --candidates test_beams.jsonl --feedback f --output-dir p")
    assert "3 prompts planned, 2 as annotated" in out
    planned = list(read_jsonl(tmp_path / "p" / "prompts.jsonl", PromptRow))
    assert [(row.id, row.strategy) for row in planned] == [("p0", "Question"), ("p1", "Question"), ("p2", "Question")]

    write_jsonl(tmp_path / "stray.jsonl", [candidates(9)])
    assert main("multiesc plan prompts.jsonl --candidates stray.jsonl --feedback f --output-dir q".split()) == 2
    assert "beams for 'p9', which is no prompt" in capsys.readouterr().err


def _save_distinct_encoder(folder: Path) -> None:
    """A tiny BERT whose first state tells which words follow, without dropout, so that few steps suffice."""
    bert = tiny_bert()
    bert.config.hidden_dropout_prob = bert.config.attention_probs_dropout_prob = 0.0
    with torch.no_grad():
        for value in bert.parameters():
            if value.ndim > 1:
                value.mul_(10)
    bert.save_pretrained(folder)
    word_tokenizer(pair_template=True).save_pretrained(folder)
