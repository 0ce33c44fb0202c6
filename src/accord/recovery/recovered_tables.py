"""What `accord recover` found, as people read it: recover.md, and one CSV row per number."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from accord.recovery.measure import AGAINST_TRUTH, CLIP, METRICS, Measured
from accord.recovery.simulation_tables import markdown_table
from accord.recovery.verdict import DECIDES, QUESTIONS, SURE, Compared, Verdict

DAGGER = "†"
FEW_ANNOTATORS = 20

Figures = Mapping[str, Mapping[int, Measured]]


def recovery_page(
    figures: Figures,
    compared: Sequence[Compared],
    verdicts: Sequence[Verdict],
    summary: Mapping[str, Any],
    panel: Sequence[str],
) -> str:
    """recover.md: the verdict, what was looked at, a table for each question and keep, and what `panel` says."""
    parts = ["# Which estimator recovers the panel?", "\n".join(f"- {line}" for line in verdict_lines(verdicts))]
    parts += ["## What was looked at", "\n".join(f"- {line}" for line in summary_lines(summary))]
    for question, by_keep in figures.items():
        ranks = next(verdict.mean_ranks for verdict in verdicts if verdict.question == question)
        parts += [f"## {QUESTIONS[question]}", _caption(question, verdicts)]
        for keep, measured in by_keep.items():
            parts += [f"### {_visible(keep)}", _table(question, keep, measured, compared, ranks)]
        parts += ["Mean ranks: " + ", ".join(f"`{name}` {rank:.1f}" for name, rank in ranks.items()) + "."]
    return "\n\n".join([*parts, *panel]) + "\n"


def verdict_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """All verdicts in words."""
    return [line for verdict in verdicts for line in verdict.words]


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """How much data the numbers are about, and what to know before they are trusted."""
    people = summary["n_annotators"]
    who = f"{people} annotators" if people else "annotators unknown (intervals by group alone)"
    few = f"; intervals speak of these {people} annotators" if people and people < FEW_ANNOTATORS else ""
    lines = [
        f"{summary['n_items']:,} items, {summary['n_votes']:,} votes, {summary['n_groups']:,} groups, {who}{few}.",
        f"{summary['n_targets']:,} items are judged; {summary['n_too_few']:,} have too few votes to hide any"
        + (f" ({', '.join(summary['too_few'])}, …: too_few_votes.jsonl)." if summary["n_too_few"] else "."),
        f"{summary['seeds']} hidings, averaged. Set aside as another split: {summary['n_set_aside']:,} items.",
    ]
    references = [f"{name} {value}" for name, value in summary["references"].items()]
    lines += [f"Of all votes of the judged items: {'; '.join(references)}."] if references else []
    lines += [f"Undefined at {where}: {', '.join(names)}." for where, names in summary["undefined"].items()]
    return [*lines, *summary["not_run"], *summary["warnings"]]


def recovery_csv(figures: Figures, signatures: Mapping[tuple[str, int, str, str], str]) -> str:
    """recovery.csv: question, keep, metric, estimator, value, low, high, n_items, n_hidings, signature."""
    rows = []
    for question, by_keep in figures.items():
        for keep, measured in by_keep.items():
            for (metric, name), number in measured.numbers.items():
                cells = [question, keep, metric, name, number.value, *number.interval]
                counts = [measured.n_items, measured.n_hidings[name]]
                rows.append([*cells, *counts, signatures[question, keep, metric, name]])
    header = ["question", "keep", "metric", "estimator", "value", "low", "high", "n_items", "n_hidings", "signature"]
    return csv_text(header, rows)


def differences_csv(compared: Sequence[Compared]) -> str:
    """differences.csv: one row per paired difference."""
    header = list(Compared.__struct_fields__)
    return csv_text(header, [[getattr(row, field) for field in header] for row in compared])


def interval_text(value: float, low: float, high: float, *, digits: int = 3) -> str:
    """`0.512 [0.470, 0.561]`; – where undefined."""
    if math.isnan(low) or math.isnan(high):
        return _number(value, digits=digits)
    return f"{_number(value, digits=digits)} [{_number(low, digits=digits)}, {_number(high, digits=digits)}]"


def csv_text(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows as CSV; nan becomes an empty cell."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow(["" if isinstance(cell, float) and math.isnan(cell) else cell for cell in row])
    return file.getvalue()


# -- steps ------------------------------------------------------------------------------------------------------


def _caption(question: str, verdicts: Sequence[Verdict]) -> str:
    baseline = next(verdict.baseline for verdict in verdicts if verdict.question == question)
    return (
        f"By mean rank over log_loss, brier and spearman at every number of visible votes. Δ: log-loss less that of "
        f"`{baseline}`, paired; {DAGGER} p < {SURE} after Holm's correction over this question. Log-loss with "
        f"predictions kept within [{CLIP:g}, {1 - CLIP:g}]. 95 % intervals in brackets; – where undefined."
    )


def _table(
    question: str, keep: int, measured: Measured, compared: Sequence[Compared], ranks: Mapping[str, float]
) -> str:
    differences = {
        row.estimator: row for row in compared if (row.question, row.keep, row.metric) == (question, keep, DECIDES)
    }
    defined = {metric for (metric, _), number in measured.numbers.items() if not np.isnan(number.value)}
    others = [metric for metric in METRICS if metric in defined and metric != DECIDES]
    names = [*ranks, *(name for name in measured.n_hidings if name not in ranks)]
    rows = []
    for name in names:
        number = measured.number(DECIDES, name)
        loss = interval_text(number.value, *number.interval)
        cells = [
            _number(measured.number(metric, name).value, digits=4 if metric in AGAINST_TRUTH else 3)
            for metric in others
        ]
        rows.append([f"`{name}`", loss, _difference(differences.get(name)), *cells])
    return markdown_table(["estimator", DECIDES, "Δ", *others], rows)


def _difference(row: Compared | None) -> str:
    if row is None:
        return ""
    sure = f" {DAGGER}" if row.p_holm < SURE else ""
    return interval_text(row.difference, row.low, row.high, digits=4) + sure


def _number(value: float, *, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value or 0.0:.{digits}f}".replace("-", "−")


def _visible(keep: int) -> str:
    return f"{keep} visible vote{'' if keep == 1 else 's'}"
