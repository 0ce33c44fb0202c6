"""Groups of annotators by hand, in simulation with a known gap, and at the edges."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accord.preference.labelled import Annotations
from accord.recovery.left_out import LeftOut, left_out, left_out_lines
from accord.recovery.vote_estimators import fit_beta_prior

Vote = tuple[int, int, int]
NAMES = ["ann", "bob", "cid", "dee", "eve"]
COUNTRY = {
    "ann": {"country": "uk"},
    "bob": {"country": "uk"},
    "cid": {"country": "uk"},
    "dee": {"country": "peru"},
    "eve": {"country": "peru"},
}
VOTES: list[Vote] = [
    (0, 0, 1), (0, 1, 1), (0, 3, 0),
    (1, 0, 1), (1, 2, 0), (1, 4, 0), (1, 3, 0),
    (2, 1, 1),
    (3, 4, 1),
]  # fmt: skip
"""(item, annotator, accepts). The countries meet on items 0 and 1: uk 1 and 1/2, peru 0 and 0."""


def found_in(
    votes: list[Vote], *, traits: dict[str, dict[str, str]] = COUNTRY, estimates: Any = None, **options: Any
) -> LeftOut:
    columns = np.array(votes)
    n_items = int(columns[:, 0].max()) + 1
    return left_out(
        estimates or {},
        Annotations(columns[:, 0], columns[:, 1], columns[:, 2].astype(bool)),
        annotators=NAMES,
        traits=traits,
        ids=[f"i{row}" for row in range(n_items)],
        clusters=np.arange(n_items),
        **{"n_resamples": 50, "rng": np.random.default_rng(0), **options},
    )


def test_by_hand() -> None:
    found = found_in(VOTES)
    assert [(g.value, g.n_annotators, g.n_items, g.n_votes, g.is_smallest, g.is_largest) for g in found.groups] == [
        ("peru", 2, 3, 4, True, False),
        ("uk", 3, 3, 5, False, True),
    ]
    assert [g.acceptance.value for g in found.groups] == [0.25, 0.8]
    (gap,) = found.gaps
    assert (gap.first, gap.second, gap.n_items) == ("peru", "uk", 2)
    assert gap.difference.value == pytest.approx(0 - (1 + 1 / 2) / 2)
    assert found.largest_gap is gap
    assert (found.n_votes_without_traits, found.too_small) == (0, [])


def test_an_estimate_is_held_against_each_group_by_hand() -> None:
    """On peru's votes 0, 0, 0, 1 on the items 0, 1, 1, 3: the estimate 0.5, 0.2, 0.2, undefined."""
    found = found_in(VOTES, estimates={"votes": np.array([0.5, 0.2, 0.9, np.nan])})
    peru, uk = found.errors
    assert (peru.value, peru.estimator, peru.n_votes) == ("peru", "votes", 3)
    assert peru.bias.value == pytest.approx((0.5 + 0.2 + 0.2) / 3)
    assert peru.brier.value == pytest.approx((0.25 + 0.04 + 0.04) / 3)
    assert uk.bias.value == pytest.approx(((0.5 - 1) * 2 + (0.2 - 1) + 0.2 + (0.9 - 1)) / 5)


def test_estimates_are_held_against_the_votes_they_have_not_seen() -> None:
    hidden = Annotations(np.array([1, 3]), np.array([4, 4]), np.array([False, True]))
    found = found_in(VOTES, estimates={"votes": np.array([0.5, 0.2, 0.9, 0.6])}, judged_on=hidden)
    peru, uk = found.errors
    assert peru.n_votes == 2
    assert peru.bias.value == pytest.approx((0.2 - 0.4) / 2)
    assert (uk.n_votes, np.isnan(uk.bias.value)) == (0, True)
    assert [group.n_votes for group in found.groups] == [4, 5]


