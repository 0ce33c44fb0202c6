"""The sections on what was trained: the preference models and the calibrated generators."""

from collections.abc import Mapping, Sequence
from typing import Any

from accord.json_files import read_json
from accord.records import Measurement
from accord.report import figures, tables
from accord.report.document import Figure, ReportInputs, Section
from accord.report.folders import Row, read_if_there, read_results, read_rows
from accord.report.notes import Block
from accord.report.settings import ReportSettings
from accord.report.tables import Cell, Difference, Table
from accord.statistics.resampling import Interval

# -- preference model -------------------------------------------------------------------------------------------

FIT_ROWS: Mapping[str, tuple[str, ...]] = {
    "items": ("n_items",),
    "training items": ("n_train_items",),
    "items without votes": ("n_items_without_votes",),
    "prompts cut to fit": ("n_prompts_cut",),
    "completions cut to fit": ("n_completions_cut",),
    "step kept": ("best_step",),
    "calibration slope on dev": ("dev_calibration", "slope"),
    "mean predicted acceptance on dev": ("dev_calibration", "mean_predicted"),
    "observed share on dev": ("dev_calibration", "base_rate"),
}
BASELINES = (
    "Lower is better but for Spearman. constant: the training votes' share of acceptance for every item; "
    "vote_shares: each item's own votes, which no prediction can beat."
)
SLOPE_CAPTION = "A slope below 1: predictions are overconfident; above 1: too timid."


def preference_section(inputs: ReportInputs, settings: ReportSettings) -> Section | None:  # noqa: ARG001 -- one signature
    """How well the preference models predict the votes of people on texts they have not seen."""
    found = {"scoring": inputs.preference, "independent": inputs.independent}
    folders = {name: folder for name, folder in found.items() if folder is not None}
    if not folders:
        return None
    shown = [_reliability_figure(name, read_json(folder / "reliability.json")) for name, folder in folders.items()]
    lead = "The share of people who would accept a text, predicted for texts that the model has not seen."
    if len(folders) == 2:
        lead += " The scoring model ranks the candidates; the independent one only evaluates."
    curves = {name: list(read_rows(folder / "curve.jsonl")) for name, folder in folders.items()}
    summaries = {name: read_if_there(folder / "summary.json", {}) for name, folder in folders.items()}
    return Section(
        "preference",
        "The preference model",
        lead,
        figures=(*shown, *_curve_figures(curves, ("log_loss",), caption="Held-out log-loss of a vote, in nats.")),
        tables=(
            *(table for name, folder in folders.items() for table in _split_tables(name, read_results(folder))),
            *_summary_tables("fit", "How the models were fitted", summaries, FIT_ROWS, caption=SLOPE_CAPTION),
        ),
        blocks=_warning_blocks(summaries),
    )


