"""The annotation budget: by hand, against simulation with a known truth, and at the edges."""

import numpy as np
import pytest

from accord.preference.posterior import posterior_beta
from accord.recovery.budget import (
    BudgetCheck,
    Population,
    annotation_budget,
    bootstrap_populations,
    budget_curve,
    budget_lines,
    check_against_hidden,
    expected_brier,
    expected_error,
    explained_variance,
    fit_population,
    rank_accuracies,
    recommend,
    simulated_error,
    votes_to_explain,
)
from accord.statistics.resampling import Interval

PANEL = Population(np.array([0.1, 0.5, 0.8]), 3.0)
UNIFORM = Population(np.full(4, 0.5), 2.0)
"""Every share from 0 to 1 is as likely: Beta(1, 1)."""


def truth_and_votes(
    population: Population, n_items: int, n_votes: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    q = population.acceptance[rng.integers(len(population.acceptance), size=n_items)]
    truth = rng.beta(population.strength * q, population.strength * (1 - q))
    return q, truth, rng.binomial(n_votes, truth)


def test_by_hand() -> None:
    """Beta(1, 1) has the variance 1/12; one vote makes it Beta(2, 1) or Beta(1, 2), 1/18 each. E[ρ(1 − ρ)] = 1/6.
    n / (n + 2) of the variance is explained: half of it by 2 votes, 0.8 by 8."""
    assert expected_error(UNIFORM, 0) == pytest.approx(1 / 12)
    assert expected_error(UNIFORM, 1) == pytest.approx(1 / 18)
    assert expected_brier(UNIFORM, 1) == pytest.approx(1 / 6 + 1 / 18)
    assert explained_variance(UNIFORM, 2) == pytest.approx(0.5)
    assert votes_to_explain(UNIFORM, 0.8) == 8
    assert votes_to_explain(UNIFORM, 0.801) == 9


def test_rank_accuracy_by_hand() -> None:
    """After one vote, two uniform shares are told apart where the votes differ. Given ρ > ρ', the vote of ρ alone
    accepts with E[ρ(1 − ρ')] = 1/2 - E[ρρ'] + … = 1/3 + 1/12 = 5/12, that of ρ' alone with 1/12; ties are 1/2 each:
    5/12 + 1/4 = 2/3."""
    found = rank_accuracies(UNIFORM, 1, n_pairs=400_000, rng=np.random.default_rng(0))
    assert found[0] == 0.5
    assert found[1] == pytest.approx(2 / 3, abs=0.003)


@pytest.mark.parametrize("n_votes", [1, 3, 8])
def test_expected_errors_equal_simulation(n_votes: int) -> None:
    q, truth, accepting = truth_and_votes(PANEL, 200_000, n_votes, seed=n_votes)
    a, b = posterior_beta(q, accepting, np.full(len(q), n_votes), strength=PANEL.strength)
    share = a / (a + b)
    assert expected_error(PANEL, n_votes) == pytest.approx(np.mean((share - truth) ** 2), rel=0.02)
    fresh = np.random.default_rng(99).random(len(q)) < truth
    assert expected_brier(PANEL, n_votes) == pytest.approx(np.mean((share - fresh) ** 2), rel=0.02)
    explained = 1 - np.mean((share - truth) ** 2) / np.var(truth)
    assert explained_variance(PANEL, n_votes) == pytest.approx(explained, abs=0.01)
    one, other = np.arange(0, len(q), 2), np.arange(1, len(q), 2)
    right = np.sign(np.round(share[one] - share[other], 12)) * np.sign(truth[one] - truth[other])
    found = rank_accuracies(PANEL, n_votes, n_pairs=100_000, rng=np.random.default_rng(1))
    assert found[n_votes] == pytest.approx(np.mean((1 + right) / 2), abs=0.006)


def test_a_learned_strength_costs_something_with_few_items_and_nothing_with_many() -> None:
    rng = np.random.default_rng(2)
    few = np.mean([simulated_error(PANEL, 2, 8, rng=rng) for _ in range(400)])
    many = np.mean([simulated_error(PANEL, 2, 4000, rng=rng) for _ in range(20)])
    known = expected_error(PANEL, 2)
    assert many == pytest.approx(known, rel=0.03)
    assert few > 1.08 * known
    assert np.isnan(simulated_error(PANEL, 1, 50, rng=rng))


@pytest.mark.parametrize("has_text", [False, True])
def test_the_population_is_recovered_and_its_interval_holds_the_truth(has_text: bool) -> None:
    population = PANEL if has_text else UNIFORM
    q, _, accepting = truth_and_votes(population, 2000, 4, seed=11)
    n = np.full(len(q), 4)
    found = annotation_budget(
        accepting,
        n,
        acceptance=q if has_text else None,
        n_resamples=60,
        votes_per_item=(1, 2, 4),
        rng=np.random.default_rng(4),
    )
    assert found.budget == 8000
    assert found.strength.low < population.strength < found.strength.high
    for point in found.curve:
        assert point.n_items == 8000 // point.n_votes
        assert point.error.value == pytest.approx(expected_error(population, point.n_votes), rel=0.05)
        assert point.brier.value == pytest.approx(expected_brier(population, point.n_votes), rel=0.05)
        assert point.explained.low < explained_variance(population, point.n_votes) < point.explained.high
    best = votes_to_explain(population, 0.8)
    advice = found.recommendation
    assert advice.n_votes.low <= best <= advice.n_votes.high
    assert advice.n_items.value == 8000 // advice.n_votes.value
    assert advice.n_items.low <= advice.n_items.value <= advice.n_items.high


def test_the_curve_under_a_budget() -> None:
    """12 votes over a corpus of 3 items: from 5 votes an item on, one item goes without."""
    curve = budget_curve(PANEL, [PANEL, PANEL], budget=12, votes_per_item=(1, 4, 6, 20), rng=np.random.default_rng(0))
    assert [(point.n_votes, point.n_items) for point in curve] == [(1, 12), (4, 3), (6, 2)]
    assert np.isnan(curve[0].learned_error)
    assert curve[1].error_of_all.value == pytest.approx(expected_error(PANEL, 4))
    two_thirds = 2 / 3 * expected_error(PANEL, 6) + 1 / 3 * expected_error(PANEL, 0)
    assert curve[2].error_of_all.value == pytest.approx(two_thirds)
    assert curve[1].error_of_all.value < curve[2].error_of_all.value
    assert [point.rank_accuracy.value for point in curve] == sorted(point.rank_accuracy.value for point in curve)
    assert curve[1].rank_accuracy.low == curve[1].rank_accuracy.value == curve[1].rank_accuracy.high


def test_every_interval_holds_its_value() -> None:
    """A beta prior of 200 items, strengths around its own: the simulated rank accuracy is no exception."""
    panel = Population(np.full(200, 0.5), 1.9)
    drawn = [Population(np.full(200, 0.5), strength) for strength in np.linspace(1.8, 2.0, 21)]
    curve = budget_curve(panel, drawn, budget=2000, votes_per_item=range(1, 11), rng=np.random.default_rng(0))
    for point in curve:
        for found in (point.error, point.explained, point.rank_accuracy, point.error_of_all):
            assert found.low <= found.value <= found.high


def test_an_even_spread_is_best_for_a_fixed_set_of_items() -> None:
    """The gain of one more vote falls, whatever m: 2 + 2 votes beat 1 + 3 and 0 + 4."""
    for strength in (0.2, 3.0, 80.0):
        panel = Population(np.full(2, 0.3), strength)
        even, uneven, one_sided = (expected_error(panel, n) + expected_error(panel, 4 - n) for n in (2, 1, 0))
        assert even < uneven < one_sided


def test_good_predictions_save_votes() -> None:
    blind = Population(np.full(2, 0.5), 2.0)
    told = Population(np.array([0.1, 0.9]), 2.0)
    assert votes_to_explain(told, 0.8) < votes_to_explain(blind, 0.8)
    assert votes_to_explain(told, 0.5) == 1


def test_the_check_against_hidden_votes() -> None:
    """On votes from the model itself the two curves agree; on another population they do not."""
    q, truth, accepting = truth_and_votes(UNIFORM, 4000, 6, seed=6)
    n = np.full(len(q), 6)
    population = fit_population(accepting, n)
    resampled = bootstrap_populations(accepting, n, n_resamples=40, rng=np.random.default_rng(7))
    measured = []
    for keep in (1, 2):
        visible, hidden = np.random.default_rng(keep).binomial([[keep], [3]], truth)
        a, b = posterior_beta(np.full(len(q), 0.5), visible, np.full(len(q), keep), strength=2.0)
        share = a / (a + b)
        per_item = (hidden * (1 - share) ** 2 + (3 - hidden) * share**2) / 3
        spread = 1.96 * per_item.std() / len(q) ** 0.5
        measured.append((keep, Interval(per_item.mean(), per_item.mean() - spread, per_item.mean() + spread)))
    checks = check_against_hidden(population, resampled, measured)
    assert [check.n_votes for check in checks] == [1, 2]
    assert all(check.agrees for check in checks)
    assert not any(check.agrees for check in check_against_hidden(PANEL, [PANEL], measured))
    assert not BudgetCheck(1, Interval(0.1, np.nan, np.nan), Interval(0.1, 0.0, 1.0)).agrees


def test_resampling_takes_whole_clusters() -> None:
    """Two clusters, each with one kind of item: a resample has both, or one twice, nothing else."""
    n_acceptable, n_votes = np.array([2, 2, 0, 1]), np.array([2, 2, 2, 2])
    clusters = np.array(["a", "a", "b", "b"])
    drawn = bootstrap_populations(
        n_acceptable,
        n_votes,
        acceptance=np.array([0.9, 0.9, 0.2, 0.2]),
        clusters=clusters,
        n_resamples=30,
        rng=np.random.default_rng(0),
    )
    assert {tuple(population.acceptance) for population in drawn} == {
        (0.9, 0.9, 0.9, 0.9),
        (0.9, 0.9, 0.2, 0.2),
        (0.2, 0.2, 0.2, 0.2),
    }


def test_single_votes_give_no_answer_and_say_so() -> None:
    found = annotation_budget(np.array([1, 0, 1]), np.ones(3), n_resamples=5, rng=np.random.default_rng(0))
    assert np.isnan(found.recommendation.n_votes.value)
    assert all(np.isnan(point.error.value) and np.isnan(point.rank_accuracy.value) for point in found.curve)
    assert budget_lines(found) == [
        "How many annotators: undefined, because no item has two votes or more to say how far people differ."
    ]


def test_in_words() -> None:
    advice = recommend(UNIFORM, [UNIFORM, Population(np.full(4, 0.5), 4.0)], budget=1000, target=0.8)
    found = annotation_budget(
        np.array([1, 2, 4, 0]), np.full(4, 4), budget=1000, n_resamples=5, rng=np.random.default_rng(0)
    )._replace(population=UNIFORM, strength=Interval(2.0, 1.5, 2.5), recommendation=advice)
    assert budget_lines(found) == [
        "What is known of an item without its votes is worth 2.0 [1.5, 2.5] votes.",
        "8 [8, 16] votes per item explain 80% of what the items' shares differ by; 1,000 votes pay for "
        "125 [63, 121] such items.",
        "Spread evenly over these 4 items the same votes are 250.0 each and explain 0.99 [0.98, 0.99]; no other "
        "spread over them has a lower mean error.",
    ]
