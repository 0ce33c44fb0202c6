"""MIC's source on ten hand-made rows in the published form, as judged rules of thumb and as prompts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accord.cli.main import main
from accord.data.labels import build_votes, consensus_shares
from accord.data.prepare import prepare_stage
from accord.data.prepared import load_prepared
from accord.data.prompts import PromptReading
from accord.data.reader import Reading
from accord.data.schemes import SCHEMES
from accord.data.settings import PrepareSettings
from accord.data.sources.mic import PUBLISHED, read_mic, read_mic_prompts
from accord.errors import ConfigError, DataError
from accord.json_files import read_json, read_jsonl
from accord.records import Annotation, PromptRow

CASES = Path(__file__).parents[1] / "cases" / "mic"
TABLE = (CASES / PUBLISHED.file).read_text(encoding="utf-8")
DIARY = 'Q: Is it fine to read my son\'s diary? A: No, "private" means private.'


def read(source: Path = CASES, **options: Any) -> Reading:
    given = {"scheme": SCHEMES["global-consensus"], "on_bad_row": "raise", "context": "prompt_and_reply", **options}
    return read_mic(source, **given)


def read_prompts(source: Path = CASES, **options: Any) -> PromptReading:
    return read_mic_prompts(source, **{"on_bad_row": "raise", "context": "prompt_and_reply", **options})


def changed(folder: Path, found: str, wanted: str) -> Path:
    path = folder / PUBLISHED.file
    assert TABLE.count(found) == 1
    path.write_text(TABLE.replace(found, wanted), encoding="utf-8")
    return path


def test_a_rule_of_thumb_with_its_grade() -> None:
    """Nine of ten rows have a grade (one is -1); "5.0" is 5; the annotator wrote the rule too."""
    reading = read()
    assert [item.id for item in reading.items] == ["1", "2", "3", "5", "6", "7", "8", "9", "10"]
    assert [item.annotations[0].label for item in reading.items] == ["4", "4", "5", "2", "5", "3", "5", "1", "4"]
    second = reading.items[1]
    assert (second.prompt, second.completion) == (DIARY, "Reading someone's diary is wrong.")
    assert second.annotations == (Annotation("W2", "4"),)
    assert (reading.n_rows, reading.counts) == (10, {"n_without_annotation": 1})
    assert reading.metadata[1] == {
        "id": "2",
        "chatbot": "dialoGPT",
        "moral": "care",
        "A_agrees": "2",
        "violation-severity": "3",
    }


def test_a_pair_of_prompt_and_reply_is_one_group_and_keeps_its_split() -> None:
    sides = {(item.group, item.split) for item in read().items}
    assert sides == {("1", "train"), ("2", "dev"), ("3", "test")}


@pytest.mark.parametrize(
    ("context", "prompt"),
    [
        ("prompt_and_reply", "Q: Why do people steal,\nand why not me? A: Because they are hungry."),
        ("prompt", "Why do people steal,\nand why not me?"),
        ("tagged", "Why do people steal,\nand why not me? [answ] Because they are hungry. [rot]"),
    ],
)
def test_what_the_rule_is_about(context: Any, prompt: str) -> None:
    assert read(context=context).items[2].prompt == prompt
    assert read_prompts(context=context).prompts[2].prompt == prompt


def test_consensus_as_midpoint_drawn_or_as_released() -> None:
    """Grades 4, 4, 5, 2, ...: midpoints .825, .995, .15; a draw lies in its interval; the released code's numbers."""
    scheme = SCHEMES["global-consensus"]
    items = read().items[:4]
    np.testing.assert_allclose(consensus_shares(items, scheme), [0.825, 0.825, 0.995, 0.15])
    drawn = consensus_shares(items, scheme, draw="uniform", seed=3)
    assert all(scheme.intervals is not None for _ in drawn)
    for share, (low, high) in zip(drawn, [(0.75, 0.9), (0.75, 0.9), (0.99, 1.0), (0.05, 0.25)], strict=True):
        assert low <= share <= high
    assert drawn[0] != drawn[1]
    released = SCHEMES["global-consensus-released"]
    every = [item for grade in "12345" for item in read(scheme=released).items if item.annotations[0].label == grade]
    assert sorted(set(consensus_shares(every, released))) == [0.025, 0.15, 0.5, 0.85, 0.95]
    np.testing.assert_array_equal(
        consensus_shares(every, released), consensus_shares(every, released, draw="uniform", seed=1)
    )
    with pytest.raises(ConfigError, match="estimates shares, so its labels are no votes"):
        build_votes(items, scheme)


