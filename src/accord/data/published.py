"""Corpora that their authors publish as one table: where the file is to be had, and whether this is it."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from accord.data.formats import RawRow, peeked, table_rows
from accord.data.schemes import quoted
from accord.errors import DataError


class Published(NamedTuple):
    """A table as published. `origin`: who made it, where it is to be had, under which licence."""

    file: str
    columns: tuple[str, ...]
    origin: str
    delimiter: str = ","

    @property
    def expected(self) -> str:
        """What to give as the corpus, for an error message."""
        return f"Expected {self.file} or its folder. {self.origin}"


def published_file(source: Path, published: Published) -> Path:
    """The file itself, given as such or by its folder.

    Raises:
        DataError: it is not there; says where it is to be had.
    """
    path = source / published.file if source.is_dir() else source
    if not path.is_file():
        raise DataError(f"{path} does not exist. {published.expected}")
    return path


def published_rows(path: Path, published: Published) -> Iterator[RawRow]:
    """The rows of the table, as column -> cell.

    Raises:
        DataError: it lacks one of the columns.
    """
    first, rows = peeked(table_rows(path, published.delimiter))
    found = list(first.value) if first is not None and first.value is not None else list(published.columns)
    missing = [column for column in published.columns if column not in found]
    if missing:
        raise DataError(
            f"{path.name} line 1: there is no column {quoted(missing)} among {quoted(found)}. "
            f"Expected the columns of {published.file}: {quoted(published.columns)}. {published.origin}"
        )
    yield from rows
