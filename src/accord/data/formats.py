"""From bytes to raw rows with their line numbers; what the rows mean is schema.py's business."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any, Literal

import msgspec

from accord.data.problems import DROP, UNREADABLE, Problem, printable, problem, shown
from accord.data.settings import Format
from accord.errors import DataError
from accord.files import not_utf8, open_input, repeated_key, text_lines

STANDARD_INPUT = "-"
_SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
Container = Literal["jsonl", "json", "csv", "tsv", "parquet"]
_CONTAINERS: dict[Format, tuple[Container, ...]] = {
    "jsonl": ("jsonl",),
    "json": ("json",),
    "csv": ("csv",),
    "tsv": ("tsv",),
    "parquet": ("parquet",),
    "lewidi2023": ("json",),
    "lewidi2025": ("json",),
    "crowdkit": ("csv", "tsv", "parquet"),
    "cleanlab": ("csv", "tsv", "parquet"),
    "prism": ("jsonl", "json", "csv", "tsv", "parquet"),
}
"""Format -> what its files may be made of; the first for a file without an ending."""


class RawRow(msgspec.Struct, frozen=True):
    """One record as found. `value` is None where `problems` say that it could not be read at all."""

    line: int
    text: str
    value: Mapping[str, Any] | None
    problems: tuple[Problem, ...] = ()


def resolve_format(path: Path | str, format: Format) -> Format:  # noqa: A002 - the flag's name
    """The format to read with: as given, or by the file's ending; standard input is jsonl.

    Raises:
        DataError: an ending that says nothing.
    """
    if format != "auto":
        return format
    if str(path) == STANDARD_INPUT:
        return "jsonl"
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise DataError(
            f"{Path(path).name}: the ending {suffix!r} is none of {', '.join(_SUFFIXES)}. "
            "Name the format with --format."
        )
    return _SUFFIXES[suffix]


def container_of(path: Path | str, format: Format) -> Container:  # noqa: A002
    """What a file of a resolved format is made of; formats that several containers hold go by the ending.

    Raises:
        DataError: an ending that is none of the format's.
    """
    containers = _CONTAINERS[format]
    suffix = "" if str(path) == STANDARD_INPUT else Path(path).suffix.lower()
    if len(containers) == 1 or not suffix:
        return containers[0]
    found = _SUFFIXES.get(suffix)
    if found not in containers:
        endings = [ending for ending, container in _SUFFIXES.items() if container in containers]
        raise DataError(f"{Path(path).name}: format {format} has the endings {', '.join(endings)}, not {suffix!r}.")
    return found


def raw_rows(path: Path | str, container: Container, *, delimiter: str = "") -> Iterator[RawRow]:
    """The rows of a file, whatever it is made of; streaming but for JSON."""
    if container == "jsonl":
        return jsonl_rows(path)
    if container == "json":
        return json_rows(path)
    if container == "parquet":
        from accord.data.parquet import parquet_rows

        return parquet_rows(path)
    return table_rows(path, delimiter or ("," if container == "csv" else "\t"))


def peeked(rows: Iterator[RawRow]) -> tuple[RawRow | None, Iterator[RawRow]]:
    """The first row that could be read, if any, and all rows."""
    seen: list[RawRow] = []
    for raw in rows:
        seen.append(raw)
        if raw.value is not None:
            return raw, chain(seen, rows)
    return None, iter(seen)


def foreign_layout(fields: Iterable[str], record: Mapping[str, Any] | None = None) -> Format | None:
    """The format whose own field names these are, if any."""
    names = set(fields)
    if names >= {"utterance_id", "user_prompt", "model_response"}:
        return "prism"
    if names >= {"text", "annotations", "annotators"} and record is not None:
        return "lewidi2025" if isinstance(record["annotations"], dict) else "lewidi2023"
    return None


def file_name(path: Path | str) -> str:
    return "standard input" if str(path) == STANDARD_INPUT else Path(path).name


def read_lines(path: Path | str) -> Iterator[tuple[int, bytes]]:
    """(line number, bytes of the line) with a byte order mark taken off; streaming.

    Raises:
        DataError: no such file, or clearly not UTF-8 text (UTF-16, compressed).
    """
    with _opened(path) as file:
        yield from text_lines(file, file_name(path))


def utf8_problem(line: bytes) -> Problem | None:
    """What is wrong with a line that is not UTF-8, with its first bad bytes."""
    foreign = not_utf8(line)
    if foreign is None:
        return None
    return problem(
        f"byte {foreign[0]}",
        foreign[1],
        "UTF-8 text; the file is probably Latin-1 or Windows-1252",
        f"Save the file as UTF-8, or {DROP}.",
    )


def repeated_key_problem(text: str | bytes) -> Problem | None:
    """What is wrong with a row in which some object has a key twice: one of the two values would be lost."""
    key = repeated_key(text)
    return None if key is None else problem("key", shown(key), "unique in its object", f"Keep one, or {DROP}.")


def jsonl_rows(path: Path | str) -> Iterator[RawRow]:
    """The records of a file with one JSON object a line, blank lines left out; streaming."""
    for number, line in read_lines(path):
        if line.strip():
            yield jsonl_row(number, line)


def jsonl_row(number: int, line: bytes) -> RawRow:
    """One line of JSONL as a raw row."""
    text = printable(line.rstrip())
    wrong = utf8_problem(line)
    if wrong:
        return RawRow(number, text, None, (wrong,))
    try:
        record = msgspec.json.decode(line)
    except UNREADABLE as error:
        found = f"{shown(printable(line.strip()))} ({error})"
        return RawRow(number, text, None, (problem("row", found, "JSON", f"Mend it, or {DROP}."),))
    if not isinstance(record, dict):
        return RawRow(number, text, None, (problem("row", shown(record), "an object"),))
    repeated = repeated_key_problem(line)
    if repeated:
        return RawRow(number, text, None, (repeated,))
    return RawRow(number, text, record)


def json_rows(path: Path | str) -> Iterator[RawRow]:
    """The records of one JSON document: a list of objects, or an object id -> record (the id is put in).

    The document is held in memory as text, its records are decoded one by one, so each has its line number.

    Raises:
        DataError: not UTF-8, or not such a document; names the line.
    """
    name = file_name(path)
    raw = b"".join(line for _, line in read_lines(path))
    wrong = utf8_problem(raw)
    if wrong:
        raise DataError(f"{name}: {wrong.text}")
    text = raw.decode("utf-8")
    try:
        yield from _json_records(text)
    except (json.JSONDecodeError, RecursionError) as error:
        where = f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else "nested too deep"
        raise DataError(
            f"{name}: not a JSON list or object of records ({where}). "
            "Correct the file; one object per line is --format jsonl."
        ) from None


def table_rows(path: Path | str, delimiter: str) -> Iterator[RawRow]:
    """The rows of a table with a header line, as column -> cell; streaming. Cells are text, empty ones kept.

    Raises:
        DataError: no header, a column named twice, or a delimiter that is not one character.
    """
    if len(delimiter) != 1 or delimiter in '\r\n"':
        raise DataError(f"delimiter is {delimiter!r}; expected one character, such as , or ; or a tab.")
    lines = _Lines(path)
    with _wide_cells():
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        header = _header(reader, lines, file_name(path))
        while True:
            line, cells = reader.line_num + 1, []
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                lines.problems.insert(0, problem("row", f"({error})", "a table row", f"Mend its quotes, or {DROP}."))
            if cells and not lines.problems and len(cells) != len(header):
                found, expected = f"with {len(cells)} cells", f"a row of {len(header)} cells, as in the header"
                lines.problems.append(problem("row", found, expected, f"Check its quotes and separators, or {DROP}."))
            text = "".join(lines.read).rstrip("\r\n")
            if lines.problems:
                yield RawRow(line, text, None, tuple(lines.problems))
                lines.problems.clear()
            elif cells:
                yield RawRow(line, text, dict(zip(header, cells)))  # noqa: B905 - as long as each other, see above
            lines.read.clear()


class _Lines:
    """Lines as text for the csv module. `read`: those of the row that it is at, `problems`: what is wrong with them."""

    def __init__(self, path: Path | str) -> None:
        self._lines = read_lines(path)
        self.read: list[str] = []
        self.problems: list[Problem] = []

    def __iter__(self) -> Iterator[str]:
        for _, line in self._lines:
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                text = printable(line)
                self.problems += filter(None, [utf8_problem(line)])
            self.read.append(text)
            yield text


def _header(reader: Iterator[list[str]], lines: _Lines, name: str) -> list[str]:
    try:
        header = [cell.strip() for cell in next(reader)]
    except StopIteration:
        raise DataError(f"{name} is empty. Expected a header line with column names.") from None
    except csv.Error as error:
        raise DataError(f"{name} line 1: the header is not a table row ({error}). Correct it.") from None
    if lines.problems:
        raise DataError(f"{name} line 1: {lines.problems[0].text}")
    lines.read.clear()
    twice = sorted({column for column in header if header.count(column) > 1 and column})
    if twice:
        raise DataError(f"{name} line 1: column {shown(twice[0])} is there twice. Rename one of them.")
    return header


def _json_records(text: str) -> Iterator[RawRow]:
    """Walk the top level of a JSON document, decoding one record at a time."""
    decode = json.JSONDecoder().raw_decode
    start = _skip(text, 0)
    if text[start : start + 1] not in ("[", "{"):
        raise json.JSONDecodeError("expected [ or {", text, start)
    is_list = text[start] == "["
    close = "]" if is_list else "}"
    position, line, counted = _skip(text, start + 1), 1, 0
    while text[position : position + 1] != close:
        begin = position
        key = None
        if not is_list:
            key, position = decode(text, position)
            position = _skip(text, position)
            if not isinstance(key, str) or text[position : position + 1] != ":":
                raise json.JSONDecodeError('expected "id": record', text, position)
            position = _skip(text, position + 1)
        try:
            value, position = decode(text, position)
        except ValueError as error:  # a whole number of more than 4,300 digits
            if isinstance(error, json.JSONDecodeError):
                raise
            raise json.JSONDecodeError(str(error).split(";")[0], text, position) from None
        line += text.count("\n", counted, begin)
        counted = begin
        yield _json_row(line, text[begin:position], key, value)
        position = _skip(text, position)
        if text[position : position + 1] == ",":
            position = _skip(text, position + 1)
        elif text[position : position + 1] != close:
            raise json.JSONDecodeError(f"expected , or {close}", text, position)
    end = _skip(text, position + 1)
    if end < len(text):
        raise json.JSONDecodeError("text after the end", text, end)


def _json_row(line: int, text: str, key: str | None, value: Any) -> RawRow:
    if not isinstance(value, dict):
        return RawRow(line, text, None, (problem("record", shown(value), "an object"),))
    repeated = repeated_key_problem(text if key is None else text[_skip_key(text) :])
    if repeated:
        return RawRow(line, text, None, (repeated,))
    if key is not None and str(value.setdefault("id", key)) != key:
        wrong = problem("id", shown(value["id"]), f"the key {shown(key)} it stands under")
        return RawRow(line, text, None, (wrong,))
    return RawRow(line, text, value)


def _skip_key(text: str) -> int:
    """Where the record starts in `"id": record`."""
    _, end = json.JSONDecoder().raw_decode(text)
    return _skip(text, end) + 1


def _skip(text: str, position: int) -> int:
    """The next position that is no white space."""
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


@contextmanager
def _opened(path: Path | str) -> Iterator[IO[bytes]]:
    if str(path) == STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    expected = "a file of annotations, or - for standard input; folders need --source with a corpus's name"
    with open_input(Path(path), expected=expected) as file:
        yield file


@contextmanager
def _wide_cells() -> Iterator[None]:
    """Lift the csv module's limit of 131,072 characters a cell, and put it back."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)
