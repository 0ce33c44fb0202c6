"""The AnnoMI source: a made-up table in its form, and the real corpus where it is at hand."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from accord.data.dialogues import History
from accord.data.labels import build_votes
from accord.data.prepare import prepare_stage
from accord.data.prepared import Prepared, load_prepared
from accord.data.schemes import SCHEMES
from accord.data.settings import PrepareSettings
from accord.data.sources.annomi import PUBLISHED, read_annomi
from accord.errors import DataError
from accord.json_files import read_json
from accord.records import Annotation, Message
from data_dir import corpus_dir

NO_ADVICE = SCHEMES["no-advice"]
HELLO, SORRY, STOP = "Hello.", "Tell me more.", "You should stop."


def said(
    transcript: int, number: int, who: str, text: str, annotator: int = 0, main: str = "n/a", **codes: str
) -> dict[str, str]:
    cells = dict.fromkeys(PUBLISHED.columns, "n/a")
    place = {"transcript_id": str(transcript), "utterance_id": str(number), "interlocutor": who}
    own = {"annotator_id": str(annotator), "main_therapist_behaviour": main, "utterance_text": text}
    return {**cells, "mi_quality": "high", "video_url": f"video-{transcript}", **place, **own, **codes}


ROWS = [
    said(7, 0, "therapist", HELLO, 3, "other"),
    said(7, 1, "client", "I drink."),
    said(7, 2, "client", "A lot."),
    said(7, 3, "therapist", STOP, 3, "question", question_subtype="open", therapist_input_subtype="advice"),
    said(7, 3, "therapist", STOP, 5, "reflection", reflection_subtype="simple"),
    said(8, 0, "client", "Hi."),
    said(8, 1, "therapist", SORRY, 5, "therapist_input", therapist_input_subtype="options"),
]


def write_table(folder: Path, rows: list[dict[str, str]]) -> Path:
    with (folder / PUBLISHED.file).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def read(folder: Path, rows: list[dict[str, str]] = ROWS, **options: Any) -> Any:
    given = {"scheme": NO_ADVICE, "on_bad_row": "raise", "history": History(), **options}
    return read_annomi(write_table(folder, rows), **given)


def test_therapist_utterances_with_what_was_said_before(tmp_path: Path) -> None:
    """Three items out of five rows of therapists; the client's two utterances are one turn."""
    reading = read(tmp_path)
    assert [(item.id, item.completion, item.group) for item in reading.items] == [
        ("7-0", HELLO, "7"),
        ("7-3", STOP, "7"),
        ("8-1", SORRY, "8"),
    ]
    assert reading.items[0].prompt == ""
    assert reading.items[1].prompt == (Message("assistant", HELLO), Message("user", "I drink. A lot."))
    assert (reading.n_rows, reading.bad_rows) == (4, [])


def test_advice_counts_whatever_the_main_behaviour(tmp_path: Path) -> None:
    """Annotator 3 heard an open question that advises, annotator 5 a simple reflection: half see no advice."""
    item = read(tmp_path).items[1]
    assert item.annotations == (
        Annotation("3", "advice", "advice"),
        Annotation("3", "open question", "behaviour"),
        Annotation("5", "no advice", "advice"),
        Annotation("5", "simple reflection", "behaviour"),
    )
    votes = build_votes([item], NO_ADVICE)
    assert (votes.n_acceptable.tolist(), votes.n_votes.tolist()) == ([1], [2])


def test_parts_of_one_video_are_one_group(tmp_path: Path) -> None:
    reading = read(tmp_path, [{**row, "video_url": "same"} for row in ROWS])
    assert [item.group for item in reading.items] == ["7", "7", "7"]
    assert [entry["transcript"] for entry in reading.metadata] == ["7", "7", "8"]


