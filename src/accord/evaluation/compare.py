"""`accord compare A B`: which of two systems is better, on what, and how sure that is."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from accord.artifacts import require_complete
from accord.errors import ConfigError
from accord.evaluation.evaluate import measure_metrics, measure_values, metric_inputs, metric_names, resampling
from accord.evaluation.measure import SURE, Comparison, compare_systems, difference_measurements, n_tests
from accord.evaluation.metrics.all import LOWER_IS_BETTER, NEUTRAL
from accord.evaluation.outputs import OUTPUTS_FILE, SEPARATOR, build_output_table
from accord.evaluation.settings import EvaluateSettings
from accord.evaluation.tables import (
    describe_tests,
    few_seeds_text,
    interval_text,
    null_as_nan,
    number_text,
    resampled_unit,
)
from accord.json_files import read_json, read_jsonl
from accord.ranges import check_numbers
from accord.records import Measurement, Output


class Verdict(NamedTuple):
    """One metric's answer. `better` is None where the difference may be chance or the metric has no better side."""

    name: str
    first: str
    second: str
    difference: float
    low: float
    high: float
    p_holm: float
    better: str | None
    effect: float
    test: str
    text: str


class Comparing(NamedTuple):
    """What `accord compare` shows: a sentence, a verdict per metric, and how they were reached."""

    headline: str
    verdicts: list[Verdict]
    footnote: str


def compare(
    first: Path, second: Path, *, settings: EvaluateSettings, seed: int, values: Sequence[Path] = ()
) -> Comparing:
    """Compare two systems, each an outputs.jsonl file or an `accord decode` folder with one system's outputs.

    Raises:
        ConfigError: a file that holds several systems, or a setting that is a number it cannot be.
        DataError: the two do not cover the same prompts.
    """
    check_numbers(settings)
    rows = [_one_system(first), _one_system(second)]
    names = [rows[0][0].system, rows[1][0].system]
    if names[0] == names[1]:
        names = [f"{names[0]} (first)", f"{names[1]} (second)"]
        renamed = zip(rows, names, strict=True)
        rows = [[msgspec.structs.replace(row, system=name) for row in found] for found, name in renamed]
    table = build_output_table([*rows[0], *rows[1]])
    names_of_metrics = metric_names(settings)
    measured = [
        *measure_metrics(table, names_of_metrics, metric_inputs(table, settings)),
        *measure_values(table, values),
    ]
    how = resampling(table, settings, seed=seed)
    comparisons = compare_systems(measured, [(names[0], names[1])], how=how)
    measurements = difference_measurements(comparisons, measured, how=how)
    return _comparing(comparisons, measurements, corrected_over=n_tests(comparisons))


def compare_evaluated(evaluation: Path, first: str, second: str) -> Comparing:
    """The verdicts of an `accord evaluate` folder on two of its systems, in either order.

    Raises:
        ConfigError: the folder does not compare these two; lists the comparisons it has.
    """
    folder = require_complete(evaluation, "evaluate")
    rows = msgspec.convert(null_as_nan(read_json(folder / "comparisons.json")), list[Comparison])
    wanted = [row for row in rows if row.system == f"{first}{SEPARATOR}{second}"]
    wanted = wanted or [_reversed(row) for row in rows if row.system == f"{second}{SEPARATOR}{first}"]
    if not wanted:
        found = ", ".join(f'"{pair}"' for pair in dict.fromkeys(row.system for row in rows)) or "none"
        raise ConfigError(
            f"{evaluation} does not compare {first} with {second}; its comparisons: {found}. "
            f'Evaluate again with --compare "{first} - {second}".'
        )
    pairs = (f"{first}{SEPARATOR}{second}", f"{second}{SEPARATOR}{first}")
    measurements = msgspec.convert(null_as_nan(read_json(folder / "results.json")), list[Measurement])
    return _comparing(wanted, [row for row in measurements if row.system in pairs], corrected_over=n_tests(rows))


