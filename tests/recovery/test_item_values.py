"""Values per item: their mean is the number, and their spread is that of its bootstrap."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from accord.recovery.item_values import calibration_error_values, regret_values, spearman_values
from accord.statistics.proper_scores import expected_calibration_error
from accord.statistics.resampling import bootstrap_interval, bootstrap_interval_by_index


def correlated(n: int, *, levels: int | None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    b = 1.2 * a + rng.normal(size=n)
    return a, b if levels is None else np.round(np.clip(b, -2, 2) * levels / 4) / levels


@pytest.mark.parametrize("levels", [None, 3])
def test_the_mean_is_spearmans_correlation(levels: int | None) -> None:
    a, b = correlated(200, levels=levels)
    assert spearman_values(a, b).mean() == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)


@pytest.mark.parametrize("levels", [None, 3])
def test_the_spread_is_that_of_ranking_every_resample_anew(levels: int | None) -> None:
    a, b = correlated(400, levels=levels, seed=1)
    rng = np.random.default_rng(0)
    slow = bootstrap_interval_by_index(
        lambda rows: float(spearmanr(a[rows], b[rows]).statistic), n_items=len(a), n_resamples=600, rng=rng
    )
    fast = bootstrap_interval(spearman_values(a, b), n_resamples=600, rng=rng)
    assert fast.high - fast.low == pytest.approx(slow.high - slow.low, rel=0.12)


def test_spearman_is_undefined_where_nothing_differs() -> None:
    assert np.isnan(spearman_values(np.array([0.5, 0.5, 0.5]), np.array([0.1, 0.2, 0.3]))).all()
    assert np.isnan(spearman_values(np.array([0.5]), np.array([0.1]))).all()


def test_the_sum_is_the_calibration_error() -> None:
    rng = np.random.default_rng(2)
    n, q = rng.integers(1, 6, size=300), rng.random(300)
    k = rng.binomial(n, q**2)
    values = calibration_error_values(q, k / n, n)
    assert values.sum() / n.sum() == pytest.approx(expected_calibration_error(q, k, n), abs=1e-12)


def test_regret_by_hand() -> None:
    """Prompt 0: chosen .5, best .75, lost .25. Prompt 1: a tie of .2 and .6, best .6, lost .2. Others: no choice."""
    predicted = np.array([0.9, 0.3, 0.4, 0.4, 0.7, 0.1, 0.2])
    observed = np.array([0.5, 0.75, 0.2, 0.6, 1.0, 0.0, 1.0])
    values, parts = regret_values(predicted, observed, np.array([0, 0, 1, 1, 2, -1, -1]))
    np.testing.assert_allclose(values, [0.125, 0.125, 0.1, 0.1, 0, 0, 0])
    assert parts.tolist() == [0.5, 0.5, 0.5, 0.5, 0, 0, 0]
    assert values.sum() / parts.sum() == pytest.approx((0.25 + 0.2) / 2)
