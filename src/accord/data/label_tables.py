"""Tables of labels as crowd-kit and cleanlab keep them, and the texts that stand in a file of their own.

crowd-kit: columns task, worker, label; one annotation a row. cleanlab: one row an example, one column an annotator,
absent labels empty or NaN; an example is known by its index, which pandas writes as a column without a name, or by
its position from 0.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from accord.data.formats import RawRow, peeked
from accord.data.problems import DROP, BadRow, bad_rows_error, problem, shown
from accord.data.rows import ITEM_FIELDS
from accord.data.schemes import quoted
from accord.data.tables import name_of
from accord.errors import DataError

CROWDKIT_COLUMNS = ("task", "worker", "label")
INDEX_COLUMNS = ("", "index", "Unnamed: 0", "__index_level_0__")
"""What pandas calls an index column without a name."""
ABSENT = ("nan", "na", "<na>", "none", "null")
TEXT_FIELDS = ("prompt", "completion", "group", "split", "system")

Texts = Mapping[str, Mapping[str, str]]
"""Item id -> its fields of TEXT_FIELDS."""


def crowdkit_rows(file: str, rows: Iterator[RawRow]) -> Iterator[RawRow]:
    """The rows, if they have crowd-kit's columns.

    Raises:
        DataError: a column is missing.
    """
    columns, rows = _columns(rows)
    missing = [name for name in CROWDKIT_COLUMNS if columns and name not in columns]
    if missing:
        raise DataError(
            f"{file} line 1: the columns are {quoted(columns)}; {quoted(missing)} is missing. Expected crowd-kit's "
            f"{quoted(CROWDKIT_COLUMNS)}; for other names leave --format out and use --rename FOUND=WANTED."
        )
    return rows


def cleanlab_rows(rows: Iterable[RawRow], renames: Mapping[str, str]) -> Iterator[RawRow]:
    """The rows with an id, and NaN as empty cells."""
    for position, raw in enumerate(rows):
        if raw.value is None:
            yield raw
            continue
        cells = {column: "" if cell.strip().lower() in ABSENT else cell for column, cell in raw.value.items()}
        index = next((column for column in INDEX_COLUMNS if column in cells), None)
        if any(name_of(column, renames) == "id" for column in cells):
            yield msgspec.structs.replace(raw, value=cells)
        else:
            identity = str(position) if index is None else cells.pop(index)
            yield msgspec.structs.replace(raw, value={"id": identity, **cells})


def label_columns(rows: Iterator[RawRow], renames: Mapping[str, str]) -> tuple[list[str], Iterator[RawRow]]:
    """Of a cleanlab table every column that is no field of an item; and the rows."""
    columns, rows = _columns(rows)
    return [column for column in columns if name_of(column, renames) not in ITEM_FIELDS], rows


def read_texts(file: str, rows: Iterator[RawRow], renames: Mapping[str, str]) -> Texts:
    """The texts of a table of labels; without an id column a row is known by its position from 0.

    Raises:
        DataError: rows that cannot be read, no column of completions, or an id that occurs twice.
    """
    texts: dict[str, dict[str, str]] = {}
    bad_rows: list[BadRow] = []
    for position, raw in enumerate(rows):
        if raw.value is None:
            bad_rows.append(BadRow(file, raw.line, list(raw.problems), raw.text))
            continue
        cells = {name_of(column, renames): cell for column, cell in raw.value.items()}
        if "completion" not in cells:
            raise DataError(
                f"{file}: there is no column 'completion' among {quoted(raw.value)}. "
                "Add it, or rename the one that holds the texts with --rename FOUND=completion."
            )
        identity = cells.get("id", str(position))
        if identity in texts:
            wrong = problem("id", shown(identity), "unique", "Remove one of the rows.")
            bad_rows.append(BadRow(file, raw.line, [wrong], raw.text))
        texts[identity] = {name: cells[name] for name in TEXT_FIELDS if name in cells}
    if bad_rows:
        raise bad_rows_error(file, bad_rows)
    return texts


def with_texts(
    file: str, rows: Iterator[RawRow], texts: Texts, texts_file: str, renames: Mapping[str, str]
) -> Iterator[RawRow]:
    """The rows with the texts of their items; a row whose item has none is a bad row.

    Raises:
        DataError: the table has texts of its own, or no ids.
    """
    columns, rows = _columns(rows)
    names = {name_of(column, renames): column for column in columns}
    brought = {name for fields in texts.values() for name in fields}
    both = [name for name in TEXT_FIELDS if name in names and name in brought]
    if both:
        raise DataError(f"{file} and {texts_file} both have {quoted(both)}. Remove it from one, or leave --texts out.")
    if columns and "id" not in names:
        raise DataError(f"{file} line 1: no column holds the id that {texts_file} is joined by: {quoted(columns)}.")
    for raw in rows:
        if raw.value is None:
            yield raw
            continue
        identity = raw.value[names["id"]]
        if identity in texts:
            yield msgspec.structs.replace(raw, value={**raw.value, **dict.fromkeys(brought, ""), **texts[identity]})
        else:
            remedy = f"Add its text to {texts_file}, or {DROP}."
            yield msgspec.structs.replace(
                raw, value=None, problems=(problem("id", shown(identity), f"in {texts_file}", remedy),)
            )


def _columns(rows: Iterator[RawRow]) -> tuple[list[str], Iterator[RawRow]]:
    """The columns of a table, none if it has no row, and its rows."""
    first, rows = peeked(rows)
    return list(first.value) if first is not None and first.value is not None else [], rows
