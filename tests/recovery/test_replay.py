"""Replays of votes: nothing invented, nothing lost, and an order that pays where the truth says so."""

import numpy as np

from accord.preference.posterior import PosteriorBeta
from accord.recovery.replay import POLICIES, Replay, replay


def simulated(n_items: int, n_votes: int, *, informative: bool, seed: int) -> tuple[PosteriorBeta, np.ndarray]:
    """Items of which half are predicted to be accepted by nearly all; or all by the same share."""
    rng = np.random.default_rng(seed)
    q = np.where(np.arange(n_items) % 2 == 0, 0.98, 0.5) if informative else np.full(n_items, 0.5)
    truth = rng.beta(3 * q, 3 * (1 - q))
    accepting = rng.binomial(n_votes, truth)
    return PosteriorBeta(3 * q, 3 * (1 - q)), np.stack([n_votes - accepting, accepting], axis=1).astype(float)


def play(prior: PosteriorBeta, votes: np.ndarray, **options: int) -> Replay:
    ids = [f"i{row}" for row in range(len(votes))]
    return replay(prior, votes, ids, **{"n_seeds": 6, "n_points": 8, "seed": 0, **options})


def test_all_orders_start_and_end_alike() -> None:
    """Without votes and with all of them it cannot matter what was asked for first."""
    found = play(*simulated(40, 6, informative=True, seed=1))
    assert found.n_revealed.tolist() == [0, 15, 30, 45, 60, 75, 90, 105, 120]
    assert set(found.brier) == set(POLICIES)
    for curve in found.brier.values():
        assert curve.shape == (6, 9)
        np.testing.assert_allclose(curve[:, [0, -1]], found.brier["random"][:, [0, -1]])
    assert found.brier["random"][:, -1].mean() < found.brier["random"][:, 0].mean()


def test_by_hand() -> None:
    """Two accepting votes, one kept back: Beta(1, 1) predicts ½, so (1 − ½)² = ¼; after the other vote 2/3, so 1/9.
    The item with one vote takes no part."""
    prior = PosteriorBeta(np.ones(2), np.ones(2))
    found = play(prior, np.array([[0.0, 2.0], [1.0, 0.0]]))
    assert found.n_revealed.tolist() == [0, 1]
    np.testing.assert_allclose(found.brier["suggested"], np.tile([1 / 4, 1 / 9], (6, 1)))
    np.testing.assert_allclose(found.per_item["suggested"], [(1 / 4 + 1 / 9) / 2, np.nan])
    assert found.n_items == 1


def test_the_suggested_order_pays_where_predictions_differ() -> None:
    found = play(*simulated(300, 6, informative=True, seed=2))
    area = {order: curve.mean() for order, curve in found.brier.items()}
    assert area["suggested"] < area["random"] - 0.001
    assert area["suggested"] < area["fewest_votes"] - 0.001


def test_with_one_prior_for_all_the_first_round_is_fewest_votes_first() -> None:
    """Up to one vote an item both ask for a random unseen one; only then do contested items come first."""
    found = play(*simulated(100, 8, informative=False, seed=3), n_points=4, n_seeds=60)
    assert found.n_revealed.tolist() == [0, 100, 200, 300, 400]
    np.testing.assert_allclose(found.brier["suggested"][:, 1], found.brier["fewest_votes"][:, 1])
    assert found.brier["suggested"][:, 1].mean() <= found.brier["random"][:, 1].mean()


def test_it_depends_on_the_seed_and_the_ids_alone() -> None:
    prior, votes = simulated(20, 5, informative=True, seed=4)
    one, again, other = play(prior, votes), play(prior, votes), play(prior, votes, seed=1)
    for order in POLICIES:
        np.testing.assert_array_equal(one.brier[order], again.brier[order])
        assert not np.array_equal(one.brier[order], other.brier[order])


def test_items_of_different_size_give_what_they_have() -> None:
    prior = PosteriorBeta(np.ones(4), np.full(4, 2.0))
    found = play(prior, np.array([[1.0, 1.0], [3.0, 2.0], [0.0, 9.0], [0.0, 0.0]]), n_points=50)
    assert found.n_revealed.tolist() == list(range(1 + 3 + 5 + 1))
    assert np.isnan(found.per_item["random"]).tolist() == [False, False, False, True]
