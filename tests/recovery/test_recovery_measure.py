"""Numbers against hidden votes: by hand, against plain formulas, and what re-hiding may not change."""

from typing import NamedTuple

import numpy as np
import pytest

from accord.data.prepared import Prepared
from accord.data.schemes import load_scheme
from accord.preference.labelled import LabelledItems, count_items
from accord.records import Annotation, Item
from accord.recovery.hide import Estimate, Hiding, hide_votes
from accord.recovery.measure import (
    Measured,
    Truth,
    difference,
    leave_one_out_log_loss,
    measure,
    reliability,
    vote_noise,
)
from accord.recovery.vote_estimators import VOTE_ESTIMATORS
from accord.statistics.resampling import two_way_bootstrap_interval

KNOWN, COUNTS = "annotations", "counts"


class Case(NamedTuple):
    items: LabelledItems
    hidings: list[Hiding]


def panel(n_items: int, n_votes: int, *, kind: str = KNOWN, seed: int = 0) -> LabelledItems:
    """Items of five groups; the share of yes grows with the item's number; eight people take turns."""
    rng = np.random.default_rng(seed)
    items = []
    for number in range(n_items):
        says = ["yes" if vote else "no" for vote in rng.random(n_votes) < (number + 0.5) / n_items]
        people = rng.permutation(8)[:n_votes]
        votes = tuple(Annotation(f"a{who}", vote) for who, vote in zip(people, says, strict=True))
        counts = {"yes": says.count("yes"), "no": says.count("no")}
        more = {"votes": counts} if kind == COUNTS else {"annotations": votes}
        items.append(Item(f"i{number}", f"p{number // 2}", f"c{number}", group=f"g{number % 5}", **more))
    return count_items(Prepared(items, load_scheme("yes-no")))


def measured(
    items: LabelledItems, hidings: list[Hiding], names: tuple[str, ...] = ("constant", "add_1"), n_resamples: int = 200
) -> Measured:
    estimates = {name: [VOTE_ESTIMATORS[name](hiding) for hiding in hidings] for name in names}
    prompts = np.arange(len(items.ids)) // 2
    return measure(items, hidings, estimates, prompts=prompts, n_resamples=n_resamples, seed=0)


def test_by_hand() -> None:
    """Item x: 4 votes, hidden yes yes no, predicted .8; item y: 2 votes, hidden no, predicted .4.

    Log-loss: x weighs 4/3 a vote, y 2: (4/3 (2 ln 1/.8 + ln 1/.2) + 2 ln 1/.6) / 6. Brier likewise. Noise: x has votes
    3:1 → 3·1/(4·3) = 1/4, y 1:1 → 1/2; weighted (4/4 + 2/2)/6 = 1/3.
    """
    items = count_items(
        Prepared(
            [Item("x", "p", "x", votes={"yes": 3, "no": 1}), Item("y", "p", "y", votes={"yes": 1, "no": 1})],
            load_scheme("yes-no"),
        )
    )
    hiding = Hiding(np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([[1.0, 2.0], [1.0, 0.0]]), None, None)
    q = np.array([0.8, 0.4])
    estimates = {"constant": [Estimate(np.array([0.5, 0.5]))], "q": [Estimate(q)]}
    found = measure(items, [hiding], estimates, prompts=np.array([0, 0]), n_resamples=10, seed=0)
    loss = (4 / 3 * (2 * np.log(1 / 0.8) + np.log(1 / 0.2)) + 2 * np.log(1 / 0.6)) / 6
    brier = (4 / 3 * (2 * 0.04 + 0.64) + 2 * 0.16) / 6
    assert found.number("log_loss", "q").value == pytest.approx(loss)
    assert found.number("brier", "q").value == pytest.approx(brier)
    assert found.number("brier", "constant").value == pytest.approx(0.25)
    assert np.isnan(found.number("explained_gap", "q").value)  # .25 is below the noise of 1/3: there is no gap
    assert found.number("manhattan", "q").value == pytest.approx((2 * abs(0.8 - 2 / 3) + 2 * 0.4) / 2)
    assert found.number("spearman", "q").value == pytest.approx(1.0)
    assert found.number("regret", "q").value == 0.0
    assert found.number("regret", "constant").value == pytest.approx(2 / 3 - 1 / 3)
    assert np.isnan(found.number("coverage_90", "q").value)
    assert found.n_items == 2


