"""Best against worst candidate (src/accord/calibration/dpo.py): by hand, against TRL, and as a stage."""

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from accord.calibration.calibrate import calibrate_stage
from accord.calibration.dpo import best_and_worst, dpo_loss, with_start_logps
from accord.calibration.examples import Example, encode_rows
from accord.calibration.settings import CalibrateSettings
from accord.candidates.generators.load import load_generator
from accord.errors import DataError
from accord.json_files import read_json, write_jsonl
from scored_rows import own_rows, toy_rows
from toys import save_tiny_causal_lm, save_tiny_seq2seq

KEPT = torch.ones(1, 3, dtype=torch.bool)


def test_the_loss_by_hand() -> None:
    """h = (½, −1, 2), S = (0.2, 0.9, 0.1): the second against the third, −log σ(½ · (−1 − 2)) = log(1 + e^1.5)."""
    found = dpo_loss(torch.tensor([[0.5, -1.0, 2.0]]), torch.tensor([[0.2, 0.9, 0.1]]), KEPT, beta=0.5)
    assert float(found[0]) == pytest.approx(math.log(1 + math.exp(1.5)))


def test_of_equal_scores_the_earlier_candidate_counts() -> None:
    """Best: the first of 1 and 2. Worst: the third. −log σ(1 · (3 − 1)) = log(1 + e^−2)."""
    found = dpo_loss(torch.tensor([[3.0, 7.0, 1.0]]), torch.tensor([[0.9, 0.9, 0.1]]), KEPT, beta=1.0)
    assert float(found[0]) == pytest.approx(math.log(1 + math.exp(-2)))


def test_absent_candidates_do_not_matter_and_equal_scores_give_no_pair() -> None:
    """
    prompt 1: S = 0.1 0.9 (absent 5.0) -> log(1 + e^(0 − 1)), whatever stands in the absent place
    prompt 2: S = 0.5 0.5 (absent 5.0) -> no pair, loss and gradient 0
    """
    ratios = torch.tensor([[0.0, 1.0, torch.nan]] * 2, requires_grad=True)
    scores = torch.tensor([[0.1, 0.9, 5.0], [0.5, 0.5, 5.0]])
    losses = dpo_loss(ratios, scores, torch.tensor([[True, True, False]] * 2), beta=1.0)
    losses.sum().backward()  # type: ignore[no-untyped-call]
    assert losses.tolist() == pytest.approx([math.log(1 + math.exp(-1)), 0.0])
    assert ratios.grad is not None
    share = 1 / (1 + math.exp(1))
    assert ratios.grad.flatten().tolist() == pytest.approx([share, -share, 0, 0, 0, 0])
    assert dpo_loss(torch.zeros(2, 0), torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool), beta=1.0).tolist() == [
        0,
        0,
    ]


# -- examples ---------------------------------------------------------------------------------------------------


def encoded(model: str, **changes: Any) -> tuple[Any, list[Example]]:
    generator = load_generator(model)
    rows = [msgspec.structs.replace(row, **changes) for row in own_rows(model, 4)]
    return generator, encode_rows(rows, generator, max_prompt_tokens=64, score_control="none", seed=0)


def test_training_reads_the_two_candidates_that_count(tmp_path: Path) -> None:
    """The same loss as on all of them: first and last of six by score; none where all scores are equal."""
    _, examples = encoded(save_tiny_causal_lm(tmp_path))
    narrow = best_and_worst(examples[0])
    assert narrow.candidate_ids == [examples[0].candidate_ids[0], examples[0].candidate_ids[5]]
    assert (narrow.scores, narrow.stored_logps) == ([0.9, 0.1], [examples[0].stored_logps[k] for k in (0, 5)])
    _, flat = encoded(str(tmp_path), scores=(0.5,) * 6)
    assert best_and_worst(flat[0]).candidate_ids == []


@pytest.mark.parametrize("save", [save_tiny_causal_lm, save_tiny_seq2seq])
def test_log_probabilities_of_the_start_are_those_on_file(save: Any, tmp_path: Path) -> None:
    generator, examples = encoded(save(tmp_path))
    narrow = [best_and_worst(example) for example in examples]
    for one in with_start_logps(generator, [*examples, *narrow], micro_batch_size=3):
        assert one.start_logps == pytest.approx(one.stored_logps, abs=1e-4)


