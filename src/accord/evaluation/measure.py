"""From per-prompt statistics to measurements with intervals and paired, Holm-corrected comparisons."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from accord.evaluation.metrics import length_adjusted
from accord.evaluation.metrics.length_adjusted import half_intercept, length_adjusted_statistics, mirrored
from accord.evaluation.outputs import SEPARATOR
from accord.randomness import keyed_rng
from accord.records import Measurement
from accord.statistics.resampling import (
    Combine,
    bootstrap_interval_over_seeds,
    describe_interval,
    is_defined_for_all,
    ratio,
)
from accord.statistics.significance import (
    PairedDifference,
    enough_resamples,
    holm,
    paired_bootstrap_over_seeds,
    paired_randomisation,
    standardised_difference,
)

SURE = 0.05  # a corrected p-value below this is marked, and the number of resamples is made to fit it
Test = Literal["randomisation", "bootstrap", "sacrebleu-bootstrap"]
TEST_MARKS: dict[Test, str] = {"randomisation": "ar", "bootstrap": "bootstrap", "sacrebleu-bootstrap": "sacrebleu-bs"}
TWO_WAY = "two-way"
"""Mark of the paired bootstrap over prompts and annotators, the test of ratings."""


class Measured(NamedTuple):
    """A metric's statistics, system -> [P, S] per prompt or [seeds, P, S] (nan where undefined), and what makes
    numbers of their sums.

    Without statistics it is the difference in acceptance at equal length, which only a pair of systems has. `test`:
    "bootstrap" where swapping the systems would be no valid test of this metric.
    """

    name: str
    signature: str
    statistics: dict[str, np.ndarray]
    combine: Combine = ratio
    test: Literal["any", "bootstrap"] = "any"


class Resampling(NamedTuple):
    """How intervals and p-values are made; `clusters` [P] are the prompts' groups, `seeds` those of each system.

    `n_other_tests`: tests of the same table that are made elsewhere, for Holm's correction counts them too.
    """

    clusters: np.ndarray
    n_resamples: int
    n_randomisations: int
    level: float
    seed: int
    test: Test = "randomisation"
    seeds: Mapping[str, tuple[int, ...]] = {}
    n_other_tests: int = 0


class Comparison(msgspec.Struct, frozen=True):
    """One line of comparisons.json: `system` is "A - B"; `p_holm` is corrected over the whole file.

    `effect`: the standardised difference; `test`: the test behind p and its number of resamples, e.g. "ar-10000".
    """

    name: str
    system: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    effect: float = math.nan
    test: str = ""


def measure_levels(measured: Sequence[Measured], *, how: Resampling) -> list[Measurement]:
    """One measurement per metric and system, in that order; over several seeds, the mean of the seeds' numbers."""
    rows = []
    for metric in measured:
        for system in metric.statistics:
            per_seed = _per_seed(metric, system)
            interval = bootstrap_interval_over_seeds(
                per_seed,
                clusters=how.clusters,
                combine=metric.combine,
                n_resamples=how.n_resamples,
                level=how.level,
                rng=keyed_rng(how.seed, "evaluate", "level", metric.name),
            )
            n = int(is_defined_for_all(per_seed).sum())
            text = _interval_text(how, n_resamples=how.n_resamples, n_seeds=len(per_seed))
            rows.append(Measurement(metric.name, system, *interval, n, f"{metric.signature}|{text}"))
    return rows


def compare_systems(
    measured: Sequence[Measured], pairs: Sequence[tuple[str, str]], *, how: Resampling
) -> list[Comparison]:
    """Every pair on every metric; p by each metric's test over clusters, Holm's correction over the table.

    The number of resamples behind a p-value is raised to what a table of this size needs (`enough_resamples`).
    """
    cells = _cells(measured, pairs)
    n_in_table = len(cells) + how.n_other_tests
    tests = [_test(*cell, how=how, n_tests=n_in_table) for cell in cells]
    found = [_paired_difference(*cell, test=test, how=how) for cell, test in zip(cells, tests, strict=True)]
    return corrected(
        [
            Comparison(
                metric.name,
                f"{first}{SEPARATOR}{second}",
                *difference,
                p_holm=math.nan,
                effect=_effect(metric, first, second, how=how),
                test=f"{TEST_MARKS[test.name]}-{test.n_resamples}",
            )
            for (metric, first, second), test, difference in zip(cells, tests, found, strict=True)
        ]
    )


def difference_measurements(
    comparisons: Sequence[Comparison], measured: Sequence[Measured], *, how: Resampling
) -> list[Measurement]:
    """The comparisons as rows of results.json; n counts the prompts that are defined for both systems."""
    pairs = dict.fromkeys(_two_systems(row) for row in comparisons)
    by_cell = {(metric.name, *systems): metric for metric, *systems in _cells(measured, list(pairs))}
    rows = []
    for row in comparisons:
        metric = by_cell[(row.name, *_two_systems(row))]
        first, second = (_per_seed(metric, system) for system in _two_systems(row))
        n = int((is_defined_for_all(first) & is_defined_for_all(second)).sum())
        mark, n_draws = row.test.rsplit("-", 1)
        n_resamples = how.n_resamples if mark == TEST_MARKS["randomisation"] else int(n_draws)
        interval = _interval_text(how, n_resamples=n_resamples, n_seeds=_fewest_seeds(first, second))
        signature = f"{metric.signature}|paired|{interval}|test:{row.test}"
        rows.append(Measurement(row.name, row.system, row.difference, row.low, row.high, n, signature))
    return rows


