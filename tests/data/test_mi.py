"""The MI dataset's source on ten hand-made rows in the published form."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accord.data.dialogues import History
from accord.data.labels import build_votes
from accord.data.prepare import prepare_stage
from accord.data.prepared import load_prepared
from accord.data.reader import Reading
from accord.data.schemes import MI_CLASSES, SCHEMES
from accord.data.settings import PrepareSettings
from accord.data.sources.mi import PUBLISHED, read_mi
from accord.errors import DataError
from accord.json_files import read_json
from accord.records import Annotation, Message

CASES = Path(__file__).parents[1] / "cases" / "mi"
TABLE = (CASES / PUBLISHED.file).read_text(encoding="utf-8")


def read(source: Path = CASES, **options: Any) -> Reading:
    given = {"scheme": SCHEMES["mi-codes"], "on_bad_row": "raise", "history": History(), **options}
    return read_mi(source, **given)


def changed(folder: Path, *more: str, table: str = TABLE) -> Path:
    """The ten rows with some added at the end."""
    path = folder / PUBLISHED.file
    path.write_text(table + "".join(f"{row}\n" for row in more), encoding="utf-8")
    return path


def test_the_seats_that_gave_a_code() -> None:
    """Two, four and one of the four seats; "-" and an empty cell are no code. Ids count the rows of a dialogue."""
    items = {item.id: item for item in read().items}
    assert list(items) == ["101-2", "101-3", "102-2", "103-3", "104-2"]
    assert items["101-2"].completion == "That sounds really hard,\nand lonely too."
    assert items["101-2"].annotations == (Annotation("ann1", "simple reflection"), Annotation("ann2", "support"))
    assert [len(item.annotations) for item in items.values()] == [2, 2, 4, 2, 1]
    assert items["102-2"].annotations[2] == Annotation("judge 1 annotation", "advise without permission")
    assert {item.group for item in items.values()} == {"101", "102", "103", "104"}


def test_a_reply_answers_the_post_before_it_and_none_of_another_dialogue() -> None:
    """Both rows of a reply share its post; two posts in a row are one turn; the last post keeps its reply."""
    prompts = {item.id: item.prompt for item in read().items}
    lost = (Message("user", 'I lost my job, and "nothing" helps.'),)
    assert prompts["101-2"] == prompts["101-3"] == lost
    assert prompts["102-2"] == (Message("user", "My sister will not talk to me."),)
    assert prompts["103-3"] == (Message("user", "I failed the exam. Again."),)
    assert prompts["104-2"] == (Message("user", "Some days I cannot get up."),)


def test_the_whole_conversation_or_its_last_turns(tmp_path: Path) -> None:
    path = changed(tmp_path, "104,3,speaker,Did it?,-,-,-,-,-", "104,4,listener,It did.,Affirm,Affirm,-,-,Affirm")
    said = ("Some days I cannot get up.", "I have been there too; it passed.", "Did it?")
    roles = ("user", "assistant", "user")
    assert read(path).items[-1].prompt == tuple(Message(role, text) for role, text in zip(roles, said, strict=True))
    assert read(path, history=History("text", 1)).items[-1].prompt == "User: Did it?"


def test_a_row_without_a_post_before_it_and_one_without_a_code(tmp_path: Path) -> None:
    """A listener who opens a dialogue has the empty prompt; a row that nobody coded is counted and still said."""
    path = changed(tmp_path, "9,1,listener,Hello.,-,-,Other,-,-", "9,2,listener,Are you there?,-,-,-,-,-")
    reading = read(path)
    assert (reading.items[-1].id, reading.items[-1].prompt) == ("9-1", "")
    assert (reading.n_rows, reading.counts) == (7, {"n_without_annotation": 1})


def test_two_classes_and_three() -> None:
    """101-3 is a tie of advice without permission and information; three classes tell relational from adherent."""
    two = build_votes(read().items, SCHEMES["mi-codes"])
    assert two.n_acceptable.tolist() == [2, 1, 0, 2, 1]
    assert two.n_votes.tolist() == [2, 2, 4, 2, 1]
    scheme = SCHEMES["mi-classes"]
    three = build_votes(read(scheme=scheme).items, scheme)
    assert three.labels == ("relational", "adherent", "non-adherent")
    assert three.counts.tolist() == [[1, 1, 0], [1, 0, 1], [0, 0, 4], [2, 0, 0], [1, 0, 0]]
    np.testing.assert_array_equal(three.n_acceptable, two.n_acceptable)


def test_every_code_has_the_class_of_table_5() -> None:
    """The paper, Table 5: four codes are MI Adherent, seven Relational, four MI Non-Adherent."""
    counts = [list(MI_CLASSES.values()).count(name) for name in ("adherent", "relational", "non-adherent")]
    assert counts == [4, 7, 4]
    bad = {code for code, name in MI_CLASSES.items() if name == "non-adherent"}
    assert bad == {"advise without permission", "confront", "direct", "warn"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("9,1,listener,Hm.,Applaud,-,-,-,-", r'label "applaud" is not one of \["advise with permission"'),
        ("9,1,therapist,Hm.,Other,-,-,-,-", r'author "therapist" is not one of \["speaker", "listener"\]'),
        ("9,1,listener, ,Other,-,-,-,-", r'text "" is not text'),
        (",1,listener,Hm.,Other,-,-,-,-", r'dialog_id "" is not text'),
        ("9,1,listener,Hm.", r"row with 4 cells is not a row of 9 cells"),
    ],
)
def test_bad_rows(tmp_path: Path, row: str, message: str) -> None:
    path = changed(tmp_path, row)
    with pytest.raises(DataError, match=r"MI Dataset\.csv line 13: " + message):
        read(path)
    reading = read(path, on_bad_row="skip")
    assert (len(reading.items), len(reading.bad_rows), reading.n_rows) == (5, 1, 6)


def test_another_table_is_refused_with_its_columns(tmp_path: Path) -> None:
    path = changed(tmp_path, table=TABLE.replace("judge 2 annotation", "judge2"))
    with pytest.raises(DataError, match=r'line 1: there is no column \["judge 2 annotation"\] among \["dialog_id", "t'):
        read(path)


def test_no_codes_at_all(tmp_path: Path) -> None:
    path = changed(tmp_path, table=TABLE.splitlines()[0] + "\n1,1,listener,Hm.,-,-,-,-,-\n")
    with pytest.raises(DataError, match=r"none of its 1 rows has an annotation\. Expected at least one"):
        read(path)


@pytest.mark.parametrize("name", ["", "mi"])
def test_an_absent_file_says_where_it_is_to_be_had(tmp_path: Path, name: str) -> None:
    settings = PrepareSettings(source="mi")
    with pytest.raises(DataError, match=r"does not exist. Expected MI Dataset.csv or its folder. Welivita and Pu"):
        prepare_stage(tmp_path / name, output_dir=tmp_path / "out", settings=settings, seed=0)
    assert not (tmp_path / "out").exists()


def test_a_prepared_folder(tmp_path: Path) -> None:
    settings = PrepareSettings(source="mi", scheme="mi-classes", fractions=(0.5, 0.5, 0.0), n_resamples=10)
    folder = prepare_stage(CASES, output_dir=tmp_path / "out", settings=settings, seed=0)
    assert load_prepared(folder).scheme == SCHEMES["mi-classes"]
    assert read_json(folder / "agreement.json")["n_without_annotation"] == 0
    first = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()[0]
    assert json.loads(first) == {"id": "101-2", "turn": "2", "final_agreed_label": "Support"}
