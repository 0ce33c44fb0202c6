"""Parquet files, row group by row group, so that memory does not grow with the file (extra `accord[parquet]`)."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accord.data.formats import RawRow, file_name
from accord.data.problems import UNREADABLE, printable
from accord.errors import ConfigError, DataError

BATCH_ROWS = 1024
_AS_JSON = json.JSONEncoder(ensure_ascii=False, default=str).encode


def parquet_rows(path: Path | str) -> Iterator[RawRow]:
    """The rows as column -> value; `line` is the number of the row, from 1.

    Raises:
        ConfigError: pyarrow is not installed. DataError: no such file, or not a Parquet file.
    """
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise ConfigError(
            "Reading Parquet needs the package pyarrow. Install it: pip install 'accord[parquet]'"
        ) from None
    name = file_name(path)
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    value = {
                        str(column): cell if isinstance(cell, str) else _plain(cell) for column, cell in row.items()
                    }
                    yield RawRow(number, printable(_as_text(value)), value)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Expected a Parquet file.") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder. Expected one Parquet file; give its parts one after another.") from None
    except (arrow.ArrowException, OSError, ValueError) as error:
        where = f" after row {number}" if number else ""
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{name}: not a Parquet file that can be read{where} ({reason}). Get it again.") from None


def _plain(value: Any) -> Any:
    """A value without what Parquet adds to JSON: nan is absent, and so are an object's absent entries."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list):
        if value and all(isinstance(entry, tuple) and len(entry) == 2 for entry in value):
            return {key: _plain(entry) for key, entry in value}  # Arrow's map type
        return [_plain(entry) for entry in value]
    return value


def _as_text(value: Any) -> str:
    try:
        return _AS_JSON(value)
    except UNREADABLE:
        return "(a row nested too deep to show)"
