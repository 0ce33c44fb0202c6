"""Reinforcement learning on fresh samples (src/accord/calibration/rloo.py, samples.py): by hand, and as a stage."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import accord
from accord.calibration.calibrate import calibrate_stage
from accord.calibration.examples import encode_rows
from accord.calibration.learning import Parts
from accord.calibration.rloo import (
    AtTemperature,
    frozen_start,
    leave_one_out_advantages,
    penalised_rewards,
    rloo_loss,
)
from accord.calibration.samples import sampler_of
from accord.calibration.settings import CalibrateSettings
from accord.calibration.trained_part import trained_part
from accord.candidates.generators.load import load_generator
from accord.candidates.logps import completion_logps
from accord.errors import ConfigError
from accord.json_files import read_json, write_jsonl
from accord.training.batches import step_indices
from scored_rows import BAD, GOOD, own_rows
from toys import save_tiny_causal_lm, save_tiny_seq2seq, write_rows

# -- by hand ----------------------------------------------------------------------------------------------------


def test_advantages_are_measured_against_the_others() -> None:
    """r = (1, 0, ½): 1 − ¼, 0 − ¾, ½ − ½; they sum to 0, and a constant added to a prompt's rewards changes nothing."""
    found = leave_one_out_advantages(torch.tensor([[1.0, 0.0, 0.5], [3.0, 2.0, 2.5]]))
    assert found.tolist() == [[0.75, -0.75, 0.0]] * 2


def test_the_penalty_is_taken_off_for_each_nat_of_the_whole_sequence() -> None:
    """score 0.8, log π −2, log π_start −5: 0.8 − 0.1 · 3 = 0.5. It has no gradient: it is part of the reward."""
    policy = torch.tensor([[-2.0]], requires_grad=True)
    found = penalised_rewards(torch.tensor([[0.8]]), policy, torch.tensor([[-5.0]]), kl_weight=0.1)
    assert float(found) == pytest.approx(0.5)
    assert not found.requires_grad


def test_clipping_by_hand() -> None:
    """ρ = (3/2, 3/2, 1/2), A = (1, −1, −2), ε = 0.2: gains 1.2 (clipped), −1.5, −1.6 (clipped); loss 1.9 / 3."""
    policy = torch.tensor([[1.5, 1.5, 0.5]]).log().requires_grad_()
    loss = rloo_loss(policy, torch.zeros(1, 3), torch.tensor([[1.0, -1.0, -2.0]]))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == pytest.approx(1.9 / 3)
    assert policy.grad is not None
    assert policy.grad.flatten().tolist() == pytest.approx([0.0, 0.5, 0.0])


def test_of_its_own_samples_the_gradient_is_that_of_reinforce() -> None:
    """ρ = 1: −A / K, and the loss itself is 0, because advantages sum to 0."""
    policy = torch.tensor([[-1.0, -2.0, -3.0]], requires_grad=True)
    loss = rloo_loss(policy, policy.detach(), torch.tensor([[0.75, -0.75, 0.0]]))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == pytest.approx(0.0)
    assert policy.grad is not None
    assert policy.grad.flatten().tolist() == pytest.approx([-0.25, 0.25, 0.0])


# -- samples and their rewards ----------------------------------------------------------------------------------


def fit_preference(folder: Path, *, accepted: tuple[str, ...], refused: tuple[str, ...]) -> str:
    """A regression on words, fitted on replies of which three annotators accept all or none."""
    items = [
        {
            "id": f"{part}-{number}-{text}",
            "prompt": "i feel sad .",
            "completion": text,
            "split": part,
            "annotations": [{"annotator": name, "label": label} for name in ("a", "b", "c")],
        }
        for part in ("train", "dev")
        for number in range(3)
        for texts, label in ((accepted, "acceptable"), (refused, "unacceptable"))
        for text in texts
    ]
    source = write_rows(folder / "items.jsonl", items)
    settings = accord.PrepareSettings(n_resamples=5, disjoint_text="none")
    prepared = accord.prepare_stage(source, output_dir=folder / "items", settings=settings, seed=0)
    fit = accord.FitSettings(model="lexical:tfidf", n_folds=2, n_resamples=5)
    return str(accord.fit_stage(prepared, output_dir=folder / "fit", settings=fit, seed=0))


@pytest.fixture(scope="module")
def preference(tmp_path_factory: pytest.TempPathFactory) -> str:
    return fit_preference(tmp_path_factory.mktemp("panel"), accepted=GOOD, refused=BAD)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_causal_lm(tmp_path_factory.mktemp("generator"))


@pytest.fixture
def candidates(model: str, tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "candidates.jsonl", own_rows(model))
    return tmp_path / "candidates.jsonl"


def settings_of(model: str, preference: str | None, **changes: Any) -> CalibrateSettings:
    usual = {
        "objective": "rloo", "preference_model": preference, "num_samples": 4, "max_new_tokens": 5, "kl_weight": 0.01,
        "reference_weight": 0.0, "learning_rate": 1e-2, "epochs": 4, "batch_size": 4, "micro_batch_size": 2,
        "eval_every": 3, "lora_r": 4,
    }  # fmt: skip
    return CalibrateSettings(model=model, **(usual | changes))


