"""The stage as a whole: files, numbers, intervals, comparisons, and what it refuses."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import sacrebleu

from accord.errors import ArtifactError, ConfigError, DataError
from accord.evaluation.evaluate import evaluate_stage, measure_values
from accord.evaluation.measure import Resampling, measure_levels
from accord.evaluation.outputs import build_output_table, read_values, smallest_n_samples
from accord.evaluation.settings import EvaluateSettings
from accord.evaluation.tables import number_text
from accord.json_files import read_json, read_jsonl, write_jsonl
from accord.records import Measurement, Output
from accord.statistics.significance import holm
from toy_systems import SystemWriter, system_writer

QUICK = EvaluateSettings(n_resamples=200, n_randomisations=500, compare=("tuned - base",))


@pytest.fixture
def write_system(tmp_path: Path) -> SystemWriter:
    return system_writer(tmp_path)


def evaluate(tmp_path: Path, outputs: list[Path], settings: EvaluateSettings = QUICK, **more: Any) -> Path:
    return evaluate_stage(outputs, output_dir=tmp_path / "evaluation", settings=settings, seed=3, **more)


def results(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["name"], row["system"]): row for row in read_json(folder / "results.json")}


def test_files_and_numbers(tmp_path: Path, write_system: SystemWriter) -> None:
    folder = evaluate(tmp_path, [write_system("base"), write_system("tuned")])
    found = results(folder)
    assert set(found) == {
        (name, system)
        for name in ("bleu", "rouge_l", "length", "distinct_2")
        for system in ("base", "tuned", "tuned - base")
    }
    lengths = {
        system: np.mean(
            [len(row.completion.split()) for row in read_jsonl(tmp_path / system / "outputs.jsonl", Output)]
        )
        for system in ("base", "tuned")
    }
    for system, mean in lengths.items():
        assert found["length", system]["value"] == pytest.approx(mean)
        assert found["length", system]["low"] <= mean <= found["length", system]["high"]
    assert found["length", "tuned - base"]["value"] == pytest.approx(lengths["tuned"] - lengths["base"])
    assert found["length", "base"]["n"] == 6
    assert found["length", "base"]["signature"] == "words|tok:whitespace|ci:bootstrap-200@0.95/group"
    assert "paired|ci:bootstrap-200@0.95/group|test:ar-1600|holm:4" in found["bleu", "tuned - base"]["signature"]
    measurements = msgspec.convert(
        [row | {"low": row["low"] or 0.0} for row in read_json(folder / "results.json")], list[Measurement]
    )
    assert len(measurements) == 12


def test_bleu_of_single_samples_equals_sacrebleu(tmp_path: Path, write_system: SystemWriter) -> None:
    folder = write_system("base")
    rows = [row for row in read_jsonl(folder / "outputs.jsonl", Output) if row.sample == 0]
    write_jsonl(tmp_path / "single.jsonl", rows)
    found = results(evaluate(tmp_path, [tmp_path / "single.jsonl"], EvaluateSettings(n_resamples=50)))
    expected = sacrebleu.corpus_bleu([row.completion for row in rows], [[row.references[0] for row in rows]])
    assert found["bleu", "base"]["value"] == pytest.approx(expected.score, rel=1e-14)


def test_comparisons_are_holm_corrected_over_the_table(tmp_path: Path, write_system: SystemWriter) -> None:
    """Three groups: all 8 swaps are tried, so no p is under 2/8, however great the difference."""
    folder = evaluate(tmp_path, [write_system("base"), write_system("tuned")])
    comparisons = read_json(folder / "comparisons.json")
    assert [row["name"] for row in comparisons] == ["bleu", "rouge_l", "length", "distinct_2"]
    assert list(comparisons[0]) == ["name", "system", "difference", "low", "high", "p", "p_holm", "effect", "test"]
    p_values = np.array([row["p"] for row in comparisons])
    assert p_values.min() == 0.25
    np.testing.assert_allclose([row["p_holm"] for row in comparisons], holm(p_values))


def test_per_item_rows_average_to_the_level(tmp_path: Path, write_system: SystemWriter) -> None:
    folder = evaluate(tmp_path, [write_system("base"), write_system("tuned")])
    rows = [json.loads(line) for line in (folder / "per_item.jsonl").read_text().splitlines()]
    assert [(row["id"], row["system"]) for row in rows[:3]] == [("p0", "base"), ("p0", "tuned"), ("p1", "base")]
    for name in ("rouge_l", "distinct_2"):
        mean = np.mean([row[name] for row in rows if row["system"] == "tuned"])
        assert results(folder)[name, "tuned"]["value"] == pytest.approx(mean)


def test_empty_completions_are_counted(tmp_path: Path, write_system: SystemWriter) -> None:
    """Prompts 2 and 5 got nothing from base: four of its twelve outputs."""
    folder = evaluate(tmp_path, [write_system("base"), write_system("tuned")])
    counts = read_json(folder / "outputs.json")
    assert counts["base"] == {"n_outputs": 12, "n_empty": 4, "n_seeds": 1, "n_prompts": 6}
    assert counts["tuned"]["n_empty"] == 0
    assert "| base | 12 | 1 | 4 |" in (folder / "table.md").read_text()


def test_table_shows_levels_and_differences(tmp_path: Path, write_system: SystemWriter) -> None:
    folder = evaluate(tmp_path, [write_system("base"), write_system("tuned")])
    text = (folder / "table.md").read_text()
    assert "| metric | base | tuned |" in text
    assert "| tuned - base | bleu | " in text
    assert "- length: `words|tok:whitespace|" in text


def test_a_finished_folder_is_reused_and_other_settings_are_refused(tmp_path: Path, write_system: SystemWriter) -> None:
    outputs = [write_system("base"), write_system("tuned")]
    folder = evaluate(tmp_path, outputs)
    before = (folder / "results.json").stat().st_mtime_ns
    assert evaluate(tmp_path, outputs) == folder
    assert (folder / "results.json").stat().st_mtime_ns == before
    with pytest.raises(ArtifactError, match=r"settings\.level \(0\.95 there, 0\.9 now\)"):
        evaluate(tmp_path, outputs, EvaluateSettings(n_resamples=200, n_randomisations=500, level=0.9))


def test_same_seed_same_bytes(tmp_path: Path, write_system: SystemWriter) -> None:
    outputs = [write_system("base"), write_system("tuned")]
    first = evaluate_stage(outputs, output_dir=tmp_path / "one", settings=QUICK, seed=1)
    second = evaluate_stage(outputs, output_dir=tmp_path / "two", settings=QUICK, seed=1)
    for name in (
        "results.json",
        "comparisons.json",
        "per_item.jsonl",
        "table.md",
        "table.tex",
        "table.csv",
        "table.html",
    ):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_values_become_metrics(tmp_path: Path, write_system: SystemWriter) -> None:
    """true_acceptance: prompt p0 of base has samples 0.2 and 0.4, of tuned 1.0 (the other is null) -> 0.3 and 1."""
    rows = [
        {"id": "p0", "system": "base", "true_acceptance": 0.2},
        {"id": "p0", "system": "base", "sample": 1, "true_acceptance": 0.4},
        {"id": "p0", "system": "tuned", "true_acceptance": 1},
        {"id": "p0", "system": "tuned", "sample": 1, "true_acceptance": None},
        {"id": "p2", "system": "tuned", "true_acceptance": 0.5},
    ]
    (tmp_path / "values.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    outputs = [write_system("base"), write_system("tuned")]
    found = results(evaluate(tmp_path, outputs, values=[tmp_path / "values.jsonl"]))
    assert found["true_acceptance", "base"]["value"] == pytest.approx(0.3)
    assert found["true_acceptance", "tuned"]["value"] == 0.75
    assert found["true_acceptance", "tuned"]["n"] == 2
    difference = found["true_acceptance", "tuned - base"]
    assert difference["value"] == pytest.approx(0.7)
    assert difference["n"] == 1
    assert difference["low"] is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "p9", "system": "base", "x": 1}, "line 1: no output has id 'p9'"),
        ({"id": "p0", "system": "base", "x": "high"}, "x is 'high'. Expected a number"),
        ({"id": "p0", "system": "base", "bleu": 1}, '"bleu" is a metric of accord'),
        ({"id": "p0", "x": 1}, 'expected "id" and "system" as texts'),
    ],
)
def test_bad_values_are_refused(tmp_path: Path, write_system: SystemWriter, row: dict[str, Any], message: str) -> None:
    (tmp_path / "values.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match=message):
        evaluate(tmp_path, [write_system("base"), write_system("tuned")], values=[tmp_path / "values.jsonl"])


def test_a_value_given_twice_is_refused(tmp_path: Path) -> None:
    table = build_output_table([Output(id="p", prompt="", completion="", system="s")])
    path = tmp_path / "values.jsonl"
    path.write_text('{"id": "p", "system": "s", "x": 1}\n\n{"id": "p", "system": "s", "sample": 0, "x": 2}\n')
    with pytest.raises(DataError, match="line 3: a second x for the same output"):
        read_values([path], table, reserved=())


def test_baseline_compares_every_other_system(tmp_path: Path, write_system: SystemWriter) -> None:
    outputs = [write_system("base"), write_system("tuned")]
    folder = evaluate(tmp_path, outputs, EvaluateSettings(n_resamples=50, n_randomisations=50, baseline="base"))
    assert {row["system"] for row in read_json(folder / "comparisons.json")} == {"tuned - base"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (EvaluateSettings(compare=("tuned - bse",)), 'No outputs of system "bse". Found outputs of: base, tuned.'),
        (EvaluateSettings(baseline="ghost"), 'No outputs of system "ghost"'),
        (EvaluateSettings(compare=("tuned vs base",)), 'Expected two systems written "A - B"'),
        (EvaluateSettings(metrics=("blue",)), 'Unknown metric "blue". Expected one of: acceptance, bleu,'),
        (EvaluateSettings(metrics=("acceptance",)), "--preference-model"),
    ],
)
def test_settings_that_fit_no_output_are_refused(
    tmp_path: Path, write_system: SystemWriter, settings: EvaluateSettings, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate(tmp_path, [write_system("base"), write_system("tuned")], settings)


def output(prompt_id: str, system: str, **more: Any) -> Output:
    return Output(id=prompt_id, prompt=more.pop("prompt", "hi"), completion="x", system=system, **more)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "No outputs found"),
        ([output("a", "s"), output("a", "s")], "Two outputs with id 'a', system 's', seed 0, sample 0"),
        (
            [output("a", "s"), output("b", "s"), output("c", "s"), output("b", "t")],
            "System t has no output for 2 of 3 prompts: a, c",
        ),
        ([output("a", "s"), output("b", "t")], "System s has no output for 1 of 2 prompts: b"),
        ([output("a", "s"), output("a", "t", prompt="ho")], 'Prompt id "a" has one prompt in the outputs of s'),
        ([output("a", "s"), output("a", "t", references=("r",))], 'Prompt id "a" has one references'),
        (
            [output("a", "s"), output("b", "s"), output("b", "s", seed=4)],
            "System s has outputs of seeds 0, 4, but for prompt a none of seed 4. Expected every seed on every prompt",
        ),
        ([output("a", "s - t")], 'System "s - t" has " - " in its name'),
    ],
)
def test_outputs_that_cannot_be_paired_are_refused(rows: list[Output], message: str) -> None:
    with pytest.raises(DataError, match=message):
        build_output_table(rows)


def test_output_table_by_hand() -> None:
    rows = [
        output("b", "s", sample=1),
        output("b", "s"),
        output("b", "s", seed=2),
        output("a", "s", group="g"),
        output("a", "s", group="g", seed=2),
        output("a", "s", group="g", seed=2, sample=1),
    ]
    table = build_output_table(rows)
    assert table.prompt_ids == ("b", "a")
    assert table.clusters.tolist() == ["prompt:b", "group:g"]
    assert [(row.seed, row.sample) for row in table.outputs["s"][1]] == [(0, 0), (2, 0), (2, 1)]
    assert smallest_n_samples(table) == 1
    assert table.seeds == {"s": (0, 2)}


def test_without_references_overlap_metrics_are_null(tmp_path: Path) -> None:
    rows = [Output(id=str(k), prompt="hi", completion="a b", system="s") for k in range(4)]
    write_jsonl(tmp_path / "outputs.jsonl", rows)
    found = results(evaluate(tmp_path, [tmp_path / "outputs.jsonl"], EvaluateSettings(n_resamples=20)))
    assert found["bleu", "s"] | {"signature": ""} == {
        "name": "bleu", "system": "s", "value": None, "low": None, "high": None, "n": 0, "signature": "",
    }  # fmt: skip
    assert found["length", "s"]["value"] == 2.0


def test_no_outputs_given(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No outputs to evaluate"):
        evaluate(tmp_path, [])


def test_small_numbers() -> None:
    assert [number_text(x) for x in (0.0001, 0.0, 0.04, math.nan)] == ["1.0e-04", "0.000", "0.040", "–"]


# -- several seeds ----------------------------------------------------------------------------------------------


def per_item(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "per_item.jsonl").read_text().splitlines()]


def seeded_rows(system: str, texts: Mapping[int, tuple[str, ...]]) -> list[Output]:
    references = ("a b c d e", "f g h i j", "k l m n o")
    return [
        Output(id=f"p{n}", prompt="", completion=text, system=system, seed=seed, references=(references[n],))
        for seed, found in texts.items()
        for n, text in enumerate(found)
    ]


SEEDED: dict[str, dict[int, tuple[str, ...]]] = {
    "one": {0: ("a b c d", "f g h i j", "k l"), 1: ("a b c d e", "f x h i", "k l m n o p")},
    "two": {0: ("a b c", "f g x i j", "k l"), 1: ("a b x d e", "f x h i j", "k l m n o")},
}


def test_every_seeds_corpus_is_scored_and_the_scores_are_averaged(tmp_path: Path) -> None:
    """BLEU of two seeds is the mean of sacrebleu's two corpus scores, not the score of all texts together."""
    rows = [row for system, texts in SEEDED.items() for row in seeded_rows(system, texts)]
    write_jsonl(tmp_path / "outputs.jsonl", rows)
    settings = EvaluateSettings(metrics=("bleu", "length"), compare=("one - two",), n_resamples=300)
    folder = evaluate(tmp_path, [tmp_path / "outputs.jsonl"], settings)
    references = [["a b c d e", "f g h i j", "k l m n o"]]
    expected = {
        system: np.mean([sacrebleu.corpus_bleu(list(found), references).score for found in texts.values()])
        for system, texts in SEEDED.items()
    }
    found = results(folder)
    for system, score in expected.items():
        assert found["bleu", system]["value"] == pytest.approx(score, rel=1e-12)
        assert found["bleu", system]["n"] == 3
        assert found["bleu", system]["signature"].endswith("|ci:bootstrap-300@0.95/prompt*seed:2")
    difference = found["bleu", "one - two"]
    assert difference["value"] == pytest.approx(expected["one"] - expected["two"], rel=1e-12)
    assert difference["signature"].endswith("|ci:bootstrap-800@0.95/prompt*seed:2|test:bootstrap-800|holm:2")
    table = (folder / "table.md").read_text(encoding="utf-8")
    assert (
        "seeds scored one by one, then averaged; 95% bootstrap intervals over prompts and seeds in brackets." in table
    )
    assert "(800 resamples of prompts and seeds). With 2 seeds p comes out too small. †" in table
    assert next(row["length"] for row in per_item(folder) if (row["id"], row["system"]) == ("p0", "one")) == 4.5


