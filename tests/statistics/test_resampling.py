"""Bootstrap intervals against hand counts, scipy, and the coverage they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from accord.statistics import resampling
from accord.statistics.resampling import (
    bootstrap_interval,
    bootstrap_interval_by_index,
    cluster_sums,
    describe_interval,
    draw_counts,
    ratio,
    resampled_sums,
    two_way_bootstrap_interval,
    two_way_resampled_sums,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_mean_of_values_and_of_ratios() -> None:
    """Values 1, 2, 6: mean 3. Losses 1, 2, 6 with weights 1, 1, 4: 9/6 = 1.5, every annotation counting once."""
    values = np.array([1.0, 2.0, 6.0])
    assert bootstrap_interval(values, rng=rng()).value == 3.0
    weighted = np.column_stack([values, [1, 1, 4]])
    assert bootstrap_interval(weighted, rng=rng()).value == 1.5


def test_two_items_by_hand() -> None:
    """Values 0 and 1: a resample's mean is 0, ½ or 1 with chances ¼, ½, ¼, so the 95 % interval is [0, 1]."""
    interval = bootstrap_interval(np.array([0.0, 1.0]), rng=rng())
    assert interval == (0.5, 0.0, 1.0)
    middle = bootstrap_interval(np.array([0.0, 1.0]), level=0.4, rng=rng())
    assert (middle.low, middle.high) == (0.5, 0.5)


def test_agrees_with_scipy() -> None:
    values = rng(3).gamma(2.0, size=200)
    ours = bootstrap_interval(values, n_resamples=20_000, rng=rng(1))
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=rng(2))
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.01)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.01)


def test_clusters_are_drawn_as_wholes() -> None:
    """Fifty copies of each of four items hold four items' worth of evidence, not two hundred's."""
    values, clusters = np.repeat([0.0, 1.0, 1.0, 0.0], 50), np.repeat(["d", "b", "a", "c"], 50)
    by_cluster = bootstrap_interval(values, clusters=clusters, rng=rng())
    by_item = bootstrap_interval(values, rng=rng())
    assert by_cluster.value == by_item.value == 0.5
    assert (by_cluster.low, by_cluster.high) == (0.0, 1.0)
    assert by_item.high - by_item.low < 0.2


def test_cluster_sums() -> None:
    statistics = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    np.testing.assert_array_equal(cluster_sums(statistics, np.array(["b", "a", "b"])), [[2, 20], [5, 50]])
    assert cluster_sums(statistics, None) is statistics


def test_undefined_items_are_left_out_and_undefined_numbers_are_nan() -> None:
    assert bootstrap_interval(np.array([1.0, np.nan, 3.0]), rng=rng()).value == 2.0
    assert bootstrap_interval(np.array([[1.0, 1.0], [np.nan, 5.0], [3.0, 1.0]]), rng=rng()).value == 2.0
    assert all(np.isnan(bootstrap_interval(np.array([np.nan, np.nan]), rng=rng())))
    assert all(np.isnan(bootstrap_interval(np.array([]), rng=rng())))
    assert np.isnan(ratio(np.zeros((1, 2)))[0])


def test_one_cluster_has_a_value_but_no_interval() -> None:
    value, low, high = bootstrap_interval(np.array([1.0, 2.0]), clusters=np.array([7, 7]), rng=rng())
    assert value == 1.5
    assert np.isnan([low, high]).all()


def test_draw_counts_are_multinomial() -> None:
    counts = draw_counts(4, 50_000, rng())
    assert (counts.sum(axis=1) == 4).all()
    np.testing.assert_allclose(counts.mean(axis=0), 1.0, atol=0.02)
    np.testing.assert_allclose(counts.var(axis=0), 4 * 0.25 * 0.75, atol=0.02)


def test_by_index_equals_the_fast_road() -> None:
    """The same seed draws the same resamples, so the mean must give the same interval on both roads."""
    values, clusters = rng(5).random(30), np.arange(30) // 3
    fast = bootstrap_interval(values, clusters=clusters, rng=rng())
    slow = bootstrap_interval_by_index(
        lambda i: float(values[i].mean()), n_items=30, clusters=clusters, n_resamples=1000, rng=rng()
    )
    np.testing.assert_allclose(slow, fast, rtol=1e-12)


