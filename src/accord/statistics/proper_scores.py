"""How well predicted shares of people match the votes of people: proper scores, calibration, rank agreement.

Per-item functions return sums over an item's votes, to be divided by the summed weights (`ratio`), so that every
annotation counts once. N items; `acceptance_logits` z is the log-odds of an acceptable vote, q = σ(z).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num
from scipy.special import expit
from scipy.stats import kendalltau, rankdata


class ReliabilityCurve(NamedTuple):
    """Per non-empty bin: mean predicted acceptance, observed share of acceptable votes, number of votes."""

    predicted: Float[np.ndarray, " bins"]
    observed: Float[np.ndarray, " bins"]
    n: Float[np.ndarray, " bins"]


def vote_log_loss(
    acceptance_logits: Float[np.ndarray, " N"],
    n_acceptable: Num[np.ndarray, " N"],
    n_votes: Num[np.ndarray, " N"],
) -> Float[np.ndarray, " N"]:
    """-Σ over an item's votes of log q(vote), in nats: n_acc·softplus(-z) + (n - n_acc)·softplus(z); weight n_votes.

    From logits, never from saturated probabilities: a wrong certainty costs |z|, not log(0). Items without votes
    cost 0. A logit of ±inf costs 0 if all votes agree with it, else inf.
    """
    losses = np.zeros(len(acceptance_logits))
    for count, sign in ((n_acceptable, -1.0), (n_votes - n_acceptable, 1.0)):
        voted = count > 0
        losses[voted] += count[voted] * np.logaddexp(0.0, sign * acceptance_logits[voted])
    return losses


def brier_score(
    probabilities: Float[np.ndarray, " N"], n_acceptable: Num[np.ndarray, " N"], n_votes: Num[np.ndarray, " N"]
) -> Float[np.ndarray, " N"]:
    """Σ over an item's votes of (vote - q)², vote in {0, 1}; weight n_votes (Brier 1950, one of the two classes)."""
    return n_acceptable * (1 - probabilities) ** 2 + (n_votes - n_acceptable) * probabilities**2


def reliability_curve(
    probabilities: Float[np.ndarray, " N"],
    n_acceptable: Num[np.ndarray, " N"],
    n_votes: Num[np.ndarray, " N"],
    *,
    n_bins: int = 10,
) -> ReliabilityCurve:
    """Predicted against observed shares in bins of equal mass (as nearly equal numbers of votes as ties allow).

    Items with the same prediction share a bin, so the curve does not depend on the order of items; bins left
    empty by that are dropped. Items without votes are left out.
    """
    bins = equal_mass_bins(probabilities, n_votes, n_bins)
    n = np.bincount(bins, weights=n_votes, minlength=n_bins)
    predicted = np.bincount(bins, weights=n_votes * probabilities, minlength=n_bins)
    observed = np.bincount(bins, weights=n_acceptable, minlength=n_bins)
    filled = n > 0
    return ReliabilityCurve(predicted[filled] / n[filled], observed[filled] / n[filled], n[filled])


def equal_mass_bins(
    probabilities: Float[np.ndarray, " N"], n_votes: Num[np.ndarray, " N"], n_bins: int
) -> Int[np.ndarray, " N"]:
    """[N] bin numbers; each distinct prediction goes where the middle of its votes lies among all votes."""
    distinct, index = np.unique(probabilities, return_inverse=True)
    mass = np.bincount(index, weights=n_votes, minlength=len(distinct))
    if mass.sum() == 0:
        return np.zeros(len(probabilities), dtype=np.int64)
    middles = (np.cumsum(mass) - mass / 2) / mass.sum()
    return np.minimum((middles * n_bins).astype(np.int64), n_bins - 1)[index]


def expected_calibration_error(
    probabilities: Float[np.ndarray, " N"],
    n_acceptable: Num[np.ndarray, " N"],
    n_votes: Num[np.ndarray, " N"],
    *,
    n_bins: int = 10,
) -> float:
    """Σ_b n_b/n · |predicted_b - observed_b| over bins of equal mass (Naeini et al. 2015; equal mass: Nguyen &
    O'Connor 2015). Biased upwards in small samples: even a perfect model scores above 0. nan without votes."""
    curve = reliability_curve(probabilities, n_acceptable, n_votes, n_bins=n_bins)
    if len(curve.n) == 0:
        return np.nan
    return float(np.average(np.abs(curve.predicted - curve.observed), weights=curve.n))


