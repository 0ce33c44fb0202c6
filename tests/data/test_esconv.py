"""The ESConv source: made-up dialogues in both of its forms, and the real corpus where it is at hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from accord.candidates.prompts import read_prompts
from accord.cli.main import main
from accord.data.dialogues import History
from accord.data.prepare import prepare_stage
from accord.data.prepared import load_prepared
from accord.data.prompts import PromptReading, select_prompts, split_prompts
from accord.data.settings import PrepareSettings
from accord.data.sources.esconv import read_esconv
from accord.errors import ArtifactError, ConfigError, DataError
from accord.json_files import read_json, read_jsonl
from accord.records import CandidateSet, Message, Output, PromptRow
from data_dir import corpus_dir
from toys import save_tiny_causal_lm

SAID = [
    ("sys", "Hello!", "Question"),
    ("usr", "I failed.", None),
    ("usr", "Again.", None),
    ("sys", "Oh no.", "Reflection of feelings"),
    ("sys", "Try once more?", "Providing Suggestions"),
    ("usr", "Maybe.", None),
    ("sys", "Good.", "Others"),
]
OLD_NAMES = {"sys": "supporter", "usr": "seeker"}


def dialogue(said: list[tuple[str, str, str | None]] = SAID, *, published: bool = False) -> dict[str, Any]:
    """One dialogue as in the JSONL release, or as in the published ESConv.json."""
    utterances: list[dict[str, Any]] = []
    for speaker, text, strategy in said:
        notes = {} if strategy is None else {"strategy": strategy}
        new = {"text": text, "speaker": speaker, **notes}
        old = {"content": f"{text}\n", "speaker": OLD_NAMES.get(speaker, speaker), "annotation": notes}
        utterances.append(old if published else new)
    return {"emotion_type": "fear", "problem_type": "exam", "situation": "I failed twice.", "dialog": utterances}


def write_splits(folder: Path, n: int = 1) -> Path:
    for name in ("train", "valid", "test"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(dialogue()) + "\n" for _ in range(n)))
    return folder


def read(source: Path, **options: Any) -> PromptReading:
    return read_esconv(source, **{"on_bad_row": "raise", "history": History(), **options})


def test_each_reply_to_the_seeker_is_a_prompt(tmp_path: Path) -> None:
    """Of three supporter turns the first opens the conversation; the second is two utterances."""
    reading = read(write_splits(tmp_path))
    assert [(row.id, row.group, row.split) for row in reading.prompts[:4]] == [
        ("train-1-3", "train-1", "train"),
        ("train-1-5", "train-1", "train"),
        ("valid-1-3", "valid-1", "dev"),
        ("valid-1-5", "valid-1", "dev"),
    ]
    first = reading.prompts[0]
    assert first.prompt == (Message("assistant", "Hello!", "Question"), Message("user", "I failed. Again."))
    assert first.references == ("Oh no. Try once more?",)
    assert (reading.n_rows, reading.n_without_history) == (3, 3)
    assert reading.metadata[0] == {
        "id": "train-1-3",
        "strategies": ["Reflection of feelings", "Providing Suggestions"],
        "emotion_type": "fear",
        "problem_type": "exam",
        "situation": "I failed twice.",
    }


def test_a_reply_carries_the_strategy_that_it_opens_with(tmp_path: Path) -> None:
    """Of two utterances the first one's. A seeker has none, whatever the file says; one text has no place for any."""
    said = [("usr", "I failed.", "Others"), *SAID[3:]]
    (tmp_path / "ESConv.json").write_text(json.dumps([dialogue(said)]))
    first, second = read(tmp_path).prompts
    assert (first.strategy, second.strategy) == ("Reflection of feelings", "Others")
    assert first.prompt == (Message("user", "I failed."),)
    assert second.prompt[1] == Message("assistant", "Oh no. Try once more?", "Reflection of feelings")
    assert [row.strategy for row in read(tmp_path, history=History("text")).prompts] == [first.strategy, "Others"]
    unnamed: list[tuple[str, str, str | None]] = [(speaker, text, None) for speaker, text, _ in said]
    (tmp_path / "ESConv.json").write_text(json.dumps([dialogue(unnamed)]))
    assert [row.strategy for row in read(tmp_path).prompts] == [None, None]


