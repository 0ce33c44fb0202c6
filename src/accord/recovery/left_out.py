"""Who is left out: whether groups of annotators accept different things, and which of them an estimate speaks for.

A *group* is everybody with one value of a trait (age, country). Two groups that judged different items cannot be told
apart by their acceptance, so gaps are taken within items that both have judged. Every interval resamples items (by
cluster) and annotators; a group of one person stays that person, and what is said of it is said of them.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from accord.preference.labelled import Annotations
from accord.recovery.vote_estimators import fit_beta_prior
from accord.statistics.resampling import Interval, bootstrap_interval, ratio, two_way_bootstrap_interval
from accord.statistics.significance import enough_resamples


class GroupAcceptance(NamedTuple):
    """One value of a trait: how many people, items and votes it has, and the share of its votes that accept.

    `is_smallest`: of its trait, by people, then by votes.
    """

    trait: str
    value: str
    n_annotators: int
    n_items: int
    n_votes: int
    acceptance: Interval
    is_smallest: bool
    is_largest: bool


class Gap(NamedTuple):
    """`first` accepts by so much more than `second`, on the items that both judged, every item counting once.

    The interval holds for all gaps of the table at once (Bonferroni), so it may be read for the largest too.
    """

    trait: str
    first: str
    second: str
    n_items: int
    difference: Interval


class GroupError(NamedTuple):
    """What an estimator says of the items that a group judged, against that group's own votes.

    `bias`: mean of estimate − vote, above 0 where the estimate promises more acceptance than the group gives. `brier`:
    mean of (vote − estimate)².
    """

    trait: str
    value: str
    estimator: str
    n_votes: int
    bias: Interval
    brier: Interval


class ContestedItem(NamedTuple):
    """An item on which the largest and the smallest group of a trait are far apart.

    Shares are (n_acc + m μ) / (n + m) with one prior for both groups, fitted to all votes: a single vote moves them
    only as far as a single vote should.
    """

    id: str
    trait: str
    majority: str
    minority: str
    majority_share: float
    minority_share: float
    majority_votes: tuple[int, int]
    minority_votes: tuple[int, int]

    @property
    def difference(self) -> float:
        return self.majority_share - self.minority_share


class LeftOut(NamedTuple):
    """The tables, and what they leave out: votes of people without traits, groups that are too small (TRAIT=VALUE)."""

    groups: list[GroupAcceptance]
    gaps: list[Gap]
    errors: list[GroupError]
    contested: list[ContestedItem]
    n_votes_without_traits: int
    too_small: list[str]

    @property
    def largest_gap(self) -> Gap | None:
        """None where no two groups judged the same items."""
        defined = [gap for gap in self.gaps if not np.isnan(gap.difference.value)]
        return max(defined, key=lambda gap: abs(gap.difference.value), default=None)


def left_out(
    estimates: Mapping[str, Float[np.ndarray, " N"]],
    annotations: Annotations,
    *,
    annotators: Sequence[str],
    traits: Mapping[str, Mapping[str, str]],
    ids: Sequence[str],
    clusters: Shaped[np.ndarray, " N"],
    judged_on: Annotations | None = None,
    min_annotators: int = 2,
    n_contested: int = 10,
    n_resamples: int = 1000,
    level: float = 0.95,
    rng: np.random.Generator,
) -> LeftOut:
    """Acceptance by group, the gaps between groups, what each estimator gets wrong for each, and contested items.

    Args:
        estimates: estimator -> acceptance of each item; nan where it has none.
        annotations: all votes: what groups are told apart by.
        annotators: names by annotator number. traits: annotator -> trait -> value, see `accord.data.traits`.
        ids, clusters: of the items.
        judged_on: the votes that estimates are held against: hidden ones, where they have seen others. None: all.
        min_annotators: groups of fewer people are named in `too_small` and left out. 1 with the traits
            {name: {"annotator": name}} compares single people.
    """
    groups, too_small = _groups(annotations, annotators, traits, min_annotators)
    data = _Data(annotations, clusters, n_resamples, level, rng)
    held_back = data if judged_on is None else data._replace(annotations=judged_on)
    by_trait: dict[str, list[_Group]] = {}
    for group in groups:
        by_trait.setdefault(group.trait, []).append(group)
    known = np.array([bool(traits.get(name)) for name in annotators], dtype=bool)
    return LeftOut(
        [_acceptance(group, of_trait, data) for of_trait in by_trait.values() for group in of_trait],
        _gaps(by_trait, data),
        [_error(_among(group, held_back), name, q, held_back) for group in groups for name, q in estimates.items()],
        _contested(by_trait, data, ids, n_contested),
        int((~known[annotations.annotator_index]).sum()),
        too_small,
    )


def left_out_lines(found: LeftOut, *, estimator: str | None = None) -> list[str]:
    """The answer in words.

    Args:
        estimator: whose error for the smallest groups is told; None: nobody's.
    """
    if not found.groups:
        return ["Who is left out: undefined, because no trait of the annotators has a group of enough people."]
    lines = []
    gap = found.largest_gap
    if gap is not None:
        clear = gap.difference.low > 0 or gap.difference.high < 0
        verdict = "" if clear else ", which may be chance"
        lines.append(
            f"Largest gap: {gap.trait} {gap.first} accepts {_signed(gap.difference)} against {gap.second}, on "
            f"{gap.n_items:,} items that both judged{verdict} ({len(found.gaps)} gaps looked at)."
        )
    smallest = {(group.trait, group.value): group for group in found.groups if group.is_smallest}
    for error in found.errors:
        if error.estimator == estimator and (error.trait, error.value) in smallest:
            group = smallest[error.trait, error.value]
            lines.append(
                f"Smallest group of {error.trait}: {error.value} ({group.n_annotators} people). {estimator} is "
                f"{_signed(error.bias)} above its acceptance."
            )
    return lines


# -- steps ------------------------------------------------------------------------------------------------------


class _Group(NamedTuple):
    """`members` by annotator number; `is_vote`: which votes are theirs."""

    trait: str
    value: str
    members: list[int]
    is_vote: Bool[np.ndarray, " V"]

    @property
    def n_annotators(self) -> int:
        return len(self.members)


class _Data(NamedTuple):
    annotations: Annotations
    clusters: Shaped[np.ndarray, " N"]
    n_resamples: int
    level: float
    rng: np.random.Generator

    @property
    def vote_clusters(self) -> Shaped[np.ndarray, " V"]:
        return self.clusters[self.annotations.item_index]


def _groups(
    annotations: Annotations,
    annotators: Sequence[str],
    traits: Mapping[str, Mapping[str, str]],
    min_annotators: int,
) -> tuple[list[_Group], list[str]]:
    """The groups of people who voted, by trait and value; those of too few people by name."""
    voted = set(np.unique(annotations.annotator_index).tolist())
    members: dict[tuple[str, str], list[int]] = {}
    for number in sorted(voted):
        for trait, value in traits.get(annotators[number], {}).items():
            members.setdefault((trait, value), []).append(number)
    groups, too_small = [], []
    for (trait, value), numbers in sorted(members.items()):
        if len(numbers) < min_annotators:
            too_small.append(f"{trait}={value}")
        else:
            groups.append(_Group(trait, value, numbers, np.isin(annotations.annotator_index, numbers)))
    return groups, too_small


def _among(group: _Group, data: _Data) -> _Group:
    """The same people among other votes."""
    voted = np.unique(data.annotations.annotator_index)
    members = [number for number in group.members if number in voted]
    return group._replace(members=members, is_vote=np.isin(data.annotations.annotator_index, members))


def _size(group: _Group) -> tuple[int, int]:
    return group.n_annotators, int(group.is_vote.sum())


def _smallest(of_trait: Sequence[_Group]) -> _Group:
    return min(of_trait, key=_size)


def _largest(of_trait: Sequence[_Group]) -> _Group:
    return max(reversed(of_trait), key=_size)


def _acceptance(group: _Group, of_trait: Sequence[_Group], data: _Data) -> GroupAcceptance:
    interval = _mean_over_votes(data.annotations.is_acceptable.astype(np.float64), group, data)
    n_items = len(np.unique(data.annotations.item_index[group.is_vote]))
    several = len(of_trait) > 1
    return GroupAcceptance(
        group.trait,
        group.value,
        group.n_annotators,
        n_items,
        int(group.is_vote.sum()),
        interval,
        is_smallest=several and group is _smallest(of_trait),
        is_largest=several and group is _largest(of_trait),
    )


def _mean_over_votes(per_vote: Float[np.ndarray, " V"], group: _Group, data: _Data) -> Interval:
    """The mean over a group's votes, with an interval over items and people; of one person over items alone."""
    mine = group.is_vote
    rng = data.rng.spawn(1)[0]
    if group.n_annotators == 1:
        return bootstrap_interval(
            per_vote[mine],
            clusters=data.vote_clusters[mine],
            n_resamples=data.n_resamples,
            level=data.level,
            rng=rng,
        )
    return two_way_bootstrap_interval(
        per_vote[mine],
        groups=data.vote_clusters[mine],
        annotators=data.annotations.annotator_index[mine],
        n_resamples=data.n_resamples,
        level=data.level,
        rng=rng,
    )