def test_noise_and_leave_one_out_by_hand() -> None:
    """Votes 1:2 and a prior Beta(½, ½): each yes is predicted by 1:1 (1.5/3), the no by 0:2 (0.5/3)."""
    votes = np.array([[1.0, 2.0], [0.0, 1.0]])
    np.testing.assert_allclose(vote_noise(votes), [2 / 6, np.nan])
    losses = leave_one_out_log_loss(votes, mean=0.5, strength=1.0)
    np.testing.assert_allclose(losses, [2 * np.log(2) + np.log(6), np.log(2)])


def test_somebody_who_knows_the_share_explains_the_whole_gap() -> None:
    items = panel(400, 6, kind=COUNTS)
    hidings = [hide_votes(items, keep=[2], seed=seed)[0] for seed in range(4)]
    truth = (np.arange(400) + 0.5) / 400
    estimates = {
        "constant": [VOTE_ESTIMATORS["constant"](hiding) for hiding in hidings],
        "truth": [Estimate(truth)] * 4,
    }
    found = measure(items, hidings, estimates, prompts=np.full(400, -1), n_resamples=200, seed=0).number(
        "explained_gap", "truth"
    )
    assert found.value == pytest.approx(1.0, abs=0.12)
    assert found.interval[0] < 1 < found.interval[1]


@pytest.mark.parametrize("kind", [KNOWN, COUNTS])
def test_hiding_again_never_adds_evidence(kind: str) -> None:
    """Every hiding twice: the same values, the same intervals, the same n."""
    items = panel(40, 5, kind=kind)
    hidings = [hide_votes(items, keep=[2], seed=seed)[0] for seed in range(3)]
    once, twice = measured(items, hidings), measured(items, [*hidings, *hidings])
    assert once.n_items == twice.n_items == 40
    for key, number in once.numbers.items():
        np.testing.assert_allclose(twice.numbers[key].value, number.value, rtol=1e-9)
        np.testing.assert_allclose(twice.numbers[key].interval, number.interval, rtol=1e-9)


def test_all_hidings_of_one_vote_are_leaving_one_in() -> None:
    """Each of an item's three votes visible once, add-1 predicts the two others: every vote is judged equally."""
    items = count_items(Prepared([Item("x", "p", "x", votes={"yes": 2, "no": 1})], load_scheme("yes-no")))
    visible = [np.array([[0.0, 1.0]]), np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])]
    hidings = [Hiding(seen, items.votes - seen, None, None) for seen in visible]
    found = measured(items, hidings).number("log_loss", "add_1").value
    yes_seen, no_seen = np.log(3 / 2) + np.log(3), 2 * np.log(3)  # yes, no after a yes; yes twice after a no
    assert found == pytest.approx((2 * yes_seen + no_seen) / 6)


def test_known_annotators_are_resampled_too() -> None:
    """One hiding: the interval is the two-way bootstrap's of the hidden votes, each weighing n_i / h_i = 5/3."""
    items = panel(30, 5)
    hiding = hide_votes(items, keep=[2], seed=0)[0]
    found = measured(items, [hiding], n_resamples=400).number("brier", "add_1")
    hidden = hiding.hidden_annotations
    assert hidden is not None
    q = VOTE_ESTIMATORS["add_1"](hiding).acceptance[hidden.item_index]
    expected = two_way_bootstrap_interval(
        (hidden.is_acceptable - q) ** 2,
        groups=items.clusters[hidden.item_index],
        annotators=hidden.annotator_index,
        n_resamples=400,
        rng=np.random.default_rng(0),
    )
    assert found.value == pytest.approx(expected.value)
    np.testing.assert_allclose(found.interval, expected[1:], rtol=0.1)
    assert found.df == 4  # five groups, eight annotators


