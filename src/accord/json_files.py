"""JSON and JSONL files that accord writes and reads back: written whole or not at all, read with one clear error."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from accord.errors import ArtifactError, DataError
from accord.files import naming_failed_writes, not_utf8, open_input, text_lines

ValueT = TypeVar("ValueT")
RecordT = TypeVar("RecordT", bound=msgspec.Struct)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success fsync and rename it over `path` (never half-written).

    Raises:
        ArtifactError: the system refuses to write it (a full disk, no permission).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with naming_failed_writes(path, temporary, *path.parents):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write pretty JSON atomically; nan becomes null."""
    with replacing(path) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def read_json(path: Path) -> Any:
    """Read a JSON file that accord wrote.

    Raises:
        ArtifactError: missing or not JSON.
    """
    return read_json_as(path, Any)


def read_json_as(path: Path, kind: Any) -> Any:
    """Like `read_json`, decoded as `kind`, e.g. a struct.

    Raises:
        ArtifactError: missing, not JSON, or not of that kind.
    """
    try:
        with open_input(path, expected="a file of a finished stage; check the folder, or run its stage again") as file:
            return msgspec.json.decode(file.read(), type=kind)
    except DataError as error:
        raise ArtifactError(str(error)) from None
    except msgspec.ValidationError as error:
        raise ArtifactError(f"{path} is damaged ({error}). Delete its folder and run the stage again.") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is not valid JSON ({error}). Delete its folder and run the stage again.") from None


def write_jsonl(path: Path, records: Iterable[msgspec.Struct | Mapping[str, Any]]) -> int:
    """Write one JSON object per line, atomically, streaming. Returns the number of rows."""
    encoder = msgspec.json.Encoder()
    n_rows = 0
    with replacing(path) as temporary, temporary.open("wb") as file:
        for record in records:
            file.write(encoder.encode(record) + b"\n")
            n_rows += 1
    return n_rows


def read_jsonl(path: Path, record_type: type[RecordT]) -> Iterator[RecordT]:
    """Stream the records of a JSONL file that accord (or a program in its format) wrote.

    Raises:
        DataError: a line is not a valid record; names file, line and what is wrong with it.
    """
    return (record for _, record in read_numbered(path, record_type, name=record_type.__name__))


def read_numbered(path: Path, kind: type[ValueT], *, name: str) -> Iterator[tuple[int, ValueT]]:
    """Like `read_jsonl` for objects of any `kind`, called `name` in errors, each with the number of its line."""
    decoder = msgspec.json.Decoder(kind)
    with open_input(path, expected=f"a JSONL file of {name} rows") as file:
        for number, line in text_lines(file, path):
            if not line.strip():
                continue
            try:
                yield number, decoder.decode(line)
            except (msgspec.DecodeError, ValueError, RecursionError) as error:
                raise DataError(
                    f"{path} line {number}: {_what_is_wrong(line, error)}. Expected one {name} object per line; "
                    "correct it, or make the file again."
                ) from None


def _what_is_wrong(line: bytes, error: Exception) -> str:
    foreign = not_utf8(line)
    if foreign is not None:
        return f"byte {foreign[0]} ({foreign[1]}) is not UTF-8; the file is probably Latin-1 or Windows-1252"
    if b"\0" in line:
        return f"byte {line.index(0) + 1} is NUL"
    return "nested too deep" if isinstance(error, RecursionError) else str(error)