def _gaps(by_trait: Mapping[str, Sequence[_Group]], data: _Data) -> list[Gap]:
    """Every two groups of a trait, on the items they share; intervals at once for all that are defined."""
    pairs = [pair for of_trait in by_trait.values() for pair in combinations(of_trait, 2)]
    shared = [_shared_items(*pair, data) for pair in pairs]
    n_tests = max(1, sum(len(items) > 0 for items in shared))
    n_resamples = enough_resamples(data.n_resamples, n_tests=n_tests, alpha=1 - data.level)
    strict = data._replace(n_resamples=n_resamples, level=1 - (1 - data.level) / n_tests)
    return [
        Gap(first.trait, first.value, second.value, len(items), _difference(first, second, items, strict))
        for (first, second), items in zip(pairs, shared, strict=True)
    ]


def _shared_items(first: _Group, second: _Group, data: _Data) -> Int[np.ndarray, " n"]:
    item_index = data.annotations.item_index
    return np.intersect1d(item_index[first.is_vote], item_index[second.is_vote])


def _difference(first: _Group, second: _Group, items: Int[np.ndarray, " n"], data: _Data) -> Interval:
    """Mean over shared items of the difference between the two groups' shares."""
    if len(items) == 0:
        return Interval(np.nan, np.nan, np.nan)
    annotations = data.annotations
    is_shared = np.isin(annotations.item_index, items)
    rows = np.flatnonzero(is_shared & (first.is_vote | second.is_vote))
    columns = []
    for group in (first, second):
        mine = group.is_vote[rows]
        per_item = np.bincount(annotations.item_index[rows], weights=mine, minlength=len(data.clusters))
        weight = np.divide(mine, per_item[annotations.item_index[rows]], out=np.zeros(len(rows)), where=mine)
        columns += [weight * annotations.is_acceptable[rows], weight]
    return two_way_bootstrap_interval(
        np.stack(columns, axis=1),
        groups=data.vote_clusters[rows],
        annotators=annotations.annotator_index[rows],
        combine=lambda sums: ratio(sums[:, :2]) - ratio(sums[:, 2:]),
        n_resamples=data.n_resamples,
        level=data.level,
        rng=data.rng.spawn(1)[0],
    )