def test_an_estimator_without_an_answer_is_undefined() -> None:
    items = panel(20, 3)
    hidings = [hide_votes(items, keep=[1], seed=0)[0]]
    found = measured(items, hidings, ("constant", "add_1", "add_s"))
    number = found.number("log_loss", "add_s")
    assert np.isnan(number.value)
    assert np.isnan(number.interval).all()
    assert np.isnan(difference(number, found.number("log_loss", "add_1"))).all()
    assert np.isnan(found.number("ece", "add_s").value)


def test_fewer_hidings_are_compared_with_the_same_hidings() -> None:
    items = panel(30, 5)
    hidings = [hide_votes(items, keep=[2], seed=seed)[0] for seed in range(3)]
    estimates = {
        "constant": [VOTE_ESTIMATORS["constant"](hiding) for hiding in hidings],
        "add_1": [VOTE_ESTIMATORS["add_1"](hiding) for hiding in hidings],
        "slow": [VOTE_ESTIMATORS["add_1"](hiding) for hiding in hidings[:2]],
    }
    found = measure(items, hidings, estimates, prompts=np.full(30, -1), n_resamples=50, seed=0)
    same = found.number("log_loss", "add_1", n_hidings=2)
    gap = difference(found.number("log_loss", "slow"), same)
    assert gap == (0.0, 0.0, 0.0, 1.0)
    assert same.value != found.number("log_loss", "add_1").value


def test_p_is_small_where_estimators_surely_differ_and_not_where_they_do_not() -> None:
    items = panel(200, 6)
    hidings = [hide_votes(items, keep=[3], seed=seed)[0] for seed in range(4)]
    found = measured(items, hidings, ("constant", "add_1", "beta_prior"))
    better = difference(found.number("brier", "add_1"), found.number("brier", "constant"))
    assert better.difference < 0
    assert better.high < 0
    assert better.p < 0.05
    assert difference(found.number("brier", "beta_prior"), found.number("brier", "add_1")).p > 0.05


def test_reliability_of_a_right_model_lies_on_the_diagonal() -> None:
    items = panel(2000, 4, kind=COUNTS)
    hidings = [hide_votes(items, keep=[1], seed=seed)[0] for seed in range(3)]
    curve = reliability(items, hidings, [Estimate((np.arange(2000) + 0.5) / 2000)] * 3)
    np.testing.assert_allclose(curve.predicted, curve.observed, atol=0.06)
    assert curve.n.sum() == pytest.approx(items.n_votes.sum())


def test_a_simulations_truth_by_hand() -> None:
    """Said .8 and .4, without slips 1 and .4; votes accept with .7 and .3, people with .9 and .2: mean squares."""
    items = count_items(
        Prepared([Item(name, "p", name, votes={"yes": 1, "no": 1}) for name in "xy"], load_scheme("yes-no"))
    )
    hiding = Hiding(np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 0.0]]), None, None)
    said = Estimate(np.array([0.8, 0.4]), None, np.array([1.0, 0.4]))
    estimates = {"constant": [Estimate(np.array([0.5, 0.5]))], "q": [said]}
    truth = Truth(np.array([0.7, 0.3]), np.array([0.9, 0.2]))
    found = measure(items, [hiding], estimates, prompts=np.array([0, 0]), truth=truth, n_resamples=10, seed=0)
    assert found.number("truth_error", "q").value == pytest.approx(0.01)
    assert found.number("latent_error", "q").value == pytest.approx((0.01 + 0.04) / 2)
    assert found.number("latent_error", "constant").value == pytest.approx((0.16 + 0.09) / 2)
