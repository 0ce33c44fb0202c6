"""Do intervals hold what they promise? How often predictive intervals of hidden votes cover them.

The share of people who accept an item has the posterior Beta(a, b); so the number of acceptable votes among n fresh
ones is BetaBinomial(n, a, b). A share cannot be observed, these votes can: on real data it is their intervals that are
checked. With few votes no set of counts has a chance of exactly 90 %, hence two ways to count:

- *conservative*: the smallest central interval of whole counts with at least that chance. It covers more than it
  promises; of one or two fresh votes nearly always all.
- *randomised*: a count at the edge is covered with just the chance that makes the whole exact, and that chance is what
  is averaged, so nothing is drawn (the randomised probability integral transform: Czado, Gneiting & Held 2009,
  "Predictive model assessment for count data", Biometrics 65). A right model covers 90 % at every n.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from scipy.special import betaln, gammaln

LEVEL = 0.9


class VoteCoverage(NamedTuple):
    """Per item, how far its fresh votes are inside the interval; nan without fresh votes or without a posterior."""

    randomised: Float[np.ndarray, " N"]
    conservative: Float[np.ndarray, " N"]


def predictive_probs(a: Float[np.ndarray, " N"], b: Float[np.ndarray, " N"], n_votes: int) -> Float[np.ndarray, "N k"]:
    """P(k of n fresh votes are acceptable), k = 0 … n, given that the share is Beta(a, b): the beta-binomial."""
    k, a, b = np.arange(n_votes + 1), a[:, None], b[:, None]
    log_ways = gammaln(n_votes + 1) - gammaln(k + 1) - gammaln(n_votes - k + 1)
    return np.exp(log_ways + betaln(a + k, b + n_votes - k) - betaln(a, b))


def vote_coverage(
    a: Float[np.ndarray, " N"],
    b: Float[np.ndarray, " N"],
    n_acceptable: Num[np.ndarray, " N"],
    n_votes: Num[np.ndarray, " N"],
    *,
    level: float = LEVEL,
) -> VoteCoverage:
    """Per item, whether the predictive interval covers its hidden votes, by both ways of counting.

    Randomised: with F the distribution function and k the hidden count, the part of [F(k-1), F(k)] that lies within
    [(1-level)/2, (1+level)/2]. The mean over items is the coverage; several hidings of an item are averaged first.

    Args:
        a, b: of the posterior given the *visible* votes. n_acceptable, n_votes: the hidden ones.
    """
    tail = (1 - level) / 2
    randomised, conservative = np.full(len(a), np.nan), np.full(len(a), np.nan)
    for n, rows in _rows_by_count(n_votes, ~np.isnan(a) & (n_votes > 0)):
        probs = predictive_probs(a[rows], b[rows], n)
        below, each, k = np.cumsum(probs, axis=1), np.arange(len(rows)), n_acceptable[rows].astype(np.int64)
        chance, up_to = probs[each, k], below[each, k]
        inside = np.minimum(up_to, 1 - tail) - np.maximum(up_to - chance, tail)
        randomised[rows] = np.divide(np.maximum(inside, 0), chance, out=np.zeros(len(rows)), where=chance > 0)
        low, high = _ends(below, tail)
        conservative[rows] = (low <= k) & (k <= high)
    return VoteCoverage(randomised, conservative)


def share_coverage(
    low: Float[np.ndarray, " N"], high: Float[np.ndarray, " N"], truth: Float[np.ndarray, " N"]
) -> Bool[np.ndarray, " N"]:
    """Which credible intervals hold the true share: for simulations, where it is known."""
    return (low <= truth) & (truth <= high)


def _rows_by_count(n_votes: np.ndarray, wanted: np.ndarray) -> Iterator[tuple[int, Int[np.ndarray, " n"]]]:
    """The wanted items, those with equally many votes together."""
    for n in np.unique(n_votes[wanted]):
        yield int(n), np.flatnonzero(wanted & (n_votes == n))


def _ends(below: Float[np.ndarray, "n k"], tail: float) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """First and last count of each central interval: the largest with P(K < low) ≤ tail, the smallest with
    P(K > high) ≤ tail; a rounding error decides nothing.
    """
    low = (below <= tail + 1e-12).sum(axis=1)
    high = (below < 1 - tail - 1e-12).sum(axis=1)
    return low, np.minimum(high, below.shape[1] - 1)
