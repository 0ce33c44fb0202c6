"""The universal preference of an item that already has votes: what was predicted, moved by what was voted.

Given q_i, the acceptance predicted by a model that has not seen the item's votes (out of fold: otherwise they count
twice), the share of people who accept it has the posterior Beta(n_acc + m q_i, n − n_acc + m (1 − q_i)). m says how
many votes a prediction is worth; it is fitted by beta-binomial marginal likelihood.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num
from scipy.optimize import minimize_scalar
from scipy.special import betaln
from scipy.stats import beta

from accord.preference.labelled import LabelledItems
from accord.randomness import keyed_rng

STRENGTH_BOUNDS = (0.01, 10_000.0)
CREDIBLE_LEVEL = 0.95

OutOfFold = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Item numbers [n], their folds [n] (0, 1, …) -> q [n] by models that saw nothing of an item's group; κ [n] or nan."""


class PosteriorShares(NamedTuple):
    """Posterior mean of each item's share, its equal-tailed credible interval, and how many votes it rests on.

    `n_effective` = n + m counts those the prediction is worth: the posterior is Beta(share · n_effective, the rest).
    """

    share: Float[np.ndarray, " N"]
    low: Float[np.ndarray, " N"]
    high: Float[np.ndarray, " N"]
    n_effective: Float[np.ndarray, " N"]


class PosteriorBeta(NamedTuple):
    """Beta(a, b), what is known of each item's share: mean a / (a + b)."""

    a: Float[np.ndarray, " N"]
    b: Float[np.ndarray, " N"]


def fit_prior_strength(
    acceptance: Float[np.ndarray, " N"], n_acceptable: Num[np.ndarray, " N"], n_votes: Num[np.ndarray, " N"]
) -> float:
    """m that maximises Σ_i log BetaBinomial(n_acc | n_i; m q_i, m (1 − q_i)), within `STRENGTH_BOUNDS`.

    An item with one vote says nothing about m (its likelihood is q or 1 − q, whatever m). nan where no item has two.
    At the upper bound the predictions explain the votes as well as a coin of that bias could.
    """
    several = n_votes >= 2
    if not several.any():
        return np.nan
    q, k, n = _inside(acceptance[several]), n_acceptable[several], n_votes[several]

    def loss(log_strength: float) -> float:
        a, b = np.exp(log_strength) * q, np.exp(log_strength) * (1 - q)
        return -float(np.sum(betaln(a + k, b + n - k) - betaln(a, b)))

    low, high = np.log(STRENGTH_BOUNDS)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6}).x))


def posterior_beta(
    acceptance: Float[np.ndarray, " N"],
    n_acceptable: Num[np.ndarray, " N"],
    n_votes: Num[np.ndarray, " N"],
    *,
    strength: float | Float[np.ndarray, " N"],
) -> PosteriorBeta:
    """Beta(n_acc + m q, n − n_acc + m (1 − q)) of each item; arguments as in `posterior_shares`."""
    q = _inside(acceptance)
    return PosteriorBeta(n_acceptable + strength * q, n_votes - n_acceptable + strength * (1 - q))


def posterior_shares(
    acceptance: Float[np.ndarray, " N"],
    n_acceptable: Num[np.ndarray, " N"],
    n_votes: Num[np.ndarray, " N"],
    *,
    strength: float | Float[np.ndarray, " N"],
    level: float = CREDIBLE_LEVEL,
) -> PosteriorShares:
    """(n_acc + m q) / (n + m) with its credible interval; without votes the share is q itself.

    Args:
        acceptance: q, out of fold.
        strength: m, one number or one per item (κ(x) of a `beta_binomial` model). nan gives nan.
    """
    return shares_of(posterior_beta(acceptance, n_acceptable, n_votes, strength=strength), level=level)


def shares_of(known: PosteriorBeta, *, level: float = CREDIBLE_LEVEL) -> PosteriorShares:
    """Mean a / (a + b) and equal-tailed interval of each Beta(a, b)."""
    a, b = known
    tail = (1 - level) / 2
    low, high = np.asarray(beta.ppf(tail, a, b)), np.asarray(beta.ppf(1 - tail, a, b))
    return PosteriorShares(a / (a + b), low, high, a + b)


def group_folds(groups: Sequence[str], *, n_folds: int, seed: int) -> Int[np.ndarray, " N"]:
    """A fold number for each item: whole groups, dealt out in random order to the fold with the fewest items."""
    names, index, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    fold_of_group = np.zeros(len(names), dtype=np.int64)
    fold_sizes = np.zeros(n_folds, dtype=np.int64)
    for group in keyed_rng(seed, "folds").permutation(len(names)):
        fold_of_group[group] = int(np.argmin(fold_sizes))
        fold_sizes[fold_of_group[group]] += sizes[group]
    return fold_of_group[index]


class FoldRows(NamedTuple):
    """Per fold f: the rows it predicts, those of fold f + 1 to be selected on, and all others, to be trained on."""

    predicted: list[Int[np.ndarray, " n"]]
    held_out: list[Int[np.ndarray, " n"]]
    train: list[Int[np.ndarray, " n"]]


def fold_rows(rows: Int[np.ndarray, " n"], folds: Int[np.ndarray, " n"]) -> FoldRows:
    """How the model of each fold uses the given rows (item numbers)."""
    n_folds = int(folds.max()) + 1
    predicted = [rows[folds == fold] for fold in range(n_folds)]
    later = [(fold + 1) % n_folds for fold in range(n_folds)]
    train = [rows[(folds != fold) & (folds != later[fold])] for fold in range(n_folds)]
    return FoldRows(predicted, [predicted[fold] for fold in later], train)


def out_of_fold_posterior(
    labelled: LabelledItems, q: Float[np.ndarray, " N"], out_of_fold: OutOfFold, *, n_folds: int, seed: int
) -> PosteriorShares:
    """Posterior shares of all items: out-of-fold q for train and dev, the model's own `q` for what it never saw.

    A q that has seen the item's votes would count them twice. With fewer than three groups the shares of seen items
    are nan.
    """
    seen = np.flatnonzero(np.isin(labelled.splits, ("train", "dev")) & (labelled.n_votes > 0))
    q, kappa = q.copy(), np.full(len(q), np.nan)
    n_folds = min(n_folds, len(set(labelled.clusters[seen])))
    if n_folds < 3:
        q[seen] = np.nan
    else:
        folds = group_folds(list(labelled.clusters[seen]), n_folds=n_folds, seed=seed)
        q[seen], kappa[seen] = out_of_fold(seen, folds)
    strength = fit_prior_strength(q[seen], labelled.n_acceptable[seen], labelled.n_votes[seen])
    strengths = np.where(np.isnan(kappa), strength, kappa)
    return posterior_shares(q, labelled.n_acceptable, labelled.n_votes, strength=strengths)


def _inside(acceptance: np.ndarray) -> np.ndarray:
    """Keeps a saturated prediction inside (0, 1), where the Beta distribution exists."""
    return np.clip(acceptance, 1e-9, 1 - 1e-9)
