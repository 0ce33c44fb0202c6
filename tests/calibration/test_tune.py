"""Supervised tuning as a stage, on tiny random generators: what is computed, what is written, what is refused."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor
from transformers.trainer_pt_utils import LabelSmoother

from accord.artifacts import read_json, write_jsonl
from accord.calibration.settings import TuneSettings
from accord.calibration.tune import TuneExample, reference_token_loss, token_losses, tune_stage
from accord.candidates.generators.load import load_generator
from accord.candidates.generators.protocol import FreelyWritten
from accord.candidates.logps import target_logps
from accord.records import PromptRow
from toys import save_tiny_causal_lm, save_tiny_seq2seq

REPLIES = ("sorry to hear that .", "that sounds really hard .", "what did you feel , friend ?")


def toy_rows(n_prompts: int = 12) -> list[PromptRow]:
    """A prompt's word says which reply it gets; every fourth prompt validates, every fifth has two references."""
    return [
        PromptRow(
            id=f"p{number}",
            prompt=f"i feel {('sad', 'tired', 'lost')[number % 3]} about my {('work', 'home')[number % 2]} .",
            references=(REPLIES[number % 3], "tell me more .")[: 2 if number % 5 == 4 else 1],
            group=f"g{number}",
            split="dev" if number % 4 == 3 else "train",
        )
        for number in range(n_prompts)
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_causal_lm(tmp_path_factory.mktemp("generator"))


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "prompts.jsonl", toy_rows())
    return tmp_path / "prompts.jsonl"


def toy_settings(model: str, **changes: Any) -> TuneSettings:
    base = TuneSettings(model=model, learning_rate=3e-3, epochs=6, batch_size=3, micro_batch_size=2, eval_every=3)
    return dataclasses.replace(base, **changes)


def results(folder: Path) -> dict[tuple[str, str], float]:
    return {(row["name"], row["system"]): row["value"] for row in read_json(folder / "results.json")}


def curve(folder: Path) -> list[dict[str, float]]:
    return [msgspec.json.decode(line) for line in (folder / "curve.jsonl").read_bytes().splitlines()]


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_references_get_likelier(kind: str, tuning: str, model: str, prompts: Path, tmp_path: Path) -> None:
    base = model if kind == "causal" else save_tiny_seq2seq(tmp_path / "t5")
    settings = toy_settings(base, tuning=tuning, lora_r=4, learning_rate=1e-2)
    folder = tune_stage(prompts, output_dir=tmp_path / "out", settings=settings, seed=1)
    found = results(folder)
    assert found["validation_loss", "tuned"] < 0.7 * found["validation_loss", "base"]
    assert found["perplexity", "tuned"] == pytest.approx(math.exp(found["validation_loss", "tuned"]))
    difference = found["perplexity", "tuned"] - found["perplexity", "base"]
    assert found["perplexity", "tuned - base"] == pytest.approx(difference)
    counts = read_json(folder / "training.json")
    assert (counts["n_train"], counts["n_dev"], counts["n_not_used"]) == (9, 3, 0)
    assert counts["n_references"] == 14
    rows = curve(folder)
    assert [row["step"] for row in rows][:2] == [0, 3]
    assert counts["best_validation_loss"] == min(row["validation_loss"] for row in rows)
    assert found["validation_loss", "tuned"] == counts["best_validation_loss"]
    assert not (folder / "scratch").exists()


