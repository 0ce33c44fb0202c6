"""What `accord recover` says of the panel itself: how many annotators are enough, and who is left out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from accord.artifacts import Stage
from accord.data.traits import Traits
from accord.json_files import replacing
from accord.randomness import keyed_rng
from accord.recovery.budget import (
    AnnotationBudget,
    BudgetCheck,
    annotation_budget,
    bootstrap_populations,
    budget_lines,
    check_against_hidden,
    fit_population,
)
from accord.recovery.hide import Hiding
from accord.recovery.judged_items import JudgedItems
from accord.recovery.left_out import ContestedItem, LeftOut, left_out, left_out_lines
from accord.recovery.recovered_tables import csv_text, interval_text
from accord.recovery.simulation_tables import markdown_table
from accord.statistics.resampling import Interval

N_RESAMPLES = 100
"""Of the fitted population; each is a fit of its own."""
N_CONTESTED = 5
"""Items that recover.md shows; left_out.csv has more."""
WITHOUT_TEXT = "votes alone"


class PanelStudy(NamedTuple):
    """`budgets`: what is known of an item without its votes -> the answer. `left_out` is None without traits."""

    budgets: dict[str, AnnotationBudget]
    checks: list[BudgetCheck]
    left_out: LeftOut | None


def study_panel(
    judged: JudgedItems,
    *,
    is_target: Bool[np.ndarray, " N"],
    measured: Sequence[tuple[int, Interval]],
    hiding: Hiding,
    estimates: Mapping[str, Float[np.ndarray, " N"]],
    text: str | None,
    traits: Traits,
    budget: int | None,
    target: float,
    n_resamples: int,
    seed: int,
) -> PanelStudy:
    """Everything about the panel.

    Args:
        is_target: items that were judged. measured: their Brier score under `beta_prior`, by visible votes per item.
        hiding, estimates: one hiding, and what every estimator said under it: who is left out is asked of its hidden
            votes. text: the estimator whose predictions know no vote of the item, if any.
        traits: annotator -> trait -> value; empty: who is left out is not asked.
        budget: votes to spend; None: as many as there are.
        target: what votes should explain of the variance of the shares.
    """
    items = judged.labelled
    known: dict[str, np.ndarray | None] = {WITHOUT_TEXT: None}
    if text is not None and not np.isnan(estimates[text]).any():
        known[f"text model `{text}`"] = estimates[text]
    budgets = {
        name: annotation_budget(
            items.n_acceptable,
            items.n_votes,
            acceptance=q,
            clusters=items.clusters,
            budget=budget,
            target=target,
            n_resamples=N_RESAMPLES,
            rng=keyed_rng(seed, "budget", name),
        )
        for name, q in known.items()
    }
    people = None
    if items.annotations is not None and judged.has_people and traits:
        people = left_out(
            estimates,
            items.annotations,
            annotators=judged.annotators,
            traits=traits,
            ids=items.ids,
            clusters=items.clusters,
            judged_on=hiding.hidden_annotations,
            n_resamples=n_resamples,
            rng=keyed_rng(seed, "left out"),
        )
    return PanelStudy(budgets, _checks(judged, is_target, measured, seed), people)


def panel_parts(study: PanelStudy, *, estimator: str) -> list[str]:
    """The sections for recover.md; `estimator` is held against the smallest groups."""
    parts = ["## How many annotators"]
    for name, found in study.budgets.items():
        parts += [f"Knowing {name}:", _bullets(budget_lines(found)), _curve(found)]
    if study.checks:
        parts += [
            "The Brier score that this model expects of `beta_prior`, and the one measured on hidden votes:",
            markdown_table(
                ["visible votes", "expected", "measured"],
                [[str(check.n_votes), _text(check.expected), _text(check.measured)] for check in study.checks],
            ),
        ]
    if study.left_out is not None:
        parts += ["## Who is left out", _bullets(left_out_lines(study.left_out, estimator=estimator))]
        parts += [_groups(study.left_out), *_contested(study.left_out.contested[:N_CONTESTED])]
    return parts


def panel_lines(study: PanelStudy, *, estimator: str) -> list[str]:
    """The short answer: how many annotators (knowing votes alone), and who is left out."""
    people = [] if study.left_out is None else left_out_lines(study.left_out, estimator=estimator)
    return [*budget_lines(study.budgets[WITHOUT_TEXT]), *people]


def write_panel(stage: Stage, study: PanelStudy) -> None:
    """budget.csv, and with traits left_out.csv: every number of the study, one a row."""
    _write_csv(stage, "budget.csv", list(_budget_rows(study)))
    if study.left_out is not None:
        _write_csv(stage, "left_out.csv", list(_left_out_rows(study.left_out)))


# -- steps ------------------------------------------------------------------------------------------------------


def _checks(
    judged: JudgedItems, is_target: Bool[np.ndarray, " N"], measured: Sequence[tuple[int, Interval]], seed: int
) -> list[BudgetCheck]:
    defined = [(keep, brier) for keep, brier in measured if not np.isnan(brier.value)]
    if not defined:
        return []
    items = judged.labelled
    n_acceptable, n_votes = items.n_acceptable[is_target], items.n_votes[is_target]
    resampled = bootstrap_populations(
        n_acceptable,
        n_votes,
        clusters=items.clusters[is_target],
        n_resamples=N_RESAMPLES,
        rng=keyed_rng(seed, "budget", "check"),
    )
    return check_against_hidden(fit_population(n_acceptable, n_votes), resampled, defined)


def _curve(found: AnnotationBudget) -> str:
    rows = [
        [
            str(point.n_votes),
            f"{point.n_items:,}",
            _text(point.error, digits=4),
            _text(point.explained),
            _text(point.rank_accuracy),
            _text(point.error_of_all, digits=4),
        ]
        for point in found.curve
    ]
    header = ["votes per item", "items", "squared error", "explained", "right order", "error over all items"]
    return markdown_table(header, rows)


def _groups(found: LeftOut) -> str:
    rows = [
        [
            group.trait,
            group.value + (" (smallest)" if group.is_smallest else ""),
            str(group.n_annotators),
            f"{group.n_votes:,}",
            _text(group.acceptance),
        ]
        for group in found.groups
    ]
    return markdown_table(["trait", "value", "annotators", "votes", "acceptance"], rows)


def _contested(items: Sequence[ContestedItem]) -> list[str]:
    if not items:
        return []
    rows = [
        [
            item.id,
            item.trait,
            f"{item.majority} {item.majority_share:.2f} ({item.majority_votes[0]} of {item.majority_votes[1]})",
            f"{item.minority} {item.minority_share:.2f} ({item.minority_votes[0]} of {item.minority_votes[1]})",
        ]
        for item in items
    ]
    return [
        "Items on which the largest and the smallest group differ most:",
        markdown_table(["item", "trait", "largest group", "smallest group"], rows),
    ]


def _budget_rows(study: PanelStudy) -> Iterator[dict[str, Any]]:
    for name, found in study.budgets.items():
        for point in found.curve:
            for field, value in point._asdict().items():
                if field not in ("n_votes", "n_items"):
                    place = {"known": name, "n_votes": point.n_votes, "n_items": point.n_items, "number": field}
                    yield {**place, **_cells(value)}
        advice = found.recommendation._asdict()
        for field in ("n_votes", "n_items", "even_explained"):
            yield {"known": name, "number": f"recommended {field}", **_cells(advice[field])}
        yield {"known": name, "number": "strength", **_cells(found.strength)}
    for check in study.checks:
        for field in ("expected", "measured"):
            number = f"brier {field}"
            yield {"known": WITHOUT_TEXT, "n_votes": check.n_votes, "number": number, **_cells(getattr(check, field))}


def _left_out_rows(found: LeftOut) -> Iterator[dict[str, Any]]:
    for group in found.groups:
        place = {"trait": group.trait, "group": group.value, "n_annotators": group.n_annotators}
        yield {**place, "number": "acceptance", "n": group.n_votes, **_cells(group.acceptance)}
    for gap in found.gaps:
        place = {"trait": gap.trait, "group": gap.first, "other": gap.second}
        yield {**place, "number": "gap", "n": gap.n_items, **_cells(gap.difference)}
    for error in found.errors:
        place = {"trait": error.trait, "group": error.value, "other": error.estimator, "n": error.n_votes}
        for field in ("bias", "brier"):
            yield {**place, "number": field, **_cells(getattr(error, field))}
    for item in found.contested:
        place = {"trait": item.trait, "group": item.majority, "other": item.minority}
        yield {**place, "number": f"difference on {item.id}", "n": 1, **_cells(item.difference)}


def _cells(value: Interval | float) -> dict[str, float]:
    return value._asdict() if isinstance(value, Interval) else {"value": value}


def _write_csv(stage: Stage, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = csv_text(columns, [[row.get(column, "") for column in columns] for row in rows])
    with replacing(stage.path(name)) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _text(interval: Interval, *, digits: int = 3) -> str:
    return interval_text(*interval, digits=digits)
