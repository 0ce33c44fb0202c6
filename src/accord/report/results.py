"""The first section of a report: what the evaluation found, the most important number before all others."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from accord.evaluation.tables import describe_tests, resampled_unit
from accord.records import Measurement
from accord.report import figures, tables
from accord.report.document import Figure, Headline, ReportInputs, Section
from accord.report.folders import Row, read_if_there, read_per_item, read_results
from accord.report.judges import CALIBRATING, judges_tables
from accord.report.settings import ReportSettings
from accord.report.tables import SURE, Cell, Difference, PValue, Table, cell_parts, number
from accord.statistics.proper_scores import spearman
from accord.statistics.resampling import Interval

TRUTH = "true_acceptance"
MAIN_COMPARISON = "calibrated - reference_only"
DIFFERENCE_COLUMNS = ("systems", "difference", "p (Holm)", "p")


def results_section(inputs: ReportInputs, settings: ReportSettings) -> Section | None:  # noqa: ARG001 -- one signature
    """What was measured, before how."""
    if inputs.evaluation is None:
        return None
    measurements = read_results(inputs.evaluation)
    levels = [m for m in measurements if " - " not in m.system]
    comparisons = _ordered_comparisons(read_if_there(inputs.evaluation / "comparisons.json", []))
    per_item = read_per_item(inputs.evaluation)
    points = truth_points(per_item)
    shown = [*_level_figures(levels), *_difference_figures(comparisons), *_truth_figures(points)]
    return Section(
        "results",
        "Results",
        " ".join([_lead(levels), *_what_acceptance_is(inputs.prepared, levels)]),
        headline=None if inputs.sweep is not None else _headline(comparisons),
        figures=tuple(shown),
        tables=(
            _system_table(levels, read_if_there(inputs.evaluation / "outputs.json", {})),
            *difference_tables(comparisons, [m for m in measurements if " - " in m.system]),
            *_truth_tables(points),
            *judges_tables(per_item),
        ),
    )


def is_acceptance(metric: str) -> bool:
    """Whether a metric is an acceptance: the truth, or any model's estimate of it."""
    return "acceptance" in metric


def _lead(levels: Sequence[Measurement]) -> str:
    n_prompts = max((m.n for m in levels), default=0)
    n_systems = len({m.system for m in levels})
    lead = f"{n_systems} systems wrote for the same {n_prompts} held-out prompts."
    if any(m.name == TRUTH for m in levels):
        lead += (
            " True acceptance is the share of the simulated panel that would accept a text, by its declared rules; "
            "acceptance is what a preference model, fitted on other annotators' votes, estimates it to be."
        )
    return lead


def _what_acceptance_is(prepared: Path | None, levels: Sequence[Measurement]) -> list[str]:
    """The quantity by its labels, e.g. that it is "no advice" and nothing more."""
    if prepared is None or not any(is_acceptance(m.name) for m in levels):
        return []
    scheme = read_if_there(prepared / "scheme.json", {})
    labels = " or ".join(f'"{label}"' for label in scheme.get("acceptable", ()))
    if not labels:
        return []
    return [f"Acceptance here is the share of annotators whose label is {labels} (label scheme {scheme['name']})."]


# -- systems ----------------------------------------------------------------------------------------------------


