"""Prediction-powered means: the classical mean at weight 0, a hand-worked case, and coverage."""

import numpy as np
import pytest

from accord.statistics.prediction_powered import prediction_powered_mean


def test_weight_zero_is_the_mean_of_the_labels() -> None:
    labels = np.array([0.0, 1.0, 1.0, 1.0])
    found = prediction_powered_mean(labels, labels, np.array([0.1, 0.2]), weight=0.0)
    half = 1.959964 * (np.var(labels, ddof=1) / 4) ** 0.5
    assert found == pytest.approx((0.75, 0.75 - half, 0.75 + half, 0.0), rel=1e-6)


def test_a_hand_worked_case() -> None:
    """Labels .2 .4 .6, predictions .1 .4 .7 (means .4 and .4), others .8 .8 .5 (mean .7).

    Var f = .09, Cov = .06, so λ* = .06 / (2·.09) = 1/3 and θ = .4 + (.7 − .4)/3 = .5.
    Y − f/3 = 1/6, 4/15, 11/30: variance .01; Var f' = .03; Var θ = .01/3 + (1/9)·.03/3 = .0044444.
    """
    found = prediction_powered_mean(np.array([0.2, 0.4, 0.6]), np.array([0.1, 0.4, 0.7]), np.array([0.8, 0.8, 0.5]))
    assert found.weight == pytest.approx(1 / 3)
    assert found.value == pytest.approx(0.5)
    assert found.high - found.value == pytest.approx(1.959964 * 0.0044444**0.5, rel=1e-4)


@pytest.mark.parametrize("n_others", [0, 5])
def test_predictions_that_say_nothing_get_no_weight(n_others: int) -> None:
    labels = np.array([0.0, 1.0, 0.5])
    found = prediction_powered_mean(labels, np.full(3, 0.3), np.full(n_others, 0.9))
    assert (found.value, found.weight) == (0.5, 0.0)


def test_one_label_has_no_interval() -> None:
    found = prediction_powered_mean(np.array([0.7]), np.array([0.7]), np.array([0.2]))
    assert found.value == 0.7
    assert np.isnan(found.low)


def test_one_other_text_is_no_sure_number() -> None:
    """Its spread is that of the other predictions: Var θ = Var(Y − f/2)/2 + (1/4)·Var f, here .005/2 + .02/4."""
    found = prediction_powered_mean(np.array([0.2, 0.4]), np.array([0.4, 0.6]), np.array([0.9]), weight=0.5)
    assert found.high - found.value == pytest.approx(1.959964 * (0.005 / 2 + 0.02 / 4) ** 0.5, rel=1e-6)


def test_intervals_cover_and_are_shorter_with_good_predictions() -> None:
    """Biased but correlated predictions: 95 % intervals cover as the plain ones do, and are shorter."""
    rng = np.random.default_rng(0)
    n_covered, widths = 0, {"powered": 0.0, "plain": 0.0}
    for _ in range(400):
        labels = rng.beta(2, 2, size=340)
        predictions = np.clip(labels * 0.8 + 0.15 + rng.normal(0, 0.06, size=340), 0, 1)
        found = prediction_powered_mean(labels[:40], predictions[:40], predictions[40:])
        plain = prediction_powered_mean(labels[:40], predictions[:40], predictions[40:], weight=0.0)
        n_covered += found.low <= 0.5 <= found.high
        widths["powered"] += found.high - found.low
        widths["plain"] += plain.high - plain.low
    assert 0.91 <= n_covered / 400 <= 0.98
    assert widths["powered"] < 0.6 * widths["plain"]