# -- the stage --------------------------------------------------------------------------------------------------


def settings_of(model: str, **changes: Any) -> CalibrateSettings:
    usual = {"learning_rate": 1e-2, "epochs": 4, "batch_size": 4, "micro_batch_size": 2, "eval_every": 3, "lora_r": 4}
    return CalibrateSettings(model=model, objective="dpo", **(usual | changes))


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_the_best_becomes_likelier_than_the_worst(tuning: Any, tmp_path: Path) -> None:
    """At the start both log ratios are 0, so that every pair's loss is log 2."""
    model = save_tiny_causal_lm(tmp_path / "model")
    write_jsonl(tmp_path / "candidates.jsonl", own_rows(model))
    settings = settings_of(model, tuning=tuning, learning_rate={"lora": 1e-2, "full": 3e-3}[tuning])
    folder = calibrate_stage(tmp_path / "candidates.jsonl", output_dir=tmp_path / "out", settings=settings, seed=1)
    found = {(row["name"], row["system"]): row["value"] for row in read_json(folder / "results.json")}
    assert found["dpo_loss", "base"] == pytest.approx(math.log(2), abs=1e-4)
    assert found["dpo_loss", "calibrated"] < 0.6
    assert found["kendall_tau", "calibrated - base"] > 0.1
    assert found["reference_loss", "calibrated"] < found["reference_loss", "base"]


@pytest.mark.parametrize("save", [save_tiny_causal_lm, save_tiny_seq2seq])
def test_prompts_without_a_pair_and_without_references_teach_nothing(save: Any, tmp_path: Path) -> None:
    """Whole micro-batches of them: the steps are those of the prompts that have a pair."""
    model = save(tmp_path / "model")
    rows = [
        msgspec.structs.replace(row, references=(), scores=row.scores if row.id in ("p0", "p3") else (0.5,) * 6)
        for row in own_rows(model, 8)
    ]
    write_jsonl(tmp_path / "candidates.jsonl", rows)
    settings = settings_of(model, epochs=1, micro_batch_size=1, reference_weight=0.0)
    folder = calibrate_stage(tmp_path / "candidates.jsonl", output_dir=tmp_path / "out", settings=settings, seed=1)
    found = {(row["name"], row["system"]): row["value"] for row in read_json(folder / "results.json")}
    assert found["dpo_loss", "base"] == pytest.approx(math.log(2) / 2, abs=1e-4)  # one of two validation prompts


def test_candidates_of_another_generator_are_refused(tmp_path: Path) -> None:
    model = save_tiny_causal_lm(tmp_path / "model")
    write_jsonl(tmp_path / "candidates.jsonl", toy_rows())
    expected = (
        r"objective dpo: the log-probabilities stored with the candidates are [0-9.]+ nats per token away \(median\) "
        r"from those of .*model'.* Expected its own candidates"
    )
    with pytest.raises(DataError, match=expected):
        calibrate_stage(tmp_path / "candidates.jsonl", output_dir=tmp_path / "out", settings=settings_of(model), seed=1)


def test_a_few_texts_that_are_tokenised_otherwise_are_no_reason_to_refuse(tmp_path: Path) -> None:
    """Two of six validation candidates have another sequence's number on file; the loss starts at log 2 still."""
    model = save_tiny_causal_lm(tmp_path / "model")
    rows = [
        msgspec.structs.replace(row, sum_logps=(-99.0, *row.sum_logps[1:5], -99.0)) if row.split == "dev" else row
        for row in own_rows(model, 8)
    ]
    write_jsonl(tmp_path / "candidates.jsonl", rows)
    settings = settings_of(model, epochs=1)
    folder = calibrate_stage(tmp_path / "candidates.jsonl", output_dir=tmp_path / "out", settings=settings, seed=1)
    found = {(row["name"], row["system"]): row["value"] for row in read_json(folder / "results.json")}
    assert found["dpo_loss", "base"] == pytest.approx(math.log(2), abs=1e-4)
