"""The section on a sweep: every metric against what varied, and the points' preference models on held-out votes."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from accord.evaluation.tables import few_seeds_text
from accord.json_files import read_json
from accord.records import Measurement
from accord.report import figures, tables
from accord.report.document import Figure, ReportInputs, Section
from accord.report.folders import read_if_there, read_results
from accord.report.notes import Block
from accord.report.results import difference_tables, is_acceptance
from accord.report.settings import ReportSettings
from accord.report.tables import Cell, Table
from accord.statistics.resampling import Interval

BASE = "base"
UNDEFINED = Interval(math.nan, math.nan, math.nan)


class Axis(NamedTuple):
    """The one number that varies: `series` holds, by what else varies ("" for nothing), (number, point) in order."""

    key: str
    series: dict[str, list[tuple[float, str]]]


def sweep_section(inputs: ReportInputs, settings: ReportSettings) -> Section | None:  # noqa: ARG001 -- one signature
    """The points side by side."""
    if inputs.sweep is None:
        return None
    sweep = read_json(inputs.sweep / "sweep.json")
    levels = [
        m
        for folder in (inputs.evaluation, inputs.votes)
        if folder is not None
        for m in read_results(folder)
        if " - " not in m.system
    ]
    seeds = ", ".join(map(str, sweep["seeds"]))
    lead = (
        f"{len(sweep['points'])} points under the seeds {seeds}. Preference model, candidates, calibration and "
        f"decoding vary with the seed; the split and the independent judge are those of seed {sweep['data_seed']} "
        "for all."
    )
    return Section(
        "sweep",
        "The sweep",
        lead,
        figures=tuple(sweep_figures(sweep["points"], levels)),
        tables=(_points_table(sweep["points"]), *_votes_tables(inputs.votes)),
        blocks=_failed_blocks(sweep["failed"]),
    )


def sweep_figures(points: Sequence[Mapping[str, Any]], levels: Sequence[Measurement]) -> list[Figure]:
    """A figure per metric, acceptances first: against the number that varies, or a row per point."""
    axis = numeric_axis(points)
    names = [point["name"] for point in points]
    found = {(m.name, m.system): m for m in levels}
    metrics = dict.fromkeys(m.name for m in levels)
    shown: list[Figure] = []
    for metric in sorted(metrics, key=lambda name: not is_acceptance(name)):
        by_system = {m.system: Interval(m.value, m.low, m.high) for (name, _), m in found.items() if name == metric}
        if all(math.isnan(by_system.get(name, UNDEFINED).value) for name in names):
            continue
        plain = metric.replace("_", " ")
        if axis is None:
            rows = [name for name in (BASE, *names) if name in by_system]
            svg = figures.interval_figure(rows, {plain: [by_system[name] for name in rows]}, xlabel=plain)
        else:
            series = {
                label: [(x, by_system.get(name, UNDEFINED)) for x, name in found_points]
                for label, found_points in axis.series.items()
            }
            svg = figures.trend_figure(series, level=by_system.get(BASE), xlabel=axis.key, ylabel=plain)
        measured = [m for (name, _), m in found.items() if name == metric]
        caption = f"n = {max(m.n for m in measured)}."
        if not shown:
            caption = f"{caption} {_reading(measured, has_base=BASE in by_system and axis is not None)}"
        shown.append(Figure(plain.capitalize(), svg, caption))
    return shown


def numeric_axis(points: Sequence[Mapping[str, Any]], *, along: str | None = None) -> Axis | None:
    """The one key whose values are numbers for all points; None where there is none, or several.

    Args:
        along: the key to take where there are several.
    """
    keys = dict.fromkeys(key for point in points for key in point["values"])
    numbers = [key for key in keys if all(_is_number(point["values"].get(key)) for point in points)]
    numbers = [along] if along in numbers else numbers
    if len(numbers) != 1 or len({point["values"][numbers[0]] for point in points}) < 2:
        return None
    (key,) = numbers
    series: dict[str, list[tuple[float, str]]] = {}
    for point in points:
        rest = ", ".join(_setting(other, value) for other, value in point["values"].items() if other != key)
        series.setdefault(rest, []).append((float(point["values"][key]), point["name"]))
    return Axis(key.rpartition(".")[2].replace("_", " "), {name: sorted(found) for name, found in series.items()})


def _setting(key: str, value: Any) -> str:
    """A number with its key; other values speak for themselves."""
    return f"{key.rpartition('.')[2].replace('_', ' ')} {value:g}" if _is_number(value) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _reading(measured: Sequence[Measurement], *, has_base: bool) -> str:
    """What the lines of every figure are."""
    text = f"Lines: {tables.interval_caption(measured)}"
    text += " Dashed: the generator before calibration." if has_base else ""
    few = few_seeds_text(m.signature for m in measured)
    return text + few.replace("p comes out too small", "they are too narrow")


def _points_table(points: Sequence[Mapping[str, Any]]) -> Table:
    keys = list(dict.fromkeys(key for point in points for key in point["values"]))
    rows: list[tuple[Cell, ...]] = [
        (
            point["name"],
            *(_value(point["values"].get(key)) for key in keys),
            ", ".join(map(str, point["seeds"])) or "none",
        )
        for point in points
    ]
    return Table("sweep_points", "Points", ("point", *keys, "seeds finished"), tuple(rows), folded=True)


def _value(value: Any) -> Cell:
    return value if value is None or isinstance(value, str) else str(value)


def _votes_tables(votes: Path | None) -> list[Table]:
    if votes is None:
        return []
    measurements = read_results(votes)
    levels = [m for m in measurements if " - " not in m.system]
    split = tables.signature_field(levels[0].signature, "split")
    caption = (
        f"Per vote on the {split} items, lower is better; every seed's model measured by itself, then averaged. In "
        f"brackets: {tables.interval_caption(levels)}"
    )
    comparisons = read_if_there(votes / "comparisons.json", [])
    differences = difference_tables(
        comparisons, [m for m in measurements if " - " in m.system], prefix="votes_", paired_by="item"
    )
    title = "The points' preference models on held-out votes"
    return [tables.measurement_table("votes", title, levels, caption=caption), *differences]


def _failed_blocks(failed: Sequence[str]) -> tuple[Block, ...]:
    if not failed:
        return ()
    return (Block("heading", ("Runs that failed and are not in the comparison",)), Block("list", tuple(failed)))
