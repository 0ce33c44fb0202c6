"""Few labels and many predictions: a mean that uses both and stays right where the predictions are wrong."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import norm


class PoweredMean(NamedTuple):
    """A mean with its interval; `weight` is λ, how far the predictions were believed: 0 is the labels' own mean."""

    value: float
    low: float
    high: float
    weight: float


def prediction_powered_mean(
    labels: Float[np.ndarray, " n"],
    predictions: Float[np.ndarray, " n"],
    other_predictions: Float[np.ndarray, " N"],
    *,
    weight: float | None = None,
    level: float = 0.95,
) -> PoweredMean:
    """The mean of Y over n labelled and N unlabelled units of one population (Angelopoulos et al. 2023, arXiv
    2301.09633; with the tuned weight of PPI++, Angelopoulos, Duchi and Zrnic 2023, arXiv 2311.01453).

        θ(λ) = (1/n) Σ Y_i + λ·( (1/N) Σ f(X'_j) − (1/n) Σ f(X_i) )
        Var θ(λ) = Var(Y − λ f)/n + λ² Var(f)/N
        λ* = Cov(Y, f) / ((1 + n/N)·Var f),  kept in [0, 1]

    and the interval is normal. λ* makes the variance least, so that it is never more than that of the labels alone
    (as the samples grow): predictions that have nothing to do with the labels get no weight.

    Args:
        labels, predictions: Y_i and f(X_i) of the labelled units, independent of each other.
        other_predictions: f(X'_j) of the unlabelled ones. None at all: the labels' own mean; one: its spread is
            taken to be that of `predictions`.
        weight: λ; None = λ*.
    """
    n, n_other = len(labels), len(other_predictions)
    if n < 2:
        return PoweredMean(float(labels.mean()) if n else np.nan, np.nan, np.nan, 0.0)
    if weight is None:
        weight = _tuned_weight(labels, predictions, n_other)
    shift = float(other_predictions.mean() - predictions.mean()) if n_other else 0.0
    value = float(labels.mean()) + weight * shift
    variance = float(np.var(labels - weight * predictions, ddof=1)) / n
    if n_other:
        spread_of = other_predictions if n_other > 1 else predictions  # one says nothing of its own spread
        variance += weight**2 * float(np.var(spread_of, ddof=1)) / n_other
    half = float(norm.ppf((1 + level) / 2)) * variance**0.5
    return PoweredMean(value, value - half, value + half, weight)


def _tuned_weight(labels: np.ndarray, predictions: np.ndarray, n_other: int) -> float:
    spread = float(np.var(predictions, ddof=1))
    if n_other == 0 or spread == 0:
        return 0.0
    covariance = float(np.cov(labels, predictions)[0, 1])
    return float(np.clip(covariance / ((1 + len(labels) / n_other) * spread), 0.0, 1.0))
