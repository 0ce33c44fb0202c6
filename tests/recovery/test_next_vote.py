"""The worth of a vote: by hand, against enumeration, and what follows for the order."""

import numpy as np
import pytest

from accord.preference.posterior import PosteriorBeta
from accord.recovery.next_vote import by_value, expected_reduction, variance


def test_by_hand() -> None:
    """Beta(1, 1): the variance 1/12 becomes that of Beta(2, 1) or Beta(1, 2), 1/18. 1/12 − 1/18 = 1/36."""
    known = PosteriorBeta(np.array([1.0]), np.array([1.0]))
    assert variance(known)[0] == pytest.approx(1 / 12)
    assert expected_reduction(known)[0] == pytest.approx(1 / 36)


def test_it_is_the_average_over_both_votes() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.1, 20, 50), rng.uniform(0.1, 20, 50)
    accepts = a / (a + b)
    after = accepts * variance(PosteriorBeta(a + 1, b)) + (1 - accepts) * variance(PosteriorBeta(a, b + 1))
    np.testing.assert_allclose(expected_reduction(PosteriorBeta(a, b)), variance(PosteriorBeta(a, b)) - after)


def test_doubt_and_few_votes_are_worth_most() -> None:
    """In doubt (1, 1), nearly sure (3.6, 0.4), in doubt with many votes (10, 10)."""
    found = expected_reduction(PosteriorBeta(np.array([1.0, 3.6, 10.0]), np.array([1.0, 0.4, 10.0])))
    assert found[0] > found[1] > found[2]


def test_a_second_vote_of_a_contested_item_can_be_worth_more_than_the_first_of_a_sure_one() -> None:
    """A common prior Beta(1.8, 0.2): one vote against it makes Beta(1.8, 1.2), worth more than no vote at all."""
    found = expected_reduction(PosteriorBeta(np.array([1.8, 1.8, 2.8]), np.array([1.2, 0.2, 0.2])))
    assert found[0] > found[1] > found[2]


def test_order_by_value_then_tie_break_among_the_chosen() -> None:
    value = np.array([0.1, 0.3, 0.3, 0.9, 0.3])
    mask = np.array([True, True, True, False, True])
    assert by_value(value, np.array([0.5, 0.9, 0.1, 0.0, 0.4]), among=mask).tolist() == [2, 4, 1, 0]
