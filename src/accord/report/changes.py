"""The section on what changed most between two systems: prompts by their difference, worst regressions first."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from accord.evaluation.metrics.all import LOWER_IS_BETTER, NEUTRAL
from accord.records import Output
from accord.report import figures
from accord.report.document import Example, Figure, ReportInputs, Section, Text
from accord.report.folders import Row, first_outputs, prompt_text, read_if_there, read_per_item
from accord.report.results import MAIN_COMPARISON, metric_rank
from accord.report.settings import ReportSettings
from accord.report.tables import Difference, format_cell

N_BINS = 15


class Change(NamedTuple):
    """One prompt under two systems; `gain` is above 0 where the first system did better."""

    prompt_id: str
    first: float
    second: float
    gain: float


def changes_section(inputs: ReportInputs, settings: ReportSettings) -> Section | None:
    """Where the first system of the main comparison lost and won most."""
    per_item = read_per_item(inputs.evaluation)
    pair, metric = main_pair(inputs), main_metric(per_item)
    if not inputs.outputs or pair is None or metric is None:
        return None
    found = changes(per_item, *pair, metric=metric)
    if not found:
        return None
    outputs = {rows[0].id: {row.system: row for row in rows} for rows in first_outputs(inputs)}
    worst = [change for change in found if change.gain < 0][: settings.n_changes]
    best = [change for change in reversed(found) if change.gain > 0][: settings.n_changes]
    shown = [change for change in (*worst, *best) if set(pair) <= set(outputs.get(change.prompt_id, {}))]
    plain = metric.replace("_", " ")
    return Section(
        "changes",
        "What changed most",
        _lead(found, *pair, plain),
        figures=(_figure(found, *pair, plain),),
        examples_title="Worst losses, then greatest gains" if worst and best else "Largest changes",
        examples=tuple(_example(change, outputs[change.prompt_id], *pair, plain) for change in shown),
    )


def main_pair(inputs: ReportInputs) -> tuple[str, str] | None:
    """The two systems of the comparison that matters most; None without a comparison."""
    if inputs.evaluation is None:
        return None
    pairs = list(dict.fromkeys(row["system"] for row in read_if_there(inputs.evaluation / "comparisons.json", [])))
    if not pairs:
        return None
    first, second = (MAIN_COMPARISON if MAIN_COMPARISON in pairs else pairs[0]).split(" - ")
    return first, second


def main_metric(per_item: Sequence[Row]) -> str | None:
    """The acceptance that counts most, else the first metric that has a better side."""
    names = [name for name in (per_item[0] if per_item else {}) if name not in ("id", "system", *NEUTRAL)]
    return min(names, key=metric_rank, default=None)


def changes(per_item: Sequence[Row], first: str, second: str, *, metric: str) -> list[Change]:
    """Every prompt that is defined under both systems, the greatest loss of `first` before all others."""
    numbers = {(row["id"], row["system"]): row.get(metric) for row in per_item}
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    found = []
    for prompt_id in dict.fromkeys(row["id"] for row in per_item):
        a, b = numbers.get((prompt_id, first)), numbers.get((prompt_id, second))
        if a is not None and b is not None:
            found.append(Change(prompt_id, a, b, sign * (a - b)))
    return sorted(found, key=lambda change: change.gain)


def _lead(found: Sequence[Change], first: str, second: str, metric: str) -> str:
    n_lower, n_higher = sum(change.gain < 0 for change in found), sum(change.gain > 0 for change in found)
    same = len(found) - n_lower - n_higher
    return (
        f"{first} against {second}, prompt by prompt, by {metric}: worse on {n_lower} prompts, better on {n_higher}"
        + (f", the same on {same}. " if same else ". ")
        + "Numbers are means over a system's samples for the prompt; the text is its first sample. Extremes are picked "
        "after the fact: they show what can happen, not how often."
    )


def _figure(found: Sequence[Change], first: str, second: str, metric: str) -> Figure:
    differences = np.array([change.first - change.second for change in found])
    widest = float(np.abs(differences).max()) or 1.0
    counts, edges = np.histogram(differences, bins=N_BINS, range=(-widest, widest))
    svg = figures.histogram_figure(
        edges.tolist(), counts.tolist(), xlabel=f"difference in {metric}", ylabel="prompts", with_zero=True
    )
    lower = metric.replace(" ", "_") in LOWER_IS_BETTER
    caption = (
        f"{first} − {second} of every prompt (n = {len(found)}); right of 0 {second if lower else first} is better."
    )
    return Figure("Differences per prompt", svg, caption)


def _example(change: Change, outputs: Mapping[str, Output], first: str, second: str, metric: str) -> Example:
    texts = tuple(
        Text(system, f"{metric} {format_cell(value)}", outputs[system].completion)
        for system, value in ((second, change.second), (first, change.first))
    )
    difference = format_cell(Difference(change.first - change.second, np.nan, np.nan))
    return Example(prompt_text(outputs[first].prompt), texts, f"{metric.capitalize()} {difference}")
