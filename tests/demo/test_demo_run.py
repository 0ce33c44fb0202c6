"""The demo and its study, end to end on tiny random models: real pack, real panel, real stages."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from accord.demo.panel import true_acceptance
from accord.demo.run import N_DEV, N_TEST, demo_splits, run_demo
from accord.demo.study import METRICS, PromptMeans, run_study, study_results
from accord.json_files import read_json, read_jsonl
from accord.pipeline import COMPARISONS, SYSTEMS, PipelineSettings, Run
from accord.records import Output
from toys import save_tiny_causal_lm, save_tiny_encoder


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[int, Run], Path]:
    folder = tmp_path_factory.mktemp("study")
    encoder, generator = save_tiny_encoder(folder / "encoder"), save_tiny_causal_lm(folder / "generator")

    def tiny(settings: PipelineSettings) -> PipelineSettings:
        fit: dict[str, Any] = {"model": encoder, "encoder_layers": 1, "max_length": 128, "epochs": 1, "n_resamples": 20}
        lengths: dict[str, Any] = {"max_new_tokens": 4, "min_new_tokens": 1, "max_prompt_tokens": 40}
        return replace(
            settings,
            fit=replace(settings.fit, **fit),
            independent=replace(settings.independent, **fit),
            generate=replace(settings.generate, model=generator, num_candidates=2, system_prompt=None, **lengths),
            calibrate=replace(settings.calibrate, model=generator, epochs=0.3, lora_r=1, system_prompt=None),
            decode=replace(settings.decode, model=generator, samples=1, system_prompt=None, **lengths),
            rerank=replace(settings.rerank, k=2, picks=1),
            evaluate=replace(settings.evaluate, n_resamples=20, n_randomisations=50),
        )

    runs: dict[int, Run] = {}

    def run_seed(output_dir: Path, seed: int) -> Run:
        runs[seed] = run_demo(output_dir, seed=seed, change=tiny, say=lambda _: None)
        return runs[seed]

    return runs, run_study(folder / "out", seeds=(0, 1), run_seed=run_seed)


def test_splits_keep_the_validation_messages_and_vary_the_test_messages() -> None:
    first, second = demo_splits(0), demo_splits(1)
    for splits in (first, second):
        assert sum(split == "dev" for split in splits.values()) == N_DEV
        assert sum(split == "test" for split in splits.values()) == N_TEST
    assert {name for name in first if first[name] == "dev"} == {name for name in second if second[name] == "dev"}
    assert {name for name in first if first[name] == "test"} != {name for name in second if second[name] == "test"}


def test_every_system_answers_the_test_messages_and_is_measured_by_the_panel(
    study: tuple[dict[int, Run], Path],
) -> None:
    run = study[0][0]
    assert run.evaluation is not None
    test_ids = {name for name, split in demo_splits(0).items() if split == "test"}
    rows = [msgspec.json.decode(line) for line in (run.evaluation / "per_item.jsonl").read_bytes().splitlines()]
    assert {(row["id"], row["system"]) for row in rows} == {(name, system) for name in test_ids for system in SYSTEMS}
    (output,) = (o for o in read_jsonl(run.outputs["calibrated"] / "outputs.jsonl", Output) if o.id == min(test_ids))
    found = next(row for row in rows if row["id"] == output.id and row["system"] == "calibrated")
    assert not isinstance(output.prompt, str)
    assert found["true_acceptance"] == pytest.approx(true_acceptance(output.prompt[0].content, output.completion))


def test_the_report_says_that_the_panel_is_simulated(study: tuple[dict[int, Run], Path]) -> None:
    page = (study[0][0].report / "report.html").read_text(encoding="utf-8")
    assert "This panel is simulated. No person took part." in page


def test_the_study_holds_every_system_and_comparison(study: tuple[dict[int, Run], Path]) -> None:
    results = read_json(study[1] / "results.json")
    assert {(m["system"], m["name"]) for m in results} == {(s, m) for s in (*SYSTEMS, *COMPARISONS) for m in METRICS}
    assert all(m["n"] == 2 * N_TEST for m in results)
    assert "calibrated - reference_only" in (study[1] / "study.md").read_text(encoding="utf-8")


def test_a_paired_difference_by_hand() -> None:
    """Two prompts × two seeds: .6 .2 .5 .3 against .5 .4 .1 .3; the mean difference is (.1 − .2 + .4 + 0)/4 = .075."""
    values = {(system, metric): np.zeros(4) for system in SYSTEMS for metric in METRICS}
    values["calibrated", "true_acceptance"] = np.array([0.6, 0.2, 0.5, 0.3])
    values["reference_only", "true_acceptance"] = np.array([0.5, 0.4, 0.1, 0.3])
    means = PromptMeans(np.array(["m1", "m2", "m1", "m2"]), np.array([0, 0, 1, 1]), values)
    found = {(m.system, m.name): m for m in study_results(means)}
    difference = found["calibrated - reference_only", "true_acceptance"]
    assert difference.value == pytest.approx(0.075)
    assert difference.low <= 0.075 <= difference.high
