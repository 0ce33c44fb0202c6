"""The door: every file of annotations comes in here, is checked here once, and leaves as `Item`s.

Nothing is dropped silently: each bad row is reported with file, line, field, the value found, what was expected and
what to do. docs/data.md describes the formats. formats.py makes raw rows of bytes, rows.py and tables.py give them
accord's fields, checks.py judges their values, reader.py keeps count.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from accord.data.checks import build_rules
from accord.data.formats import (
    Container,
    RawRow,
    container_of,
    file_name,
    foreign_layout,
    jsonl_row,
    peeked,
    raw_rows,
    read_lines,
    resolve_format,
)
from accord.data.label_tables import cleanlab_rows, crowdkit_rows, label_columns, read_texts, with_texts
from accord.data.problems import UNREADABLE, Problem
from accord.data.reader import ItemReader
from accord.data.rows import ItemRow, may_repeat_a_key
from accord.data.schemes import LabelScheme
from accord.data.settings import Format, OnBadRow
from accord.data.sources.lewidi2023 import lewidi_fields
from accord.data.sources.lewidi2025 import lewidi_2025_fields
from accord.data.sources.prism import prism_rows
from accord.data.tables import name_of, table_items, text_cells
from accord.errors import ConfigError, DataError
from accord.records import Item


class _Request(NamedTuple):
    """What is read, and how its fields are called."""

    path: Path | str
    container: Container
    delimiter: str
    renames: Mapping[str, str]
    annotator_columns: Sequence[str]
    texts: Path | None

    def rows(self) -> Iterator[RawRow]:
        return raw_rows(self.path, self.container, delimiter=self.delimiter)


def read_items(
    path: Path | str,
    *,
    format: Format = "auto",  # noqa: A002 - the flag's name
    scheme: LabelScheme | None = None,
    on_bad_row: OnBadRow = "raise",
    rename: Mapping[str, str] | None = None,
    annotator_columns: Sequence[str] = (),
    delimiter: str = "",
    prompts: Literal["required", "optional"] = "required",
    texts: Path | None = None,
) -> ItemReader:
    """Read the items of one file, streaming where the format allows (JSONL, wide tables, Parquet).

    Args:
        path: a file, or "-" for standard input.
        format: "auto" goes by the file's ending.
        scheme: labels are checked against it; None checks none.
        on_bad_row: "raise" collects all bad rows and raises one DataError; "skip" leaves them out and keeps them
            in `bad_rows`. In long tables a row is one annotation, elsewhere a whole item.
        rename: field or column as found -> as in `Item`.
        annotator_columns: glob patterns of a wide table's label columns; the column's name is the annotator's.
        delimiter: of tables; empty means comma (csv) or tab (tsv).
        prompts: "optional" reads a missing or empty prompt as "", a text that stands alone.
        texts: a file with the texts of a table that holds labels alone.

    Raises:
        DataError: (while iterating) bad rows, or a file that cannot be read at all.
        ConfigError: texts beside a file that is no table, or a package that is not installed.
    """
    name = resolve_format(path, format)
    if texts is not None and name not in _TABLES:
        raise ConfigError(f"texts is {str(texts)!r}, but {name} rows hold their own. Leave texts out, or read a table.")
    rules = build_rules(scheme, "optional" if name == "lewidi2023" else prompts)
    reader = ItemReader(file_name(path), rules, on_bad_row)
    container = container_of(path, name)
    request = _Request(path, container, delimiter, dict(rename or {}), annotator_columns, texts)
    return reader.over(_FORMATS[name](reader, request))


def parse_renames(pairs: Sequence[str]) -> dict[str, str]:
    """`["text=completion"]` -> {"text": "completion"}.

    Raises:
        ConfigError: not FOUND=WANTED.
    """
    renames = {}
    for pair in pairs:
        found, equals, wanted = pair.partition("=")
        if not (found and equals and wanted):
            raise ConfigError(f"rename is {pair!r}; expected FOUND=WANTED, e.g. text=completion.")
        renames[found] = wanted
    return renames


def _jsonl_items(reader: ItemReader, request: _Request) -> Iterator[Item]:
    """One object a line. Right types decode at once; any other row is read again to quote what it holds."""
    decode = msgspec.json.Decoder(ItemRow).decode
    first_lines: dict[str, int] = {}
    for number, line in read_lines(request.path):
        if not line.strip():
            continue
        reader.n_rows += 1
        row: ItemRow | None = None
        problems: list[Problem] = []
        if not request.renames:
            try:
                row = decode(line)
            except UNREADABLE:
                row = None
        if row is None or may_repeat_a_key(line, row):
            raw = jsonl_row(number, line)
            _require_own_layout(reader, raw, request)
            row, problems = (None, list(raw.problems)) if raw.value is None else reader.read(raw.value, request.renames)
        item = reader.accept(number, line.rstrip(), row, problems, first_lines)
        if item is not None:
            yield item


def _json_items(reader: ItemReader, request: _Request) -> Iterator[Item]:
    first, rows = peeked(request.rows())
    if first is not None:
        _require_own_layout(reader, first, request)
    yield from reader.record_items(rows, renames=request.renames)


def _lewidi_2023_items(reader: ItemReader, request: _Request) -> Iterator[Item]:
    return reader.record_items(request.rows(), renames=request.renames, convert=lewidi_fields)


def _lewidi_2025_items(reader: ItemReader, request: _Request) -> Iterator[Item]:
    return reader.record_items(request.rows(), renames=request.renames, convert=lewidi_2025_fields)


def _prism_items(reader: ItemReader, request: _Request) -> Iterator[Item]:
    return reader.record_items(prism_rows(request.rows()))


def _parquet_items(reader: ItemReader, request: _Request) -> Iterator[Item]:
    """Items with nested annotations or votes, as in JSONL, or the columns of a table."""
    first, rows = peeked(request.rows())
    columns = {name_of(column, request.renames): cell for column, cell in ((first and first.value) or {}).items()}
    if isinstance(columns.get("annotations"), list) or isinstance(columns.get("votes"), dict):
        yield from reader.record_items(rows, renames=request.renames)
    else:
        yield from _joined_items(reader, text_cells(rows), request)


def _table_items(reader: ItemReader, request: _Request) -> Iterator[Item]:
    yield from _joined_items(reader, request.rows(), request)


def _crowdkit_items(reader: ItemReader, request: _Request) -> Iterator[Item]:
    yield from _joined_items(reader, crowdkit_rows(reader.file, text_cells(request.rows())), request)


def _cleanlab_items(reader: ItemReader, request: _Request) -> Iterator[Item]:
    rows = cleanlab_rows(text_cells(request.rows()), request.renames)
    own, rows = label_columns(rows, request.renames)
    wanted = request.annotator_columns or [escape(column) for column in own]
    yield from _joined_items(reader, rows, request._replace(annotator_columns=wanted))


def _joined_items(reader: ItemReader, rows: Iterator[RawRow], request: _Request) -> Iterator[Item]:
    """A table's items, after its texts were joined to it where they stand in another file."""
    if request.texts is not None:
        file = file_name(request.texts)
        container = container_of(request.texts, resolve_format(request.texts, "auto"))
        found = text_cells(raw_rows(request.texts, container, delimiter=request.delimiter))
        texts = read_texts(file, found, request.renames)
        rows = with_texts(reader.file, rows, texts, file, request.renames)
    yield from table_items(reader, rows, renames=request.renames, annotator_columns=request.annotator_columns)


def _require_own_layout(reader: ItemReader, raw: RawRow, request: _Request) -> None:
    """Raises DataError: a record in the fields of another format."""
    foreign = None if raw.value is None or request.renames else foreign_layout(raw.value, raw.value)
    if foreign is not None:
        raise DataError(f"{reader.file} line {raw.line}: these are the fields of {foreign}. Pass --format {foreign}.")


_TABLES: tuple[Format, ...] = ("csv", "tsv", "parquet", "crowdkit", "cleanlab")
_FORMATS: Mapping[Format, Callable[[ItemReader, _Request], Iterator[Item]]] = {
    "jsonl": _jsonl_items,
    "json": _json_items,
    "csv": _table_items,
    "tsv": _table_items,
    "parquet": _parquet_items,
    "lewidi2023": _lewidi_2023_items,
    "lewidi2025": _lewidi_2025_items,
    "crowdkit": _crowdkit_items,
    "cleanlab": _cleanlab_items,
    "prism": _prism_items,
}
