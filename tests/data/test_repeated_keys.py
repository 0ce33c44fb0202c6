"""A key that stands twice in an object hides a vote or a text: the row is refused, however the file is written."""

from pathlib import Path

import pytest

from accord.data.reader import read_all
from accord.data.schema import read_items
from accord.errors import DataError

REST = '"prompt": "p", "completion": "c"'
REPEATED = [
    ("id", f'{{"id": "1", "id": "2", {REST}, "votes": {{"yes": 1}}}}'),
    ("yes", f'{{"id": "1", {REST}, "votes": {{"yes": 3, "yes" : 4}}}}'),
    ("label", f'{{"id": "1", {REST}, "annotations": [{{"annotator": "a", "label": "no", "label": "yes"}}]}}'),
    ("prompt", f'{{"id": "1", {REST}, "\\u0070rompt": "q", "votes": {{"yes": 1}}}}'),
    ("note", f'{{"id": "1", {REST}, "votes": {{"yes": 1}}, "note": 1, "note": 2}}'),
]


@pytest.mark.parametrize(("key", "row"), REPEATED)
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "by_id.json"])
def test_a_repeated_key_is_refused(tmp_path: Path, key: str, row: str, name: str) -> None:
    path = tmp_path / name
    path.write_text({"rows.jsonl": row, "rows.json": f"[{row}]", "by_id.json": f'{{"1": {row}}}'}[name])
    with pytest.raises(DataError, match=rf'{name} line 1: key "{key}" is not unique in its object\. Keep one, or drop'):
        read_all(read_items(path))


def test_a_repeated_label_in_a_cell_of_votes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('id,prompt,completion,votes\n1,p,c,"{""yes"": 3, ""yes"": 4}"\n')
    with pytest.raises(DataError, match=r'rows\.csv line 2: key "yes" is not unique in its object'):
        read_all(read_items(path))


def test_texts_that_look_like_keys_are_no_keys(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    text = '\\"id\\": 1, \\"id\\": 2'
    path.write_text(f'{{"id": "1", "prompt": "{text}", "completion": "{text}", "votes": {{"id": 1, "yes": 2}}}}\n')
    (item,) = read_all(read_items(path)).items
    assert item.votes == {"id": 1, "yes": 2}


@pytest.mark.parametrize("text", ["a: b", '\\":', "\\u0022:", "a :", '\\" :'])
@pytest.mark.parametrize("colon", [":", " :", "\t:", "\r:", " \t :"])
def test_colons_in_a_text_hide_no_repeated_key(tmp_path: Path, text: str, colon: str) -> None:
    """However the colon of the repeated key is set."""
    path = tmp_path / "rows.jsonl"
    row = f'{{"id": "1", "prompt": "{text}", "completion": "c", "votes": {{"yes": 1}}'
    path.write_bytes(f"{row}}}\n".encode())
    assert len(read_all(read_items(path)).items) == 1
    path.write_bytes(f'{row}, "completion"{colon} "d"}}\n'.encode())
    with pytest.raises(DataError, match=r'rows\.jsonl line 1: key "completion" is not unique in its object'):
        read_all(read_items(path))
