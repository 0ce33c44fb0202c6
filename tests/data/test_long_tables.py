"""Long tables, one annotation a row: the same items as JSONL gives, and the same words about each bad row."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accord.data.checks import Rules, check_row
from accord.data.labels import count_labels
from accord.data.problems import Problem
from accord.data.reader import ItemReader
from accord.data.rows import ItemRow
from accord.data.schema import read_items
from accord.data.schemes import LabelScheme
from accord.errors import DataError
from accord.records import Annotation, Item

SCHEME = LabelScheme("three", ("no", "maybe", "yes"), acceptable=("yes",))
COLUMNS = ("id", "prompt", "completion", "group", "split", "annotator", "label", "question")
TEXTS, JUDGED = COLUMNS[:5], COLUMNS[5:]
QUICK = settings(
    max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)

Cells = dict[str, str]
texts = st.text(st.sampled_from('ab ,"\n\t:;é漢\u2028\U0001f600'), max_size=6).map(lambda text: f"x{text}")
judgements = st.dictionaries(
    st.tuples(st.sampled_from(["a", "b", "ç", "a b"]), st.sampled_from(["", "q"])),
    st.sampled_from(SCHEME.labels),
    min_size=1,
    max_size=4,
)
bodies = st.tuples(texts, texts, st.sampled_from(["", "g", "h"]), st.sampled_from(["", "train", "dev"]), judgements)
DAMAGES = st.tuples(
    st.sampled_from(COLUMNS),
    st.sampled_from(
        ["", " ", "\t", "\0", "x\0", "other", "no", "1.0", "[{", '[{"role":"user","content":" "}]', "a", "é"]
    ),
)


def rows_of(bodies: Sequence[Any]) -> list[Cells]:
    """The rows of a long table, item by item."""
    return [
        dict(zip(COLUMNS, [f"i{number}", *fields, annotator, label, question], strict=True))
        for number, (*fields, judged) in enumerate(bodies)
        for (annotator, question), label in judged.items()
    ]


def write_table(path: Path, rows: Sequence[Cells]) -> list[int]:
    """Write a long table; the first line of each row."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    lines = []
    for row in rows:
        lines.append(text.getvalue().count("\n") + 1)
        writer.writerow(row)
    path.write_bytes(text.getvalue().encode())
    return lines


def record(row: Cells) -> dict[str, Any]:
    """A row as an object with one annotation; empty cells are absent."""
    filled = {name: cell for name, cell in row.items() if cell}
    judged = {name: filled.pop(name) for name in JUDGED if name in filled}
    if filled.get("prompt", "").startswith('[{"'):
        filled["prompt"] = json.loads(filled["prompt"])
    return {**filled, "annotations": [judged]}


def joined(folder: Path, rows: Sequence[Cells], lines: Sequence[int]) -> tuple[list[Item], list[tuple[int, str]]]:
    """What a long table must give: each row is read alone, as a line of JSONL; rows that passed are joined by id."""
    items: dict[str, tuple[int, Item]] = {}
    bad: list[tuple[int, str]] = []
    for line, row in zip(lines, rows, strict=True):
        alone = folder / "alone.jsonl"
        alone.write_text("\n" * (line - 1) + json.dumps(record(row)))
        reader = read_items(alone, scheme=SCHEME, on_bad_row="skip")
        found = list(reader)
        if not found:
            bad += [(line, problem.text) for rejected in reader.bad_rows for problem in rejected.problems]
            continue
        (item,), (new,) = found, found[0].annotations
        first, draft = items.get(item.id, (line, msgspec.structs.replace(item, annotations=())))
        same = msgspec.structs.replace(item, annotations=draft.annotations)
        differing = [name for name in TEXTS if getattr(same, name) != getattr(draft, name)]
        if differing:
            shown, wanted = (
                json.dumps(msgspec.to_builtins(getattr(one, differing[0])), ensure_ascii=False) for one in (item, draft)
            )
            remedy = f"Line {first} is of the same item; make them equal, or drop the row with --on-bad-row skip."
            bad.append((line, f"{differing[0]} {shown} is not {wanted}. {remedy}"))
        elif (new.annotator, new.question) in {(old.annotator, old.question) for old in draft.annotations}:
            asked = "" if new.question is None else f' for question "{new.question}"'
            found_annotator = json.dumps(new.annotator, ensure_ascii=False)
            remedy = "Keep one of the two annotations, or drop the row with --on-bad-row skip."
            bad.append((line, f"annotator {found_annotator} is not unique on this item{asked}. {remedy}"))
        else:
            items[item.id] = first, msgspec.structs.replace(draft, annotations=(*draft.annotations, new))
    return [item for _, item in items.values()], bad


