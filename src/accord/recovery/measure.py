"""How near estimators come to votes they have not seen: every number with what it is when items are drawn anew.

Votes that are hidden again under another seed are the same votes: the hidings of an item are averaged first, and only
then groups (and annotators, where they are known) are resampled. So more seeds never make n larger.

*Weights.* A hidden vote of item i weighs n_i / h_i, all its votes over its hidden ones: an item counts as many votes
as it has, whatever `keep` is, and numbers for 1, 2, 3 … visible votes are about the same votes.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import entr
from scipy.stats import t

from accord.preference.labelled import LabelledItems
from accord.recovery.coverage import LEVEL, vote_coverage
from accord.recovery.hide import Estimate, Hiding
from accord.recovery.item_values import calibration_error_values, regret_values, spearman_values
from accord.recovery.vote_estimators import CONSTANT
from accord.statistics.proper_scores import ReliabilityCurve, manhattan_distance, reliability_curve
from accord.statistics.resampling import cluster_index, resampled_sums, two_way_resampled_sums

CLIP = 0.001
"""Predictions are kept within [CLIP, 1 - CLIP] for the log-loss: a raw share of one vote is certain."""
PER_VOTE = ("log_loss", "brier", "explained_gap")
PER_ITEM = ("ece", "entropy_error", "manhattan", "spearman", "regret", f"coverage_{LEVEL * 100:.0f}")
AGAINST_TRUTH = ("truth_error", "latent_error")
METRICS = (*PER_VOTE, *PER_ITEM, *AGAINST_TRUTH)
HIGHER_IS_BETTER = ("explained_gap", "spearman")
LEVEL_OF_INTERVALS = 0.95


class Truth(NamedTuple):
    """What a simulation knows of each item: the probability that a vote accepts, slips included, and the share of
    people who would accept it."""

    vote_share: Float[np.ndarray, " N"]
    acceptance: Float[np.ndarray, " N"]


class Number(NamedTuple):
    """A value and what it is in every resample; nan where undefined. `df`: resampled clusters less one."""

    value: float
    resampled: Float[np.ndarray, " R"]
    df: int

    @property
    def interval(self) -> tuple[float, float]:
        defined = self.resampled[~np.isnan(self.resampled)]
        if np.isnan(self.value) or self.df < 1 or len(defined) == 0:
            return np.nan, np.nan
        low, high = np.quantile(defined, [(1 - LEVEL_OF_INTERVALS) / 2, (1 + LEVEL_OF_INTERVALS) / 2])
        return float(low), float(high)


class Measured(NamedTuple):
    """The numbers of one question at one `keep`, by metric and estimator.

    `matched`: those over fewer hidings, as many as some other estimator has.
    `n_items`: targets; `n_hidings`: over how many an estimator's numbers are averages.
    """

    numbers: Mapping[tuple[str, str], Number]
    matched: Mapping[tuple[str, str, int], Number]
    n_hidings: Mapping[str, int]
    n_items: int

    def number(self, metric: str, estimator: str, *, n_hidings: int | None = None) -> Number:
        """Of an estimator, over its first `n_hidings` hidings (default: all it has)."""
        if n_hidings is None or n_hidings == self.n_hidings[estimator]:
            return self.numbers[metric, estimator]
        return self.matched[metric, estimator, n_hidings]


def measure(
    items: LabelledItems,
    hidings: Sequence[Hiding],
    estimates: Mapping[str, Sequence[Estimate]],
    *,
    prompts: Int[np.ndarray, " N"],
    truth: Truth | None = None,
    n_resamples: int,
    seed: int,
) -> Measured:
    """Every metric of every estimator.

    Args:
        hidings: one per seed, of one `keep`.
        estimates: one per hiding, for the first so many hidings; `constant` has all.
        prompts: a number per prompt, negative where there is none: completions of one prompt are compared.
        truth: adds the squared errors of acceptance and latent acceptance.

    An estimator that leaves any target without an answer is undefined (nan).
    """
    units = _units(items)
    lengths = {name: len(found) for name, found in estimates.items()}
    judged = [_judged(items, hiding, units, prompts, truth) for hiding in hidings]
    numbers: dict[tuple[str, str], Number] = {}
    matched: dict[tuple[str, str, int], Number] = {}
    for n_hidings in sorted(set(lengths.values())):
        columns = {name: found[:n_hidings] for name, found in estimates.items() if lengths[name] >= n_hidings}
        block = _block(judged[:n_hidings], columns, units, n_resamples=n_resamples, seed=seed)
        numbers |= {key: number for key, number in block.items() if lengths[key[1]] == n_hidings}
        matched |= {(*key, n_hidings): number for key, number in block.items() if lengths[key[1]] > n_hidings}
    is_target = np.any([hiding.is_target for hiding in hidings], axis=0)
    return Measured(numbers, matched, lengths, int(is_target.sum()))


class Difference(NamedTuple):
    """a - b with its percentile interval and two-sided p; nan where undefined."""

    difference: float
    low: float
    high: float
    p: float


def difference(a: Number, b: Number) -> Difference:
    """The paired difference: both numbers come from the same resamples.

    p = 2 P(T > |d| / s), s the standard deviation of the resampled differences, T Student's with the number of
    clusters less one as degrees of freedom (of groups and annotators the fewer): the number of resamples does not
    bound p, and a handful of annotators cannot make it small.
    """
    both = Number(a.value - b.value, a.resampled - b.resampled, min(a.df, b.df))
    spread = float(np.nanstd(both.resampled)) if not np.isnan(both.value) and both.df >= 1 else np.nan
    if np.isnan(spread):
        return Difference(both.value, np.nan, np.nan, np.nan)
    p = 1.0 if abs(both.value) < 1e-12 else 2 * float(t.sf(abs(both.value) / max(spread, 1e-300), both.df))
    return Difference(both.value, *both.interval, p)


def vote_noise(votes: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, " N"]:
    """n₁n₀ / (n(n - 1)), the unbiased estimate of ρ(1 - ρ): the Brier score of somebody who knows the true share.

    nan where an item has fewer than two votes.
    """
    n = votes.sum(axis=1)
    return np.divide(votes[:, 0] * votes[:, 1], n * (n - 1), out=np.full(len(n), np.nan), where=n >= 2)


def leave_one_out_log_loss(votes: Float[np.ndarray, "N 2"], *, mean: float, strength: float) -> Float[np.ndarray, " N"]:
    """Σ over an item's votes of -log of what its other votes say of it, (k + mμ) / (n - 1 + m); weight n.

    A yardstick of how far votes tell of each other. It is no floor: n - 1 votes do not know the share either.
    """
    n, k = votes.sum(axis=1), votes[:, 1]
    others = np.maximum(n - 1, 0) + strength
    yes, no = np.maximum(k - 1, 0) + strength * mean, np.maximum(n - k - 1, 0) + strength * (1 - mean)
    return -(k * np.log(yes / others) + (n - k) * np.log(no / others))


def reliability(items: LabelledItems, hidings: Sequence[Hiding], estimates: Sequence[Estimate]) -> ReliabilityCurve:
    """Predicted against hidden shares, all hidings together; n is in votes, each item's as many as it has."""
    predicted, accepted, mass = [], [], []
    for hiding, estimate in zip(hidings, estimates, strict=False):
        rows = np.flatnonzero(hiding.is_target)
        weight = items.n_votes[rows] / len(estimates)
        predicted.append(estimate.acceptance[rows])
        accepted.append(weight * hiding.hidden[rows, 1] / hiding.hidden[rows].sum(axis=1))
        mass.append(weight)
    return reliability_curve(np.concatenate(predicted), np.concatenate(accepted), np.concatenate(mass))


