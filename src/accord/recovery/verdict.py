"""Which estimator to use, and when the difference is noise: the rule of docs/recovery.md, in numbers and in words."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from scipy.stats import rankdata

from accord.recovery.measure import HIGHER_IS_BETTER, Difference, Measured, difference
from accord.recovery.vote_estimators import CONSTANT, VOTE_ESTIMATORS
from accord.statistics.significance import holm

RANKED = ("log_loss", "brier", "spearman")
DECIDES = "log_loss"
SURE = 0.05
LEAST_GROUPS = 10
QUESTIONS = {"annotated": "Annotated items", "unseen": "Unseen text"}


class Compared(msgspec.Struct, frozen=True):
    """A paired difference `estimator` - `baseline` of one metric, p corrected over its table (question and metric)."""

    question: str
    keep: int
    metric: str
    estimator: str
    baseline: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    n_hidings: int


class Verdict(msgspec.Struct, frozen=True):
    """The answer to one question. `candidate` has the lowest mean rank, `use` is what the rule settles on.

    `claims`: the smaller claim at every `keep` (`Compared` with its own Holm correction). `words`: all of it as
    sentences.
    """

    question: str
    baseline: str
    candidate: str
    use: str
    is_beaten: bool
    mean_ranks: dict[str, float]
    claims: list[Compared]
    words: list[str]


def compare(question: str, by_keep: Mapping[int, Measured], *, baseline: str) -> list[Compared]:
    """Every estimator against the baseline in the metrics of the rule, Holm-corrected per metric."""
    rows = []
    for metric in RANKED:
        pairs = [
            (keep, name, baseline)
            for keep, measured in by_keep.items()
            for name in measured.n_hidings
            if name != baseline
        ]
        rows += _corrected(question, by_keep, metric, pairs)
    return rows


def decide(
    question: str, by_keep: Mapping[int, Measured], compared: Sequence[Compared], *, baseline: str, n_groups: int
) -> Verdict:
    """Apply the rule.

    Args:
        compared: of `compare`, for this question and baseline.
        n_groups: groups that were resampled; with fewer than LEAST_GROUPS nothing is claimed.
    """
    ranks = mean_ranks(by_keep, baseline=baseline)
    candidate = min(ranks, key=lambda name: (ranks[name], name != baseline, name))
    tests = [row for row in compared if row.metric == DECIDES and row.estimator == candidate]
    is_beaten = n_groups >= LEAST_GROUPS and _is_beaten(tests)
    use = candidate if is_beaten or not _has_answers(by_keep, baseline) else baseline
    claims = _claims(question, by_keep, subject=use)
    found = Verdict(question, baseline, candidate, use, is_beaten, ranks, claims, words=[])
    words = [_choice_words(found, tests, n_groups), *_claim_words(found, n_groups)]
    if n_groups >= LEAST_GROUPS:
        words += _gap_words(found, by_keep)
    return msgspec.structs.replace(found, words=words)


def mean_ranks(by_keep: Mapping[int, Measured], *, baseline: str) -> dict[str, float]:
    """Mean rank of every estimator but `constant` over the cells metric × keep, lowest first; 1 is best.

    Cells without the baseline are left out, unless all are. Ties share their mean rank; undefined comes last.
    """
    names = [name for name in next(iter(by_keep.values())).n_hidings if name != CONSTANT]
    cells = [(measured, metric) for measured in by_keep.values() for metric in RANKED]
    defined = [cell for cell in cells if not np.isnan(_value(*cell, baseline))]
    ranks = [_ranks(np.array([_value(*cell, name) for name in names]), cell[1]) for cell in defined or cells]
    means = np.mean(ranks, axis=0)
    return {names[position]: float(means[position]) for position in np.argsort(means, kind="stable")}


# -- steps ------------------------------------------------------------------------------------------------------


def _value(measured: Measured, metric: str, name: str) -> float:
    return measured.number(metric, name).value


def _ranks(values: np.ndarray, metric: str) -> np.ndarray:
    badness = -values if metric in HIGHER_IS_BETTER else values
    ranks: np.ndarray = rankdata(np.where(np.isnan(badness), np.inf, np.round(badness, 12)))
    return ranks


def _has_answers(by_keep: Mapping[int, Measured], name: str) -> bool:
    return any(not np.isnan(_value(measured, DECIDES, name)) for measured in by_keep.values())


def _is_beaten(tests: Sequence[Compared]) -> bool:
    """Lower at every keep where both are defined, and at one of them surely."""
    defined = [row for row in tests if not np.isnan(row.difference)]
    return all(row.difference < 0 for row in defined) and any(row.p_holm < SURE for row in defined)


def _corrected(
    question: str, by_keep: Mapping[int, Measured], metric: str, pairs: Sequence[tuple[int, str, str]]
) -> list[Compared]:
    """The differences of one table, under the hidings that both have."""
    found: list[tuple[Difference, int]] = []
    for keep, name, other in pairs:
        measured = by_keep[keep]
        n_hidings = min(measured.n_hidings[name], measured.n_hidings[other])
        numbers = [measured.number(metric, who, n_hidings=n_hidings) for who in (name, other)]
        found.append((difference(*numbers), n_hidings))
    adjusted = holm(np.array([row.p for row, _ in found]))
    return [
        Compared(question, keep, metric, name, other, *row, p_holm=float(p_holm), n_hidings=n_hidings)
        for (keep, name, other), (row, n_hidings), p_holm in zip(pairs, found, adjusted, strict=True)
    ]


def _claims(question: str, by_keep: Mapping[int, Measured], *, subject: str) -> list[Compared]:
    """The smaller claim: `subject` against the best estimator without text, or against `constant`, at every keep."""
    pairs = []
    for keep, measured in by_keep.items():
        if np.isnan(_value(measured, DECIDES, subject)):
            continue
        plain = [name for name in measured.n_hidings if name in VOTE_ESTIMATORS]
        if question == "annotated":
            values = {name: _value(measured, DECIDES, name) for name in plain if name != subject}
            defined = {name: value for name, value in values.items() if not np.isnan(value)}
            pairs += [(keep, subject, min(defined, key=defined.__getitem__))] if defined else []
        elif subject != CONSTANT:
            pairs.append((keep, subject, CONSTANT))
    return _corrected(question, by_keep, DECIDES, pairs)


def _choice_words(verdict: Verdict, tests: Sequence[Compared], n_groups: int) -> str:
    use, candidate, baseline, ranks = verdict.use, verdict.candidate, verdict.baseline, verdict.mean_ranks
    head = f"{QUESTIONS[verdict.question]}: use {use}."
    if candidate == baseline:
        return f"{head} It has the lowest mean rank ({ranks[use]:.1f} among {len(ranks)} estimators)."
    lowest = f"the lowest mean rank ({ranks[candidate]:.1f}; {baseline} {ranks[baseline]:.1f})"
    differences = _listed(tests)
    if verdict.is_beaten:
        return f"{head} It has {lowest} and a lower log-loss: {differences}."
    if use == candidate:
        return f"{head} It has {lowest}; {baseline} has no answer here."
    if n_groups < LEAST_GROUPS:
        why = f"with {n_groups} groups no difference can be claimed (at least {LEAST_GROUPS} are needed)"
    else:
        why = "its log-loss is not surely lower, so the difference counts as noise"
    return f"{head} {candidate} has {lowest}, but {why}: {differences}."


def _claim_words(verdict: Verdict, n_groups: int) -> list[str]:
    """What is sure of the chosen estimator even where nothing is sure about the best one."""
    if not verdict.claims:
        return []
    yardstick = "the best estimator without text" if verdict.question == "annotated" else "always predicting the mean"
    if verdict.question == "annotated" and verdict.use in VOTE_ESTIMATORS:
        yardstick = "the next best estimator without text"
    sure = [row for row in verdict.claims if row.p_holm < SURE]
    if n_groups < LEAST_GROUPS:
        judged = f"nothing can be claimed from {n_groups} groups"
    elif not sure:
        judged = "no difference is sure"
    else:
        judged = "it is " + ", ".join(
            f"surely {'better' if row.difference < 0 else 'worse'} at {_votes(row.keep)}" for row in sure
        )
    head = f"{QUESTIONS[verdict.question]}: {verdict.use} against {yardstick}"
    return [f"{head}: {judged}. Log-loss {_listed(verdict.claims, names=True)}."]


def _gap_words(verdict: Verdict, by_keep: Mapping[int, Measured]) -> list[str]:
    keep = max(by_keep)
    gap = by_keep[keep].number("explained_gap", verdict.use)
    if np.isnan(gap.value):
        return []
    value, low, high = (f"{share:.0%}".replace("-", "−") for share in (gap.value, *gap.interval))
    return [
        f"{QUESTIONS[verdict.question]}: {verdict.use} explains {value} [{low}, {high}] of what knowing every share "
        f"would explain (Brier score, {_votes(keep)})."
    ]


def _listed(rows: Sequence[Compared], *, names: bool = False) -> str:
    return "; ".join(difference_words(row) + (f" from {row.baseline}" if names else "") for row in rows)


def difference_words(row: Compared) -> str:
    """`−0.0012 [−0.0031, 0.0007] at 2 visible votes (p after Holm 0.21)`."""
    if np.isnan(row.difference):
        return f"undefined at {_votes(row.keep)}"
    value = f"{row.difference:+.4f} [{row.low:+.4f}, {row.high:+.4f}]".replace("-", "−")
    p = f"{row.p_holm:.1e}" if row.p_holm < 0.0005 else f"{row.p_holm:.3f}"
    return f"{value} at {_votes(row.keep)} (p after Holm {p})"


def _votes(keep: int) -> str:
    return f"{keep} visible vote{'' if keep == 1 else 's'}"