def test_the_published_json_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "ESConv.json").write_text(json.dumps([dialogue(published=True)]))
    (tmp_path / "new").mkdir()
    write_splits(tmp_path / "new")
    old, new = read(tmp_path), read(tmp_path / "new")
    assert [(row.prompt, row.references) for row in old.prompts] == [
        (row.prompt, row.references) for row in new.prompts if row.split == "train"
    ]
    assert [row.id for row in old.prompts] == ["ESConv-1-3", "ESConv-1-5"]
    assert [row.split for row in old.prompts] == [None, None]
    assert old.metadata[0]["strategies"] == new.metadata[0]["strategies"]


def test_speakers_of_the_rejected_dialogues(tmp_path: Path) -> None:
    said = [({"usr": "speaker", "sys": "listener"}[who], text, strategy) for who, text, strategy in SAID]
    (tmp_path / "FailedESConv.json").write_text(json.dumps([dialogue(said, published=True)]))
    assert len(read(tmp_path / "FailedESConv.json").prompts) == 2


def test_history_layout_and_length(tmp_path: Path) -> None:
    reading = read(write_splits(tmp_path), history=History("text", 1))
    assert [row.prompt for row in reading.prompts[:2]] == ["User: I failed. Again.", "User: Maybe."]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dialog": None}, r"dialog is missing, expected a list of utterances"),
        ({"dialog": ["x"]}, r'utterance 1 "x" is not an object'),
        ({"dialog": [{"speaker": "cat", "text": "Hi"}]}, r'utterance 1 speaker "cat" is not one of \["usr", "seeker"'),
        ({"dialog": [{"speaker": "usr", "text": " "}]}, r'utterance 1 text " " is not text'),
        ({"dialog": [{"speaker": "usr"}]}, r"utterance 1 text is missing"),
    ],
)
def test_bad_dialogues(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = write_splits(tmp_path)
    with (folder / "valid.jsonl").open("a") as file:
        file.write(json.dumps({**dialogue(), **changes}) + "\n")
    with pytest.raises(DataError, match=message) as caught:
        read(folder)
    assert "valid.jsonl line 2" in str(caught.value)
    reading = read(folder, on_bad_row="skip")
    assert (len(reading.prompts), len(reading.bad_rows)) == (6, 1)


def test_neither_form_is_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds neither ESConv.json nor train.jsonl, valid.jsonl, test.jsonl"):
        read(tmp_path)
    (tmp_path / "ESConv.json").write_text(json.dumps([dialogue([("usr", "Hi", None)])]))
    with pytest.raises(DataError, match="has no reply of a supporter to a seeker"):
        read(tmp_path)


# -- what is prepared -------------------------------------------------------------------------------------------


def prepare(source: Path, output_dir: Path, **options: Any) -> Path:
    settings = PrepareSettings(source="esconv", **options)
    return prepare_stage(source, output_dir=output_dir, settings=settings, seed=0)


def test_a_prepared_folder_of_prompts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "raw").mkdir()
    folder = prepare(write_splits(tmp_path / "raw"), tmp_path / "prepared")
    assert {path.name for path in folder.iterdir()} == {
        "prompts.jsonl",
        "prompts.json",
        "metadata.jsonl",
        "stage.json",
        "manifest.json",
    }
    assert read_json(folder / "prompts.json") == {
        "n_prompts": 6,
        "splits": {"train": 2, "dev": 2, "test": 2},
        "groups": {"train": 1, "dev": 1, "test": 1},
        "words_per_reference": (5 + 1) / 2,
        "n_left_out": 0,
        "n_without_history": 3,
        "n_rows": 3,
        "n_rejected": 0,
    }
    assert read_prompts(folder, splits=["dev"]) == read_prompts(folder / "prompts.jsonl", splits=["dev"])
    with pytest.raises(DataError, match=r"holds prompts.jsonl: prompts with replies that nobody judged"):
        load_prepared(folder)
    assert main(["describe", str(folder)]) == 0
    assert "6 prompts with human replies (train 2, dev 2, test 2)" in capsys.readouterr().out


def test_a_folder_that_is_no_folder_of_prompts(tmp_path: Path) -> None:
    table = tmp_path / "r.csv"
    table.write_text("id,prompt,completion,annotator,label\ni,p,c,a,yes\n")
    settings = PrepareSettings(scheme="yes-no", n_resamples=10, fractions=(1, 0, 0))
    folder = prepare_stage(table, output_dir=tmp_path / "items", settings=settings, seed=0)
    with pytest.raises(DataError, match=r"holds items.jsonl, texts that were judged. Expected prompts.jsonl"):
        read_prompts(folder)
    with pytest.raises(ArtifactError, match="is unfinished"):
        read_prompts(tmp_path)


