"""Paired comparisons of two systems on the same items, and Holm's correction for a table of them."""

import math
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Num, Shaped

from accord.statistics.resampling import (
    DRAWS_PER_CHUNK,
    Combine,
    as_statistics,
    draw_counts,
    is_defined_for_all,
    mean_over_seeds,
    percentile_interval,
    ratio,
    resampled_counts,
    seed_cluster_sums,
)

Tails = Literal["two-sided", "sacrebleu"]
"""Which resampled differences count as far: `paired_bootstrap` says it."""

ROUNDING = 1e-12  # two sums of the same numbers in another order are the same difference


class PairedDifference(NamedTuple):
    """a - b with its percentile interval and a two-sided p-value; nan where undefined."""

    difference: float
    low: float
    high: float
    p_value: float


def paired_bootstrap(
    a: Num[np.ndarray, " N *S"],
    b: Num[np.ndarray, " N *S"],
    *,
    clusters: Shaped[np.ndarray, " N"] | None = None,
    combine: Combine = ratio,
    n_resamples: int = 1000,
    level: float = 0.95,
    tails: Tails = "two-sided",
    rng: np.random.Generator,
) -> PairedDifference:
    """The difference of two systems, both resampled with the same clusters.

    p = (1 + #{|d* - d| ≥ |d|}) / (1 + R): how often a resampled difference strays from d as far as d lies from
    zero (Efron & Tibshirani 1993, ch. 16). Undefined with fewer than two clusters.

    Args:
        a, b: [N] values or [N, S] statistics of the same items in the same order, as in `bootstrap_interval`.
            An item that is nan in one of them is left out of both.
        tails: "sacrebleu" counts what `sacrebleu --paired-bs` does, |d*| - mean |d*| ≥ |d|. For a clear difference
            that is one tail, and p is half the two-sided one.
    """
    assert a.shape == b.shape, f"paired systems must cover the same items, got shapes {a.shape} and {b.shape}"
    return paired_bootstrap_over_seeds(
        as_statistics(a)[None],
        as_statistics(b)[None],
        clusters=clusters,
        combine=combine,
        n_resamples=n_resamples,
        level=level,
        tails=tails,
        rng=rng,
    )


def paired_bootstrap_over_seeds(
    a: Num[np.ndarray, "K N S"],
    b: Num[np.ndarray, "J N S"],
    *,
    same_seeds: bool = True,
    clusters: Shaped[np.ndarray, " N"] | None = None,
    combine: Combine = ratio,
    n_resamples: int = 1000,
    level: float = 0.95,
    tails: Tails = "two-sided",
    rng: np.random.Generator,
) -> PairedDifference:
    """The difference of two systems' means over seeds, tested for new items and new seeds at once.

    Each resample draws the clusters once for both systems, gets the number of every seed on them, draws the seeds
    with replacement and subtracts the means. p as in `paired_bootstrap`, which is the case of one seed.

    Args:
        a, b: statistics by seed. An item that is nan under any seed of either is left out of all.
        same_seeds: the k-th seed of one is that of the other, so that they are drawn together; else independently.
    """
    sums_a, sums_b = _paired_sums(a, b, clusters)
    n_clusters = sums_a.shape[1]
    assert not same_seeds or len(a) == len(b), f"same seeds, got {len(a)} and {len(b)}"
    difference = _difference(sums_a, sums_b, combine)
    seed_rng = rng.spawn(1)[0]
    resampled = []
    for counts in resampled_counts(n_clusters, n_resamples, rng):
        seeds_a = draw_counts(len(a), len(counts), seed_rng)
        seeds_b = seeds_a if same_seeds else draw_counts(len(b), len(counts), seed_rng)
        mean_b = mean_over_seeds(sums_b, counts, seeds_b, combine)
        resampled.append(mean_over_seeds(sums_a, counts, seeds_a, combine) - mean_b)
    found = np.concatenate(resampled)
    _, low, high = percentile_interval(difference, found, level=level, n_clusters=n_clusters)
    p_value = np.nan if np.isnan(low) else bootstrap_p_value(found[~np.isnan(found)], difference, tails=tails)
    return PairedDifference(difference, low, high, p_value)


def bootstrap_p_value(resampled: Float[np.ndarray, " R"], difference: float, *, tails: Tails = "two-sided") -> float:
    """p of a difference from its resampled values, as `paired_bootstrap` says."""
    centred = np.abs(resampled - difference)
    if tails == "sacrebleu":
        centred = np.abs(resampled) - np.abs(resampled).mean()
    n_farther = int((centred >= abs(difference) - ROUNDING).sum())
    return (1 + n_farther) / (1 + len(resampled))


