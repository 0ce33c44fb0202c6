"""The section on variety: does calibration cost any? Measured on the outputs themselves, with intervals."""

from collections.abc import Sequence

import numpy as np

from accord.errors import DataError
from accord.evaluation.evaluate import measure_metrics, metric_inputs, resampling
from accord.evaluation.measure import Measured, Resampling, measure_levels
from accord.evaluation.metrics.all import LOWER_IS_BETTER, NEUTRAL
from accord.evaluation.outputs import OutputTable, build_output_table, smallest_n_samples
from accord.evaluation.settings import EvaluateSettings
from accord.json_files import read_jsonl
from accord.randomness import keyed_rng
from accord.records import Measurement, Output
from accord.report import figures, tables
from accord.report.document import Figure, ReportInputs, Section
from accord.report.folders import outputs_path
from accord.report.settings import ReportSettings
from accord.report.tables import Table
from accord.statistics.resampling import Interval
from accord.statistics.significance import paired_bootstrap_over_seeds

NAMES = {
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
    "distinct_3": "distinct-3",
    "self_bleu": "self-BLEU",
    "repetition": "repetition",
    "length": "length",
}
"""Metrics of the section, and how they are written."""
BASE = "base"
LEAD = (
    "Does tuning cost variety? Distinct-n: the share of different n-grams among what a system writes for one prompt; "
    "self-BLEU: how much its samples repeat each other; repetition: how much a text repeats itself."
)


def diversity_section(inputs: ReportInputs, settings: ReportSettings) -> Section | None:  # noqa: ARG001 -- one signature
    """Every system's variety, and its difference from the untouched generator."""
    if not inputs.outputs:
        return None
    rows = [row for path in inputs.outputs for row in read_jsonl(outputs_path(path), Output)]
    try:
        table = build_output_table(_with_enough_samples(rows))
    except DataError as error:
        return Section("diversity", "Variety", f"Not measured: {error}")
    evaluate = EvaluateSettings(metrics=tuple(NAMES))
    every = measure_metrics(table, tuple(NAMES), metric_inputs(table, evaluate))
    measured = [metric for metric in every if not _is_undefined(metric)]
    how = resampling(table, evaluate, seed=0)
    return Section(
        "diversity",
        "Variety",
        LEAD,
        figures=tuple(_difference_figures(table, measured, how)),
        tables=(_level_table(table, rows, measure_levels(measured, how=how)),),
    )


def _with_enough_samples(rows: Sequence[Output]) -> list[Output]:
    """Without the systems that wrote one text per prompt, where others wrote several: they would set n for all."""
    n_samples: dict[str, int] = {}
    for row in rows:
        n_samples[row.system] = max(n_samples.get(row.system, 0), row.sample + 1)
    several = {system for system, n in n_samples.items() if n > 1}
    return [row for row in rows if row.system in several] if several else list(rows)


def _is_undefined(metric: Measured) -> bool:
    """Self-BLEU of single samples, for example."""
    return all(bool(np.isnan(statistics).all()) for statistics in metric.statistics.values())


def _difference_figures(table: OutputTable, measured: Sequence[Measured], how: Resampling) -> list[Figure]:
    """A row per system: its difference from the base generator; nothing without one, or where nothing differs."""
    others = [system for system in table.systems if system != BASE]
    if BASE not in table.systems or not others:
        return []
    shown = []
    for metric in measured:
        found = [_difference(metric, system, how) for system in others]
        if any(interval != (0.0, 0.0, 0.0) for interval in found):
            name = NAMES[metric.name]
            svg = figures.interval_figure(others, {name: found}, xlabel=f"difference in {name}", with_zero=True)
            shown.append(Figure(f"{name[0].upper()}{name[1:]} against {BASE}", svg, _reading(metric.name)))
    return shown


def _difference(metric: Measured, system: str, how: Resampling) -> Interval:
    """Paired with the base generator, prompts and seeds resampled."""
    found = paired_bootstrap_over_seeds(
        metric.statistics[system],
        metric.statistics[BASE],
        same_seeds=how.seeds[system] == how.seeds[BASE],
        clusters=how.clusters,
        combine=metric.combine,
        n_resamples=how.n_resamples,
        level=how.level,
        rng=keyed_rng(how.seed, "report", "diversity", metric.name),
    )
    return Interval(*found[:3])


def _reading(metric: str) -> str:
    if metric in NEUTRAL:
        return "Right of 0: longer texts, which lowers distinct-n by itself."
    return f"Right of 0: {'less' if metric in LOWER_IS_BETTER else 'more'} variety."


def _level_table(table: OutputTable, rows: Sequence[Output], levels: Sequence[Measurement]) -> Table:
    left_out = [system for system in dict.fromkeys(row.system for row in rows) if system not in table.systems]
    n_samples = smallest_n_samples(table)
    caption = (
        f"{n_samples} sample{'s' if n_samples > 1 else ''} per prompt of each system. In brackets: "
        f"{tables.interval_caption(levels)} No tests: these differences belong to no corrected table."
    )
    if left_out:
        caption += f" Left out, with one text per prompt: {', '.join(left_out)}."
    return tables.measurement_table("diversity", "Variety of each system", levels, caption=caption)
