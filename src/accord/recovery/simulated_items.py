"""Simulated items whose true shares are known: x in R²⁰, a fixed signal f(x), and annotators of several kinds.

ρ(x) = σ(a · (√(1−h) f(x) + √h u) + b), x and u standard normal: the share of people who would accept the item. u is
what no feature shows. An annotator votes acceptable with probability ρ, and slips with probability ε.
"""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from accord.data.schemes import SCHEMES
from accord.randomness import keyed_rng

N_FEATURES = 20
N_BENDS = 4
STEEPNESS = 3.0
CONSENSUS_NOISE = 1.0
"""Standard deviation, in log-odds, of one annotator's estimate of the share (`reads_consensus`)."""


class Condition(NamedTuple):
    """What the items and their annotators are like.

    `slope` a, `intercept` b, `hidden` h (the share of the log-odds' variance that no feature shows), `flip_rate` ε;
    `concentration` κ: the item's share is a draw from Beta(κρ, κ(1−ρ)) instead of ρ itself; `reads_consensus`:
    instead of votes, one annotator's estimate of the share on the five levels of MIC.
    """

    slope: float = 1.5
    intercept: float = 0.0
    hidden: float = 0.0
    flip_rate: float = 0.0
    concentration: float | None = None
    reads_consensus: bool = False


CONDITIONS: Mapping[str, Condition] = {
    "base": Condition(),
    "imbalanced": Condition(intercept=1.8),
    "noisy15": Condition(flip_rate=0.15),
    "sharp": Condition(slope=5.0),
    "sharp+noisy15": Condition(slope=5.0, flip_rate=0.15),
    "resid50": Condition(slope=2.0, hidden=0.5),
    "beta": Condition(concentration=6.0),
    "consensus": Condition(reads_consensus=True),
    "consensus+imbalanced": Condition(intercept=1.8, reads_consensus=True),
}


class SimulatedItems(NamedTuple):
    """`truth`: the share of people who would accept each item; `vote_share`: the probability of an accepting vote,
    slips included; `votes`: unacceptable, acceptable (with `reads_consensus` one pseudo-vote, 1 − β and β)."""

    features: Float[np.ndarray, "N F"]
    truth: Float[np.ndarray, " N"]
    vote_share: Float[np.ndarray, " N"]
    votes: Float[np.ndarray, "N 2"]


def simulate_items(
    condition: Condition, n_items: int, *, min_votes: int, max_votes: int, rng: np.random.Generator
) -> SimulatedItems:
    """Items of one condition, each with `min_votes` to `max_votes` votes (every number alike)."""
    features = rng.normal(size=(n_items, N_FEATURES)).astype(np.float32)
    shown, hidden = np.sqrt(1 - condition.hidden), np.sqrt(condition.hidden)
    mixed = shown * signal(features) + hidden * rng.normal(size=n_items)
    truth = expit(condition.slope * mixed + condition.intercept)
    if condition.concentration is not None:
        truth = rng.beta(condition.concentration * truth, condition.concentration * (1 - truth))
    vote_share = (1 - 2 * condition.flip_rate) * truth + condition.flip_rate
    if condition.reads_consensus:
        accepting, n_votes = consensus_levels(truth, rng), np.ones(n_items)
    else:
        n_votes = rng.integers(min_votes, max_votes, size=n_items, endpoint=True).astype(np.float64)
        accepting = rng.binomial(n_votes.astype(np.int64), vote_share).astype(np.float64)
    return SimulatedItems(features, truth, vote_share, np.stack([n_votes - accepting, accepting], axis=1))


def signal(features: Float[np.ndarray, "N F"]) -> Float[np.ndarray, " N"]:
    """f(x) = √½ w₀·x + √(½ / (K E tanh²(cz))) Σ_k tanh(c w_k·x): half linear, half bent, variance 1.

    w₀ … w_K are orthonormal, so the parts are independent for standard normal x.
    """
    along = features @ _directions()
    return np.sqrt(0.5) * along[:, 0] + np.sqrt(0.5 / (N_BENDS * _bend_variance())) * np.tanh(
        STEEPNESS * along[:, 1:]
    ).sum(axis=1)


def consensus_levels(truth: Float[np.ndarray, " N"], rng: np.random.Generator) -> Float[np.ndarray, " N"]:
    """Midpoint of the level of MIC's scale that is nearest to one annotator's noisy estimate of each share."""
    intervals = SCHEMES["global-consensus"].intervals
    assert intervals is not None, "this scheme estimates shares"
    midpoints = np.array([(low + high) / 2 for low, high in intervals.values()])
    log_odds = np.log(truth) - np.log1p(-truth)
    estimates = expit(log_odds + rng.normal(0.0, CONSENSUS_NOISE, size=len(truth)))
    return midpoints[np.abs(estimates[:, None] - midpoints).argmin(axis=1)]


@cache
def _directions() -> np.ndarray:
    """[F, 1 + K], orthonormal columns."""
    return np.linalg.qr(keyed_rng(0, "signal").normal(size=(N_FEATURES, 1 + N_BENDS)))[0]


@cache
def _bend_variance() -> float:
    """E tanh²(cz) for standard normal z, by Gauss–Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    return float(np.average(np.tanh(STEEPNESS * nodes) ** 2, weights=weights))