@pytest.mark.parametrize(("name", "value"), [("scheme", "yes-no"), ("question", "q"), ("format", "json")])
def test_settings_that_mean_nothing_here(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is '{value}', but source 'esconv' does not take it"):
        prepare(tmp_path, tmp_path / "out", **{name: value})


PROMPTS = [PromptRow(f"d{g}-{k}", "p", ("r",), group=f"d{g}") for g in range(10) for k in range(4)]


def test_dialogues_stay_on_one_side() -> None:
    split = split_prompts(PROMPTS, fractions=(0.5, 0.3, 0.2), seed=1)
    sides = {row.group: row.split for row in split}
    assert all(row.split == sides[row.group] for row in split)
    assert [sum(row.split == side for row in split) for side in ("train", "dev", "test")] == [20, 12, 8]


def test_a_seeded_selection() -> None:
    """Two of each dialogue, then five of each split; the same whatever comes beside, in the order they came."""
    whole = split_prompts(PROMPTS, fractions=(0.5, 0.3, 0.2), seed=1)
    kept = select_prompts(whole, per_group=2, per_split=5, seed=3)
    assert [sum(row.split == side for row in kept) for side in ("train", "dev", "test")] == [5, 5, 4]
    assert [row.id for row in kept] == [row.id for row in whole if row in kept]
    train = [row for row in whole if row.split == "train"]
    assert select_prompts(train, per_group=2, per_split=5, seed=3) == [row for row in kept if row.split == "train"]
    assert select_prompts(whole, per_group=2, per_split=5, seed=4) != kept
    assert select_prompts(whole, per_group=0, per_split=0, seed=3) == whole
    with pytest.raises(ConfigError, match="max_prompts is -1; expected a number of prompts, or 0 for all"):
        select_prompts(whole, per_group=0, per_split=-1, seed=3)


def test_a_prepared_folder_feeds_generate_and_decode(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    folder = prepare(write_splits(tmp_path / "raw"), tmp_path / "prepared")
    model = save_tiny_causal_lm(tmp_path / "model")
    tail = ["--split", "dev", "--model", model, "--max-new-tokens", "4", "--output-dir"]
    assert main(["generate", str(folder), "--num-candidates", "2", *tail, str(tmp_path / "candidates")]) == 0
    assert main(["decode", str(folder), "--system", "base", *tail, str(tmp_path / "outputs")]) == 0
    candidates = list(read_jsonl(tmp_path / "candidates" / "candidates.jsonl", CandidateSet))
    outputs = list(read_jsonl(tmp_path / "outputs" / "outputs.jsonl", Output))
    assert [row.id for row in candidates] == [row.id for row in outputs] == ["valid-1-3", "valid-1-5"]
    assert [row.references for row in candidates] == [("Oh no. Try once more?",), ("Good.",)]


# -- the real corpus --------------------------------------------------------------------------------------------


def test_published_counts(tmp_path: Path) -> None:
    """910, 195 and 195 dialogues in the published split; what is left out is counted."""
    folder = prepare(corpus_dir("esconv"), tmp_path / "out", history_turns=3, max_prompts=2200)
    counts = read_json(folder / "prompts.json")
    assert counts["n_rows"] == 1300
    assert counts["splits"] == {"train": 2200, "dev": 2156, "test": 2200}
    assert counts["n_left_out"] == (10191 - 2200) + (2295 - 2200)
    assert counts["groups"]["dev"] == 195
    rows = list(read_jsonl(folder / "prompts.jsonl", PromptRow))
    assert all(isinstance(row.prompt, tuple) and row.prompt[-1].role == "user" for row in rows)
    assert {row.strategy for row in rows} == {
        "Question",
        "Restatement or Paraphrasing",
        "Reflection of feelings",
        "Self-disclosure",
        "Affirmation and Reassurance",
        "Providing Suggestions",
        "Information",
        "Others",
    }


def test_the_rejected_dialogues() -> None:
    reading = read(corpus_dir("esconv") / "FailedESConv.json")
    assert (reading.n_rows, len(reading.prompts)) == (196, 1908)