def test_contested_items_by_hand() -> None:
    found = found_in(VOTES)
    counts = np.array([[1.0, 2.0], [3.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    mean, strength = fit_beta_prior(counts)
    first, second = found.contested
    assert (first.id, first.majority_votes, first.minority_votes) == ("i0", (2, 2), (0, 1))
    assert first.majority_share == pytest.approx((2 + strength * mean) / (2 + strength))
    assert first.minority_share == pytest.approx(strength * mean / (1 + strength))
    assert (second.id, second.majority_votes, second.minority_votes) == ("i1", (1, 2), (0, 2))
    assert first.difference > second.difference > 0
    assert len(found_in(VOTES, n_contested=1).contested) == 1


def simulated(gap: float, *, seed: int, n_items: int = 400) -> tuple[list[Vote], np.ndarray]:
    """Four people of one country judge everything, two of the other half of the items; those accept `gap` less."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(gap, 1, n_items)
    votes = [(i, a, int(rng.random() < share[i])) for i in range(n_items) for a in (0, 1, 2)]
    votes += [(i, a, int(rng.random() < share[i] - gap)) for i in range(0, n_items, 2) for a in (3, 4)]
    return votes, share


def test_a_true_gap_is_found_and_an_estimate_of_the_majority_errs_for_the_minority() -> None:
    votes, share = simulated(0.25, seed=1)
    found = found_in(votes, estimates={"majority": share, "fair": share - 0.1}, n_resamples=200)
    gap = found.largest_gap
    assert gap is not None
    assert gap.difference.low < -0.25 < gap.difference.high < 0
    error = {(e.value, e.estimator): e for e in found.errors}
    assert error["peru", "majority"].bias.low < 0.25 < error["peru", "majority"].bias.high
    assert error["peru", "majority"].bias.value - error["peru", "fair"].bias.value == pytest.approx(0.1)
    assert abs(error["uk", "majority"].bias.value) < 0.05
    assert error["peru", "majority"].brier.value > error["uk", "majority"].brier.value


def test_without_a_gap_the_interval_of_the_largest_one_holds_zero() -> None:
    """Three values of a trait make three gaps: intervals hold for all at once."""
    misses = 0
    traits = {name: {"age": age} for name, age in zip(NAMES, ("20", "20", "40", "40", "60"), strict=True)}
    for seed in range(20):
        votes, _ = simulated(0.0, seed=seed, n_items=60)
        found = found_in(votes, traits=traits, min_annotators=1, n_resamples=100)
        assert len(found.gaps) == 3
        gap = found.largest_gap
        assert gap is not None
        misses += not gap.difference.low <= 0 <= gap.difference.high
    assert misses <= 2


def test_the_order_of_votes_does_not_matter() -> None:
    votes, share = simulated(0.2, seed=4, n_items=30)
    order = np.random.default_rng(0).permutation(len(votes))
    one = found_in(votes, estimates={"e": share})
    other = found_in([votes[k] for k in order], estimates={"e": share})
    assert one._replace(errors=[]) == other._replace(errors=[])
    np.testing.assert_allclose([e.bias for e in one.errors], [e.bias for e in other.errors])  # sums in another order
    np.testing.assert_allclose([e.brier for e in one.errors], [e.brier for e in other.errors])


def test_groups_that_judged_nothing_in_common_have_no_gap() -> None:
    found = found_in([(0, 0, 1), (0, 1, 1), (1, 3, 0), (1, 4, 0)])
    assert np.isnan(found.gaps[0].difference.value)
    assert found.largest_gap is None
    assert found.contested == []


def test_people_without_traits_and_small_groups_are_named() -> None:
    traits = {"ann": {"age": "20"}, "bob": {"age": "20"}, "dee": {"age": "60"}}
    found = found_in(VOTES, traits=traits)
    assert [group.value for group in found.groups] == ["20"]
    assert not found.groups[0].is_smallest
    assert (found.n_votes_without_traits, found.too_small) == (3, ["age=60"])


def test_single_people_can_be_compared() -> None:
    found = found_in(VOTES, traits={name: {"annotator": name} for name in NAMES}, min_annotators=1)
    assert [group.n_annotators for group in found.groups] == [1] * 5
    assert len(found.gaps) == 10
    bob = found.groups[1]
    assert (bob.value, bob.acceptance.value, bob.acceptance.low) == ("bob", 1.0, 1.0)


def test_in_words() -> None:
    votes, share = simulated(0.25, seed=1)
    lines = left_out_lines(found_in(votes, estimates={"votes": share}), estimator="votes")
    assert lines[0].startswith("Largest gap: country peru accepts -0.2")
    assert lines[0].endswith("against uk, on 200 items that both judged (1 gaps looked at).")
    assert lines[1].startswith("Smallest group of country: peru (2 people). votes is +0.2")
    assert left_out_lines(found_in(VOTES, traits={})) == [
        "Who is left out: undefined, because no trait of the annotators has a group of enough people."
    ]


def test_the_example_of_the_page_runs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "left-out.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(code, {})