def calibration_slope(
    acceptance_logits: Float[np.ndarray, " N"],
    n_acceptable: Num[np.ndarray, " N"],
    n_votes: Num[np.ndarray, " N"],
    *,
    max_iterations: int = 50,
) -> float:
    """Slope b of the logistic regression logit P(acceptable vote) = a + b·z, by Newton's method.

    1: logits as spread as the votes say; below 1: overconfident; above 1: too timid (Cox 1958). nan where it does
    not exist: constant logits, votes of one kind only, or votes that a threshold on z separates perfectly.
    """
    center, spread = float(np.mean(acceptance_logits)), float(np.std(acceptance_logits))
    one_sided = n_acceptable.sum() in (0, n_votes.sum())
    if not spread > 1e-12 or not np.isfinite(spread) or one_sided:
        return np.nan
    design = np.stack([np.ones_like(acceptance_logits), (acceptance_logits - center) / spread], axis=1)
    coefficients = np.zeros(2)
    for _ in range(max_iterations):
        probabilities = expit(design @ coefficients)
        gradient = design.T @ (n_acceptable - n_votes * probabilities)
        hessian = (design.T * (n_votes * probabilities * (1 - probabilities))) @ design
        if np.linalg.cond(hessian) > 1e12:
            return np.nan  # separated votes: the slope runs off to infinity
        step = _halved_step(design, coefficients, np.linalg.solve(hessian, gradient), n_acceptable, n_votes)
        coefficients = coefficients + step
        if np.abs(step).max() < 1e-10:
            return float(coefficients[1] / spread)
    return np.nan


def manhattan_distance(p: Float[np.ndarray, "N L"], q: Float[np.ndarray, "N L"]) -> Float[np.ndarray, " N"]:
    """Σ_c |p_c - q_c| of two label distributions, in [0, 2] (LeWiDi 2025)."""
    return np.abs(p - q).sum(axis=1)


def soft_cross_entropy(p: Float[np.ndarray, "N L"], q: Float[np.ndarray, "N L"]) -> Float[np.ndarray, " N"]:
    """-Σ_c p_c log(q_c + 1e-9) in nats: target p (the votes' shares), prediction q (LeWiDi 2023's definition)."""
    return -(p * np.log(q + 1e-9)).sum(axis=1)


def spearman(a: Num[np.ndarray, " N"], b: Num[np.ndarray, " N"]) -> float:
    """Spearman's rank correlation, ties by mean rank; nan with fewer than two items or a constant side."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def ranking_accuracy(predicted: Num[np.ndarray, " N"], shares: Num[np.ndarray, " N"]) -> float:
    """Share of the pairs of items with different shares whose better one is predicted higher, ties half.

    ½ + ½·Somers' D of the predictions given the shares, from Kendall's tau-b = S / √(P·Q), where S is right minus
    wrong pairs and P, Q the pairs untied on either side: so that N items cost N log N. nan without such pairs.
    """
    n_different, n_predicted = _n_untied_pairs(shares), _n_untied_pairs(predicted)
    if n_different == 0:
        return np.nan
    if n_predicted == 0:
        return 0.5
    tau = float(kendalltau(predicted, shares).statistic)
    return float(0.5 + 0.5 * tau * np.sqrt(n_predicted * n_different) / n_different)


# -- steps ------------------------------------------------------------------------------------------------------


def _n_untied_pairs(values: np.ndarray) -> float:
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    return float(len(values) * (len(values) - 1) / 2 - (counts * (counts - 1) / 2).sum())


def _halved_step(
    design: np.ndarray, coefficients: np.ndarray, step: np.ndarray, n_acceptable: np.ndarray, n_votes: np.ndarray
) -> np.ndarray:
    """Newton's step, halved until it does not raise the loss: from zero a full step can overshoot."""
    loss = vote_log_loss(design @ coefficients, n_acceptable, n_votes).sum()
    for _ in range(30):
        if vote_log_loss(design @ (coefficients + step), n_acceptable, n_votes).sum() <= loss + 1e-12 * abs(loss):
            break
        step = step / 2
    return step