def _error(group: _Group, name: str, shares: Float[np.ndarray, " N"], data: _Data) -> GroupError:
    estimate = shares[data.annotations.item_index]
    vote = data.annotations.is_acceptable.astype(np.float64)
    return GroupError(
        group.trait,
        group.value,
        name,
        int((~np.isnan(estimate[group.is_vote])).sum()),
        _mean_over_votes(estimate - vote, group, data),
        _mean_over_votes((vote - estimate) ** 2, group, data),
    )


def _contested(
    by_trait: Mapping[str, Sequence[_Group]], data: _Data, ids: Sequence[str], n_contested: int
) -> list[ContestedItem]:
    """The items on which largest and smallest group differ most, the farthest first; of all traits together."""
    found = []
    mean, strength = fit_beta_prior(_votes(np.ones(len(data.annotations.item_index), dtype=bool), data))
    for of_trait in by_trait.values():
        if len(of_trait) < 2:
            continue
        majority, minority = _largest(of_trait), _smallest(of_trait)
        votes = np.stack([_votes(majority.is_vote, data), _votes(minority.is_vote, data)])
        shares = (votes[:, :, 1] + strength * mean) / (votes.sum(axis=2) + strength)
        for row in np.flatnonzero((votes.sum(axis=2) > 0).all(axis=0)).tolist():
            (no, yes), (minority_no, minority_yes) = votes[:, row].astype(int).tolist()
            found.append(
                ContestedItem(
                    ids[row],
                    majority.trait,
                    majority.value,
                    minority.value,
                    float(shares[0, row]),
                    float(shares[1, row]),
                    (yes, yes + no),
                    (minority_yes, minority_yes + minority_no),
                )
            )
    return sorted(found, key=lambda item: (-abs(item.difference), item.id, item.trait))[:n_contested]


def _votes(which: Bool[np.ndarray, " V"], data: _Data) -> Float[np.ndarray, "N 2"]:
    """Unacceptable and acceptable votes of each item among some of the votes."""
    counts = np.zeros((len(data.clusters), 2))
    chosen = data.annotations.is_acceptable[which].astype(np.int64)
    np.add.at(counts, (data.annotations.item_index[which], chosen), 1)
    return counts


def _signed(interval: Interval) -> str:
    value, low, high = (f"{number:+.3f}" for number in interval)
    return f"{value} [{low}, {high}]"
