"""Which is better, on what, and how sure."""

import math
from pathlib import Path

import pytest

from accord.errors import ConfigError, DataError
from accord.evaluation.compare import Comparing, Verdict, compare, compare_evaluated, headline, verdicts
from accord.evaluation.evaluate import evaluate_stage
from accord.evaluation.measure import Comparison
from accord.evaluation.settings import EvaluateSettings
from accord.json_files import write_jsonl
from accord.records import Output
from toy_systems import SystemWriter, system_writer

QUICK = EvaluateSettings(n_resamples=200, n_randomisations=500)


@pytest.fixture
def write_system(tmp_path: Path) -> SystemWriter:
    return system_writer(tmp_path)


def by_name(found: Comparing) -> dict[str, Verdict]:
    return {verdict.name: verdict for verdict in found.verdicts}


def test_verdicts_in_words() -> None:
    found = verdicts(
        [
            Comparison("rouge_l", "tuned - base", 0.01, -0.02, 0.04, 0.5, 0.5),
            Comparison("length", "tuned - base", 2.0, 1.0, 3.0, 0.001, 0.003),
            Comparison("acceptance", "tuned - base", -0.12, -0.2, -0.05, 0.004, 0.008),
            Comparison("bleu", "tuned - base", math.nan, math.nan, math.nan, math.nan, math.nan),
        ],
        corrected_over=4,
    )
    assert [verdict.text for verdict in found] == [
        "length: tuned has more (tuned - base = 2.000 [1.000, 3.000], p = 0.003 (Holm over 4))",
        "acceptance: base is better (tuned - base = -0.120 [-0.200, -0.050], p = 0.008 (Holm over 4))",
        "rouge_l: no difference shown (tuned - base = 0.010 [-0.020, 0.040], p = 0.500 (Holm over 4))",
        "bleu: undefined (no prompt where both systems have a value)",
    ]
    assert [verdict.better for verdict in found] == [None, "base", None, None]
    assert headline(found) == (
        "tuned or base? base is better on acceptance; they differ, neither way better, in length; "
        "no difference is shown on rouge_l; undefined: bleu."
    )


def test_compare_two_output_folders(write_system: SystemWriter) -> None:
    """Six prompts without groups: 2⁶ swaps, so p = 2/64 where every prompt agrees, and Holm makes it 4·2/64."""
    first, second = write_system("tuned", grouped=False), write_system("base", grouped=False)
    found = by_name(compare(first, second, settings=QUICK, seed=0))
    assert set(found) == {"bleu", "rouge_l", "length", "distinct_2"}
    assert found["rouge_l"].difference > 0.3
    assert found["rouge_l"].p_holm == pytest.approx(4 * 2 / 64)
    assert found["rouge_l"].better is None


def test_what_compare_shows(write_system: SystemWriter) -> None:
    found = compare(write_system("tuned"), write_system("base"), settings=QUICK, seed=0)
    assert found.headline == "tuned or base? no difference is shown on bleu, rouge_l, length, distinct_2."
    assert found.footnote == (
        "6 prompts. p: two-sided approximate randomisation (1600 swaps of whole groups), after Holm's correction. In "
        "brackets the interval, resampled over groups; effect: difference / standard deviation over groups."
    )
    assert by_name(found)["rouge_l"].text.startswith("rouge_l: no difference shown (tuned - base = 0.")
    assert ", p = 1.000 (Holm over 4), effect = " in by_name(found)["rouge_l"].text


def test_few_seeds_are_said(tmp_path: Path) -> None:
    for system in ("one", "two"):
        rows = [
            Output(f"p{n}", "", "a b", system, seed=seed, references=("a b",)) for n in range(4) for seed in range(3)
        ]
        write_jsonl(tmp_path / f"{system}.jsonl", rows)
    found = compare(tmp_path / "one.jsonl", tmp_path / "two.jsonl", settings=QUICK, seed=0)
    assert found.footnote.startswith(
        "4 prompts. p: two-sided paired bootstrap (1600 resamples of prompts and seeds), after Holm's correction. "
        "With 3 seeds p comes out too small. In brackets the interval, resampled over prompts and seeds; "
    )


def test_comparison_of_one_system_with_itself(write_system: SystemWriter) -> None:
    folder = write_system("base")
    found = compare(folder, folder, settings=QUICK, seed=0)
    assert all(verdict.difference == 0 for verdict in found.verdicts)
    assert (found.verdicts[0].first, found.verdicts[0].second) == ("base (first)", "base (second)")


def test_compare_evaluated_in_either_order(tmp_path: Path, write_system: SystemWriter) -> None:
    settings = EvaluateSettings(n_resamples=200, n_randomisations=500, compare=("tuned - base",))
    outputs = [write_system("base"), write_system("tuned")]
    folder = evaluate_stage(outputs, output_dir=tmp_path / "evaluation", settings=settings, seed=0)
    forth = by_name(compare_evaluated(folder, "tuned", "base"))["length"]
    back = by_name(compare_evaluated(folder, "base", "tuned"))["length"]
    assert "Holm over 4" in forth.text
    assert (back.difference, back.low, back.high) == (-forth.difference, -forth.high, -forth.low)
    assert back.effect == -forth.effect
    assert compare_evaluated(folder, "base", "tuned").footnote.startswith("6 prompts. p: two-sided approximate")
    with pytest.raises(ConfigError, match='its comparisons: "tuned - base"'):
        compare_evaluated(folder, "tuned", "ghost")


def test_files_that_cannot_be_compared(tmp_path: Path, write_system: SystemWriter) -> None:
    rows = [Output(id="q", prompt="hi", completion="a", system=name) for name in ("one", "two")]
    write_jsonl(tmp_path / "both.jsonl", rows)
    write_jsonl(tmp_path / "other.jsonl", rows[:1])
    with pytest.raises(ConfigError, match=r"holds outputs of 2 systems \(one, two\); expected one"):
        compare(tmp_path / "both.jsonl", write_system("base"), settings=QUICK, seed=0)
    with pytest.raises(DataError, match="has no output for"):
        compare(tmp_path / "other.jsonl", write_system("base"), settings=QUICK, seed=0)
