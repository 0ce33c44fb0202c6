"""Tables as plain values, rendered to Markdown, CSV and (by the template) HTML from the same rows."""

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from accord.records import Measurement
from accord.statistics.resampling import Interval

UNDEFINED = "–"
SURE = 0.05  # a corrected p-value below this is marked


class Difference(NamedTuple):
    """A paired difference with its interval; shown with its sign."""

    value: float
    low: float
    high: float


class PValue(NamedTuple):
    """A p-value; one that rounds to nothing is shown as "< 0.001", one below the 0.05 that counts here gets a †."""

    value: float
    is_marked: bool = False


class Marked(NamedTuple):
    """A number in the paper's unit and precision with its interval, if it has one, and a sign of significance."""

    value: float
    low: float = math.nan
    high: float = math.nan
    mark: str = ""
    digits: int = 2


Cell = str | int | float | Interval | Difference | PValue | Marked | None


class Table(NamedTuple):
    """A table of the report.

    `name` is its CSV's file name, `caption` says what a reader must know, `folded`: the page shows its title alone
    until it is opened.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    folded: bool = False


# -- cells ------------------------------------------------------------------------------------------------------


def format_cell(value: Cell) -> str:
    """A cell as people read it: `0.532 [0.481, 0.583]`; three decimals; "–" for what is undefined or absent."""
    main, brackets = cell_parts(value)
    return f"{main} {brackets}".rstrip()


def cell_parts(value: Cell) -> tuple[str, str]:
    """The cell's number or text, and its interval in brackets ("" where none is defined)."""
    match value:
        case Interval() | Difference():
            show = _signed_text if isinstance(value, Difference) else _number_text
            has_interval = not (math.isnan(value.low) or math.isnan(value.high))
            return show(value.value), f"[{show(value.low)}, {show(value.high)}]" if has_interval else ""
        case Marked():
            main, low, high = (_fixed_text(number, value.digits) for number in value[:3])
            return f"{main} {value.mark}".rstrip(), f"[{low}, {high}]" if UNDEFINED not in (low, high) else ""
        case PValue():
            shown = "< 0.001" if value.value < 0.0005 else _number_text(value.value)
            return (f"{shown} †" if value.is_marked else shown), ""
        case None:
            return UNDEFINED, ""
        case float():
            return _number_text(value), ""
        case _:
            return str(value), ""


def is_number_column(table: Table, column: int) -> bool:
    """Whether all of a column's cells are plain numbers, which read best aligned to the right."""
    return bool(table.rows) and all(isinstance(row[column], int | float | None) for row in table.rows)


def _number_text(value: float) -> str:
    if math.isnan(value):
        return UNDEFINED
    digits = 3 if abs(value) < 10 else 1  # words per text, BLEU: more digits would only be noise
    return re.sub(r"^-(?=[0.]+$)", "", f"{value:.{digits}f}").replace("-", "−")


def _fixed_text(value: float, digits: int) -> str:
    return UNDEFINED if math.isnan(value) else f"{value:.{digits}f}".replace("-", "−")


def _signed_text(value: float) -> str:
    text = _number_text(value)
    return text if text.startswith(("−", UNDEFINED)) or float(text) == 0 else f"+{text}"


# -- formats ----------------------------------------------------------------------------------------------------


def to_markdown(table: Table) -> str:
    """A GitHub-flavoured Markdown table with its title and caption."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(escape_markdown(cell).replace("\n", " ") for cell in cells) + " |"

    body = [line(format_cell(cell) for cell in row) for row in table.rows]
    head = [line(column.replace("_", " ") for column in table.columns), "|" + " --- |" * len(table.columns)]
    caption = ["", escape_markdown(table.caption)] if table.caption else []
    return "\n".join([f"### {escape_markdown(table.title)}", "", *head, *body, *caption, ""])


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no links, no headings or lists at the start of a line."""
    escaped = re.sub(r"([\\`*<|]|(?<!\w)_|_(?!\w)|\](?=[(\[:]))", r"\\\1", text)
    at_line_start = r"(?m)^(\s*)([#>=]|[+-](?=[\s-]|$)|\d+(?=[.)](?:\s|$)))"
    return re.sub(at_line_start, _escape_line_start, escaped)


