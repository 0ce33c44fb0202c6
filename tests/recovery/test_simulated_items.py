"""Simulated items are what their condition says: the signal, the mean share, and who slips."""

import numpy as np
import pytest
from scipy.special import expit, logit

from accord.recovery.simulated_items import (
    CONDITIONS,
    N_FEATURES,
    SimulatedItems,
    consensus_levels,
    signal,
    simulate_items,
)


def simulated(name: str, n_items: int = 20_000, *, min_votes: int = 2, max_votes: int = 4) -> SimulatedItems:
    rng = np.random.default_rng(5)
    return simulate_items(CONDITIONS[name], n_items, min_votes=min_votes, max_votes=max_votes, rng=rng)


def test_signal_has_mean_zero_and_variance_one() -> None:
    values = signal(np.random.default_rng(0).normal(size=(200_000, N_FEATURES)))
    assert values.mean() == pytest.approx(0.0, abs=0.01)
    assert values.var() == pytest.approx(1.0, abs=0.01)


def test_signal_is_fixed_odd_and_half_linear() -> None:
    """An odd function; its linear regression explains the linear half and the linear part of tanh, but not all."""
    x = np.random.default_rng(1).normal(size=(50_000, N_FEATURES))
    values = signal(x)
    np.testing.assert_array_equal(values, signal(x))
    np.testing.assert_allclose(signal(-x), -values)
    linear = x @ np.linalg.lstsq(x, values, rcond=None)[0]
    assert 0.85 < linear.var() / values.var() < 0.95


@pytest.mark.parametrize(
    ("name", "mean"), [("base", 0.5), ("imbalanced", 0.78), ("noisy15", 0.5), ("sharp", 0.5), ("resid50", 0.5)]
)
def test_mean_share(name: str, mean: float) -> None:
    assert simulated(name).truth.mean() == pytest.approx(mean, abs=0.01)


@pytest.mark.parametrize("name", CONDITIONS)
def test_votes_slip_only_where_annotators_do(name: str) -> None:
    """An accepting vote has probability ρ, and 0.85 ρ + 0.15 (1 − ρ) where 15 % slip; votes come at that rate."""
    items = simulated(name)
    slips = 0.15 if "noisy15" in name else 0.0
    np.testing.assert_allclose(items.vote_share, (1 - slips) * items.truth + slips * (1 - items.truth))
    if not CONDITIONS[name].reads_consensus:
        sure = items.truth > 0.97
        rate = items.votes[sure, 1].sum() / items.votes[sure].sum()
        assert rate == pytest.approx(items.vote_share[sure].mean(), abs=0.02)
        assert (rate < 0.9) == (slips > 0)


def test_sharp_is_a_near_consensus_and_resid50_hides_half_of_the_signal() -> None:
    near = {name: np.mean(np.abs(simulated(name).truth - 0.5) > 0.4) for name in ("base", "sharp")}
    assert near["sharp"] > 0.6 > 0.2 > near["base"]
    items = simulated("resid50")
    log_odds = logit(items.truth)
    assert log_odds.std() == pytest.approx(2.0, abs=0.03)
    assert np.corrcoef(signal(items.features), log_odds)[0, 1] ** 2 == pytest.approx(0.5, abs=0.02)


def test_number_of_votes_is_uniform() -> None:
    n_votes = simulated("base", 3000).votes.sum(axis=1)
    assert [np.mean(n_votes == n) for n in (2, 3, 4)] == pytest.approx([1 / 3] * 3, abs=0.04)
    assert set(simulated("base", 50, min_votes=8, max_votes=8).votes.sum(axis=1)) == {8}


def test_a_beta_share_has_the_mean_and_spread_that_the_text_explains() -> None:
    """Beta(6μ, 6(1 − μ)) has variance μ(1 − μ)/7."""
    items = simulated("beta", 50_000)
    mean = expit(1.5 * signal(items.features))
    assert np.mean(items.truth - mean) == pytest.approx(0.0, abs=0.005)
    assert np.mean((items.truth - mean) ** 2) == pytest.approx(np.mean(mean * (1 - mean)) / 7, rel=0.03)


def test_consensus_levels_are_those_of_the_scale() -> None:
    """One pseudo-vote per item, at 0.5 %, 15 %, 50 %, 82.5 % or 99.5 %; near the truth."""
    items = simulated("consensus", 5000)
    assert set(items.votes[:, 1].round(6)) == {0.005, 0.15, 0.5, 0.825, 0.995}
    np.testing.assert_allclose(items.votes.sum(axis=1), 1.0)
    assert np.corrcoef(items.votes[:, 1], items.truth)[0, 1] > 0.75
    sure = consensus_levels(np.full(2000, 0.5), np.random.default_rng(0))
    assert np.median(sure) == 0.5