# -- steps ------------------------------------------------------------------------------------------------------


class _Units(NamedTuple):
    """What is resampled. Groups [N] of items; a *cell* is a group, or where annotators are known a group and an
    annotator, with `cell_groups` and `cell_annotators` (None where unknown)."""

    groups: Int[np.ndarray, " N"]
    n_groups: int
    keys: Int[np.ndarray, " U"]
    n_annotators: int
    cell_groups: Int[np.ndarray, " U"]
    cell_annotators: Int[np.ndarray, " U"] | None


class _Judged(NamedTuple):
    """One hiding as its estimates are judged. Entries are single hidden votes with their item, label, mass and cell;
    where annotators are unknown, an item's votes for one label are one entry."""

    rows: Int[np.ndarray, " T"]
    shares: Float[np.ndarray, " T"]
    n_hidden: Float[np.ndarray, " T"]
    n_votes: Float[np.ndarray, " T"]
    groups: Int[np.ndarray, " T"]
    prompts: Int[np.ndarray, " T"]
    entry_item: Int[np.ndarray, " E"]
    entry_label: Bool[np.ndarray, " E"]
    entry_mass: Float[np.ndarray, " E"]
    entry_cell: Int[np.ndarray, " E"]
    noise: Float[np.ndarray, " N"]
    truth: Truth | None


