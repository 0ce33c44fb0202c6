"""Bootstrap intervals from per-item statistics: each number is computed once per item, then only resampled.

A resample is a vector of counts (how often each cluster was drawn), so that all resamples of a sum are one matrix
product. Statistics that are no function of sums (rank correlation) take the slower road of
`bootstrap_interval_by_index`.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num, Shaped
from scipy import sparse

Combine = Callable[[np.ndarray], np.ndarray]
"""Turns summed statistics [R, S] into R numbers."""

DRAWS_PER_CHUNK = 1 << 21  # bounds memory: a chunk of resamples holds about this many counts
MANY_CLUSTERS = 1 << 16
"""From so many clusters on, equal ones are drawn together where there are many of each."""
ALIKE = 16
"""Clusters for each distinct one, on average, that make it worth while."""


class Interval(NamedTuple):
    """A number with its percentile interval; nan where undefined."""

    value: float
    low: float
    high: float


def ratio(sums: Float[np.ndarray, "R 2"]) -> Float[np.ndarray, " R"]:
    """Σ numerator / Σ denominator; nan where the denominator is zero. With denominators of one: the mean."""
    return np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] != 0)


def bootstrap_interval(
    per_item: Num[np.ndarray, " N *S"],
    *,
    clusters: Shaped[np.ndarray, " N"] | None = None,
    combine: Combine = ratio,
    n_resamples: int = 1000,
    level: float = 0.95,
    rng: np.random.Generator,
) -> Interval:
    """A number with the percentile interval of the cluster bootstrap (Efron & Tibshirani 1993, ch. 13).

    Clusters are drawn with replacement as wholes, because items of one dialogue or prompt are no independent
    evidence. With one cluster there is nothing to resample: the interval is nan.

    Args:
        per_item: [N] values, of which the mean is taken, or [N, S] statistics, of which `combine` gets the sums.
            An item with a nan is left out (its caller counts it).
        clusters: what the items belong to, any hashable values; None = each item on its own.
        combine: sums [R, S] -> numbers [R].
        level: the interval's coverage, e.g. 0.95.
    """
    per_seed = as_statistics(per_item)[None]
    return bootstrap_interval_over_seeds(
        per_seed, clusters=clusters, combine=combine, n_resamples=n_resamples, level=level, rng=rng
    )


def bootstrap_interval_over_seeds(
    per_seed: Num[np.ndarray, "K N S"],
    *,
    clusters: Shaped[np.ndarray, " N"] | None = None,
    combine: Combine = ratio,
    n_resamples: int = 1000,
    level: float = 0.95,
    rng: np.random.Generator,
) -> Interval:
    """The mean over K seeds of a number, with an interval for new items *and* new seeds.

    Each resample draws the clusters once, gets the number of every seed on them, draws the seeds with replacement and
    takes the mean. With one seed this is `bootstrap_interval`. An item that is nan under any seed is left out.
    """
    sums = seed_cluster_sums(per_seed[:, is_defined_for_all(per_seed)], _of_defined(clusters, per_seed))
    value = float(combine(sums.sum(axis=1)).mean())
    seed_rng = rng.spawn(1)[0]
    n_seeds, n_clusters, _ = sums.shape
    drawn, chunks = _drawn_together(sums, n_resamples, rng)
    resampled = [
        mean_over_seeds(drawn, counts, draw_counts(n_seeds, len(counts), seed_rng), combine) for counts in chunks
    ]
    return percentile_interval(value, np.concatenate(resampled), level=level, n_clusters=n_clusters)


def two_way_bootstrap_interval(
    per_annotation: Num[np.ndarray, " V *S"],
    *,
    groups: Shaped[np.ndarray, " V"],
    annotators: Shaped[np.ndarray, " V"],
    combine: Combine = ratio,
    n_resamples: int = 1000,
    level: float = 0.95,
    rng: np.random.Generator,
) -> Interval:
    """An interval for new items *and* new annotators: groups and annotators are drawn independently.

    An annotation counts (times its group was drawn) × (times its annotator was drawn): the pigeonhole bootstrap
    (Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2)), slightly conservative. An interval
    over items alone is too narrow where few annotators did much of the work.

    Args:
        per_annotation: [V] values (their mean is taken) or [V, S] statistics of single annotations; nan = left out.
        groups, annotators: [V], what each annotation belongs to.
    """
    defined = is_defined(per_annotation)
    statistics = as_statistics(per_annotation[defined])
    value = float(combine(statistics.sum(axis=0, keepdims=True))[0])
    sums = two_way_resampled_sums(
        statistics, groups=groups[defined], annotators=annotators[defined], n_resamples=n_resamples, rng=rng
    )
    n_clusters = min(len(np.unique(groups[defined])), len(np.unique(annotators[defined])))
    return percentile_interval(value, combine(sums), level=level, n_clusters=n_clusters)


def resampled_sums(
    statistics: Float[np.ndarray, "N S"],
    *,
    clusters: Shaped[np.ndarray, " N"] | None = None,
    n_resamples: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "R S"]:
    """The sums of S statistics in every resample of the clusters: what paired numbers are made of."""
    sums = cluster_sums(statistics, clusters)
    return np.concatenate([counts @ sums for counts in resampled_counts(len(sums), n_resamples, rng)])


def two_way_resampled_sums(
    statistics: Float[np.ndarray, "V S"],
    *,
    groups: Shaped[np.ndarray, " V"],
    annotators: Shaped[np.ndarray, " V"],
    n_resamples: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "R S"]:
    """The sums of S statistics of single annotations in every resample of groups and annotators."""
    group_index, n_groups = cluster_index(groups)
    annotator_index, n_annotators = cluster_index(annotators)
    tables = [
        sparse.csr_array((column, (group_index, annotator_index)), shape=(n_groups, n_annotators))
        for column in statistics.T
    ]
    group_rng, annotator_rng = rng.spawn(2)
    resampled = []
    for group_counts in resampled_counts(n_groups, n_resamples, group_rng):
        annotator_counts = draw_counts(n_annotators, len(group_counts), annotator_rng)
        sums = [((group_counts @ table) * annotator_counts).sum(axis=1) for table in tables]
        resampled.append(np.stack(sums, axis=1))
    return np.concatenate(resampled)


def bootstrap_interval_by_index(
    statistic: Callable[[Int[np.ndarray, " n"]], float],
    *,
    n_items: int,
    clusters: Shaped[np.ndarray, " N"] | None = None,
    n_resamples: int = 1000,
    level: float = 0.95,
    rng: np.random.Generator,
) -> Interval:
    """The cluster bootstrap for any statistic: it is called on the item indices of every resample (with repeats)."""
    index, n_clusters = cluster_index(np.arange(n_items) if clusters is None else clusters)
    value = statistic(np.arange(n_items))
    resampled = [
        statistic(np.repeat(np.arange(n_items), counts[index].astype(np.int64)))
        for chunk in resampled_counts(n_clusters, n_resamples, rng)
        for counts in chunk
    ]
    return percentile_interval(value, np.array(resampled), level=level, n_clusters=n_clusters)


# -- steps ------------------------------------------------------------------------------------------------------


def is_defined(per_item: Num[np.ndarray, " N *S"]) -> Bool[np.ndarray, " N"]:
    """Which items have no nan."""
    undefined = np.isnan(per_item)
    return ~(undefined if undefined.ndim == 1 else undefined.any(axis=1))


def as_statistics(per_item: Num[np.ndarray, " N *S"]) -> Float[np.ndarray, "N s"]:
    """[N, S] as it is; values [N] become (value, 1), so that `ratio` is their mean."""
    rows = np.stack([per_item, np.ones(len(per_item))], axis=1) if per_item.ndim == 1 else per_item
    return rows.astype(np.float64)


def cluster_index(clusters: Shaped[np.ndarray, " N"]) -> tuple[Int[np.ndarray, " N"], int]:
    """Integers 0..C-1 for the clusters, numbered in sorted order, and C."""
    names, index = np.unique(clusters, return_inverse=True)
    return index.astype(np.int64), len(names)


def cluster_sums(
    statistics: Float[np.ndarray, "N S"], clusters: Shaped[np.ndarray, " N"] | None
) -> Float[np.ndarray, "C S"]:
    """Statistics summed within each cluster; None = each item is its own cluster."""
    if clusters is None:
        return statistics
    index, n_clusters = cluster_index(clusters)
    columns = [np.bincount(index, weights=column, minlength=n_clusters) for column in statistics.T]
    return np.stack(columns, axis=1).astype(np.float64)  # of no items at all, bincount makes integers


def is_defined_for_all(per_seed: Num[np.ndarray, "K N S"]) -> Bool[np.ndarray, " N"]:
    """Which items have no nan under any seed."""
    return ~np.isnan(per_seed).any(axis=(0, 2))


def seed_cluster_sums(
    per_seed: Num[np.ndarray, "K N S"], clusters: Shaped[np.ndarray, " N"] | None
) -> Float[np.ndarray, "K C S"]:
    """Every seed's statistics summed within each cluster; None = each item is its own cluster."""
    return np.stack([cluster_sums(statistics.astype(np.float64), clusters) for statistics in per_seed])