def _reliability_figure(name: str, curves: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    caption = "Bins of about as many votes each; a point's area follows its votes. On the diagonal, shares are right."
    return Figure(f"Reliability of the {name} model", figures.reliability_figure(curves), caption)


def _split_tables(name: str, measurements: Sequence[Measurement]) -> list[Table]:
    """One table per split named in the signatures, so that dev and test never stand in one row; test comes first."""
    splits: dict[str, list[Measurement]] = {}
    for measurement in measurements:
        splits.setdefault(tables.signature_field(measurement.signature, "split") or "held-out", []).append(measurement)
    ordered = sorted(splits, key=lambda split: split != "test")
    return [
        tables.measurement_table(
            f"preference_{name}_{split}",
            f"{name.capitalize()} model against baselines, {split} items",
            splits[split],
            caption="" if n else f"{BASELINES} In brackets: {tables.interval_caption(splits[split])}",
            folded=n > 0,
        )
        for n, split in enumerate(ordered)
    ]


def _warning_blocks(summaries: Mapping[str, Mapping[str, Any]]) -> tuple[Block, ...]:
    warnings = tuple(f"{name}: {text}" for name, summary in summaries.items() for text in summary.get("warnings", ()))
    return (Block("heading", ("Warnings",)), Block("list", warnings)) if warnings else ()


# -- calibration ------------------------------------------------------------------------------------------------

TRAINING_ROWS: Mapping[str, tuple[str, ...]] = {
    "training prompts": ("n_train",),
    "validation prompts": ("n_dev",),
    "prompts of other splits, not read": ("n_not_used",),
    "prompts without references": ("n_without_references",),
    "prompts cut to fit": ("n_prompts_cut",),
    "step kept": ("best_step",),
    "validation loss there": ("best_validation_loss",),
}
CURVE_NOTES = {
    "validation_loss": "What selects the step: the losses (or less the reward), with each run's own weights.",
    "acceptance": "Of completions drawn for the validation prompts, as the preference model predicts it.",
    "kl": "Nats by which a completion of the trained generator is likelier than it was at the start.",
}
CURVES = (
    "validation_loss",
    "ranking_loss",
    "dpo_loss",
    "reward",
    "acceptance",
    "kl",
    "reference_loss",
    "pairwise_accuracy",
)


def calibration_section(inputs: ReportInputs, settings: ReportSettings) -> Section | None:  # noqa: ARG001 -- one signature
    """Whether likelihoods came to follow the scores."""
    if not inputs.calibration:
        return None
    curves = {name: list(read_rows(folder / "curve.jsonl")) for name, folder in inputs.calibration.items()}
    training = {name: read_if_there(folder / "training.json", {}) for name, folder in inputs.calibration.items()}
    kept = {name: int(found["best_step"]) for name, found in training.items() if "best_step" in found}
    caption = "On prompts held out from training." + (" A ring marks the step whose weights were kept." if kept else "")
    results = {name: read_results(folder) for name, folder in inputs.calibration.items()}
    return Section(
        "calibration",
        "Calibration",
        "The generator learns to find that candidate likelier which more people would accept.",
        figures=(*_ranking_figures(results), *_curve_figures(curves, CURVES, caption=caption, kept_steps=kept)),
        tables=(
            _change_table(results),
            *_summary_tables("training", "How the generators were trained", training, TRAINING_ROWS),
        ),
    )


def _ranking_figures(results: Mapping[str, Sequence[Measurement]]) -> list[Figure]:
    """How often the generator's own likelihoods rank two candidates as the preference model does, before and after."""
    found = {
        run: {m.system: Interval(m.value, m.low, m.high) for m in measurements if m.name == "pairwise_accuracy"}
        for run, measurements in results.items()
    }
    runs = [run for run, by_system in found.items() if {"base", "calibrated"} <= set(by_system)]
    if not runs:
        return []
    series = {
        label: [found[run][system] for run in runs] for label, system in (("before", "base"), ("after", "calibrated"))
    }
    svg = figures.interval_figure(runs, series, xlabel="share of pairs ranked rightly", mark=0.5)
    caption = (
        "Of a prompt's candidates with different scores: how often the one with the higher score is the likelier per "
        "token. On validation prompts; dashed: chance."
    )
    return [Figure("Ranking accuracy of the generator's likelihoods", svg, caption)]


def _change_table(results: Mapping[str, Sequence[Measurement]]) -> Table:
    """Each run's validation figures before and after, and their paired difference."""
    rows: list[tuple[Cell, ...]] = []
    for run, measurements in results.items():
        by_metric: dict[str, dict[str, Measurement]] = {}
        for m in measurements:
            by_metric.setdefault(m.name, {})[m.system] = m
        for metric, found in by_metric.items():
            change = found.get("calibrated - base")
            rows.append(
                (
                    run,
                    _plain(metric),
                    _level(found.get("base")),
                    _level(found.get("calibrated")),
                    None if change is None else Difference(change.value, change.low, change.high),
                )
            )
    intervals = tables.interval_caption([m for measurements in results.values() for m in measurements])
    caption = f"On validation prompts, in brackets: {intervals}"
    columns = ("run", "metric", "before", "after", "change")
    return Table("calibration", "Before and after training", columns, tuple(rows), caption)


def _level(found: Measurement | None) -> Cell:
    return None if found is None else Interval(found.value, found.low, found.high)


# -- steps of both ----------------------------------------------------------------------------------------------


def _curve_figures(
    curves: Mapping[str, Sequence[Row]],
    keys: Sequence[str],
    *,
    caption: str,
    kept_steps: Mapping[str, int] | None = None,
) -> list[Figure]:
    """A figure for each of `keys` that some run has."""
    shown = []
    for key in keys:
        having = {name: rows for name, rows in curves.items() if any(row.get(key) is not None for row in rows)}
        if having:
            svg = figures.curve_figure(having, key, ylabel=_plain(key), kept_steps=kept_steps)
            shown.append(Figure(_plain(key).capitalize(), svg, f"{caption} {CURVE_NOTES.get(key, '')}".strip()))
    return shown


def _summary_tables(
    name: str,
    title: str,
    summaries: Mapping[str, Mapping[str, Any]],
    rows: Mapping[str, Sequence[str]],
    *,
    caption: str = "",
) -> list[Table]:
    """A column per model, a row for each of `rows` (label -> keys) that some summary has; no table without any."""
    found = {label: [_nested(summary, keys) for summary in summaries.values()] for label, keys in rows.items()}
    shown = tuple((label, *values) for label, values in found.items() if any(value is not None for value in values))
    return [Table(name, title, ("statistic", *summaries), shown, caption, folded=True)] if shown else []


def _nested(found: Mapping[str, Any], keys: Sequence[str]) -> Cell:
    value: Any = found
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _plain(name: str) -> str:
    return name.replace("_", " ")
