import io
import json
from pathlib import Path
from typing import Any

import pytest

from accord.artifacts import MANIFEST_FILE
from accord.data.prepare import prepare_stage
from accord.data.prepared import load_prepared
from accord.data.settings import PrepareSettings
from accord.errors import ArtifactError, ConfigError, DataError
from accord.json_files import read_json

HEADER = "id,prompt,completion,annotator,label,group\n"
ROWS = "".join(
    f"i{k},prompt {k},text {k},a{a},{'yes' if (k + a) % 3 else 'no'},g{k // 2}\n" for k in range(12) for a in range(3)
)
SETTINGS = PrepareSettings(scheme="yes-no", n_resamples=20)


def prepare(tmp_path: Path, table: str = HEADER + ROWS, *, settings: PrepareSettings = SETTINGS, seed: int = 0) -> Path:
    source = tmp_path / "ratings.csv"
    source.write_text(table)
    return prepare_stage(source, output_dir=tmp_path / "prepared", settings=settings, seed=seed)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_prepared_folder(tmp_path: Path) -> None:
    folder = prepare(tmp_path)
    assert set(files_of(folder)) == {
        "items.jsonl",
        "scheme.json",
        "annotators.jsonl",
        "agreement.json",
        "disagreement.jsonl",
        "stage.json",
        "manifest.json",
    }
    items, scheme = load_prepared(folder)
    assert [item.id for item in items] == [f"i{k}" for k in range(12)]
    assert scheme.name == "yes-no"
    assert all(item.split for item in items)
    agreement = read_json(folder / "agreement.json")
    assert (agreement["n_items"], agreement["n_annotations"], agreement["n_annotators"]) == (12, 36, 3)
    assert agreement["leaks"] == {"groups": 0, "pairs": 0, "completions": 0, "prompts": 0}
    assert (agreement["n_rows"], agreement["n_rejected"]) == (36, 0)
    assert len((folder / "disagreement.jsonl").read_text().splitlines()) == 12
    assert json.loads((folder / "annotators.jsonl").read_text().splitlines()[0])["annotator"] == "a0"


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    first, second = files_of(prepare(tmp_path)), files_of(prepare(tmp_path / "again"))
    assert first == second


def test_a_finished_folder_is_reused_and_a_foreign_one_refused(tmp_path: Path) -> None:
    folder = prepare(tmp_path)
    before = (folder / MANIFEST_FILE).stat().st_mtime_ns
    assert prepare(tmp_path) == folder
    assert (folder / MANIFEST_FILE).stat().st_mtime_ns == before
    with pytest.raises(ArtifactError, match="seed"):
        prepare(tmp_path, seed=1)


def test_prepared_items_pass_the_door_again(tmp_path: Path) -> None:
    """items.jsonl is itself a corpus: preparing it keeps its split and its items."""
    folder = prepare(tmp_path)
    again = prepare_stage(folder / "items.jsonl", output_dir=tmp_path / "again", settings=SETTINGS, seed=5)
    assert (again / "items.jsonl").read_bytes() == (folder / "items.jsonl").read_bytes()


def test_a_refused_source_leaves_nothing_behind(tmp_path: Path) -> None:
    bad = HEADER + ROWS + "i0,prompt 0,text 0,a9,maybe,g0\n"
    with pytest.raises(DataError, match=r'ratings.csv line 38: label "maybe" is not one of \["no", "yes"\]'):
        prepare(tmp_path, bad)
    assert not (tmp_path / "prepared").exists()
    prepare(tmp_path)


def test_skipped_rows_are_written_and_counted(tmp_path: Path) -> None:
    settings = PrepareSettings(scheme="yes-no", n_resamples=20, on_bad_row="skip")
    folder = prepare(tmp_path, HEADER + ROWS + "i0,prompt 0,text 0,a9,maybe,g0\n", settings=settings)
    assert read_json(folder / "agreement.json")["n_rejected"] == 1
    reject = json.loads((folder / "rejects.jsonl").read_text())
    assert (reject["file"], reject["line"], reject["row"]) == (
        "ratings.csv",
        38,
        "i0,prompt 0,text 0,a9,maybe,g0",
    )
    assert reject["problems"][0][:2] == ["label", '"maybe"']


def test_nothing_usable_is_an_error_even_when_skipping(tmp_path: Path) -> None:
    settings = PrepareSettings(scheme="yes-no", on_bad_row="skip")
    with pytest.raises(DataError, match="label"):
        prepare(tmp_path, HEADER + "i0,p,t,a,maybe,g\n", settings=settings)
    assert not (tmp_path / "prepared").exists()


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepare(tmp_path)
    piped = io.TextIOWrapper(io.BytesIO((folder / "items.jsonl").read_bytes()))
    monkeypatch.setattr("sys.stdin", piped)
    again = prepare_stage("-", output_dir=tmp_path / "again", settings=SETTINGS, seed=0)
    assert (again / "items.jsonl").read_bytes() == (folder / "items.jsonl").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"{oops")))
    with pytest.raises(DataError, match="standard input line 1"):
        prepare_stage("-", output_dir=tmp_path / "third", settings=SETTINGS, seed=0)


def test_one_question_of_several(tmp_path: Path) -> None:
    table = "id,prompt,completion,annotator,label,question\n" + "".join(
        f"i{k},p{k},c{k},a,{label},{question}\n"
        for k in range(3)
        for question, label in (("warm", "yes"), ("clear", "no"))
    )
    with pytest.raises(ConfigError, match=r'several questions: \["clear", "warm"\]. Choose one with --question'):
        prepare(tmp_path, table)
    settings = PrepareSettings(scheme="yes-no", question="warm", n_resamples=20)
    agreement = read_json(prepare(tmp_path, table, settings=settings) / "agreement.json")
    assert (agreement["acceptance_rate"], agreement["n_annotations"], agreement["n_other_question"]) == (1.0, 3, 3)


def test_a_scheme_of_ones_own_is_an_input(tmp_path: Path) -> None:
    scheme = {"name": "mine", "labels": ["no", "yes"], "acceptable": ["yes"]}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(scheme))
    folder = prepare(tmp_path, settings=PrepareSettings(scheme=str(path), n_resamples=20))
    assert load_prepared(folder).scheme.name == "mine"
    path.write_text(json.dumps({**scheme, "acceptable": ["no"]}))
    with pytest.raises(ArtifactError, match=r"inputs\.scheme"):
        prepare(tmp_path, settings=PrepareSettings(scheme=str(path), n_resamples=20))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "csv"}, "source 'convabuse' does not take it"),
        ({"rename": ("text=completion",)}, "source 'convabuse' does not take it"),
    ],
)
def test_a_known_corpus_takes_no_file_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    settings = PrepareSettings(source="convabuse", **options)
    with pytest.raises(ConfigError, match=message):
        prepare_stage(tmp_path, output_dir=tmp_path / "out", settings=settings, seed=0)


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        prepare_stage(tmp_path / "none.csv", output_dir=tmp_path / "out", settings=SETTINGS, seed=0)