def mean_over_seeds(
    sums: Float[np.ndarray, "K C S"],
    counts: Float[np.ndarray, "R C"],
    seed_counts: Float[np.ndarray, "R K"],
    combine: Combine,
) -> Float[np.ndarray, " R"]:
    """Every seed's number on the clusters drawn, averaged over the seeds drawn."""
    scores = np.stack([combine(counts @ of_seed) for of_seed in sums], axis=1)
    drawn = np.where(seed_counts > 0, scores, 0.0)  # an undefined number of a seed not drawn is no matter
    return (drawn * seed_counts).sum(axis=1) / len(sums)


def draw_counts(n_clusters: int, n_resamples: int, rng: np.random.Generator) -> Float[np.ndarray, "R C"]:
    """How often each cluster occurs in each resample: multinomial rows that sum to C."""
    # Counting uniform draws gives the same distribution as rng.multinomial, several times faster.
    drawn = rng.integers(n_clusters, size=(n_resamples, n_clusters))
    drawn += np.arange(n_resamples)[:, None] * n_clusters
    counts = np.bincount(drawn.ravel(), minlength=n_resamples * n_clusters)
    return counts.reshape(n_resamples, n_clusters).astype(np.float64)


def resampled_counts(n_clusters: int, n_resamples: int, rng: np.random.Generator) -> Iterator[Float[np.ndarray, "r C"]]:
    """All resamples' counts, in chunks that bound the memory."""
    if n_clusters == 0:
        yield np.zeros((n_resamples, 0))
        return
    chunk = max(1, DRAWS_PER_CHUNK // n_clusters)
    for start in range(0, n_resamples, chunk):
        yield draw_counts(n_clusters, min(chunk, n_resamples - start), rng)


def _drawn_together(
    sums: Float[np.ndarray, "K C S"], n_resamples: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "K U S"], Iterator[Float[np.ndarray, "r U"]]]:
    """Clusters, and how often each is drawn in every resample.

    What a resample sums up is the same whether equal clusters are drawn one by one, or how many of them at once.
    """
    n_clusters = sums.shape[1]
    if n_clusters >= MANY_CLUSTERS:
        first, times = _distinct_clusters(sums)
        if ALIKE * len(times) <= n_clusters:
            return sums[:, first], _resampled_times(times, n_resamples, rng)
    return sums, resampled_counts(n_clusters, n_resamples, rng)


