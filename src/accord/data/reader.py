"""What passes the door and what does not: the state of one reading, shared by all formats."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from accord.data.checks import Rules, check_row
from accord.data.formats import RawRow
from accord.data.problems import DROP, BadRow, Problem, bad_rows_error, printable, problem, shown
from accord.data.rows import ItemRow, read_fields
from accord.data.settings import OnBadRow
from accord.errors import DataError
from accord.records import Item

Convert = Callable[[Mapping[str, Any]], tuple[Mapping[str, Any], list[Problem]]]
"""A record in its format's own fields -> the same in the fields of `Item`, and what is wrong with it."""


class ItemReader:
    """Iterate once to get the items; then `bad_rows`, `n_rows`, `ignored_fields` and `counts` say what was met.

    With on_bad_row="raise" the error comes at the end of the iteration, when all bad rows are known.
    """

    def __init__(self, file: str, rules: Rules, on_bad_row: OnBadRow) -> None:
        self.file = file
        self.rules = rules
        self.on_bad_row = on_bad_row
        self.bad_rows: list[BadRow] = []
        self.n_rows = 0
        self.ignored_fields: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self._items: Iterable[Item] = ()

    def over(self, items: Iterable[Item]) -> "ItemReader":
        """This reader, to be iterated over `items`."""
        self._items = items
        return self

    def __iter__(self) -> Iterator[Item]:
        yield from self._items
        if self.n_rows == 0:
            raise DataError(f"{self.file} has no rows. Expected at least one item.")
        if self.bad_rows and self.on_bad_row == "raise":
            raise bad_rows_error(self.file, self.bad_rows)

    def counted(self, rows: Iterable[RawRow]) -> Iterator[RawRow]:
        """The rows, each counted as it passes."""
        for row in rows:
            self.n_rows += 1
            yield row

    def reject(self, line: int, text: str | bytes, problems: Sequence[Problem]) -> None:
        self.bad_rows.append(BadRow(self.file, line, list(problems), printable(text)))

    def read(
        self, record: Mapping[str, Any], renames: Mapping[str, str] | None = None
    ) -> tuple[ItemRow | None, list[Problem]]:
        """An object as a typed row, or what is wrong with its fields."""
        is_optional = self.rules.prompts == "optional"
        return read_fields(record, renames=renames or {}, is_prompt_optional=is_optional, ignored=self.ignored_fields)

    def accept(
        self, line: int, text: str | bytes, row: ItemRow | None, problems: list[Problem], first_lines: dict[str, int]
    ) -> Item | None:
        """The row's item, if it passes every check; its rejection is recorded otherwise.

        Args:
            first_lines: id -> line where it was met first.
        """
        item = None
        if row is not None:
            item, problems = check_row(row, self.rules)
        if item is not None and item.id in first_lines:
            found, remedy = shown(item.id), f"Line {first_lines[item.id]} has it too; rename one, or {DROP}."
            item, problems = None, [problem("id", found, "unique", remedy)]
        if item is None:
            self.reject(line, text, problems)
        else:
            first_lines[item.id] = line
        return item

    def record_items(
        self, rows: Iterable[RawRow], *, renames: Mapping[str, str] | None = None, convert: Convert | None = None
    ) -> Iterator[Item]:
        """One item a record, converted to our field names first where the format has its own."""
        first_lines: dict[str, int] = {}
        for raw in self.counted(rows):
            row, problems = None, list(raw.problems)
            record = raw.value
            if record is not None and convert is not None:
                record, problems = convert(record)
            if record is not None and not problems:
                row, problems = self.read(record, renames)
            item = self.accept(raw.line, raw.text, row, problems, first_lines)
            if item is not None:
                yield item


class Reading(NamedTuple):
    """Everything that was read, and what was not.

    `metadata`: further fields of some items, one object with their `id` each, for files that have them. `counts`: how
    much of a known corpus is no item by its rules, by name (`n_without_annotation`).
    """

    items: list[Item]
    bad_rows: list[BadRow]
    n_rows: int
    ignored_fields: dict[str, int]
    metadata: Sequence[Mapping[str, Any]] = ()
    counts: Mapping[str, int] = {}


def read_all(reader: ItemReader) -> Reading:
    """Exhaust a reader.

    Raises:
        DataError: bad rows (on_bad_row="raise"), or no usable row at all.
    """
    items = list(reader)
    if not items and reader.bad_rows:
        raise bad_rows_error(reader.file, reader.bad_rows)
    if not items:
        raise DataError(f"{reader.file}: none of its {reader.n_rows} rows has an annotation. Expected at least one.")
    ignored = dict(reader.ignored_fields)
    return Reading(items, reader.bad_rows, reader.n_rows, ignored, counts=dict(reader.counts))