def verdicts(comparisons: Sequence[Comparison], *, corrected_over: int) -> list[Verdict]:
    """One verdict per comparison, surest first; `corrected_over`: the tests in the table of Holm's correction."""
    ordered = sorted(comparisons, key=lambda row: math.inf if math.isnan(row.p_holm) else row.p_holm)
    return [_verdict(row, corrected_over=corrected_over) for row in ordered]


def headline(found: Sequence[Verdict]) -> str:
    """One sentence: which system is better, on what."""
    systems = dict.fromkeys(system for row in found for system in (row.first, row.second))
    claims = {f"{system} is better on": [row.name for row in found if row.better == system] for system in systems}
    sure = [row for row in found if row.p_holm < SURE]
    claims["they differ, neither way better, in"] = [row.name for row in sure if row.better is None]
    claims["no difference is shown on"] = [row.name for row in found if row.p_holm >= SURE]
    claims["undefined:"] = [row.name for row in found if math.isnan(row.p_holm)]
    said = [f"{claim} {', '.join(names)}" for claim, names in claims.items() if names]
    return f"{' or '.join(systems)}? " + "; ".join(said) + "."


# -- steps ------------------------------------------------------------------------------------------------------


def _comparing(
    comparisons: Sequence[Comparison], measurements: Sequence[Measurement], *, corrected_over: int
) -> Comparing:
    found = verdicts(comparisons, corrected_over=corrected_over)
    unit = resampled_unit(row.signature for row in measurements)
    made = describe_tests((row.test for row in comparisons), unit=unit)
    few_seeds = few_seeds_text(row.signature for row in measurements)
    n = max((row.n for row in measurements), default=0)
    footnote = (
        f"{n} prompts. p: {made or 'of the evaluation'}, after Holm's correction.{few_seeds} In brackets the "
        f"interval, resampled over {unit}; effect: difference / standard deviation over {unit.split(' ')[0]}."
    )
    return Comparing(headline(found), found, footnote)


def _one_system(path: Path) -> list[Output]:
    rows = list(read_jsonl(path / OUTPUTS_FILE if path.is_dir() else path, Output))
    systems = list(dict.fromkeys(row.system for row in rows))
    if len(systems) != 1:
        raise ConfigError(
            f"{path} holds outputs of {len(systems)} systems ({', '.join(systems) or 'no rows'}); expected one. "
            "Use `accord evaluate` for more, and compare the systems of its folder."
        )
    return rows


def _verdict(row: Comparison, *, corrected_over: int) -> Verdict:
    first, second = row.system.split(SEPARATOR)
    is_sure = row.p_holm < SURE
    higher = first if row.difference > 0 else second
    lower = second if higher == first else first
    winner = lower if row.name in LOWER_IS_BETTER else higher
    better = winner if is_sure and row.name not in NEUTRAL else None
    by = interval_text(row.difference, row.low, row.high)
    evidence = f"{first} - {second} = {by}, p = {number_text(row.p_holm)} (Holm over {corrected_over})"
    evidence += "" if math.isnan(row.effect) else f", effect = {row.effect:.2f}"
    if math.isnan(row.difference) or math.isnan(row.p_holm):
        claim, evidence = "undefined", "no prompt where both systems have a value"
    elif better is not None:
        claim = f"{better} is better"
    elif is_sure:
        claim = f"{higher} has more"
    else:
        claim = "no difference shown"
    return Verdict(
        row.name,
        first,
        second,
        row.difference,
        row.low,
        row.high,
        row.p_holm,
        better,
        row.effect,
        row.test,
        f"{row.name}: {claim} ({evidence})",
    )


def _reversed(row: Comparison) -> Comparison:
    first, second = row.system.split(SEPARATOR)
    return msgspec.structs.replace(
        row,
        system=f"{second}{SEPARATOR}{first}",
        difference=-row.difference,
        low=-row.high,
        high=-row.low,
        effect=-row.effect,
    )
