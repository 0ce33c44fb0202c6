"""Calibration as a stage, on a tiny random generator: what is written, what is promised, what is refused."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from accord.artifacts import hash_input
from accord.calibration.calibrate import LEARN, calibrate_stage
from accord.calibration.offline import pairwise_accuracy, rank_correlation
from accord.calibration.settings import CalibrateSettings
from accord.candidates.generators.load import load_generator
from accord.candidates.logps import completion_logps
from accord.errors import ArtifactError, ConfigError, DataError
from accord.json_files import read_json, write_jsonl
from accord.pretrained import load_causal_lm, load_tokenizer
from accord.training.batches import step_indices
from scored_rows import toy_rows
from toys import save_tiny_causal_lm, save_tiny_seq2seq, tiny_bart, tiny_gpt2, tiny_t5, word_tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_causal_lm(tmp_path_factory.mktemp("generator"))


@pytest.fixture
def candidates(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "candidates.jsonl", toy_rows())
    return tmp_path / "candidates.jsonl"


def toy_settings(model: str, **changes: Any) -> CalibrateSettings:
    base = CalibrateSettings(
        model=model, margin=0.1, learning_rate=1e-2, epochs=4, batch_size=4, micro_batch_size=2, eval_every=3, lora_r=4
    )
    return dataclasses.replace(base, **changes)


def results(folder: Path) -> dict[tuple[str, str], float]:
    return {(row["name"], row["system"]): row["value"] for row in read_json(folder / "results.json")}


def rows_of(path: Path) -> list[dict[str, float]]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


def adapter_weights(folder: Path) -> dict[str, torch.Tensor]:
    model = load_causal_lm(str(folder / "generator"))
    return {name: value for name, value in model.state_dict().items() if "lora_" in name}


def test_likelihood_follows_score_afterwards(model: str, candidates: Path, tmp_path: Path) -> None:
    folder = calibrate_stage(candidates, output_dir=tmp_path / "out", settings=toy_settings(model), seed=1)
    found = results(folder)
    assert found["pairwise_accuracy", "calibrated"] > found["pairwise_accuracy", "base"]
    assert found["kendall_tau", "calibrated - base"] > 0.2
    assert found["ranking_loss", "calibrated"] < found["ranking_loss", "base"]
    assert found["reference_loss", "calibrated"] < found["reference_loss", "base"]
    counts = read_json(folder / "training.json")
    assert (counts["n_train"], counts["n_dev"], counts["n_not_used"]) == (9, 3, 0)
    assert (counts["n_candidates"], counts["n_candidates_unfinished"]) == (72, 0)
    curve, timing = rows_of(folder / "curve.jsonl"), rows_of(folder / "timing.jsonl")
    assert [row["step"] for row in curve][:2] == [0, 3]
    assert {"loss", "validation_loss", "ranking_loss", "reference_loss", "pairwise_accuracy"} <= set(curve[0])
    assert [row["step"] for row in timing] == [row["step"] for row in curve]
    assert timing[0]["seconds"] == curve[0]["samples"] == 0
    assert timing[0]["samples_per_second"] is None
    assert [row["samples"] for row in curve][:3] == [0, 9, 18]  # every third step ends an epoch of 9 prompts
    paced = list(zip(curve, timing, strict=True))[1:]
    assert all(took["samples_per_second"] == row["samples"] / took["seconds"] for row, took in paced)
    assert counts["best_validation_loss"] == min(row["validation_loss"] for row in curve)
    assert not (folder / "scratch").exists()


def test_probabilities_are_ranked_as_the_released_code_does(model: str, candidates: Path, tmp_path: Path) -> None:
    """Log-probabilities spread wider than probabilities: their differences, and so the losses, are larger."""
    options: dict[str, Any] = {"pair_reduction": "gap_mean", "margin": 0.01}
    by_probability = toy_settings(model, likelihood="probability", **options)
    folder = calibrate_stage(candidates, output_dir=tmp_path / "probability", settings=by_probability, seed=1)
    found = results(folder)
    assert found["pairwise_accuracy", "calibrated"] > found["pairwise_accuracy", "base"]
    assert found["ranking_loss", "calibrated"] < found["ranking_loss", "base"] < 1.0
    by_logp = toy_settings(model, epochs=0.5, **options)
    logp = results(calibrate_stage(candidates, output_dir=tmp_path / "logp", settings=by_logp, seed=1))
    assert logp["ranking_loss", "base"] > 3 * found["ranking_loss", "base"]


def test_the_saved_adapter_loads_back_on_its_named_base(model: str, candidates: Path, tmp_path: Path) -> None:
    """The adapter names its base as given, loads through `accord.pretrained`, and differs from the base."""
    folder = calibrate_stage(candidates, output_dir=tmp_path / "out", settings=toy_settings(model, epochs=2), seed=1)
    config = read_json(folder / "generator" / "adapter_config.json")
    assert config["base_model_name_or_path"] == model
    assert config["layers_to_transform"] == [2]
    linear = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert config["target_modules"] == linear  # in this order in every process
    assert not list((folder / "generator").glob("*.bin"))
    loaded, base = load_causal_lm(str(folder / "generator")), load_causal_lm(model)
    ids = torch.tensor([load_tokenizer(str(folder / "generator"))("i feel sad .")["input_ids"]])
    assert (loaded(ids).logits - base(ids).logits).abs().max() > 1e-3


@pytest.mark.parametrize("architecture", ["llama", "t5"])
def test_full_tuning_trains_all_weights_and_saves_a_whole_model(
    architecture: str, model: str, candidates: Path, tmp_path: Path
) -> None:
    base = model if architecture == "llama" else save_tiny_seq2seq(tmp_path / "t5")
    settings = toy_settings(base, tuning="full", learning_rate=3e-3)
    folder = calibrate_stage(candidates, output_dir=tmp_path / "out", settings=settings, seed=1)
    assert results(folder)["kendall_tau", "calibrated - base"] > 0.1
    saved = folder / "generator"
    assert not list(saved.glob("*.bin"))
    assert str(tmp_path) not in (saved / "README.md").read_text() + (saved / "config.json").read_text()
    before, after = load_generator(base), load_generator(str(saved))
    changed = [
        name
        for (name, old), new in zip(before.model.named_parameters(), after.model.parameters(), strict=True)
        if not torch.equal(old, new)
    ]
    assert len(changed) > 0.9 * len(list(before.model.parameters()))
    auto = AutoModelForCausalLM if architecture == "llama" else AutoModelForSeq2SeqLM
    loaded = auto.from_pretrained(saved)
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, after.model.state_dict()[name]), name


def test_full_tuning_is_refused_where_steps_are_lost_or_weights_are_missing(
    model: str, candidates: Path, tmp_path: Path
) -> None:
    settings = toy_settings(model, tuning="full", dtype="bfloat16")
    with pytest.raises(ConfigError, match=r"tuning is 'full' and dtype is 'bfloat16'.* Use dtype: float32, or tuning"):
        calibrate_stage(candidates, output_dir=tmp_path / "rounded", settings=settings, seed=1)
    adapter = calibrate_stage(candidates, output_dir=tmp_path / "a", settings=toy_settings(model, epochs=1), seed=1)
    settings = toy_settings(str(adapter / "generator"), tuning="full")
    with pytest.raises(ConfigError, match=r"is an adapter itself\. Expected a whole model; merge the adapter"):
        calibrate_stage(candidates, output_dir=tmp_path / "b", settings=settings, seed=1)


def test_finished_work_is_reused_and_other_settings_are_refused(model: str, candidates: Path, tmp_path: Path) -> None:
    settings = toy_settings(model, epochs=1)
    folder = calibrate_stage(candidates, output_dir=tmp_path / "out", settings=settings, seed=1)
    written = (folder / "manifest.json").stat().st_mtime_ns
    calibrate_stage(candidates, output_dir=tmp_path / "out", settings=settings, seed=1)
    assert (folder / "manifest.json").stat().st_mtime_ns == written
    other = dataclasses.replace(settings, margin=0.5)
    with pytest.raises(ArtifactError, match=r"settings\.margin"):
        calibrate_stage(candidates, output_dir=tmp_path / "out", settings=other, seed=1)


@pytest.mark.parametrize(("tuning", "step"), [("lora", 0), ("lora", 4), ("full", 4)])
def test_resuming_equals_not_stopping(
    model: str, candidates: Path, tmp_path: Path, tuning: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = toy_settings(model, epochs=3, tuning=tuning)
    whole = calibrate_stage(candidates, output_dir=tmp_path / "whole", settings=settings, seed=2)

    def interrupted(n_items: int, batch_size: int, number: int, *, seed: int) -> np.ndarray:
        if number == step:
            raise KeyboardInterrupt
        return step_indices(n_items, batch_size, number, seed=seed)

    monkeypatch.setattr("accord.training.epochs.step_indices", interrupted)
    with pytest.raises(KeyboardInterrupt):
        calibrate_stage(candidates, output_dir=tmp_path / "stopped", settings=settings, seed=2)
    monkeypatch.undo()
    resumed = calibrate_stage(candidates, output_dir=tmp_path / "stopped", settings=settings, seed=2)
    weights = {"lora": "adapter_model", "full": "model"}[tuning]
    for name in ("results.json", "training.json", "curve.jsonl", f"generator/{weights}.safetensors"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes(), name
    assert (resumed / "timing.jsonl").read_bytes() != (whole / "timing.jsonl").read_bytes()
    assert hash_input(resumed) == hash_input(whole)  # what is made from either is the same


def test_micro_batches_take_the_same_path(model: str, candidates: Path, tmp_path: Path) -> None:
    weights = [
        adapter_weights(
            calibrate_stage(
                candidates,
                output_dir=tmp_path / str(size),
                settings=toy_settings(model, epochs=1, micro_batch_size=size),
                seed=1,
            )
        )
        for size in (1, 4)
    ]
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], atol=1e-4, rtol=1e-3)


def test_reference_only_control_learns_the_references(model: str, candidates: Path, tmp_path: Path) -> None:
    settings = toy_settings(model, ranking_weight=0.0)
    found = results(calibrate_stage(candidates, output_dir=tmp_path / "out", settings=settings, seed=1))
    assert found["reference_loss", "calibrated"] < found["reference_loss", "base"]


def test_shuffled_control_permutes_scores_and_reports_true_ones(model: str, candidates: Path, tmp_path: Path) -> None:
    settings = toy_settings(model, score_control="shuffled", epochs=1)
    folder = calibrate_stage(candidates, output_dir=tmp_path / "out", settings=settings, seed=1)
    signatures = {row["name"]: row["signature"] for row in read_json(folder / "results.json")}
    assert "scores:shuffled" in signatures["ranking_loss"]
    assert "scores:true" in signatures["kendall_tau"]


def test_all_layers_and_no_references(model: str, tmp_path: Path) -> None:
    rows = [msgspec.structs.replace(row, references=()) for row in toy_rows()]
    write_jsonl(tmp_path / "candidates.jsonl", rows)
    with pytest.raises(ConfigError, match="no row has references"):
        calibrate_stage(
            tmp_path / "candidates.jsonl", output_dir=tmp_path / "refused", settings=toy_settings(model), seed=1
        )
    settings = toy_settings(model, reference_weight=0.0, lora_layers="all", epochs=1)
    folder = calibrate_stage(tmp_path / "candidates.jsonl", output_dir=tmp_path / "out", settings=settings, seed=1)
    found = results(folder)
    assert found["reference_loss", "base"] is None
    assert found["ranking_loss", "calibrated"] < found["ranking_loss", "base"]
    assert read_json(folder / "training.json")["n_without_references"] == 12


@pytest.mark.parametrize(
    ("build", "frame"),
    [(tiny_gpt2, None), (tiny_t5, "$A </s>"), (tiny_bart, "<s> $A </s>")],
    ids=["gpt2", "t5", "bart"],
)
def test_other_architectures_are_calibrated_too(
    build: Callable[[], Any], frame: str | None, candidates: Path, tmp_path: Path
) -> None:
    """The stage's folder, loaded again, gives the validation figures that the stage wrote."""
    build().save_pretrained(tmp_path / "base")
    word_tokenizer(frame=frame).save_pretrained(tmp_path / "base")
    settings = toy_settings(str(tmp_path / "base"))
    folder = calibrate_stage(candidates, output_dir=tmp_path / "out", settings=settings, seed=1)
    found = results(folder)
    assert found["kendall_tau", "calibrated - base"] > 0
    assert found["reference_loss", "calibrated"] < found["reference_loss", "base"]
    generator = load_generator(str(folder))
    dev = [row for row in toy_rows() if row.split == "dev"]
    logps = completion_logps(
        generator,
        [generator.prompt_ids(row.prompt) for row in dev],
        [[generator.completion_ids(text) for text in row.references] for row in dev],
    )
    reference_loss = -(logps.sum_logps / logps.n_tokens).mean()
    assert float(reference_loss) == pytest.approx(found["reference_loss", "calibrated"], abs=1e-5)


