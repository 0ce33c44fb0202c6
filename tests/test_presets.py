"""The presets of the paper's released code: each value is what that code has, and both run on hand-made corpora."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from accord.cli.main import main
from accord.data.labels import consensus_shares
from accord.data.prepare import prepare_stage
from accord.data.schemes import SCHEMES
from accord.data.settings import PrepareSettings
from accord.pipeline import PipelineSettings, check_pipeline, read_pipeline, run_pipeline
from accord.records import Annotation, Item
from toys import save_tiny_encoder, save_tiny_seq2seq

FOLDER = Path(__file__).parents[1] / "configs" / "presets"
CASES = Path(__file__).parent / "cases"
SUPPORT, RULES = FOLDER / "reference_compat.yaml", FOLDER / "reference_compat_mic.yaml"


@pytest.fixture(autouse=True)
def _data_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_DATA_DIR", str(CASES))


def read(path: Path) -> PipelineSettings:
    settings, seed = read_pipeline(path)
    check_pipeline(settings)
    assert seed == 42
    return settings


BOTH = {
    "fit.model": "bert-base-uncased",
    "fit.tuning": "prefix",
    "fit.prefix_length": 10,
    "fit.objective": "dpm_rq",  # KL(r || q), with gradient through r
    "fit.normaliser": "chunk:8",  # the micro-batch
    "fit.micro_batch_size": 8,
    "fit.batch_size": 32,  # 8, accumulated four times
    "fit.pooling": "completion_mean",
    "fit.head_size": 512,
    "fit.learning_rate": 1e-4,
    "fit.weight_decay": 0.01,
    "fit.epochs": 6,
    "fit.eval_every": 800,
    "score.utility": "acceptance",  # 1 - P(last class), sorted ascending there
    "generate.method": "diverse_beam",
    "generate.beams_per_group": 1,
    "generate.diversity_penalty": 4.0,
    "calibrate.tuning": "full",
    "calibrate.objective": "ranking_margin",
    "calibrate.likelihood": "probability",  # the mean probability of a token, not its logarithm
    "calibrate.length_exponent": 1.0,
    "calibrate.pair_reduction": "gap_mean",
    "calibrate.margin": 0.001,
    "calibrate.margin_by": "rank",
    "calibrate.tie": 0.0,
    "calibrate.reference_weight": 1.0,
    "calibrate.batch_size": 16,
}
OWN = {
    SUPPORT: {
        "prepare.source": "mi",
        "prepare.scheme": "mi-classes",  # three classes
        "prepare.history_turns": 1,  # one post
        "prepare.fractions": (0.9, 0.1, 0.0),
        "fit.classes": "labels",
        "fit.smoothing": 0.1,  # per class
        "fit.max_length": 160,
        "tune.learning_rate": 3e-5,
        "tune.epochs": 2.0,
        "tune.batch_size": 16,
        "tune.warmup_steps": 100,
        "generate.num_candidates": 10,
        "generate.length_penalty": 1.0,
        "generate.min_new_tokens": 10,
        "generate.max_new_tokens": 40,
        "calibrate.ranking_weight": 1.0,
        "calibrate.learning_rate": 3.5e-5,  # nominally 1e-3, times a schedule that peaks far below
        "calibrate.warmup_steps": 800,
        "calibrate.epochs": 10.0,
        "calibrate.eval_every": 400,
        "calibrate.patience": 10,
        "decode.method": "sample",
        "decode.temperature": 0.7,
        "decode.top_p": 0.9,
        "decode.top_k": 0,
        "decode.min_new_tokens": 10,
        "decode.max_new_tokens": 40,
        "decode.strategy": "gold",
    },
    RULES: {
        "prepare.source": "mic",
        "prepare.scheme": "global-consensus-released",
        "prepare.context": "tagged",  # prompt and reply
        "prepare_prompts.context": "tagged",
        "tune.generator_kind": "mic",
        "fit.classes": "acceptance",
        "fit.smoothing": 1e-9,  # none, clamped
        "fit.max_length": 512,
        "tune.learning_rate": 3e-5,
        "tune.epochs": 5.0,
        "tune.weight_decay": 0.01,
        "generate.num_candidates": 5,
        "generate.length_penalty": -1.0,
        "generate.no_repeat_ngram_size": 3,
        "generate.max_new_tokens": 20,
        "calibrate.ranking_weight": 0.72,
        "calibrate.learning_rate": 1.1e-6,
        "calibrate.warmup_steps": 8000,
        "calibrate.epochs": 5.0,
        "calibrate.eval_every": 1600,
        "decode.no_repeat_ngram_size": 3,
        "decode.max_new_tokens": 512,
    },
}


@pytest.mark.parametrize("path", [SUPPORT, RULES], ids=lambda path: path.stem)
def test_every_value_is_the_released_codes(path: Path) -> None:
    settings = read(path)
    for name, expected in (BOTH | OWN[path]).items():
        section, field = name.split(".")
        assert getattr(getattr(settings, section), field) == expected, name


def test_plain_defects_are_not_reproduced() -> None:
    """Greedy decoding there samples; the independent judge is ours; checkpoints are never chosen on the objective."""
    assert read(RULES).decode.method == "greedy"
    for path in (SUPPORT, RULES):
        assert read(path).independent.objective == "votes"


def test_fixed_shares_of_the_grades() -> None:
    scheme = SCHEMES["global-consensus-released"]
    items = [Item(grade, "p", "c", (Annotation("w", grade),)) for grade in "12345"]
    assert consensus_shares(items, scheme).tolist() == [0.025, 0.15, 0.5, 0.85, 0.95]


def test_a_verb_takes_its_section(tmp_path: Path) -> None:
    """`accord fit` with the preset, but a tiny encoder and one epoch; three classes come out."""
    settings = PrepareSettings(source="mi", scheme="mi-classes", fractions=(0.5, 0.5, 0.0), n_resamples=5)
    items = prepare_stage(CASES / "mi", output_dir=tmp_path / "items", settings=settings, seed=0)
    changes = ["--model", save_tiny_encoder(tmp_path / "encoder"), "--epochs", "1", "--max-length", "32"]
    common = ["--config", str(SUPPORT), "--output-dir", str(tmp_path / "fit")]
    assert main(["fit", str(items), *changes, "--n-resamples", "5", "--n-folds", "2", *common]) == 0
    written = yaml.safe_load((tmp_path / "fit" / "stage.json").read_text())
    assert (written["seed"], written["settings"]["objective"], written["settings"]["tuning"]) == (
        42,
        "dpm_rq",
        "prefix",
    )


def toy_run(tmp_path: Path, base: Path, kind: str, **changes: Any) -> Path:
    """A file that stands on the preset, with tiny models and numbers and this kind of generator."""
    encoder, generator = save_tiny_encoder(tmp_path / "encoder"), save_tiny_seq2seq(tmp_path / "generator")
    judge = {"model": encoder, "max_length": 32, "epochs": 1, "n_folds": 2, "n_resamples": 5}
    reads = {"model": generator, "max_prompt_tokens": 32}
    small = {
        "systems": ["base", "calibrated"],
        "prepare": {"n_resamples": 5},
        "fit": judge,
        "independent": judge,
        "tune": {**reads, "generator_kind": kind, "epochs": 1, "batch_size": 2, "micro_batch_size": 2},
        "generate": {**reads, "num_candidates": 3, "min_new_tokens": 1, "max_new_tokens": 3},
        "calibrate": {**reads, "epochs": 1, "batch_size": 2},
        "decode": {**reads, "min_new_tokens": 1, "max_new_tokens": 3},
        "evaluate": {"n_resamples": 5, "n_randomisations": 10},
    }
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump({"base": str(base), **small, **changes}))
    return path


def run_toy(path: Path) -> None:
    settings, seed = read_pipeline(path)
    said: list[str] = []
    run = run_pipeline(settings, output_dir=path.parent / "out", seed=seed, say=said.append)
    assert set(run.outputs) == {"base", "calibrated", "human"}
    assert run.tuned is not None
    assert (run.report / "report.html").is_file()


@pytest.mark.slow
def test_mic_runs_from_the_file_to_the_report(tmp_path: Path) -> None:
    run_toy(toy_run(tmp_path, RULES, "mic"))


@pytest.mark.slow
def test_the_mi_dataset_runs_from_the_file_to_the_report(tmp_path: Path) -> None:
    """Votes from the ten rows, prompts from three tiny conversations in ESConv's form."""
    said = [("usr", "i feel sad .", None), ("sys", "sorry to hear that .", "Others")]
    dialogue = {"dialog": [{"text": text, "speaker": who, "strategy": strategy} for who, text, strategy in said]}
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(dialogue) + "\n")
    prepare = {"fractions": [0.5, 0.5, 0.0], "n_resamples": 5}
    run_toy(toy_run(tmp_path, SUPPORT, "auto", prompts=str(tmp_path), prepare=prepare))