def _escape_line_start(found: re.Match[str]) -> str:
    mark = found[2]
    return f"{found[1]}{mark}\\" if mark.isdigit() else f"{found[1]}\\{mark}"


def to_csv(table: Table) -> str:
    """The table's rows at full precision; a column of intervals becomes three: X, X_low, X_high, one of marked numbers
    four: X_mark too."""
    spans = [max((_n_parts(row[n]) for row in table.rows), default=1) for n in range(len(table.columns))]
    header = []
    for column, n_parts in zip(table.columns, spans, strict=True):
        header += [column, f"{column}_low", f"{column}_high", f"{column}_mark"][:n_parts]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in table.rows:
        writer.writerow([part for cell, n_parts in zip(row, spans, strict=True) for part in _csv_cells(cell, n_parts)])
    return text.getvalue()


def _n_parts(cell: Cell) -> int:
    """In how many columns of a CSV a cell stands."""
    return {Interval: 3, Difference: 3, Marked: 4}.get(type(cell), 1)


def _csv_cells(cell: Cell, n_parts: int) -> list[Any]:
    cell = cell.value if isinstance(cell, PValue) else cell
    values: Sequence[Any] = cell[:4] if isinstance(cell, Interval | Difference | Marked) else [cell]
    padded = [*values, None, None, None][:n_parts]
    return ["" if value is None or (isinstance(value, float) and math.isnan(value)) else value for value in padded]


# -- the tables of several sections -----------------------------------------------------------------------------


def measurement_table(
    name: str, title: str, measurements: Sequence[Measurement], *, caption: str, folded: bool = False
) -> Table:
    """System × metric, each cell with its interval."""
    metrics = list(dict.fromkeys(m.name for m in measurements))
    systems = list(dict.fromkeys(m.system for m in measurements))
    found = {(m.system, m.name): Interval(m.value, m.low, m.high) for m in measurements}
    rows = tuple((system, *(found.get((system, metric)) for metric in metrics)) for system in systems)
    return Table(name, title, ("system", *metrics), rows, caption, folded)


def signature_table(measurements: Sequence[Measurement]) -> Table:
    """Which metric is which: one signature per metric."""
    rows = tuple(dict.fromkeys((m.name, m.signature) for m in measurements if " - " not in m.system))
    return Table("signatures", "Signatures of the metrics", ("metric", "signature"), rows, folded=True)


def interval_caption(measurements: Sequence[Measurement]) -> str:
    """How the intervals were made, read from the signatures: `95 % bootstrap intervals over prompts.`

    Less where the signatures do not say it, or differ in more than in what was resampled.
    """
    found = list(dict.fromkeys(_interval_fields(m.signature) for m in measurements))
    levels = {(level, n_resamples) for level, n_resamples, _ in found}
    if len(levels) != 1 or not all(found[0]):
        return "bootstrap intervals."
    level, n_resamples, _ = found[0]
    clusters = " or ".join(dict.fromkeys(clusters for _, _, clusters in found))
    return f"{100 * float(level):g} % bootstrap intervals over {clusters} ({n_resamples} resamples)."


def signature_field(signature: str, name: str) -> str:
    """The value of `name:value` in a signature, "" without one."""
    fields = dict(part.split(":", 1) for part in signature.split("|") if ":" in part)
    return fields.get(name, "")


def _interval_fields(signature: str) -> tuple[str, str, str]:
    """Level, number of resamples and what was resampled, of `ci:bootstrap-1000@0.95/group`."""
    match = re.fullmatch(r"bootstrap-(\d+)@([\d.]+)/(.+)", signature_field(signature, "ci"))
    if match is None:
        return "", "", ""
    unit, *others = match[3].split("*")
    clusters = f"{unit}s" if unit.isalpha() else unit
    for name, _, n in (other.partition(":") for other in others):
        clusters += f" and {n} {name}s" if n else f" × {name}"
    return match[2], match[1], clusters


def interval_of(found: Mapping[str, Any]) -> Interval:
    """An interval of a JSON file."""
    return Interval(number(found["value"]), number(found["low"]), number(found["high"]))


def number(value: Any) -> float:
    """A number of a JSON file, where null stands for nan."""
    return math.nan if value is None else float(value)
