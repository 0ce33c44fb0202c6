"""Estimators that know votes and no text: what share of people would accept an item that some people have judged.

Each is a function of a `Hiding` that looks at the visible votes alone. k of an item's n visible votes accept.
"""

import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize
from scipy.special import betaln, expit, logit

from accord.data.aggregation import dawid_skene
from accord.errors import ConfigError
from accord.preference.labelled import Annotations
from accord.preference.posterior import STRENGTH_BOUNDS, fit_prior_strength
from accord.recovery.hide import Estimate, Hiding

CONSTANT = "constant"
CROWD_KIT = ("mace", "glad")
VERY_SLOW = ("glad",)
"""Left out of "all" unless named beside it."""
BY_ANNOTATOR = ("dawid_skene", *CROWD_KIT)
"""Estimators that need to know who voted."""


def constant(hiding: Hiding) -> Estimate:
    """The share of all visible votes: what to beat."""
    share = hiding.visible[:, 1].sum() / hiding.visible.sum()
    return Estimate(np.full(len(hiding.visible), share))


def share(hiding: Hiding) -> Estimate:
    """k / n; nan without votes. Certain after one vote, so its log-loss depends on where it is clipped."""
    n = hiding.visible.sum(axis=1)
    return Estimate(np.divide(hiding.visible[:, 1], n, out=np.full(len(n), np.nan), where=n > 0))


def add_1(hiding: Hiding) -> Estimate:
    """(k + 1) / (n + 2), Laplace's rule: a yardstick, since its smoothing fits no data in particular."""
    return _smoothed(hiding, mean=0.5, strength=2.0)


def add_s(hiding: Hiding) -> Estimate:
    """(k + s) / (n + 2s), the symmetric prior Beta(s, s) with s by marginal likelihood; nan where no item has two
    visible votes, since single votes say nothing about s."""
    n = hiding.visible.sum(axis=1)
    strength = fit_prior_strength(np.full(len(n), 0.5), hiding.visible[:, 1], n)
    return _smoothed(hiding, mean=0.5, strength=strength)


def beta_prior(hiding: Hiding) -> Estimate:
    """(k + mμ) / (n + m), the prior Beta(mμ, m(1 − μ)) with μ and m by marginal likelihood: empirical Bayes without
    text. nan where no item has two visible votes."""
    mean, strength = fit_beta_prior(hiding.visible)
    return _smoothed(hiding, mean=mean, strength=strength)


def fit_beta_prior(votes: Float[np.ndarray, "N 2"]) -> tuple[float, float]:
    """μ and m that maximise Σ_i log BetaBinomial(k_i | n_i; mμ, m(1 − μ)), m within `STRENGTH_BOUNDS`.

    Items with one vote inform μ alone. nan, nan where no item has two.
    """
    n, k = votes.sum(axis=1), votes[:, 1]
    if not (n >= 2).any():
        return np.nan, np.nan
    low, high = np.log(STRENGTH_BOUNDS)
    start = (k.sum() + 0.5) / (n.sum() + 1)
    kinds, times = np.unique(votes, axis=0, return_counts=True)  # items with the same votes say the same

    def loss(parameters: np.ndarray) -> float:
        mean, strength = expit(parameters[0]), np.exp(parameters[1])
        a, b = strength * mean, strength * (1 - mean)
        return -float(np.average(betaln(a + kinds[:, 1], b + kinds[:, 0]) - betaln(a, b), weights=times))

    first = np.array([logit(start), 0.5])
    # Without gradients, because L-BFGS-B's tiny matrix products start threads that wait for each other.
    found = minimize(
        loss,
        x0=first,
        bounds=[(-12.0, 12.0), (float(low), float(high))],
        method="Nelder-Mead",
        options={"initial_simplex": first + np.array([[0, 0], [0.5, 0], [0, 1]]), "xatol": 1e-6, "fatol": 1e-12},
    )
    return float(expit(found.x[0])), float(np.exp(found.x[1]))


def dawid_skene_share(hiding: Hiding) -> Estimate:
    """Dawid & Skene's probabilities of the true label, turned into the share of votes (`vote_share`)."""
    annotations = _annotations(hiding)
    found = dawid_skene(
        annotations.item_index,
        annotations.annotator_index,
        annotations.is_acceptable.astype(np.int64),
        2,
        n_items=len(hiding.visible),
    )
    return Estimate(vote_share(found.label_probs[:, 1], hiding.visible))