def paired_randomisation(
    a: Num[np.ndarray, " N *S"],
    b: Num[np.ndarray, " N *S"],
    *,
    clusters: Shaped[np.ndarray, " N"] | None = None,
    combine: Combine = ratio,
    n_resamples: int = 10_000,
    rng: np.random.Generator,
) -> float:
    """Two-sided p-value of the approximate randomisation test (Noreen 1989; Riezler & Maxwell 2005).

    If the systems do not differ, swapping their outputs on whole clusters changes nothing but chance:
    p = (1 + #{|d*| ≥ |d|}) / (1 + R) over R random swaps. With so few clusters that all 2^C swaps are no more
    than R, all are tried and p is exact. nan where the difference is undefined.

    Args:
        a, b: as in `paired_bootstrap`. With [N] values a swap is a flip of the sign of the cluster's difference.
    """
    assert a.shape == b.shape, f"paired systems must cover the same items, got shapes {a.shape} and {b.shape}"
    one_a, one_b = _paired_sums(as_statistics(a)[None], as_statistics(b)[None], clusters)
    sums_a, sums_b = one_a[0], one_b[0]
    total_a, total_b, swap_gain = sums_a.sum(axis=0), sums_b.sum(axis=0), sums_b - sums_a
    observed = _difference(one_a, one_b, combine)
    if np.isnan(observed):
        return np.nan
    n_clusters = len(sums_a)
    is_exact = 2**n_clusters <= n_resamples
    n_swaps = 2**n_clusters if is_exact else n_resamples
    chunk = max(1, DRAWS_PER_CHUNK // n_clusters)
    n_as_far = 0
    for start in range(0, n_swaps, chunk):
        size = min(chunk, n_swaps - start)
        swaps = _every_swap(n_clusters, start, size) if is_exact else rng.random((size, n_clusters)) < 0.5
        moved = swaps.astype(np.float64) @ swap_gain
        differences = combine(total_a + moved) - combine(total_b - moved)
        n_as_far += int((np.abs(differences) >= abs(observed) - ROUNDING).sum())
    return n_as_far / n_swaps if is_exact else (1 + n_as_far) / (1 + n_swaps)


def standardised_difference(
    a: Num[np.ndarray, "K N S"],
    b: Num[np.ndarray, "J N S"],
    *,
    clusters: Shaped[np.ndarray, " N"] | None = None,
    combine: Combine = ratio,
) -> float:
    """The paired difference in units of its standard deviation over clusters; nan where that is zero or undefined.

    For a mean over items this is Cohen's d_z, mean / standard deviation of the items' differences. Any other metric
    has no difference per item; in its place stand the jackknife's pseudo-values C·d - (C - 1)·d₍₋c₎, d₍₋c₎ the
    difference without cluster c (Efron & Tibshirani 1993, ch. 11), which for a mean are those differences.
    """
    sums_a, sums_b = _paired_sums(a, b, clusters)
    n_clusters = sums_a.shape[1]
    if n_clusters < 2:
        return np.nan
    difference = _difference(sums_a, sums_b, combine)
    left_out = _leave_one_out(sums_a, combine) - _leave_one_out(sums_b, combine)
    spread = float((n_clusters - 1) * np.std(left_out, ddof=1))
    return difference / spread if spread > ROUNDING * max(1.0, abs(difference)) else np.nan


def enough_resamples(asked: int, *, n_tests: int, alpha: float) -> int:
    """The number asked for, or 20·m/α where that is more.

    The smallest p-value that R resamples can give is 1 / (1 + R), which Holm multiplies by up to m: with 20·m/α it
    stays twenty times under α, so that the number of resamples never decides what is significant.
    """
    return max(asked, math.ceil(round(20 * n_tests / alpha, 6)))


def holm(p_values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Holm's step-down adjustment: the k-th smallest of m becomes max over j ≤ k of (m - j + 1)·p_(j), at most 1.

    Below α they keep the chance of any false claim in the table under α (Holm 1979, "A simple sequentially
    rejective multiple test procedure"). A nan stays nan and does not count towards m.
    """
    adjusted = np.full(len(p_values), np.nan)
    defined = np.flatnonzero(~np.isnan(p_values))
    order = defined[np.argsort(p_values[defined], kind="stable")]
    steps = np.arange(len(order), 0, -1) * p_values[order]
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


# -- steps ------------------------------------------------------------------------------------------------------


def _paired_sums(
    a: np.ndarray, b: np.ndarray, clusters: np.ndarray | None
) -> tuple[Float[np.ndarray, "K C S"], Float[np.ndarray, "J C S"]]:
    assert a.shape[1:] == b.shape[1:], f"paired systems must cover the same items, got {a.shape} and {b.shape}"
    kept = is_defined_for_all(a) & is_defined_for_all(b)
    kept_clusters = None if clusters is None else clusters[kept]
    return seed_cluster_sums(a[:, kept], kept_clusters), seed_cluster_sums(b[:, kept], kept_clusters)


def _difference(sums_a: Float[np.ndarray, "K C S"], sums_b: Float[np.ndarray, "J C S"], combine: Combine) -> float:
    return float(combine(sums_a.sum(axis=1)).mean() - combine(sums_b.sum(axis=1)).mean())


def _leave_one_out(sums: Float[np.ndarray, "K C S"], combine: Combine) -> Float[np.ndarray, " C"]:
    """The mean over seeds without each cluster in turn."""
    return np.stack([combine(of_seed.sum(axis=0) - of_seed) for of_seed in sums]).mean(axis=0)


def _every_swap(n_clusters: int, start: int, size: int) -> Bool[np.ndarray, "size C"]:
    """Rows start..start+size of the table of all subsets of clusters (the binary digits of the row number)."""
    return (np.arange(start, start + size)[:, None] >> np.arange(n_clusters)) % 2 == 1