def test_each_pair_is_one_prompt_with_its_rules() -> None:
    """Four pairs of ten shuffled rows; a rule without a grade is a reference too."""
    reading = read_prompts()
    assert [len(row.references) for row in reading.prompts] == [3, 3, 3, 1]
    rules = (
        "Reading someone's diary is wrong.",
        'It\'s good to respect "private" things.',
        "Parents may read everything.",
    )
    assert reading.prompts[1] == PromptRow("2", DIARY, rules, group="2", split="dev")
    assert (reading.n_rows, reading.bad_rows) == (10, [])


def test_a_file_without_workers(tmp_path: Path) -> None:
    path = changed(tmp_path, ",WorkerId,", ",WorkTime,")
    assert read(path).items[0].annotations == (Annotation("author/1", "4"),)


@pytest.mark.parametrize(
    ("found", "wanted", "message"),
    [
        ("fairness|loyalty,[0.0],0,4,", "fairness,[0.0],0,6,", r'line 2: label "6" is not one of \["1", "2", "3"'),
        ("You shouldn't steal.", " ", r'line 4: completion "" is not text'),
    ],
)
def test_bad_rows(tmp_path: Path, found: str, wanted: str, message: str) -> None:
    path = changed(tmp_path, found, wanted)
    with pytest.raises(DataError, match=r"MIC\.csv " + message):
        read(path)
    assert len(read(path, on_bad_row="skip").items) == 8


def test_bad_rows_of_prompts(tmp_path: Path) -> None:
    """The third row of the first pair says dev, where its first row says train."""
    with pytest.raises(DataError, match=r'line 4: rot " " is not text'):
        read_prompts(changed(tmp_path, "You shouldn't steal.", " "))
    rows = TABLE.splitlines(keepends=True)
    place = next(n for n, row in enumerate(rows) if "get ahead" in row)
    rows[place] = rows[place].replace(",train", ",dev")
    (tmp_path / PUBLISHED.file).write_text("".join(rows), encoding="utf-8")
    with pytest.raises(DataError, match=r'split "dev" is not "train", as in the pair\'s earlier rows'):
        read_prompts(tmp_path)
    reading = read_prompts(tmp_path, on_bad_row="skip")
    assert ([len(row.references) for row in reading.prompts], len(reading.bad_rows)) == ([2, 3, 3, 1], 1)


@pytest.mark.parametrize("source", ["mic", "mic-prompts"])
def test_an_absent_file_says_where_it_is_to_be_had(tmp_path: Path, source: Any) -> None:
    with pytest.raises(DataError, match=r"Expected MIC.csv or its folder. Ziems et al. .* under a data use agreement"):
        prepare_stage(tmp_path / "no", output_dir=tmp_path / "out", settings=PrepareSettings(source=source), seed=0)


def test_what_was_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One row has no grade, another a grade that there is not."""
    path = changed(tmp_path, "fairness|loyalty,[0.0],0,4,", "fairness,[0.0],0,6,")
    flags = ["--on-bad-row", "skip", "--n-resamples", "5", "--output-dir", str(tmp_path / "out")]
    assert main(["prepare", str(path), "--source", "mic", *flags]) == 0
    assert (
        "8 items, 4 annotators, 8 annotations\n  rows left out: 1 without annotation, 1 refused"
        in capsys.readouterr().out
    )


def test_prepared_folders(tmp_path: Path) -> None:
    settings = PrepareSettings(source="mic", context="tagged", n_resamples=10)
    judged = prepare_stage(CASES, output_dir=tmp_path / "judged", settings=settings, seed=0)
    assert load_prepared(judged).scheme == SCHEMES["global-consensus"]
    assert read_json(judged / "agreement.json")["n_without_annotation"] == 1
    settings = PrepareSettings(source="mic-prompts", context="tagged", max_prompts=1)
    prompts = prepare_stage(CASES, output_dir=tmp_path / "prompts", settings=settings, seed=0)
    rows = list(read_jsonl(prompts / "prompts.jsonl", PromptRow))
    assert [row.split for row in rows] in (["train", "dev", "test"], ["dev", "test", "train"])
    assert read_json(prompts / "prompts.json")["n_left_out"] == 1