def mace_share(hiding: Hiding) -> Estimate:
    """MACE (Hovy et al. 2013) by crowd-kit, turned into the share of votes. One start, because with a fixed random
    state crowd-kit 1.4 begins all its restarts in the same place."""
    from crowdkit.aggregation import MACE

    return _crowd_kit_share(MACE(n_restarts=1), hiding)


def glad_share(hiding: Hiding) -> Estimate:
    """GLAD (Whitehill et al. 2009) by crowd-kit, turned into the share of votes."""
    from crowdkit.aggregation import GLAD

    return _crowd_kit_share(GLAD(), hiding)


def vote_share(label_probs: Float[np.ndarray, " N"], votes: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, " N"]:
    """The share of acceptable votes that probabilities of a *true label* imply: Σ_t P(t_i = t) · θ_t.

    Aggregators say which label is right, not how many people would give it. θ_t is how often votes on items of true
    label t accept, (Σ_i P_i(t) k_i + 1) / (Σ_i P_i(t) n_i + 2), pooled over annotators, because a fresh one is
    nobody in particular. The order of items stays that of P wherever acceptable is the likelier vote on items that
    are truly acceptable.
    """
    probs = np.stack([1 - label_probs, label_probs], axis=1)
    accepts = (probs.T @ votes[:, 1] + 1) / (probs.T @ votes.sum(axis=1) + 2)
    return probs @ accepts


VOTE_ESTIMATORS: Mapping[str, Callable[[Hiding], Estimate]] = {
    CONSTANT: constant,
    "share": share,
    "add_1": add_1,
    "add_s": add_s,
    "beta_prior": beta_prior,
    "dawid_skene": dawid_skene_share,
    "mace": mace_share,
    "glad": glad_share,
}


def choose_vote_estimators(names: tuple[str, ...], *, annotators_known: bool) -> tuple[list[str], list[str]]:
    """The estimators asked for, `constant` always among them, and one line for each that "all" leaves out.

    Raises:
        ConfigError: an unknown name, one that needs annotators where they are unknown, or crowd-kit that is absent.
    """
    unknown = [name for name in names if name not in (*VOTE_ESTIMATORS, "all", "none")]
    if unknown:
        raise ConfigError(
            f"estimators names {unknown[0]!r}. Expected all, none, or some of {', '.join(VOTE_ESTIMATORS)}."
        )
    is_all = "all" in names
    wanted = [name for name in VOTE_ESTIMATORS if is_all or name in names or name == CONSTANT]
    problems = {name: problem for name in wanted if (problem := _problem(name, annotators_known=annotators_known))}
    if problems and not is_all:
        raise ConfigError(next(iter(problems.values())))
    for name in VERY_SLOW:
        if name not in names and name in wanted and name not in problems:
            problems[name] = (
                f"estimator {name!r} takes minutes for thousands of items. Name it: --estimators all {name}."
            )
    return [name for name in wanted if name not in problems], list(problems.values())


# -- steps ------------------------------------------------------------------------------------------------------


def _smoothed(hiding: Hiding, *, mean: float, strength: float) -> Estimate:
    weight = hiding.visible.sum(axis=1) + strength
    return Estimate((hiding.visible[:, 1] + strength * mean) / weight, weight)


def _annotations(hiding: Hiding) -> Annotations:
    assert hiding.visible_annotations is not None, "choose_vote_estimators leaves this out"
    return hiding.visible_annotations


def _crowd_kit_share(aggregator: Any, hiding: Hiding) -> Estimate:
    """Items without votes, unknown to crowd-kit, get the mean probability of those that have some."""
    import pandas as pd

    annotations = _annotations(hiding)
    labels = annotations.is_acceptable.astype(int)
    probs = np.full(len(hiding.visible), np.nan)
    if len(set(labels.tolist())) == 1:  # one label only is nothing to aggregate, and crowd-kit divides by L - 1
        probs[:] = labels[0]
    else:
        table = pd.DataFrame({"task": annotations.item_index, "worker": annotations.annotator_index, "label": labels})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas announces changes to crowd-kit
            found = aggregator.fit_predict_proba(table)
        probs[found.index.to_numpy()] = found[1].to_numpy()
        probs[np.isnan(probs)] = np.nanmean(probs)
    return Estimate(vote_share(probs, hiding.visible))


def _problem(name: str, *, annotators_known: bool) -> str | None:
    """Why an estimator cannot be run here, as a line; None where it can."""
    if name in BY_ANNOTATOR and not annotators_known:
        return f"estimator {name!r} needs to know who voted, and here annotators are unknown. Leave it out."
    if name in CROWD_KIT and find_spec("crowdkit") is None:
        return f"estimator {name!r} needs crowd-kit, which is not installed. Run pip install 'accord[crowd]'."
    return None
