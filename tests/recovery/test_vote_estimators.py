"""Estimators without text, on votes small enough to count by hand."""

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from scipy.stats import betabinom

from accord.errors import ConfigError
from accord.preference.labelled import Annotations
from accord.recovery import vote_estimators
from accord.recovery.hide import Hiding
from accord.recovery.vote_estimators import VOTE_ESTIMATORS, choose_vote_estimators, fit_beta_prior, vote_share

NO_VOTES = np.zeros((3, 2))


def seen(votes: list[list[int]]) -> Hiding:
    """Items with [unacceptable, acceptable] visible votes; person s gave an item's vote number s."""
    rows = [
        (item, seat, label)
        for item, (no, yes) in enumerate(votes)
        for seat, label in enumerate([False] * no + [True] * yes)
    ]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    table = np.array(votes, dtype=float)
    return Hiding(table, np.zeros_like(table), Annotations(*columns), None)


def test_by_hand() -> None:
    """Votes 1:2, 0:1 and none: constant 3/4; share 2/3, 1, undefined; add-1 3/5, 2/3, 1/2."""
    hiding = seen([[1, 2], [0, 1], [0, 0]])
    assert VOTE_ESTIMATORS["constant"](hiding).acceptance.tolist() == [0.75] * 3
    np.testing.assert_allclose(VOTE_ESTIMATORS["share"](hiding).acceptance, [2 / 3, 1, np.nan])
    add_1 = VOTE_ESTIMATORS["add_1"](hiding)
    np.testing.assert_allclose(add_1.acceptance, [3 / 5, 2 / 3, 1 / 2])
    assert add_1.weight is not None
    assert add_1.weight.tolist() == [5, 3, 2]
    assert add_1.weight is not None
    assert add_1.weight.tolist() == [5, 3, 2]


def test_beta_prior_is_the_maximum_of_the_beta_binomial() -> None:
    """Against scipy's own likelihood: no step from the fit raises it."""
    rng = np.random.default_rng(0)
    n = rng.integers(1, 6, size=300)
    k = rng.binomial(n, rng.beta(3.0, 1.0, size=300))
    mean, strength = fit_beta_prior(np.stack([n - k, k], axis=1).astype(float))

    def likelihood(mean: float, strength: float) -> float:
        return float(np.sum(betabinom.logpmf(k, n, strength * mean, strength * (1 - mean))))

    best = likelihood(mean, strength)
    for step in (0.97, 1.03):
        assert likelihood(mean * step, strength) < best
        assert likelihood(mean, strength * step) < best
    assert mean == pytest.approx(0.75, abs=0.04)


def test_add_s_learns_its_smoothing() -> None:
    """Unanimous items want hardly any smoothing, split ones very much."""
    unanimous, split = seen([[3, 0], [0, 3]] * 10), seen([[1, 1], [2, 2]] * 10)
    assert VOTE_ESTIMATORS["add_s"](unanimous).acceptance[1] > 0.98
    assert VOTE_ESTIMATORS["add_s"](split).acceptance[1] == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["add_s", "beta_prior"])
def test_single_votes_say_nothing_about_smoothing(name: str) -> None:
    assert np.isnan(VOTE_ESTIMATORS[name](seen([[1, 0], [0, 1], [0, 1]])).acceptance).all()


def test_label_probabilities_become_vote_shares() -> None:
    """Surely acceptable item with 3 of 4 votes, surely not with 0 of 2: θ = (3+1)/(4+2) and (0+1)/(2+2)."""
    shares = vote_share(np.array([1.0, 0.0, 0.5]), np.array([[1.0, 3.0], [2.0, 0.0], [0.0, 0.0]]))
    np.testing.assert_allclose(shares, [2 / 3, 1 / 4, (2 / 3 + 1 / 4) / 2])


@pytest.mark.parametrize("name", ["dawid_skene", "mace", "glad"])
def test_aggregators_order_items_as_clear_votes_do(name: str) -> None:
    if name != "dawid_skene" and find_spec("crowdkit") is None:
        pytest.skip("crowd-kit is not installed")
    hiding = seen([[0, 3], [1, 2], [2, 1], [3, 0], [0, 0]] * 6)
    found = VOTE_ESTIMATORS[name](hiding).acceptance
    assert found[0] >= found[1] > found[2] >= found[3]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:5], found[5:10])


@pytest.mark.parametrize("name", [name for name in VOTE_ESTIMATORS if name != "share"])
def test_constant_labels_stay_inside_zero_and_one(name: str) -> None:
    if name in vote_estimators.CROWD_KIT and find_spec("crowdkit") is None:
        pytest.skip("crowd-kit is not installed")
    found = VOTE_ESTIMATORS[name](seen([[0, 2], [0, 3]])).acceptance
    assert (found > 0.5).all()
    assert (found <= 1).all()


def test_all_leaves_out_what_cannot_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vote_estimators, "find_spec", lambda _: None)
    names, left_out = choose_vote_estimators(("all",), annotators_known=True)
    assert names == ["constant", "share", "add_1", "add_s", "beta_prior", "dawid_skene"]
    assert left_out[1] == ("estimator 'glad' needs crowd-kit, which is not installed. Run pip install 'accord[crowd]'.")
    assert choose_vote_estimators(("none",), annotators_known=False) == (["constant"], [])


def test_all_leaves_out_what_takes_minutes_until_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vote_estimators, "find_spec", lambda _: object())
    names, left_out = choose_vote_estimators(("all",), annotators_known=True)
    assert names[-1] == "mace"
    assert left_out == ["estimator 'glad' takes minutes for thousands of items. Name it: --estimators all glad."]
    assert choose_vote_estimators(("all", "glad"), annotators_known=True) == ([*names, "glad"], [])


@pytest.mark.parametrize(
    ("given", "found", "message"),
    [
        ({"names": ("voices",)}, object(), r"^estimators names 'voices'\. Expected all, none, or some of constant, sh"),
        (
            {"names": ("mace",)},
            None,
            r"^estimator 'mace' needs crowd-kit, which is not installed\. Run pip install 'ac",
        ),
        ({"names": ("glad",), "annotators_known": False}, object(), r"^estimator 'glad' needs to know who voted, and"),
    ],
)
def test_asking_by_name_for_what_cannot_be_run(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], found: object, message: str
) -> None:
    monkeypatch.setattr(vote_estimators, "find_spec", lambda _: found)
    with pytest.raises(ConfigError, match=message):
        choose_vote_estimators(**{"annotators_known": True, **given})