def read_table(path: Path) -> tuple[list[Item], list[tuple[int, str]], ItemReader]:
    reader = read_items(path, scheme=SCHEME, on_bad_row="skip")
    items = list(reader)
    return items, [(row.line, problem.text) for row in reader.bad_rows for problem in row.problems], reader


def test_a_long_table_holds_the_items_of_its_jsonl(tmp_path: Path) -> None:
    """Whatever the order of its rows."""

    @QUICK
    @given(st.lists(bodies, min_size=1, max_size=4).map(rows_of).flatmap(st.permutations))
    def test(rows: list[Cells]) -> None:
        lines = write_table(tmp_path / "long.csv", rows)
        expected, bad = joined(tmp_path, rows, lines)
        assert bad == []
        found, problems, reader = read_table(tmp_path / "long.csv")
        assert problems == []
        assert reader.n_rows == len(rows)
        assert found == expected
        (tmp_path / "rows.jsonl").write_bytes(b"".join(msgspec.json.encode(item) + b"\n" for item in expected))
        assert list(read_items(tmp_path / "rows.jsonl", scheme=SCHEME)) == found
        if len({row["question"] for row in rows}) == 1:
            both = [count_labels(read_items(tmp_path / name), SCHEME) for name in ("long.csv", "rows.jsonl")]
            assert both[0].counts.tolist() == both[1].counts.tolist()
            assert both[0].annotator_index.tolist() == both[1].annotator_index.tolist()

    test()


def test_a_damaged_row_is_told_as_if_it_stood_alone(tmp_path: Path) -> None:
    """Its line, its problems and the item it belongs to; the other rows are kept."""

    @settings(QUICK, max_examples=150)
    @given(
        st.lists(bodies, min_size=1, max_size=3).map(rows_of).flatmap(st.permutations),
        st.lists(st.tuples(st.floats(0, 1, exclude_max=True), DAMAGES), min_size=1, max_size=3),
    )
    def test(rows: list[Cells], damages: list[tuple[float, tuple[str, str]]]) -> None:
        for place, (column, cell) in damages:
            row = int(place * len(rows))
            rows = [*rows[:row], {**rows[row], column: cell}, *rows[row + 1 :]]
        lines = write_table(tmp_path / "long.csv", rows)
        expected, bad = joined(tmp_path, rows, lines)
        found, problems, _ = read_table(tmp_path / "long.csv")
        assert problems == bad
        assert found == expected

    test()


HEADER = "id,prompt,completion,group,split,annotator,label,question"
GOOD = ["1,p,c,g,train,a,yes,", "1,p,c,g,train,b,no,", "2,q,d,g,train,a,yes,", "1,p,c,g,train,c,maybe,"]
DROP = "drop the row with --on-bad-row skip."


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (b"1,p,c,g,train,b,no", "row with 7 cells is not a row of 8 cells, as in the header. Check its quotes"),
        (b'1,p,c,g,train,"b"x,no,', "row (',' expected after '\"') is not a table row. Mend its quotes, or"),
        (b'1,p,c,g,train,b,"no,', "row (unexpected end of data) is not a table row. Mend its quotes, or"),
        (b"1,p,c,g,train,\xff,no,", "byte 15 ff is not UTF-8 text; the file is probably Latin-1 or Windows-1252."),
        (
            b"1,p,c,g,train,a,no,",
            f'annotator "a" is not unique on this item. Keep one of the two annotations, or {DROP}',
        ),
        (b"1,p,c ,g,train,d,no,", 'completion "c " is not "c". Line 2 is of the same item; make them equal, or'),
        (b"1,p,c,,train,d,no,", 'group null is not "g". Line 2 is of the same item; make them equal, or'),
        (b"1,p,c,g,validation,d,no,", 'split "dev" is not "train". Line 2 is of the same item'),
        (b"1,p,c,g,later,d,no,", 'split "later" is not one of ["train", "dev", "test"]. Correct it, or'),
        (b"1,p,c,g,train,,no,", "annotator is missing, expected text or a whole number. Add it, name the field"),
        (b"1,p,c,g,train,d,,", "label is missing, expected text or a number. Add it, name the field"),
        (b"1,p,c,g,train, ,no,", f'annotator " " is not text. Fill it in, or {DROP}'),
        (b"1,p,c,g,train,d,yea,", 'label "yea" is not one of ["no", "maybe", "yes"]. Add it to labels in the scheme'),
        (b"1,p,c,g,train,d,no, ", f'question " " is not text. Fill it in, or {DROP}'),
        (b"1,p,\0,g,train,d,no,", 'completion "\\u0000" is not text without NUL characters. Remove them, or'),
    ],
)
def test_what_is_said_of_a_row_among_good_ones(tmp_path: Path, row: bytes, words: str) -> None:
    """As the last row, after rows of its item; the text of the row is kept for rejects.jsonl."""
    path = tmp_path / "long.csv"
    path.write_bytes("\n".join([HEADER, *GOOD]).encode() + b"\n" + row + b"\n")
    with pytest.raises(DataError) as failure:
        list(read_items(path, scheme=SCHEME))
    assert str(failure.value).startswith(f"long.csv line 6: {words}")
    items, _, reader = read_table(path)
    first = Item("1", "p", "c", tuple(map(Annotation, "abc", ("yes", "no", "maybe"))), group="g", split="train")
    assert items == [first, Item("2", "q", "d", (Annotation("a", "yes"),), group="g", split="train")]
    (bad,) = reader.bad_rows
    assert bad.row == row.decode("utf-8", "backslashreplace")
    assert (reader.n_rows, bad.line) == (5, 6)


