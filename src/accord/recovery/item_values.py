"""Numbers of a whole sample as means of one value per item, so that re-hidings can be averaged before resampling.

A rank correlation or a calibration error is no mean over items. But it has an influence function: what each item adds
to it. Number + influence is a value per item whose mean is the number and whose spread is that of its estimate
(Efron & Tibshirani 1993, ch. 22), and values of the same item under several hidings can be averaged.
"""

import numpy as np
from jaxtyping import Float, Int, Num
from scipy.stats import rankdata

from accord.statistics.proper_scores import equal_mass_bins


def spearman_values(a: Float[np.ndarray, " N"], b: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """ρ + influence of each item on ρ, Spearman's correlation with ties by mean rank. Their mean is ρ.

    With A, B the mid-distribution values (rank - ½)/N less ½, ρ = U / √(V W), U = mean AB, V = mean A², W = mean B².
    An item's influence on U is AB + mean of A over what lies above it in b + mean of B over what lies above it in a
    (ties half) - 3U; on V and W the same with A and A, B and B. nan for fewer than two items or a constant side.
    """
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.full(len(a), np.nan)
    mid_a, mid_b = _mid_distribution(a), _mid_distribution(b)
    u, v, w = (mid_a * mid_b).mean(), (mid_a**2).mean(), (mid_b**2).mean()
    rho = u / np.sqrt(v * w)
    on_u = mid_a * mid_b + _mean_above(a, mid_b) + _mean_above(b, mid_a) - 3 * u
    on_v = mid_a**2 + 2 * _mean_above(a, mid_a) - 3 * v
    on_w = mid_b**2 + 2 * _mean_above(b, mid_b) - 3 * w
    values: np.ndarray = rho + on_u / np.sqrt(v * w) - rho / 2 * (on_v / v + on_w / w)
    return values


def calibration_error_values(
    predicted: Float[np.ndarray, " N"],
    observed: Float[np.ndarray, " N"],
    mass: Num[np.ndarray, " N"],
    *,
    n_bins: int = 10,
) -> Float[np.ndarray, " N"]:
    """±mass·(predicted - observed) of each item, with the sign of its bin's bias; Σ / Σ mass is the expected
    calibration error over bins of equal mass. Bins and signs are held as they are."""
    bins = equal_mass_bins(predicted, mass, n_bins)
    bias = mass * (predicted - observed)
    return np.sign(np.bincount(bins, weights=bias, minlength=n_bins))[bins] * bias


def regret_values(
    predicted: Float[np.ndarray, " N"], observed: Float[np.ndarray, " N"], prompts: Int[np.ndarray, " N"]
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """What is lost by choosing each prompt's completion with the highest prediction, and each item's part of a prompt.

    A prompt's regret is the highest observed share of its completions less that of the chosen one (predictions that
    tie: the mean of theirs). It is spread evenly over its items, so that Σ values / Σ parts is the mean over prompts.
    Since the highest of noisy shares is too high, so is the regret, for all estimators alike.

    Args:
        prompts: which prompt an item belongs to; negative: none. A prompt with one item has no part.
    """
    values, parts = np.zeros(len(predicted)), np.zeros(len(predicted))
    rows = np.flatnonzero(prompts >= 0)
    _, prompt, sizes = np.unique(prompts[rows], return_inverse=True, return_counts=True)
    is_top = predicted[rows] == _highest(predicted[rows], prompt, len(sizes))[prompt]
    chosen = np.bincount(prompt, weights=is_top * observed[rows]) / np.bincount(prompt, weights=is_top)
    regret = _highest(observed[rows], prompt, len(sizes)) - chosen
    values[rows] = np.where(sizes > 1, regret / sizes, 0.0)[prompt]
    parts[rows] = np.where(sizes > 1, 1 / sizes, 0.0)[prompt]
    return values, parts


def _highest(values: np.ndarray, prompt: np.ndarray, n_prompts: int) -> np.ndarray:
    """The highest value of each prompt."""
    found = np.full(n_prompts, -np.inf)
    np.maximum.at(found, prompt, values)
    return found


def _mid_distribution(values: np.ndarray) -> np.ndarray:
    """P(X < x) + P(X = x)/2 - ½ of each item among all: its mean is zero."""
    return (rankdata(values) - 0.5) / len(values) - 0.5


def _mean_above(values: np.ndarray, other: np.ndarray) -> np.ndarray:
    """For each item, Σ of `other` over the items with a higher value and half of those with the same, over N."""
    distinct, index = np.unique(values, return_inverse=True)
    sums = np.bincount(index, weights=other, minlength=len(distinct))
    above = sums.sum() - np.cumsum(sums) + sums / 2
    found: np.ndarray = above[index] / len(values)
    return found
