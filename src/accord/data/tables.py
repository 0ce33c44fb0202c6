"""Tables: long (one annotation a row), wide (one item a row), and labels whose texts stand in another file."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec

from accord.data.checks import MAX_PASSED, asked, repeated_annotator
from accord.data.formats import RawRow, foreign_layout, repeated_key_problem
from accord.data.problems import DROP, UNREADABLE, Problem, printable, problem, shown
from accord.data.reader import ItemReader
from accord.data.rows import ITEM_FIELDS, AnnotationRow, ItemRow
from accord.data.schemes import quoted
from accord.errors import DataError
from accord.records import Annotation, Item, Message

JUDGED_FIELDS = ("annotator", "label", "question")
"""The fields of an annotation, which stand beside its item's in a long table."""
ALIASES = {"task": "id", "worker": "annotator"}
"""crowd-kit's column names -> accord's."""


def table_items(
    reader: ItemReader, rows: Iterable[RawRow], *, renames: Mapping[str, str], annotator_columns: Sequence[str]
) -> Iterator[Item]:
    """Long where the table has annotator and label columns; wide where it has votes or annotator columns.

    Every row has the columns of the first; cells are text, empty where absent.
    """
    read = _read_rows(reader, rows)
    first = next(read, None)
    if first is None:
        return
    columns = list(first[1])
    names = {column: name_of(column, renames) for column in columns}
    judges = [c for c in columns if any(fnmatchcase(c, pattern) for pattern in annotator_columns)]
    is_long = _require_columns(reader.file, columns, set(names.values()), judges, annotator_columns)
    _require_distinct(reader.file, names)
    fields = {name: column for column, name in names.items() if column not in judges}
    used = (*ITEM_FIELDS, *JUDGED_FIELDS) if is_long else ITEM_FIELDS
    ignored = [column for name, column in fields.items() if name not in used]
    n_before = reader.n_rows - 1
    read = chain([first], read)
    yield from _long_items(reader, read, fields) if is_long else _wide_items(reader, read, fields, judges)
    reader.ignored_fields.update({printable(column): reader.n_rows - n_before for column in ignored})


def text_cells(rows: Iterable[RawRow]) -> Iterator[RawRow]:
    """Typed rows as a CSV file would have them: every cell is text, empty where absent."""
    for raw in rows:
        cells = raw.value and {c: value if isinstance(value, str) else _cell(value) for c, value in raw.value.items()}
        yield msgspec.structs.replace(raw, value=cells)