def parts_of(settings: CalibrateSettings) -> Parts:
    generator = load_generator(settings.model)
    examples = encode_rows(own_rows(settings.model, 4), generator, max_prompt_tokens=64, score_control="none", seed=0)
    trained, reader = trained_part(
        generator,
        settings,
        base_name=settings.model,
        seed=3,
        probe=(examples[0].prompt_ids, examples[0].reference_ids),
    )
    return Parts(settings, 3, generator, reader, trained, examples, examples)


def test_more_acceptable_votes_mean_a_higher_reward(model: str, preference: str, tmp_path: Path) -> None:
    """The sign: fitted on opposite votes, two preference models reward opposite texts."""
    opposite = fit_preference(tmp_path, accepted=BAD, refused=GOOD)
    pairs = [("i feel sad .", text) for text in (*GOOD, *BAD)]
    for folder, good_is_accepted in ((preference, True), (opposite, False)):
        rewards = sampler_of(parts_of(settings_of(model, folder))).reward(pairs)
        accepted, refused = (rewards[:3], rewards[3:]) if good_is_accepted else (rewards[3:], rewards[:3])
        assert accepted.min() > refused.max()


@pytest.mark.parametrize("save", [save_tiny_causal_lm, save_tiny_seq2seq])
def test_samples_are_those_of_accord_decode(save: Any, preference: str, tmp_path: Path) -> None:
    """The same seed and name of a draw give the same text; batch mates do not matter; scores are those of the texts."""
    model = save(tmp_path / "model")
    parts = parts_of(settings_of(model, preference, temperature=0.8))
    sampler, (first, second, *_) = sampler_of(parts), parts.examples
    together, alone = sampler.draw([first, second], occasion="step 7"), sampler.draw([second], occasion="step 7")
    assert together.ids[1] == alone.ids[0]
    assert sampler.draw([first], occasion="step 8").ids != [together.ids[0]]
    write_jsonl(tmp_path / "prompts.jsonl", [{"id": f"step 7|{e.id}", "prompt": e.prompt} for e in (first, second)])
    decode = accord.DecodeSettings(
        model=model, method="sample", samples=4, temperature=0.8, max_new_tokens=5, top_p=1.0
    )
    folder = accord.decode_stage(
        tmp_path / "prompts.jsonl", system="base", output_dir=tmp_path / "out", settings=decode, seed=3
    )
    outputs = [msgspec.json.decode(line) for line in (folder / "outputs.jsonl").read_bytes().splitlines()]
    texts = [parts.generator.text(ids) for of_prompt in together.ids for ids in of_prompt]
    assert [row["completion"] for row in outputs] == texts
    scores = accord.as_trl_reward(preference)([first.prompt] * 4 + [second.prompt] * 4, texts)
    np.testing.assert_allclose(together.scores.numpy().flatten(), scores)


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_the_start_stays_what_it_was(tuning: Any, model: str, preference: str) -> None:
    """Weights moved a long way: the generator's own log-probabilities change, those of the start do not."""
    parts = parts_of(settings_of(model, preference, tuning=tuning, temperature=0.7))
    prompt_ids, ids = [[e.prompt_ids for e in parts.examples], [e.candidate_ids for e in parts.examples]]
    start = frozen_start(parts)
    before = start(prompt_ids, ids)
    with torch.no_grad():
        for weight in parts.trained.parameters():
            if weight.requires_grad:
                weight.add_(0.1)
    torch.testing.assert_close(start(prompt_ids, ids), before)
    moved = completion_logps(AtTemperature(parts.generator, 0.7), prompt_ids, ids).sum_logps
    assert (moved - before).abs().min() > 1e-3
    assert all(weight.requires_grad for name, weight in parts.trained.named_parameters() if "lora_" in name)


def test_a_temperature_divides_the_logits(model: str) -> None:
    """log softmax(logits / T) of each token, summed: against the model's own forward pass."""
    generator = load_generator(model)
    prompt, completion = generator.prompt_ids("i feel sad ."), generator.completion_ids("that sounds hard .")
    found = completion_logps(AtTemperature(generator, 0.5), [prompt], [[completion]]).sum_logps
    with torch.no_grad():
        logits = generator.model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    expected = (logits / 0.5).log_softmax(-1).gather(1, torch.tensor(completion)[:, None]).sum()
    assert float(found.detach()) == pytest.approx(float(expected), abs=1e-4)


# -- the stage --------------------------------------------------------------------------------------------------


def results(folder: Path) -> dict[tuple[str, str], float]:
    return {(row["name"], row["system"]): row["value"] for row in read_json(folder / "results.json")}