def test_a_row_after_broken_ones_keeps_its_line(tmp_path: Path) -> None:
    """Cells with line ends, blank lines, a bad byte inside a cell of two lines, lines that end as on Windows."""
    path = tmp_path / "long.csv"
    rows = [GOOD[0], '1,p,"c\nmore",g,train,d,no,', "", "1,p,c,g,train,b\r,no", "1,p,c,g,train,e,no,", "9,p,c"]
    path.write_bytes("\r\n".join([HEADER, *rows]).encode().replace(b"more", b"mo\xe9re"))
    items, _, reader = read_table(path)
    assert [(bad.line, len(bad.problems)) for bad in reader.bad_rows] == [(3, 1), (6, 1), (8, 1)]
    assert [bad.row for bad in reader.bad_rows] == [
        '1,p,"c\nmo\\xe9re",g,train,d,no,',
        "1,p,c,g,train,b\r,no",
        "9,p,c",
    ]
    assert [annotation.annotator for annotation in items[0].annotations] == ["a", "e"]


def test_a_row_that_brings_nothing_new_is_not_checked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 items with 5 rows each by the same 5 people, who say one thing each: 40 first rows and 4 new annotations."""
    checked: list[ItemRow] = []

    def counted(row: ItemRow, rules: Rules) -> tuple[Item | None, list[Problem]]:
        checked.append(row)
        return check_row(row, rules)

    monkeypatch.setattr("accord.data.reader.check_row", counted)
    judged = {
        (annotator, ""): label for annotator, label in zip("abcde", ("no", "no", "yes", "maybe", "no"), strict=True)
    }
    rows = rows_of([(f"p{n}", f"c{n}", "g", "train", judged) for n in range(40)])
    for order in (rows, [row for first in range(5) for row in rows[first::5]]):
        checked.clear()
        write_table(tmp_path / "long.csv", order)
        assert len(list(read_items(tmp_path / "long.csv", scheme=SCHEME))) == 40
        assert len(checked) == 44


@pytest.mark.parametrize("name", ["long.csv", "rows.jsonl"])
def test_equal_annotations_are_one_object_as_long_as_few_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What is remembered as checked is bounded; past the bound the items are the same."""
    rows = rows_of([("p", "c", "g", "train", {("a", ""): "no", ("b", "q"): "yes"})] * 3)
    write_table(tmp_path / "long.csv", rows)
    remembering = list(read_items(tmp_path / "long.csv", scheme=SCHEME))
    (tmp_path / "rows.jsonl").write_bytes(b"".join(msgspec.json.encode(item) + b"\n" for item in remembering))
    for most, n_objects in ((10, 2), (1, 4), (0, 6)):
        for module in ("checks", "tables"):
            monkeypatch.setattr(f"accord.data.{module}.MAX_PASSED", most)
        items = list(read_items(tmp_path / name, scheme=SCHEME))
        assert items == remembering
        assert len({id(annotation) for item in items for annotation in item.annotations}) == n_objects


def test_a_number_is_not_taken_for_another_that_equals_it(tmp_path: Path) -> None:
    """1 and 1.0 are equal, also as parts of an annotation, but a scheme may tell them apart."""
    both = LabelScheme("both", ("1", "1.0"), acceptable=("1",))
    rest = '"prompt": "p", "completion": "c", "annotations": [{"annotator": "a", "label":'
    lines = [f'{{"id": "{number}", {rest} {label}}}]}}\n' for number, label in enumerate(["1", "1.0", "1", '"1.0"'])]
    (tmp_path / "rows.jsonl").write_text("".join(lines))
    items = read_items(tmp_path / "rows.jsonl", scheme=both)
    assert [item.annotations[0].label for item in items] == ["1", "1.0", "1", "1.0"]
