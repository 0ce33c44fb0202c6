"""Passes over examples: how many steps, which examples in each, and what the settings say to the loop."""

from pathlib import Path

import pytest
import torch
from torch import nn

from accord.training.batches import step_indices
from accord.training.epochs import train_in_epochs
from accord.training.loop import LossSum, TrainingResult, train
from accord.training.settings import LoopSettings

TARGETS = [1.0, -2.0, 3.0, 0.5, 4.0]
SETTINGS = LoopSettings(
    weight_decay=0.1, warmup_steps=1, max_grad_norm=0.5, epochs=2.5, batch_size=2, eval_every=3, patience=None
)


def toy_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(1, 1)


def squared_error(model: nn.Module, batch: list[float]) -> LossSum:
    found = model(torch.ones(len(batch), 1))[:, 0]
    return LossSum(((found - torch.tensor(batch)) ** 2).sum(), float(len(batch)))


def trained(model: nn.Module, seen: list[tuple[int, list[float]]], checkpoint_dir: Path) -> TrainingResult:
    def one_batch(step: int, chosen: list[float]) -> list[list[float]]:
        seen.append((step, chosen))
        return [chosen]

    return train_in_epochs(
        model,
        TARGETS,
        settings=SETTINGS,
        learning_rate=0.1,
        micro_batches=one_batch,
        loss_of=lambda batch: squared_error(model, batch),
        evaluate=lambda: {"error": float(squared_error(model, TARGETS).loss.detach())},
        select_on="error",
        seed=4,
        checkpoint_dir=checkpoint_dir,
        label="Training",
    )


def test_two_and_a_half_passes_of_three_steps_are_eight(tmp_path: Path) -> None:
    """⌈2.5 · ⌈5 / 2⌉⌉ = ⌈7.5⌉ = 8 steps; evaluated at 0, every 3, and the end; a pass shows every example once."""
    seen: list[tuple[int, list[float]]] = []
    result = trained(toy_model(), seen, tmp_path)
    assert [step for step, _ in seen] == list(range(8))
    assert [len(chosen) for _, chosen in seen] == [2, 2, 1, 2, 2, 1, 2, 2]
    assert [row["step"] for row in result.curve] == [0, 3, 6, 8]
    for start in (0, 3):
        assert sorted(target for _, chosen in seen[start : start + 3] for target in chosen) == sorted(TARGETS)


def test_it_is_the_loop_with_the_settings(tmp_path: Path) -> None:
    """Every number of the settings reaches the loop: the weights are those of the loop called by hand."""
    ours, theirs = toy_model(), toy_model()
    trained(ours, [], tmp_path / "ours")
    train(
        theirs,
        loss_of=lambda batch: squared_error(theirs, batch),
        micro_batches_at=lambda step: [[TARGETS[number] for number in step_indices(5, 2, step, seed=4)]],
        n_steps=8,
        evaluate=lambda: {"error": float(squared_error(theirs, TARGETS).loss.detach())},
        select_on="error",
        eval_every=3,
        patience=None,
        learning_rate=0.1,
        weight_decay=0.1,
        warmup_steps=1,
        max_grad_norm=0.5,
        seed=4,
        checkpoint_dir=tmp_path / "theirs",
        label="Training",
    )
    assert [p.tolist() for p in ours.parameters()] == [p.tolist() for p in theirs.parameters()]
    with pytest.raises(AssertionError):
        torch.testing.assert_close(list(ours.parameters()), list(toy_model().parameters()))