def test_two_way_counts_group_times_annotator() -> None:
    """With one annotation per group and annotator, all distinct, the value is the plain mean, and the interval is
    wider than that over groups alone whenever annotators differ."""
    table = rng(1).normal(size=(40, 1)) * 0.1 + np.array([-1.0, 0.0, 2.0])
    groups, annotators = np.repeat(np.arange(40), 3), np.tile(np.array(["x", "y", "z"]), 40)
    two_way = two_way_bootstrap_interval(table.ravel(), groups=groups, annotators=annotators, rng=rng())
    by_group = bootstrap_interval(table.ravel(), clusters=groups, rng=rng())
    assert two_way.value == pytest.approx(table.mean())
    assert two_way.value == pytest.approx(by_group.value)
    assert two_way.high - two_way.low > 5 * (by_group.high - by_group.low)


def test_two_way_with_identical_annotators_is_the_one_way_interval() -> None:
    groups, annotators = np.repeat(np.arange(60), 4), np.tile(np.arange(4), 60)
    values = np.repeat(rng(2).random(60), 4)
    two_way = two_way_bootstrap_interval(values, groups=groups, annotators=annotators, n_resamples=5000, rng=rng())
    one_way = bootstrap_interval(values, clusters=groups, n_resamples=5000, rng=rng(1))
    np.testing.assert_allclose(two_way, one_way, atol=0.01)


def test_two_way_covers_the_truth_where_items_alone_do_not() -> None:
    """Eight annotators with their own leniency: intervals over items alone miss the panel's mean far too often."""
    hits = {"two_way": 0, "items": 0}
    groups, annotators = np.repeat(np.arange(60), 8), np.tile(np.arange(8), 60)
    for trial in range(60):
        draw = rng(trial)
        values = (draw.normal(size=(60, 1)) + draw.normal(size=(1, 8)) + draw.normal(size=(60, 8))).ravel()
        two_way = two_way_bootstrap_interval(values, groups=groups, annotators=annotators, n_resamples=200, rng=draw)
        items = bootstrap_interval(values, clusters=groups, n_resamples=200, rng=draw)
        hits["two_way"] += two_way.low <= 0 <= two_way.high
        hits["items"] += items.low <= 0 <= items.high
    assert hits["two_way"] >= 50
    assert hits["items"] < 45


@given(arrays.arrays(np.float64, st.integers(2, 20), elements=st.floats(-5, 5)))
def test_bounds_enclose_nothing_outside_the_data(values: np.ndarray) -> None:
    interval = bootstrap_interval(values, n_resamples=50, rng=rng())
    assert values.min() - 1e-9 <= interval.low <= interval.high <= values.max() + 1e-9


def test_same_rng_same_interval() -> None:
    values = rng(9).random(50)
    assert bootstrap_interval(values, rng=rng(4)) == bootstrap_interval(values, rng=rng(4))


def test_signature_of_an_interval() -> None:
    text = describe_interval(n_resamples=1000, level=0.95, clusters="prompt")
    assert text == "ci:bootstrap-1000@0.95/prompt"


def test_resampled_sums_are_what_the_intervals_are_made_of() -> None:
    """The same draws: the quantiles of their ratios are the intervals' ends."""
    statistics = np.stack([rng(3).random(40), np.ones(40)], axis=1)
    groups, annotators = np.arange(40) // 4, np.arange(40) % 5
    one_way = resampled_sums(statistics, clusters=groups, n_resamples=300, rng=rng(1))
    interval = two_way_bootstrap_interval(statistics, groups=groups, annotators=annotators, n_resamples=300, rng=rng(1))
    two_way = two_way_resampled_sums(statistics, groups=groups, annotators=annotators, n_resamples=300, rng=rng(1))
    assert np.quantile(ratio(two_way), [0.025, 0.975]).tolist() == [interval.low, interval.high]
    assert one_way.shape == two_way.shape == (300, 2)
    assert set(one_way[:, 1]) == {40.0}  # ten groups of four, whichever are drawn


@pytest.mark.parametrize("many", [1, 10**9])
def test_many_equal_items_drawn_together_give_the_same_interval(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """400 votes, 100 of them 1: the share's standard error is sqrt(0.25 · 0.75 / 400) = 0.02165."""
    monkeypatch.setattr(resampling, "MANY_CLUSTERS", many)
    votes = np.repeat([0.0, 1.0, 0.0], [150, 100, 150])
    found = bootstrap_interval(votes, n_resamples=20_000, rng=np.random.default_rng(0))
    assert found.value == 0.25
    assert found.low == pytest.approx(0.25 - 1.96 * 0.02165, abs=0.004)
    assert found.high == pytest.approx(0.25 + 1.96 * 0.02165, abs=0.004)


def test_items_that_all_differ_are_drawn_one_by_one_however_many(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(50.0)
    one = bootstrap_interval(values, rng=np.random.default_rng(3))
    monkeypatch.setattr(resampling, "MANY_CLUSTERS", 1)
    assert bootstrap_interval(values, rng=np.random.default_rng(3)) == one