def with_holm(differences: Sequence[Measurement], comparisons: Sequence[Comparison]) -> list[Measurement]:
    """The rows of differences, signed with the number of tests that Holm's correction counts."""
    mark = f"|holm:{n_tests(comparisons)}"
    return [msgspec.structs.replace(row, signature=row.signature + mark) for row in differences]


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with Holm's correction over all of them."""
    adjusted = holm(np.array([row.p for row in comparisons]))
    return [msgspec.structs.replace(row, p_holm=float(p)) for row, p in zip(comparisons, adjusted, strict=True)]


def n_tests(comparisons: Sequence[Comparison]) -> int:
    """How many p-values Holm's correction counts: the defined ones."""
    return sum(not math.isnan(row.p) for row in comparisons)


def prompt_numbers(metric: Measured) -> dict[str, np.ndarray]:
    """system -> [P]: the metric of each prompt by itself, mean over seeds, nan where undefined."""
    numbers = {}
    for system in metric.statistics:
        per_seed = _per_seed(metric, system)
        defined = is_defined_for_all(per_seed)
        numbers[system] = np.full(per_seed.shape[1], np.nan)
        numbers[system][defined] = np.mean([metric.combine(found[defined]) for found in per_seed], axis=0)
    return numbers


# -- steps ------------------------------------------------------------------------------------------------------


class _PairedTest(NamedTuple):
    name: Test
    n_resamples: int


def _test(metric: Measured, first: str, second: str, *, how: Resampling, n_tests: int) -> _PairedTest:
    """Swapping what two systems wrote tells nothing about other seeds: with several it is the bootstrap."""
    has_seeds = any(len(_per_seed(metric, system)) > 1 for system in (first, second))
    name = how.test
    if name == "randomisation" and (has_seeds or metric.test == "bootstrap"):
        name = "bootstrap"
    asked = how.n_randomisations if name == "randomisation" else how.n_resamples
    return _PairedTest(name, enough_resamples(asked, n_tests=n_tests, alpha=SURE))


def _paired_difference(
    metric: Measured, first: str, second: str, *, test: _PairedTest, how: Resampling
) -> PairedDifference:
    a, b = _per_seed(metric, first), _per_seed(metric, second)
    difference = paired_bootstrap_over_seeds(
        a,
        b,
        same_seeds=len(a) == len(b) and how.seeds.get(first) == how.seeds.get(second),
        clusters=how.clusters,
        combine=metric.combine,
        n_resamples=how.n_resamples if test.name == "randomisation" else test.n_resamples,
        level=how.level,
        tails="sacrebleu" if test.name == "sacrebleu-bootstrap" else "two-sided",
        rng=keyed_rng(how.seed, "evaluate", "paired", metric.name),
    )
    if test.name != "randomisation":
        return difference
    p_value = paired_randomisation(
        a[0],
        b[0],
        clusters=how.clusters,
        combine=metric.combine,
        n_resamples=test.n_resamples,
        rng=keyed_rng(how.seed, "evaluate", "randomisation", metric.name),
    )
    return difference._replace(p_value=p_value)


def _effect(metric: Measured, first: str, second: str, *, how: Resampling) -> float:
    a, b = _per_seed(metric, first), _per_seed(metric, second)
    return standardised_difference(a, b, clusters=how.clusters, combine=metric.combine)


def _cells(measured: Sequence[Measured], pairs: Sequence[tuple[str, str]]) -> list[tuple[Measured, str, str]]:
    """What is compared: every metric of every pair; a metric of pairs alone has no statistics of its own."""
    by_name = {metric.name: metric for metric in measured}
    return [
        (metric if metric.statistics else _at_equal_length(by_name, first, second), first, second)
        for first, second in pairs
        for metric in measured
    ]


def _at_equal_length(by_name: dict[str, Measured], first: str, second: str) -> Measured:
    """Its test is the bootstrap: swapping the systems evens out their lengths, so that the line through the swapped
    differences is surer than the one observed, and p would come out too small."""
    acceptance, length = (prompt_numbers(by_name[name]) for name in ("acceptance", "length"))
    statistics = length_adjusted_statistics(acceptance[first] - acceptance[second], length[first] - length[second])
    signature = f"{length_adjusted.SIGNATURE}|{by_name['acceptance'].signature}|{by_name['length'].signature}"
    by_system = {first: statistics, second: mirrored(statistics)}
    return Measured(length_adjusted.NAME, signature, by_system, half_intercept, "bootstrap")


def _two_systems(row: Comparison) -> tuple[str, str]:
    first, second = row.system.split(SEPARATOR)
    return first, second


def _per_seed(metric: Measured, system: str) -> np.ndarray:
    """[seeds, P, S]"""
    statistics = metric.statistics[system]
    return statistics if statistics.ndim == 3 else statistics[None]


def _fewest_seeds(*systems: np.ndarray) -> int:
    """Of the systems with several."""
    return min((len(per_seed) for per_seed in systems if len(per_seed) > 1), default=1)


def _interval_text(how: Resampling, *, n_resamples: int, n_seeds: int) -> str:
    unit = "group" if any(str(cluster).startswith("group:") for cluster in how.clusters) else "prompt"
    clusters = f"{unit}*seed:{n_seeds}" if n_seeds > 1 else unit
    return describe_interval(n_resamples=n_resamples, level=how.level, clusters=clusters)