def _system_table(levels: Sequence[Measurement], counts: Mapping[str, Mapping[str, int]]) -> Table:
    ordered = sorted(levels, key=lambda m: metric_rank(m.name))
    caption = "Samples averaged per prompt, then prompts averaged; in brackets: " + tables.interval_caption(levels)
    if counts:
        n_samples = sorted({row["n_outputs"] // max(1, row["n_prompts"]) for row in counts.values()})
        n_empty = sum(row["n_empty"] for row in counts.values())
        caption += f" Outputs per prompt: {' or '.join(map(str, n_samples))}; empty outputs in all: {n_empty}."
    return tables.measurement_table("systems", "Systems", ordered, caption=caption)


def _level_figures(levels: Sequence[Measurement]) -> list[Figure]:
    """All acceptances, the truth beside the estimates, in one figure on one scale."""
    found = sorted((m for m in levels if is_acceptance(m.name)), key=lambda m: metric_rank(m.name))
    if not found:
        return []
    systems = list(dict.fromkeys(m.system for m in levels))
    names = list(dict.fromkeys(m.name for m in found))
    measured = {(m.name, m.system): Interval(m.value, m.low, m.high) for m in found}
    undefined = Interval(math.nan, math.nan, math.nan)
    series = {_plain(name): [measured.get((name, system), undefined) for system in systems] for name in names}
    svg = figures.interval_figure(systems, series, xlabel="acceptance" if len(names) > 1 else _plain(names[0]))
    caption = f"n = {found[0].n} prompts; {tables.interval_caption(found)}"
    return [Figure("Acceptance of each system", svg, caption)]


# -- differences ------------------------------------------------------------------------------------------------


def _ordered_comparisons(comparisons: Sequence[Row]) -> list[Row]:
    """Acceptance first, the truth before estimates; within a metric the main comparison first."""
    return sorted(comparisons, key=lambda row: (metric_rank(row["name"]), row["system"] != MAIN_COMPARISON))


def metric_rank(metric: str) -> tuple[bool, bool, bool]:
    """What calibration optimised, right or wrong, comes after what it did not see."""
    return not is_acceptance(metric), metric != TRUTH, metric == CALIBRATING


def _headline(comparisons: Sequence[Row]) -> Headline | None:
    """The main comparison in true acceptance, or the nearest thing to it that there is."""
    if not comparisons or not is_acceptance(comparisons[0]["name"]):
        return None
    row = comparisons[0]
    value, interval = cell_parts(_difference(row))
    p_holm = number(row["p_holm"])
    if math.isnan(p_holm):
        verdict = "the test is undefined"
    else:
        verdict = "unlikely to be chance" if p_holm < SURE else "may be chance"
        verdict += f" (p = {_p_text(p_holm)}, corrected for {len(comparisons)} comparisons)"
    return Headline(value, interval, f"{_plain(row['name']).capitalize()}, {_minus(row['system'])}: {verdict}.")


def _difference_figures(comparisons: Sequence[Row]) -> list[Figure]:
    names = [name for name in dict.fromkeys(row["name"] for row in comparisons) if is_acceptance(name)]
    shown = []
    for name in names[:1]:
        rows = [row for row in comparisons if row["name"] == name]
        labels = [_minus(row["system"]) for row in rows]
        values = [Interval(*_difference(row)) for row in rows]
        svg = figures.interval_figure(labels, {name: values}, xlabel=f"difference in {_plain(name)}", with_zero=True)
        shown.append(
            Figure("Paired differences", svg, f"{_plain(name).capitalize()}; right of 0: the first is higher.")
        )
    return shown


def difference_tables(
    comparisons: Sequence[Row], differences: Sequence[Measurement], *, prefix: str = "", paired_by: str = "prompt"
) -> list[Table]:
    """The differences in acceptance, and folded below them those in all other metrics; `prefix`: of the CSVs' names."""
    unit = resampled_unit(m.signature for m in differences)
    tests = describe_tests((row.get("test", "") for row in comparisons), unit=unit)
    caption = (
        f"Paired by {paired_by}. In brackets: {tables.interval_caption(differences)} "
        f"p: {tests or 'two-sided approximate randomisation'}. "
        f"† p < {SURE} after Holm's correction over all {len(comparisons)} comparisons of the evaluation."
    )
    by_metric: dict[str, list[Row]] = {}
    for row in comparisons:
        by_metric.setdefault(row["name"] if is_acceptance(row["name"]) else "", []).append(row)
    others = by_metric.pop("", [])
    found = [
        Table(
            f"{prefix}differences_{metric}",
            f"Paired differences in {_plain(metric)}",
            DIFFERENCE_COLUMNS,
            tuple(_difference_row(row) for row in rows),
            "" if n else caption,
        )
        for n, (metric, rows) in enumerate(by_metric.items())
    ]
    if others:
        rows = tuple((_plain(row["name"]), *_difference_row(row)) for row in others)
        title = f"Paired differences in {'the other' if found else 'all'} metrics ({len(rows)})"
        columns = ("metric", *DIFFERENCE_COLUMNS)
        found.append(
            Table(f"{prefix}differences_other", title, columns, rows, "" if found else caption, folded=bool(found))
        )
    return found


def _difference_row(row: Row) -> tuple[Cell, ...]:
    p, p_holm = number(row["p"]), number(row["p_holm"])
    return _minus(row["system"]), _difference(row), PValue(p_holm, is_marked=p_holm < SURE), PValue(p)


def _difference(row: Row) -> Difference:
    return Difference(number(row["difference"]), number(row["low"]), number(row["high"]))


def _p_text(p: float) -> str:
    return cell_parts(PValue(p))[0]


# -- estimate against truth --------------------------------------------------------------------------------------


class TruthPoints(NamedTuple):
    """Per system, over the prompts [P] where both are defined: the true acceptance and a model's estimate of it."""

    metric: str
    by_system: dict[str, tuple[np.ndarray, np.ndarray]]

    def all_systems(self) -> tuple[np.ndarray, np.ndarray]:
        truth, estimate = zip(*self.by_system.values(), strict=True)
        return np.concatenate(truth), np.concatenate(estimate)


def truth_points(per_item: Sequence[Row]) -> list[TruthPoints]:
    """One per estimate that stands beside a true acceptance in per_item.jsonl; none without a truth."""
    estimates = [name for name in per_item[0] if is_acceptance(name) and name != TRUTH] if per_item else []
    found = []
    for metric in estimates:
        pairs: dict[str, list[tuple[float, float]]] = {}
        for row in per_item:
            if row.get(TRUTH) is not None and row.get(metric) is not None:
                pairs.setdefault(row["system"], []).append((row[TRUTH], row[metric]))
        if pairs:
            columns = {system: np.array(rows, dtype=np.float64).T for system, rows in pairs.items()}
            found.append(TruthPoints(metric, {system: (rows[0], rows[1]) for system, rows in columns.items()}))
    return found


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation; nan with fewer than two points or a constant side."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


def _truth_figures(points: Sequence[TruthPoints]) -> list[Figure]:
    shown = []
    for metric, by_system in points:
        svg = figures.scatter_figure(
            {system: (x.tolist(), y.tolist()) for system, (x, y) in by_system.items()},
            xlabel="true acceptance",
            ylabel=f"estimated {_plain(metric)}",
        )
        truth, estimate = TruthPoints(metric, by_system).all_systems()
        caption = (
            f"A point is a system's mean over its samples of one prompt; all {len(truth)}: Pearson "
            f"{tables.format_cell(pearson(truth, estimate))}, Spearman {tables.format_cell(spearman(truth, estimate))}."
            + figures.drawn_text(max(len(x) for x, _ in by_system.values())).replace(" are", " of each system are")
        )
        shown.append(Figure("Estimate against truth", svg, caption))
    return shown


def _truth_tables(points: Sequence[TruthPoints]) -> list[Table]:
    columns = ("system", "prompts", "mean truth", "mean estimate", "bias", "mean absolute error", "Pearson", "Spearman")
    found = []
    for metric, by_system in points:
        rows = [_truth_row(system, *pair) for system, pair in by_system.items()]
        rows.append(_truth_row("all", *TruthPoints(metric, by_system).all_systems()))
        title = f"Estimate against truth: {_plain(metric)}"
        caption = (
            "Bias: mean of estimate − truth; where it differs between two systems, the estimate misjudges their "
            "difference. Correlations are over prompts."
        )
        found.append(Table(f"truth_{metric}", title, columns, tuple(rows), caption))
    return found


def _truth_row(system: str, truth: np.ndarray, estimate: np.ndarray) -> tuple[Cell, ...]:
    error = estimate - truth
    means = (float(truth.mean()), float(estimate.mean()), float(error.mean()), float(np.abs(error).mean()))
    return system, len(truth), *means, pearson(truth, estimate), spearman(truth, estimate)


def _minus(pair: str) -> str:
    return pair.replace(" - ", " − ")


def _plain(name: str) -> str:
    return name.replace("_", " ")