def test_values_of_several_seeds(tmp_path: Path) -> None:
    """Seed 0 has 1 and 3, seed 1 has 5 and null: the second prompt is left out, and the mean is (1 + 5)/2."""
    table = build_output_table(
        [output(name, "s", seed=seed) for name in ("a", "b") for seed in (0, 1)],
    )
    values = {("a", 0): 1, ("b", 0): 3, ("a", 1): 5, ("b", 1): None}
    rows = [{"id": name, "system": "s", "seed": seed, "x": value} for (name, seed), value in values.items()]
    (tmp_path / "values.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (measured,) = measure_values(table, [tmp_path / "values.jsonl"])
    np.testing.assert_allclose(measured.statistics["s"][..., 0], np.array([[1, 3], [5, np.nan]]))
    how = Resampling(table.clusters, 50, 50, 0.95, 0, seeds=table.seeds)
    (level,) = measure_levels([measured], how=how)
    assert (level.value, level.n) == (3.0, 1)


@pytest.mark.parametrize(
    ("test", "mark"), [("bootstrap", "bootstrap-1600"), ("sacrebleu-bootstrap", "sacrebleu-bs-1600")]
)
def test_the_test_is_a_choice(tmp_path: Path, write_system: SystemWriter, test: Any, mark: str) -> None:
    settings = EvaluateSettings(n_resamples=200, compare=("tuned - base",), test=test)
    folder = evaluate(tmp_path, [write_system("base"), write_system("tuned")], settings)
    assert {row["test"] for row in read_json(folder / "comparisons.json")} == {mark}
    assert f"ci:bootstrap-1600@0.95/group|test:{mark}|holm:4" in results(folder)["bleu", "tuned - base"]["signature"]


def test_effects_are_standardised_differences(tmp_path: Path, write_system: SystemWriter) -> None:
    """Groups hold two prompts each, so that the pseudo-values are the group means of the differences."""
    folder = evaluate(tmp_path, [write_system("base"), write_system("tuned")])
    lengths = {(row["id"], row["system"]): row["length"] for row in per_item(folder)}
    gains = (
        np.array([lengths[f"p{n}", "tuned"] - lengths[f"p{n}", "base"] for n in range(6)]).reshape(3, 2).mean(axis=1)
    )
    found = next(row for row in read_json(folder / "comparisons.json") if row["name"] == "length")
    assert found["effect"] == pytest.approx(gains.mean() / gains.std(ddof=1))
