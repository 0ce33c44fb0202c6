"""Coverage by hand, against scipy, and in simulation with a known truth."""

import numpy as np
import pytest
from scipy import stats

from accord.preference.posterior import fit_prior_strength, posterior_beta, posterior_shares
from accord.recovery.coverage import predictive_probs, share_coverage, vote_coverage

Simulated = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def simulated(strength: float, *, n_items: int, seed: int) -> Simulated:
    """Predictions q, true shares, visible votes and how many of them accept."""
    rng = np.random.default_rng(seed)
    q = rng.uniform(0.05, 0.95, n_items)
    truth = rng.beta(strength * q, strength * (1 - q))
    n_visible = rng.integers(1, 4, n_items)
    return q, truth, n_visible, rng.binomial(n_visible, truth)


def test_probabilities_equal_scipy() -> None:
    found = predictive_probs(np.array([1.3, 0.2]), np.array([4.0, 0.9]), 7)
    np.testing.assert_allclose(found[0], stats.betabinom.pmf(np.arange(8), 7, 1.3, 4.0))
    np.testing.assert_allclose(found[1], stats.betabinom.pmf(np.arange(8), 7, 0.2, 0.9))


def test_by_hand() -> None:
    """Beta(1, 1) makes 0 to 3 of three votes equally likely. At 90 %: none of three is F = [0, 1/4], of which
    [0.05, 1/4] counts, so 0.8; one of three is covered whole. No smaller interval of counts has 90 %: 0 to 3."""
    a = b = np.ones(2)
    found = vote_coverage(a, b, np.array([0, 1]), np.array([3, 3]), level=0.9)
    np.testing.assert_allclose(found.randomised, [0.8, 1.0])
    np.testing.assert_array_equal(found.conservative, [1, 1])
    half = vote_coverage(np.ones(4), np.ones(4), np.arange(4), np.full(4, 3), level=0.5)
    np.testing.assert_array_equal(half.conservative, [0, 1, 1, 0])


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_the_interval_is_the_smallest_central_one(level: float) -> None:
    rng = np.random.default_rng(0)
    a, b, n = rng.uniform(0.2, 9, 40), rng.uniform(0.2, 9, 40), rng.integers(1, 30, 40)
    low, high = (np.asarray(stats.betabinom.ppf(part, n, a, b)) for part in ((1 - level) / 2, (1 + level) / 2))
    for k in range(30):
        told = np.flatnonzero(n >= k)
        found = vote_coverage(a[told], b[told], np.full(len(told), k), n[told], level=level)
        np.testing.assert_array_equal(found.conservative, (low[told] <= k) & (k <= high[told]))


def test_a_right_model_covers_what_it_promises_at_every_number_of_votes() -> None:
    """Exact: over all counts, weighted by their probability, the randomised coverage is the level itself."""
    for n in (1, 2, 5, 40):
        counts = np.arange(n + 1)
        found = vote_coverage(np.full(n + 1, 0.7), np.full(n + 1, 2.5), counts, np.full(n + 1, n), level=0.9)
        probs = predictive_probs(np.array([0.7]), np.array([2.5]), n)[0]
        assert probs @ found.randomised == pytest.approx(0.9)
        assert probs @ found.conservative >= 0.9


def test_without_fresh_votes_or_posterior_it_is_undefined_and_counted_as_nan() -> None:
    a = np.array([1.0, np.nan])
    found = vote_coverage(a, a, np.array([0, 1]), np.array([0, 2]))
    assert np.isnan(found.randomised).all()
    assert np.isnan(found.conservative).all()


def test_extreme_posteriors_stay_finite() -> None:
    a, b = np.array([1e-9, 5e3]), np.array([3.0, 1e-9])
    found = vote_coverage(a, b, np.array([4, 0]), np.array([4, 300]))
    assert found.randomised.tolist() == [0.0, 0.0]
    assert found.conservative.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("strength", [1.0, 4.0, 25.0])
def test_ninety_percent_intervals_cover_in_simulation(strength: float) -> None:
    """With the strength fitted on the visible votes, as on real data: 85 to 95 % of shares and of hidden votes."""
    q, truth, n_visible, n_accepting = simulated(strength, n_items=20_000, seed=5)
    fitted = fit_prior_strength(q, n_accepting, n_visible)
    shares = posterior_shares(q, n_accepting, n_visible, strength=fitted, level=0.9)
    assert 0.85 <= share_coverage(shares.low, shares.high, truth).mean() <= 0.95
    a, b = posterior_beta(q, n_accepting, n_visible, strength=fitted)
    n_hidden = np.random.default_rng(6).integers(1, 6, len(q))
    hidden = np.random.default_rng(7).binomial(n_hidden, truth)
    assert 0.88 <= vote_coverage(a, b, hidden, n_hidden).randomised.mean() <= 0.92


def test_a_wrong_model_does_not_cover() -> None:
    """Predictions taken for certain (m a thousand) leave the votes of items that people disagree about outside."""
    q, truth, n_visible, n_accepting = simulated(1.0, n_items=2000, seed=8)
    a, b = posterior_beta(q, n_accepting, n_visible, strength=1000.0)
    n_hidden = np.full(len(q), 5)
    hidden = np.random.default_rng(9).binomial(n_hidden, truth)
    assert vote_coverage(a, b, hidden, n_hidden).randomised.mean() < 0.75
