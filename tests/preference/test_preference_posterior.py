"""Posterior shares: by hand, in simulation, and at the edges."""

import numpy as np
import pytest
from scipy import stats

from accord.preference.posterior import fit_prior_strength, group_folds, posterior_beta, posterior_shares


def test_posterior_by_hand() -> None:
    """q = 0.5 worth m = 4 votes, 3 of 4 accept: (3 + 2) / (4 + 4) = 0.625, Beta(5, 3)."""
    shares = posterior_shares(np.array([0.5]), np.array([3]), np.array([4]), strength=4.0)
    np.testing.assert_allclose(shares.share, 0.625)
    np.testing.assert_allclose([shares.low[0], shares.high[0]], stats.beta.ppf([0.025, 0.975], 5, 3))
    np.testing.assert_allclose(shares.n_effective, 8.0)


def test_the_share_and_its_number_of_votes_give_the_distribution_back() -> None:
    q, n_acceptable, n_votes = np.array([0.2, 0.9]), np.array([1, 0]), np.array([3, 0])
    a, b = posterior_beta(q, n_acceptable, n_votes, strength=np.array([2.0, 7.0]))
    np.testing.assert_allclose((a, b), ([1.4, 6.3], [3.6, 0.7]))
    shares = posterior_shares(q, n_acceptable, n_votes, strength=np.array([2.0, 7.0]))
    np.testing.assert_allclose(shares.share * shares.n_effective, a)


def test_without_votes_the_share_is_the_prediction() -> None:
    shares = posterior_shares(np.array([0.3, 1.0]), np.array([0, 0]), np.array([0, 0]), strength=10.0)
    np.testing.assert_allclose(shares.share, [0.3, 1.0], atol=1e-8)


def test_many_votes_win_over_the_prediction() -> None:
    shares = posterior_shares(np.array([0.9]), np.array([2000]), np.array([10000]), strength=5.0)
    np.testing.assert_allclose(shares.share, 0.2, atol=1e-3)


def test_strength_may_differ_by_item() -> None:
    """q = 0.5, one accepting vote: (1 + m/2) / (1 + m) is 0.75 at m = 1 and 0.6 at m = 4."""
    q, n = np.array([0.5, 0.5]), np.array([1, 1])
    np.testing.assert_allclose(posterior_shares(q, n, n, strength=np.array([1.0, 4.0])).share, [0.75, 0.6])


def simulated(strength: float, seed: int, n_items: int = 6000) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    q = rng.uniform(0.1, 0.9, n_items)
    truth = rng.beta(strength * q, strength * (1 - q))
    n_votes = rng.integers(2, 6, n_items)
    return q, truth, rng.binomial(n_votes, truth), n_votes


@pytest.mark.parametrize("strength", [1.0, 6.0, 30.0])
def test_strength_is_recovered_in_simulation(strength: float) -> None:
    q, _, n_acceptable, n_votes = simulated(strength, seed=1)
    assert fit_prior_strength(q, n_acceptable, n_votes) == pytest.approx(strength, rel=0.2)


def test_intervals_cover_the_truth_and_shares_beat_votes_and_prediction() -> None:
    q, truth, n_acceptable, n_votes = simulated(5.0, seed=2)
    strength = fit_prior_strength(q, n_acceptable, n_votes)
    shares = posterior_shares(q, n_acceptable, n_votes, strength=strength, level=0.9)
    assert np.mean((shares.low <= truth) & (truth <= shares.high)) == pytest.approx(0.9, abs=0.015)
    error = np.mean((shares.share - truth) ** 2)
    assert error < 0.8 * np.mean((q - truth) ** 2)
    assert error < 0.8 * np.mean((n_acceptable / n_votes - truth) ** 2)


def test_single_votes_say_nothing_about_the_strength() -> None:
    q, _, n_acceptable, n_votes = simulated(5.0, seed=3, n_items=500)
    strength = fit_prior_strength(q, n_acceptable, n_votes)
    singles = np.ones(300, dtype=np.int64)
    mixed = fit_prior_strength(
        np.concatenate([q, np.full(300, 0.2)]),
        np.concatenate([n_acceptable, singles]),
        np.concatenate([n_votes, singles]),
    )
    assert mixed == pytest.approx(strength, rel=1e-6)
    assert np.isnan(fit_prior_strength(np.full(3, 0.5), np.ones(3), np.ones(3)))


def test_undefined_strength_gives_undefined_shares() -> None:
    assert np.isnan(posterior_shares(np.array([0.5]), np.array([1]), np.array([1]), strength=np.nan)).all()


def test_votes_that_are_no_more_spread_than_a_coin_reach_the_upper_bound() -> None:
    rng = np.random.default_rng(0)
    q = rng.uniform(0.2, 0.8, 4000)
    assert fit_prior_strength(q, rng.binomial(4, q), np.full(4000, 4)) > 50


def test_folds_keep_groups_together_and_are_even() -> None:
    groups = [f"g{number // 3}" for number in range(60)]
    folds = group_folds(groups, n_folds=5, seed=0)
    assert sorted(np.bincount(folds)) == [12] * 5
    for group in set(groups):
        assert len({int(fold) for fold, name in zip(folds, groups, strict=True) if name == group}) == 1
    order = np.random.default_rng(1).permutation(60)
    np.testing.assert_array_equal(group_folds([groups[row] for row in order], n_folds=5, seed=0), folds[order])