def _distinct_clusters(sums: Float[np.ndarray, "K C S"]) -> tuple[Int[np.ndarray, " U"], Int[np.ndarray, " U"]]:
    """Where clusters with other statistics than all before stand, and how many there are of each."""
    code = np.zeros(sums.shape[1], dtype=np.int64)
    for column in sums.transpose(0, 2, 1).reshape(-1, sums.shape[1]):
        values, index = np.unique(column, return_inverse=True)
        _, code = np.unique(code * len(values) + index, return_inverse=True)
    _, first, times = np.unique(code, return_index=True, return_counts=True)
    return first, times


def _resampled_times(
    times: Int[np.ndarray, " U"], n_resamples: int, rng: np.random.Generator
) -> Iterator[Float[np.ndarray, "r U"]]:
    """How often each distinct cluster is drawn in each resample, in chunks that bound the memory."""
    n_clusters = int(times.sum())
    chunk = max(1, DRAWS_PER_CHUNK // len(times))
    for start in range(0, n_resamples, chunk):
        size = min(chunk, n_resamples - start)
        yield rng.multinomial(n_clusters, times / n_clusters, size=size).astype(np.float64)


def percentile_interval(value: float, resampled: Float[np.ndarray, " R"], *, level: float, n_clusters: int) -> Interval:
    """`value` with the quantiles of its defined resamples; nan bounds with fewer than two clusters."""
    defined = resampled[~np.isnan(resampled)]
    if np.isnan(value) or n_clusters < 2 or len(defined) == 0:
        return Interval(value, np.nan, np.nan)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def describe_interval(*, n_resamples: int, level: float, clusters: Any) -> str:
    """How an interval was made, for a measurement's signature, e.g. `ci:bootstrap-1000@0.95/prompt`."""
    return f"ci:bootstrap-{n_resamples}@{level:g}/{clusters}"


def _of_defined(clusters: np.ndarray | None, per_seed: np.ndarray) -> np.ndarray | None:
    return None if clusters is None else clusters[is_defined_for_all(per_seed)]