def curve_of(folder: Path) -> list[dict[str, float]]:
    return [msgspec.json.decode(line) for line in (folder / "curve.jsonl").read_bytes().splitlines()]


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_the_generator_comes_to_write_what_is_accepted(
    tuning: Any, model: str, preference: str, candidates: Path, tmp_path: Path
) -> None:
    rate = {"lora": 3e-2, "full": 3e-3}[tuning]
    settings = settings_of(model, preference, tuning=tuning, learning_rate=rate, epochs=6, num_samples=8, eval_every=9)
    folder = calibrate_stage(candidates, output_dir=tmp_path / "out", settings=settings, seed=1)
    found = results(folder)
    assert found["acceptance", "calibrated - base"] > 0.05
    assert found["reward", "calibrated"] > found["reward", "base"]
    assert found["kl", "base"] == pytest.approx(0.0, abs=1e-4)
    assert found["kl", "calibrated"] > 0
    curve = curve_of(folder)
    assert set(curve[0]) == {
        "step", "loss", "validation_loss", "reward", "acceptance", "kl", "reference_loss", "kendall_tau",
        "pairwise_accuracy", "samples",
    }  # fmt: skip
    assert curve[0]["validation_loss"] == pytest.approx(-curve[0]["reward"])
    assert curve[-1]["loss"] < curve[1]["loss"] < 0  # minus the mean reward of the steps' own samples


def test_the_references_take_part(model: str, preference: str, candidates: Path, tmp_path: Path) -> None:
    settings = settings_of(model, preference, reference_weight=1.0, epochs=1)
    folder = calibrate_stage(candidates, output_dir=tmp_path / "out", settings=settings, seed=1)
    found = results(folder)
    assert found["reference_loss", "calibrated"] < found["reference_loss", "base"]
    first = curve_of(folder)[0]
    assert first["validation_loss"] == pytest.approx(first["reference_loss"] - first["reward"])


def test_a_sequence_to_sequence_generator_learns_too(preference: str, tmp_path: Path) -> None:
    model = save_tiny_seq2seq(tmp_path / "t5")
    write_jsonl(tmp_path / "candidates.jsonl", own_rows(model))
    settings = settings_of(model, preference, learning_rate=3e-2, epochs=4, num_samples=8, eval_every=6)
    folder = calibrate_stage(tmp_path / "candidates.jsonl", output_dir=tmp_path / "out", settings=settings, seed=1)
    assert results(folder)["acceptance", "calibrated - base"] > 0.03


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_resuming_equals_not_stopping(
    tuning: Any, model: str, preference: str, candidates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(model, preference, tuning=tuning, epochs=3)
    whole = calibrate_stage(candidates, output_dir=tmp_path / "whole", settings=settings, seed=2)

    def interrupted(n_items: int, batch_size: int, number: int, *, seed: int) -> np.ndarray:
        if number == 4:
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


def test_micro_batches_take_the_same_path(model: str, preference: str, candidates: Path, tmp_path: Path) -> None:
    """Four prompts at once or one at a time: the same draws, the same rewards, the same steps."""
    one, four = (
        calibrate_stage(
            candidates,
            output_dir=tmp_path / str(size),
            settings=settings_of(model, preference, epochs=1, micro_batch_size=size, eval_every=9),
            seed=1,
        )
        for size in (1, 4)
    )
    weights = load_file(one / "generator" / "adapter_model.safetensors")
    for name, value in load_file(four / "generator" / "adapter_model.safetensors").items():
        torch.testing.assert_close(weights[name], value, atol=1e-4, rtol=1e-3)


def test_another_objective_shows_the_acceptance_of_samples_and_trains_as_without(
    model: str, preference: str, candidates: Path, tmp_path: Path
) -> None:
    plain = settings_of(model, None, objective="ranking_margin", epochs=1)
    shown = settings_of(model, preference, objective="ranking_margin", epochs=1)
    without, found = (
        calibrate_stage(candidates, output_dir=tmp_path / name, settings=settings, seed=1)
        for name, settings in (("plain", plain), ("shown", shown))
    )
    rows = curve_of(found)
    assert all(0 <= row.pop("acceptance") <= 1 for row in rows)
    assert rows == curve_of(without)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"preference_model": None}, r"objective is 'rloo' and there is no preference_model\. .* --preference-model"),
        ({"score_control": "shuffled"}, r"score_control is 'shuffled' with objective 'rloo', which reads no scores"),
        ({"lora_dropout": 0.1}, r"lora_dropout is 0\.1 with objective 'rloo', .* Set --lora-dropout 0"),
        ({"num_samples": 1}, r"num_samples is 1\. Expected a number from 2 to"),
        ({"utility": "consensus"}, r"utility 'consensus' needs to know how sure the model is"),
    ],
)
def test_what_contradicts_itself_is_refused(
    changes: dict[str, Any], expected: str, model: str, preference: str, candidates: Path, tmp_path: Path
) -> None:
    settings = settings_of(model, preference, **changes)
    with pytest.raises(ConfigError, match=expected):
        calibrate_stage(candidates, output_dir=tmp_path / "out", settings=settings, seed=1)
