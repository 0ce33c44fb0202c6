"""The training loop over a fixed set of examples: passes in keyed orders, as a stage's settings say."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from accord.training.batches import step_indices, steps_per_epoch
from accord.training.loop import LossSum, TrainingResult, train
from accord.training.settings import LoopSettings

ExampleT = TypeVar("ExampleT")
BatchT = TypeVar("BatchT")


def train_in_epochs(
    model: nn.Module,
    examples: Sequence[ExampleT],
    *,
    settings: LoopSettings,
    learning_rate: float,
    micro_batches: Callable[[int, list[ExampleT]], Sequence[BatchT]],
    loss_of: Callable[[BatchT], LossSum],
    evaluate: Callable[[], Mapping[str, float]],
    select_on: str,
    seed: int,
    checkpoint_dir: Path,
    label: str,
) -> TrainingResult:
    """Train on `settings.epochs` passes over the examples (see `train`).

    Args:
        learning_rate: the peak; that of the settings may be left to their stage.
        micro_batches: a step's number and examples -> what `loss_of` reads at once.
    """

    def micro_batches_at(step: int) -> Sequence[Any]:
        chosen = step_indices(len(examples), settings.batch_size, step, seed=seed)
        return micro_batches(step, [examples[int(number)] for number in chosen])

    return train(
        model,
        loss_of=loss_of,
        micro_batches_at=micro_batches_at,
        n_steps=math.ceil(settings.epochs * steps_per_epoch(len(examples), settings.batch_size)),
        evaluate=evaluate,
        select_on=select_on,
        eval_every=settings.eval_every,
        patience=settings.patience,
        learning_rate=learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=settings.warmup_steps,
        max_grad_norm=settings.max_grad_norm,
        seed=seed,
        checkpoint_dir=checkpoint_dir,
        label=label,
    )