class TableReader(FreelyWritten):
    """States are indices of rows of a table of logits; nothing else happens."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    def completion_states(self, prompt_ids: Any, completion_ids: Any) -> Tensor:  # noqa: ARG002 -- the protocol's
        n_tokens = sum(len(ids) for group in completion_ids for ids in group)
        return torch.eye(len(self.logits))[:n_tokens]

    def output_logits(self, states: Tensor) -> Tensor:
        return states @ self.logits


def example(name: str, references: list[list[int]], prompt: tuple[int, ...] = (1,)) -> TuneExample:
    return TuneExample(name, name, list(prompt), references, 0, 0)


def test_the_loss_by_hand() -> None:
    """Three tokens with p = ½, ¼ and ¾ in references of two and one tokens, of two prompts.

    The sum is ln 2 + ln 4 + ln(4/3) over three tokens: neither references nor prompts are averaged first.
    """
    logits = torch.tensor([[0.5, 0.5], [0.25, 0.75], [0.25, 0.75]]).log()
    batch = [example("a", [[0, 0]]), example("b", [[1]])]
    found = reference_token_loss(TableReader(logits), batch, label_smoothing=0.0)
    assert float(found.loss) == pytest.approx(math.log(2 * 4 * 4 / 3), rel=1e-6)
    assert found.weight == 3.0
    by_prompt = token_losses(TableReader(logits), batch, micro_batch_size=2)
    assert by_prompt.sums == pytest.approx([math.log(8), math.log(4 / 3)], rel=1e-6)
    assert by_prompt.mean == pytest.approx(math.log(32 / 3) / 3, rel=1e-6)


def test_label_smoothing_by_hand() -> None:
    """p = (¼, ¾), target 0, ε = 0.2: −0.8 ln ¼ − 0.1 (ln ¼ + ln ¾)."""
    reader = TableReader(torch.tensor([[0.25, 0.75]]).log())
    found = reference_token_loss(reader, [example("a", [[0]])], label_smoothing=0.2)
    assert float(found.loss) == pytest.approx(-0.9 * math.log(0.25) - 0.1 * math.log(0.75), rel=1e-6)


@pytest.mark.parametrize("head_trains", [False, True])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 0.7])
def test_label_smoothing_equals_transformers(label_smoothing: float, head_trains: bool) -> None:
    """Loss and gradient, through the frozen head's short cut and through a head that trains; several chunks."""
    rng = torch.Generator().manual_seed(3)
    states = torch.randn(11, 5, generator=rng, requires_grad=True)
    head = torch.randn(7, 5, generator=rng, requires_grad=head_trains)
    targets = torch.randint(7, (11,), generator=rng)
    logps = target_logps(states, targets, lambda rows: rows @ head.T, label_smoothing=label_smoothing, chunk_tokens=4)
    expected = LabelSmoother(epsilon=label_smoothing)({"logits": (states @ head.T)[None]}, targets[None])
    torch.testing.assert_close(-logps.mean(), expected, atol=1e-6, rtol=1e-6)
    inputs = [states, head] if head_trains else [states]
    for ours, theirs in zip(
        torch.autograd.grad(-logps.mean(), inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_a_step_equals_the_loss_of_transformers(model: str, prompts: Path) -> None:
    """One plain row per reference through the model's own loss, which averages over the labelled tokens."""
    generator = load_generator(model)
    batch = [
        example(
            row.id,
            [generator.completion_ids(text) for text in row.references],
            tuple(generator.prompt_ids(row.prompt)),
        )
        for row in toy_rows()[:5]
    ]
    found = reference_token_loss(generator, batch, label_smoothing=0.0)
    rows = [(e.prompt_ids, ids) for e in batch for ids in e.reference_ids]
    width = max(len(prompt) + len(ids) for prompt, ids in rows)
    pad = [(*prompt, *ids, *[generator.pad_id] * (width - len(prompt) - len(ids))) for prompt, ids in rows]
    labels = torch.tensor(pad)
    for number, (prompt, ids) in enumerate(rows):
        labels[number, : len(prompt)] = -100
        labels[number, len(prompt) + len(ids) :] = -100
    loss = generator.model(input_ids=torch.tensor(pad), labels=labels).loss
    torch.testing.assert_close(found.loss / found.weight, loss, atol=1e-5, rtol=1e-5)


def test_micro_batches_take_the_same_path(model: str, prompts: Path, tmp_path: Path) -> None:
    """8 × 1 = 1 × 8, because tokens, not micro-batches, are averaged: these have references of unequal length."""
    states = []
    for size in (1, 8):
        settings = toy_settings(model, epochs=2, batch_size=8, micro_batch_size=size, max_grad_norm=1e6)
        folder = tune_stage(prompts, output_dir=tmp_path / str(size), settings=settings, seed=1)
        states.append(load_generator(str(folder)).model.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], atol=2e-4, rtol=1e-3)