def _cell(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def name_of(column: str, renames: Mapping[str, str]) -> str:
    """What a column is called in accord."""
    return renames.get(column, ALIASES.get(column, column))


def _read_rows(reader: ItemReader, rows: Iterable[RawRow]) -> Iterator[tuple[RawRow, Mapping[str, str]]]:
    """The rows that could be read, with their cells; all are counted."""
    for raw in rows:
        reader.n_rows += 1
        if raw.value is None:
            reader.reject(raw.line, raw.text, raw.problems)
        else:
            yield raw, raw.value


def _wide_items(
    reader: ItemReader,
    rows: Iterable[tuple[RawRow, Mapping[str, str]]],
    fields: Mapping[str, str],
    judges: Sequence[str],
) -> Iterator[Item]:
    """One item a row; `fields`: name -> column."""
    first_lines: dict[str, int] = {}
    item_fields = [(name, fields[name]) for name in ITEM_FIELDS if name in fields and name != "annotations"]
    for raw, cells in rows:
        annotations = [{"annotator": judge, "label": cells[judge]} for judge in judges if cells[judge]]
        record = {name: cells[column] for name, column in item_fields if cells[column]}
        row, problems = _read_record(reader, record, annotations)
        item = reader.accept(raw.line, raw.text, row, problems, first_lines)
        if item is not None:
            yield item


def _long_items(
    reader: ItemReader, rows: Iterable[tuple[RawRow, Mapping[str, str]]], fields: Mapping[str, str]
) -> Iterator[Item]:
    """The rows of one item, which may stand anywhere, joined; `fields`: name -> column.

    A row whose item's cells are those of an earlier row, and whose annotation is one that passed before by an annotator
    who is new to the item, has nothing in it that is still to be checked.
    """
    item_names = [name for name in ITEM_FIELDS if name in fields and name not in ("annotations", "votes")]
    judged_names = [name for name in JUDGED_FIELDS if name in fields]
    item_cells = itemgetter(*[fields[name] for name in item_names])
    judged_cells = itemgetter(*[fields[name] for name in judged_names])
    drafts: dict[str, _Draft] = {}
    passed: dict[tuple[str, ...], tuple[_Asked, Annotation]] = {}
    id_column = fields["id"]
    for raw, cells in rows:
        texts, judged = item_cells(cells), judged_cells(cells)
        draft, known = drafts.get(cells[id_column]), passed.get(judged)
        if draft is not None and known is not None and draft.cells == texts and known[0] not in draft.annotations:
            draft.annotations[known[0]] = known[1]
            continue
        record = {name: cell for name, cell in zip(item_names, texts, strict=True) if cell}
        annotation = {name: cell for name, cell in zip(judged_names, judged, strict=True) if cell}
        row, problems = _read_record(reader, record, [annotation])
        item = reader.accept(raw.line, raw.text, row, problems, {})
        if item is not None:
            _join(reader, raw, item, drafts, texts)
            if known is None and len(passed) < MAX_PASSED:
                passed[judged] = (asked(item.annotations[0]), item.annotations[0])
    yield from _joined(drafts)


def _read_record(
    reader: ItemReader, record: dict[str, Any], annotations: Sequence[Mapping[str, str]]
) -> tuple[ItemRow | None, list[Problem]]:
    """The cells of a table that are not empty as a row: prompts may be chats in JSON, votes are a JSON object."""
    problems: list[Problem] = []
    if record.get("prompt", "").startswith("[{"):
        record["prompt"] = _chat_or_text(record["prompt"])
    if "votes" in record:
        record["votes"] = _json_votes(record["votes"], problems)
    if reader.rules.prompts == "optional":
        record.setdefault("prompt", "")
    try:  # cells are text, so nothing can be wrong but a missing one
        row = ItemRow(**record, annotations=tuple([AnnotationRow(**labels) for labels in annotations]))
    except TypeError:
        _, more = reader.read({**record, "annotations": annotations})
        return None, problems + more
    return (None, problems) if problems else (row, [])


def merged(reader: ItemReader, annotated: Iterable[tuple[RawRow, Item]]) -> Iterator[Item]:
    """Gather the rows of one item, which may stand anywhere in a long table; items in the order first met."""
    drafts: dict[str, _Draft] = {}
    for raw, item in annotated:
        _join(reader, raw, item, drafts)
    yield from _joined(drafts)


_Asked = tuple[str, str | None]
"""An annotator and a question."""


class _Draft(msgspec.Struct, frozen=True, gc=False):
    """An item whose rows are still being gathered: the first of them, its line and cells; and all annotations.

    Nothing in it leads back to it, so the garbage collector need not look at the many that wait for their last row.
    """

    line: int
    item: Item
    cells: tuple[str, ...]
    annotations: dict[_Asked, Annotation]


def _join(reader: ItemReader, raw: RawRow, item: Item, drafts: dict[str, _Draft], cells: tuple[str, ...] = ()) -> None:
    """Put a row's item to what its earlier rows gave, if they agree and none of its annotators is there already."""
    found = {asked(annotation): annotation for annotation in item.annotations}
    draft = drafts.get(item.id)
    if draft is None:
        drafts[item.id] = _Draft(raw.line, item, cells, found)
        return
    repeated = [annotation for key, annotation in found.items() if key in draft.annotations]
    differing = [
        name for name in ITEM_FIELDS if name != "annotations" and getattr(draft.item, name) != getattr(item, name)
    ]
    if differing:
        reader.reject(raw.line, raw.text, [_differs(draft.item, item, differing[0], draft.line)])
    elif repeated:
        reader.reject(raw.line, raw.text, [repeated_annotator(annotation) for annotation in repeated])
    else:
        draft.annotations.update(found)


def _joined(drafts: Mapping[str, _Draft]) -> Iterator[Item]:
    for draft in drafts.values():
        yield msgspec.structs.replace(draft.item, annotations=tuple(draft.annotations.values()))


def _differs(draft: Item, item: Item, name: str, line: int) -> Problem:
    found, expected = (shown(msgspec.to_builtins(getattr(one, name))) for one in (item, draft))
    return problem(name, found, expected, f"Line {line} is of the same item; make them equal, or {DROP}.")


def _require_columns(
    file: str, columns: Sequence[str], names: set[str], judges: Sequence[str], patterns: Sequence[str]
) -> bool:
    """Whether the table is long.

    Raises:
        DataError: the columns fit neither form.
    """
    if patterns and not judges:
        raise DataError(f"{file} line 1: no column matches --annotator-columns {quoted(patterns)}: {quoted(columns)}.")
    is_long = {"annotator", "label"} <= names and not judges
    if not is_long and not judges and "votes" not in names:
        foreign = foreign_layout(columns)
        if foreign is not None:
            raise DataError(f"{file} line 1: these are the columns of {foreign}. Read it with --format {foreign}.")
        raise DataError(
            f"{file} line 1: the columns are {quoted(columns)}. Expected annotator and label (one annotation a row), "
            'or votes, or columns named by --annotator-columns "PATTERN" (one item a row); '
            "rename others with --rename FOUND=WANTED, and set --delimiter if they were not told apart."
        )
    for name in ("id", "completion"):
        if name not in names:
            raise DataError(
                f"{file} line 1: there is no column {name!r} among {quoted(columns)}. "
                f"Add it, or rename the one that holds it with --rename FOUND={name}."
            )
    return is_long


def _require_distinct(file: str, names: Mapping[str, str]) -> None:
    for name, n in Counter(names.values()).items():
        if n > 1:
            both = [column for column, wanted in names.items() if wanted == name]
            raise DataError(f"{file} line 1: columns {quoted(both)} both hold {name!r}. Rename or remove one.")


def _chat_or_text(cell: str) -> Any:
    try:
        return msgspec.json.decode(cell, type=tuple[Message, ...])
    except UNREADABLE:
        return cell


def _json_votes(cell: str, problems: list[Problem]) -> Any:
    try:
        votes = msgspec.json.decode(cell, type=dict[str, int])
    except UNREADABLE:
        problems.append(problem("votes", shown(cell), 'a JSON object like {"yes": 3, "no": 1}'))
        return None
    repeated = repeated_key_problem(cell)
    if repeated:
        problems.append(repeated)
    return votes