@pytest.mark.parametrize(("lora_layers", "encoder_too"), [("upper_third", False), ("all", True)])
def test_the_encoder_is_trained_only_with_all_layers(
    candidates: Path, tmp_path: Path, lora_layers: str, encoder_too: bool
) -> None:
    model = save_tiny_seq2seq(tmp_path / "t5")
    settings = toy_settings(model, epochs=1, lora_layers=lora_layers)
    folder = calibrate_stage(candidates, output_dir=tmp_path / "out", settings=settings, seed=1)
    weights = load_file(folder / "generator" / "adapter_model.safetensors")
    trained = {name for name, value in weights.items() if name.endswith("lora_B.weight") and value.abs().max() > 0}
    assert any(".decoder." in name for name in trained)
    assert any(".encoder." in name for name in trained) == encoder_too
    assert read_json(folder / "generator" / "adapter_config.json")["task_type"] == "SEQ_2_SEQ_LM"


def test_rows_without_scores_are_refused(model: str, tmp_path: Path) -> None:
    rows = toy_rows()
    rows[4] = msgspec.structs.replace(rows[4], scores=None)
    write_jsonl(tmp_path / "candidates.jsonl", rows)
    with pytest.raises(DataError, match=r"candidates.jsonl line 5: 'p4' has no scores. Run `accord score`"):
        calibrate_stage(
            tmp_path / "candidates.jsonl", output_dir=tmp_path / "out", settings=toy_settings(model), seed=1
        )


def test_every_objective_of_the_settings_is_learnt() -> None:
    assert get_args(get_type_hints(CalibrateSettings)["objective"]) == tuple(LEARN)


def test_pairwise_accuracy_by_hand() -> None:
    """P = (−1, −2, −3), S = (0.5, 0.9, 0.5): pairs (2, 1) wrong, (2, 3) right, (1, 3) of equal score left out: ½."""
    assert pairwise_accuracy(np.array([-1.0, -2.0, -3.0]), np.array([0.5, 0.9, 0.5])) == 0.5
    assert np.isnan(pairwise_accuracy(np.array([-1.0, -2.0]), np.array([0.5, 0.5])))


def test_rank_correlation_by_hand() -> None:
    """P and S in the same order but for one of three pairs: (2 − 1)/3."""
    assert rank_correlation(np.array([-3.0, -1.0, -2.0]), np.array([0.1, 0.2, 0.3])) == pytest.approx(1 / 3)
    assert np.isnan(rank_correlation(np.array([-1.0, -2.0]), np.array([0.5, 0.5])))