def test_codes_that_mi_codes_lacks_are_bad_rows_there(tmp_path: Path) -> None:
    scheme = msgspec.structs.replace(SCHEMES["mi-codes"], question="behaviour")
    with pytest.raises(DataError, match=r'AnnoMI-full.csv line 8: label "options" is not one of'):
        read(tmp_path, scheme=scheme)
    reading = read(tmp_path, scheme=scheme, on_bad_row="skip")
    assert [item.id for item in reading.items] == ["7-0", "7-3"]
    assert [bad.line for bad in reading.bad_rows] == [8]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (said(9, 0, "nurse", "Hm"), r'line 9: interlocutor "nurse" is not one of \["therapist", "client"\]'),
        (said(9, 1, "client", "Hm") | {"utterance_id": "x"}, r'line 9: utterance_id "x" is not a whole number'),
        (said(9, 1, "client", "Hm") | {"utterance_id": "9" * 5000}, r'line 9: utterance_id "9+\.\.\. is not'),
        (said(9, 0, "therapist", "Hm", 1, "song"), r'main_therapist_behaviour "song" of subtype "n/a" is not'),
        (said(9, 0, "therapist", "Hm", 1, "other", therapist_input_subtype="x"), r'therapist_input_subtype "x" is not'),
        (said(7, 3, "therapist", "Else", 1, "other"), r'line 9: completion "Else" is not "You should stop."'),
        (said(7, 3, "therapist", STOP, 5, "other"), r'line 9: annotator "5" is not unique on this item'),
        (said(9, 0, "therapist", " ", 1, "other"), r'line 9: completion " " is not text'),
    ],
)
def test_bad_rows(tmp_path: Path, row: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, [*ROWS, row])
    reading = read(tmp_path, [*ROWS, row], on_bad_row="skip")
    assert [item.id for item in reading.items] == ["7-0", "7-3", "8-1"]
    assert len(reading.bad_rows) == 1


def test_a_missing_file_and_a_missing_column(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"AnnoMI-full.csv does not exist. Expected AnnoMI-full.csv or its folder"):
        read_annomi(tmp_path, scheme=NO_ADVICE, on_bad_row="raise", history=History())
    with pytest.raises(DataError, match=r'line 1: there is no column \["topic"\] among \["mi_quality", "tr'):
        read(tmp_path, [{name: cell for name, cell in row.items() if name != "topic"} for row in ROWS])


# -- the real corpus --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = PrepareSettings(source="annomi", history_turns=4, n_resamples=20)
    output_dir = tmp_path_factory.mktemp("annomi") / "prepared"
    return prepare_stage(corpus_dir("annomi"), output_dir=output_dir, settings=settings, seed=0)


@pytest.fixture(scope="module")
def prepared(folder: Path) -> Prepared:
    return load_prepared(folder)


def test_published_counts(prepared: Prepared, folder: Path) -> None:
    """4,882 therapist turns; ten annotators on 216 of them, one on the others: 6,826 votes."""
    agreement = read_json(folder / "agreement.json")
    assert (agreement["n_items"], agreement["n_annotations"], agreement["n_annotators"]) == (4882, 6826, 10)
    assert agreement["votes_per_item"] == {"1": 4666, "10": 216}
    assert agreement["share_disagreeing"]["value"] == pytest.approx(0.14, abs=5e-3)
    assert agreement["leaks"]["groups"] == 0
    assert len({item.group for item in prepared.items}) == 119
    coded_by_all = {item.group for item in prepared.items if len(item.annotations) == 20}
    assert coded_by_all == {"7", "27", "55", "56", "66", "109", "130"}


def test_advice_is_ten_times_as_frequent_in_poor_dialogues(prepared: Prepared, folder: Path) -> None:
    """19.8 % of the annotated therapist turns in poor dialogues, 1.9 % in good ones."""
    rows = map(msgspec.json.decode, (folder / "metadata.jsonl").read_bytes().splitlines())
    quality = {row["id"]: row["mi_quality"] for row in rows}
    votes = build_votes(prepared.items, prepared.scheme)
    counts: Counter[tuple[str, str]] = Counter()
    for item_id, n_acceptable, n_votes in zip(votes.item_ids, votes.n_acceptable, votes.n_votes, strict=True):
        counts[quality[item_id], "advice"] += int(n_votes - n_acceptable)
        counts[quality[item_id], "all"] += int(n_votes)
    assert counts["low", "advice"] / counts["low", "all"] == pytest.approx(0.198, abs=5e-4)
    assert counts["high", "advice"] / counts["high", "all"] == pytest.approx(0.019, abs=5e-4)


def test_every_behaviour_has_a_label(tmp_path: Path) -> None:
    """Strict, and as published: the ten disagree about the behaviour of about half of their 216 turns."""
    settings = PrepareSettings(source="annomi", scheme="annomi-behaviours", history_turns=1, n_resamples=20)
    agreement = read_json(
        prepare_stage(corpus_dir("annomi"), output_dir=tmp_path / "out", settings=settings, seed=0) / "agreement.json"
    )
    assert (agreement["n_annotations"], agreement["n_rejected"]) == (6826, 0)
    assert agreement["share_disagreeing"]["value"] > 0.48