def _units(items: LabelledItems) -> _Units:
    groups, n_groups = cluster_index(items.clusters)
    if items.annotations is None:
        return _Units(groups, n_groups, np.arange(n_groups), 0, np.arange(n_groups), None)
    annotators = items.annotations.annotator_index
    n_annotators = int(annotators.max(initial=0)) + 1
    keys = np.unique(groups[items.annotations.item_index] * n_annotators + annotators)
    return _Units(groups, n_groups, keys, n_annotators, keys // n_annotators, keys % n_annotators)


def _judged(
    items: LabelledItems, hiding: Hiding, units: _Units, prompts: Int[np.ndarray, " N"], truth: Truth | None
) -> _Judged:
    rows = np.flatnonzero(hiding.is_target)
    n_hidden = hiding.hidden.sum(axis=1)
    mass = np.divide(items.n_votes, n_hidden, out=np.zeros(len(n_hidden)), where=n_hidden > 0)
    if hiding.hidden_annotations is None:
        entry_item = np.repeat(rows, 2)
        entry_label = np.tile([False, True], len(rows))
        entry_mass = mass[entry_item] * hiding.hidden[rows].ravel()
        entry_cell = units.groups[entry_item]
    else:
        entry_item, annotators, entry_label = hiding.hidden_annotations
        entry_mass = mass[entry_item]
        entry_cell = np.searchsorted(units.keys, units.groups[entry_item] * units.n_annotators + annotators)
    return _Judged(
        rows,
        hiding.hidden[rows, 1] / n_hidden[rows],
        n_hidden[rows],
        items.n_votes[rows],
        units.groups[rows],
        prompts[rows],
        entry_item,
        entry_label,
        entry_mass,
        entry_cell,
        vote_noise(items.votes),
        truth,
    )


def _block(
    judged: Sequence[_Judged],
    estimates: Mapping[str, Sequence[Estimate]],
    units: _Units,
    *,
    n_resamples: int,
    seed: int,
) -> dict[tuple[str, str], Number]:
    """The numbers of estimators that saw the same hidings, from the same resamples."""
    names = list(estimates)
    cells = _mean_over_hidings(
        [_cell_sums(one, [estimates[n][k] for n in names], units) for k, one in enumerate(judged)]
    )
    groups = _mean_over_hidings(
        [_group_sums(one, [estimates[n][k] for n in names], units) for k, one in enumerate(judged)]
    )
    rng = np.random.default_rng(seed)
    used = cells[:, -2] > 0
    cells, cell_groups = cells[used], units.cell_groups[used]
    n_clusters = len(np.unique(cell_groups))
    if units.cell_annotators is None:
        drawn = resampled_sums(cells, clusters=cell_groups, n_resamples=n_resamples, rng=rng)
    else:
        annotators = units.cell_annotators[used]
        drawn = two_way_resampled_sums(
            cells, groups=cell_groups, annotators=annotators, n_resamples=n_resamples, rng=rng
        )
        n_clusters = min(n_clusters, len(np.unique(annotators)))
    drawn_groups = resampled_sums(groups[np.unique(cell_groups)], n_resamples=n_resamples, rng=rng)
    per_vote = _per_vote(np.vstack([cells.sum(axis=0), drawn]), names)
    per_item = _per_item(np.vstack([groups.sum(axis=0), drawn_groups]), names, _metrics_per_item(judged[0]))
    n_groups = len(np.unique(cell_groups))
    found = {key: Number(float(values[0]), values[1:], n_clusters - 1) for key, values in per_vote.items()}
    return found | {key: Number(float(values[0]), values[1:], n_groups - 1) for key, values in per_item.items()}


def _mean_over_hidings(sums: Sequence[np.ndarray]) -> np.ndarray:
    mean: np.ndarray = np.sum(sums, axis=0) / len(sums)
    return mean


def _cell_sums(one: _Judged, estimates: Sequence[Estimate], units: _Units) -> Float[np.ndarray, "U S"]:
    """Per cell: Σ log-loss of each estimator, Σ Brier of each, Σ mass, Σ noise."""
    answers = [estimate.acceptance[one.entry_item] for estimate in estimates]
    clipped = [np.clip(q, CLIP, 1 - CLIP) for q in answers]
    columns = [-one.entry_mass * np.log(np.where(one.entry_label, q, 1 - q)) for q in clipped]
    columns += [one.entry_mass * (one.entry_label - q) ** 2 for q in answers]
    columns += [one.entry_mass, one.entry_mass * one.noise[one.entry_item]]
    n_cells = len(units.keys)
    return np.stack([np.bincount(one.entry_cell, weights=column, minlength=n_cells) for column in columns], axis=1)


def _group_sums(one: _Judged, estimates: Sequence[Estimate], units: _Units) -> Float[np.ndarray, "G S"]:
    """Per group, for each estimator and each of `_metrics_per_item`: Σ values and Σ weights."""
    columns = [column for estimate in estimates for pair in _item_values(one, estimate) for column in pair]
    return np.stack([np.bincount(one.groups, weights=column, minlength=units.n_groups) for column in columns], axis=1)


def _item_values(one: _Judged, estimate: Estimate) -> list[tuple[np.ndarray, np.ndarray]]:
    """(values, weights) per target, in the order of `_metrics_per_item`."""
    q, ones = estimate.acceptance[one.rows], np.ones(len(one.rows))
    if np.isnan(q).any():
        return [(np.full(len(q), np.nan), ones)] * len(_metrics_per_item(one))
    pairs = np.stack([1 - q, q], axis=1), np.stack([1 - one.shares, one.shares], axis=1)
    entropies = [entr(pair).sum(axis=1) for pair in pairs]
    return [
        (calibration_error_values(q, one.shares, one.n_votes), one.n_votes),
        (np.abs(entropies[0] - entropies[1]), ones),
        (manhattan_distance(*pairs), ones),
        (spearman_values(q, one.shares), ones),
        regret_values(q, one.shares, one.prompts),
        (_covered(one, estimate), ones),
        *((values, ones) for values in _truth_errors(one, estimate)),
    ]


def _metrics_per_item(one: _Judged) -> tuple[str, ...]:
    return PER_ITEM if one.truth is None else (*PER_ITEM, *AGAINST_TRUTH)


def _truth_errors(one: _Judged, estimate: Estimate) -> list[Float[np.ndarray, " T"]]:
    """Squared errors in the order of AGAINST_TRUTH; none without a truth."""
    if one.truth is None:
        return []
    latent = estimate.acceptance if estimate.latent is None else estimate.latent
    pairs = ((estimate.acceptance, one.truth.vote_share), (latent, one.truth.acceptance))
    return [(found[one.rows] - true[one.rows]) ** 2 for found, true in pairs]


def _covered(one: _Judged, estimate: Estimate) -> Float[np.ndarray, " T"]:
    """How far the hidden votes lie within the central predictive interval; nan for a number without distribution."""
    if estimate.weight is None:
        return np.full(len(one.rows), np.nan)
    q, weight = np.clip(estimate.acceptance[one.rows], 1e-6, 1 - 1e-6), estimate.weight[one.rows]
    n_acceptable = np.rint(one.shares * one.n_hidden)
    return vote_coverage(weight * q, weight * (1 - q), n_acceptable, one.n_hidden).randomised


def _per_vote(sums: Float[np.ndarray, "R S"], names: Sequence[str]) -> dict[tuple[str, str], np.ndarray]:
    """The metrics of PER_VOTE. The gap explained: (Brier of the constant - Brier) / (Brier of the constant - noise)."""
    mass, noise = sums[:, -2], sums[:, -1]
    losses, briers = sums[:, : len(names)], sums[:, len(names) : -2]
    gap = briers[:, names.index(CONSTANT)] - noise
    found = {}
    for column, name in enumerate(names):
        explained = briers[:, names.index(CONSTANT)] - briers[:, column]
        found["log_loss", name] = _ratio(losses[:, column], mass)
        found["brier", name] = _ratio(briers[:, column], mass)
        found["explained_gap", name] = np.where(gap > 1e-9 * mass, _ratio(explained, gap), np.nan)
    return found


def _per_item(
    sums: Float[np.ndarray, "R S"], names: Sequence[str], metrics: Sequence[str]
) -> dict[tuple[str, str], np.ndarray]:
    pairs = sums.reshape(len(sums), len(names), len(metrics), 2)
    return {
        (metric, name): _ratio(pairs[:, column, number, 0], pairs[:, column, number, 1])
        for column, name in enumerate(names)
        for number, metric in enumerate(metrics)
    }


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator != 0)
    return found
