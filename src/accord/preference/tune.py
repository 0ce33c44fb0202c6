"""Training a preference model with the one loop: the head on cached features, or the head and what `tuning` names."""

import logging
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from accord.errors import ConfigError
from accord.preference.inputs import Sequence1d, collate
from accord.preference.model import PreferenceModel
from accord.preference.objectives import (
    CONSTANT_RATE,
    LogNormaliser,
    Objective,
    chunk_log_normaliser,
    chunk_size,
    constant_log_normaliser,
    no_log_normaliser,
)
from accord.preference.predict import collate_options, encode_rows
from accord.randomness import keyed_rng, keyed_seed
from accord.training.batches import least_padded_batches, step_indices, steps_per_epoch
from accord.training.loop import LossSum, TrainingResult, train
from accord.training.processes import sum_over_processes

EMA_DECAY = 0.95
BATCH_COST = {"cpu": 32}
"""Device -> what a micro-batch costs beside its tokens, in tokens; where none is said, they are as large as they may
be (docs/performance.md)."""

logger = logging.getLogger("accord")

HeldOutLoss = Callable[[np.ndarray], float]
OutputsOf = Callable[[np.ndarray], Tensor]
ObjectiveOf = Callable[[LogNormaliser], Objective]


class Schedule(NamedTuple):
    """How long and in what steps: see the fields of the same names in `FitSettings`."""

    epochs: int
    batch_size: int
    micro_batch_size: int
    eval_every: int
    patience: int
    learning_rate: float
    weight_decay: float


class LearnedConstants(nn.Module):
    """Numbers that an objective learns beside the model: its last outputs, the same for every item. They start at 0."""

    def __init__(self, n_constants: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(n_constants))

    def beside(self, outputs: Tensor) -> Tensor:
        """Outputs [B, O] -> [B, O + C]."""
        return torch.cat([outputs, self.values.expand(len(outputs), -1)], dim=1)


class FitPlan(NamedTuple):
    """What a preference model learns from, what it is selected on, and how.

    `votes` [N, L] of all items, of which `train_rows` train; `held_out_loss` takes the outputs of `held_out_rows`;
    `objective_of` makes the objective from the normaliser that `normaliser` names; `constants` are trained in place,
    at `CONSTANT_RATE` times the head's learning rate.
    """

    votes: Tensor
    train_rows: np.ndarray
    held_out_rows: np.ndarray
    held_out_loss: HeldOutLoss
    objective_of: ObjectiveOf
    normaliser: str
    schedule: Schedule
    seed: int
    checkpoint_dir: Path | None
    constants: LearnedConstants | None = None


class EncoderText(NamedTuple):
    """What the encoder reads: the row of every item, and how rows become batches."""

    tokenizer: Any
    rows: Sequence[Sequence1d]
    batch_tokens: int

    def batch(self, numbers: np.ndarray, device: torch.device) -> dict[str, Tensor]:
        """The rows of these items, padded, as arguments of `PreferenceModel.vectors`."""
        inputs = collate([self.rows[number] for number in numbers], **collate_options(self.tokenizer))
        return {name: value.to(device) for name, value in inputs.items()}


def check_chunks(normaliser: str, micro_batch_size: int) -> None:
    """Chunks must not reach over micro-batches, or 8 × 1 would not be 1 × 8.

    Raises:
        ConfigError: the micro-batch is no multiple of G.
    """
    size = chunk_size(normaliser)
    if size is not None and micro_batch_size % size:
        raise ConfigError(
            f"normaliser is {normaliser!r}, but a micro-batch has {micro_batch_size} items; expected a multiple of "
            f"{size}. Change the batch size (tuning head: batch_size, else: micro_batch_size) or G."
        )


def check_precision(dtype: str, *, tuning: str, device: torch.device) -> None:
    """bfloat16 must have something to speed up, on a device that knows it; on a CPU a warning says what to expect.

    Raises:
        ConfigError: it has not, or the device does not.
    """
    if dtype == "float32":
        return
    if tuning == "head":
        raise ConfigError(
            f"dtype is {dtype!r}, but tuning head trains on cached vectors and runs no encoder. "
            "Use dtype: float32, or tuning: prefix, lora or full."
        )
    if device.type == "cpu":
        logger.warning("bfloat16 on a CPU is slower than float32 unless the processor has instructions for it.")
    elif device.type != "cuda" or not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ConfigError(f"dtype is {dtype!r}, but the device {device} cannot compute in it. Use dtype: float32.")


class MeanPrediction(nn.Module):
    """The constant q̄ of `ema` and `dataset`: no gradient ever reaches it.

    It is a parameter only so that the loop's checkpoints carry it. nan until the first evaluation.
    """

    def __init__(self, normaliser: str, n_classes: int) -> None:
        super().__init__()
        self.normaliser = normaliser
        self.log_probs = nn.Parameter(torch.full((n_classes,), math.nan))
        self._step_sum, self._step_rows = torch.zeros(n_classes), 0

    def refresh(self, logps: Callable[[], Tensor]) -> None:
        """At an evaluation: `dataset` takes the mean over the training set anew, `ema` starts from it."""
        is_unset = bool(self.log_probs.isnan().any())
        if self.normaliser == "dataset" or is_unset:
            with torch.no_grad():
                values = logps()
                self.log_probs.copy_(values.logsumexp(0) - math.log(len(values)))

    def observe(self, logps: Tensor) -> None:
        """In training: `ema` remembers what a micro-batch predicts until the step is complete."""
        if self.normaliser == "ema":
            with torch.no_grad():
                self._step_sum = self._step_sum.to(logps) + logps.exp().sum(0)
                self._step_rows += len(logps)

    def end_step(self) -> None:
        """`ema` moves by the mean over the whole step, of all processes."""
        if self.normaliser != "ema":
            return
        with torch.no_grad():
            rows = self.log_probs.new_tensor([self._step_rows])
            total = sum_over_processes(torch.cat([self._step_sum.to(rows), rows]))
            mean = total[:-1] / total[-1]
            self.log_probs.copy_((EMA_DECAY * self.log_probs.exp() + (1 - EMA_DECAY) * mean).log())
        self._step_sum, self._step_rows = torch.zeros_like(mean), 0


def log_normaliser(normaliser: str, mean: MeanPrediction | None = None) -> LogNormaliser:
    """The normaliser of that name; `ema` and `dataset` read their `mean` at every call."""
    size = chunk_size(normaliser)
    if size is not None:
        return partial(chunk_log_normaliser, size=size)
    if normaliser == "none" or mean is None:
        return no_log_normaliser
    return lambda logps: constant_log_normaliser(logps, log_mean_probs=mean.log_probs)


def train_head(model: PreferenceModel, features: Tensor, plan: FitPlan) -> TrainingResult:
    """Train the model's head on cached features [N, F]; the encoder stays as it is. It starts at the base rate."""
    model.head.start_at_base_rate(plan.votes[plan.train_rows])

    def outputs_of(rows: np.ndarray) -> Tensor:
        return model.head(features[rows])

    return _train(model.head, outputs_of, outputs_of, plan, head_learning_rate=plan.schedule.learning_rate)


def train_encoder(
    model: PreferenceModel,
    text: EncoderText,
    plan: FitPlan,
    *,
    head_learning_rate: float,
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> TrainingResult:
    """Train the head, and whatever of the rest requires gradients: adapters (merged at the end), a prefix, or all.

    The head starts at the base rate.
    Within a step items stand in order of length and are cut so that little is padded, into micro-batches of at most
    `micro_batch_size`; but chunks stay those of the random order.

    Args:
        dtype: bfloat16 casts the training passes through the encoder; what checkpoints are selected on is float32.
    """
    device = model.device
    model.head.start_at_base_rate(plan.votes[plan.train_rows])

    def outputs_of(rows: np.ndarray) -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            vectors = model.vectors(**text.batch(rows, device))
        return model.head(vectors.float())

    def predict_rows(rows: np.ndarray) -> Tensor:
        chosen = [text.rows[row] for row in rows]
        return model.head(encode_rows(model, chosen, text.tokenizer, text.batch_tokens, among_processes=True))

    def by_length(rows: np.ndarray) -> list[np.ndarray]:
        batches = least_padded_batches(
            [len(text.rows[row].ids) for row in rows],
            max_rows=plan.schedule.micro_batch_size,
            batch_cost=BATCH_COST.get(device.type, sys.maxsize),
        )
        return [rows[batch] for batch in batches]

    cut = None if plan.normaliser.startswith("chunk:") else by_length
    result = _train(model, outputs_of, predict_rows, plan, head_learning_rate=head_learning_rate, cut=cut)
    if hasattr(model.encoder, "merge_and_unload"):
        model.encoder = model.encoder.merge_and_unload()
    model.eval()
    return result


def add_adapters(model: PreferenceModel, *, rank: int, seed: int) -> None:
    """Freeze the encoder and put low-rank adapters on all its linear layers; their start depends on the seed alone."""
    from peft import LoraConfig, get_peft_model

    has_pooler = any("pooler" in name for name, _ in model.encoder.named_modules())  # not ours: nothing reads it
    adapters = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
        exclude_modules=".*pooler.*" if has_pooler else None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(keyed_seed(seed, "lora"))
        model.encoder = get_peft_model(model.encoder, adapters)


def add_prefix(model: PreferenceModel, text: EncoderText, train_rows: np.ndarray, *, length: int, seed: int) -> None:
    """Freeze the encoder and put a prefix before all its layers: keys and values of training tokens, by the seed."""
    rng = keyed_rng(seed, "prefix")
    chosen = rng.choice(train_rows, min(length, len(train_rows)), replace=False)
    batch = text.batch(chosen, model.device)
    del batch["pooling_mask"]
    model.encoder.requires_grad_(False)
    model.add_prefix(length).initialise(model.encoder, batch, rng=rng)


def _train(
    module: nn.Module,
    outputs_of: OutputsOf,
    predict_rows: OutputsOf,
    plan: FitPlan,
    *,
    head_learning_rate: float,
    cut: Callable[[np.ndarray], list[np.ndarray]] | None = None,
) -> TrainingResult:
    """Train `module`; `outputs_of` takes item numbers with graph, `predict_rows` as many as there are without.

    Args:
        cut: a step's items -> its micro-batches; None: in their order, all of `micro_batch_size`.
    """
    votes, train_rows, schedule = plan.votes, plan.train_rows, plan.schedule
    n_classes = votes.shape[1]
    trained = nn.ModuleDict({"model": module})
    mean = None
    if plan.normaliser in ("ema", "dataset"):
        mean = MeanPrediction(plan.normaliser, n_classes).to(votes.device)
        trained["mean_prediction"] = mean
    objective = plan.objective_of(log_normaliser(plan.normaliser, mean))
    if plan.constants is not None:
        trained["constants"] = plan.constants

    def with_constants(outputs: Tensor) -> Tensor:
        return outputs if plan.constants is None else plan.constants.beside(outputs)

    def learning_rate_of(name: str) -> float:
        if name.startswith("constants."):
            return CONSTANT_RATE * head_learning_rate
        return head_learning_rate if name.startswith("model.head.") else schedule.learning_rate

    def loss_of(rows: np.ndarray) -> LossSum:
        outputs = with_constants(outputs_of(rows))
        loss, weight = objective(outputs, votes[rows])
        if mean is not None:
            mean.observe(F.log_softmax(outputs[:, :n_classes], dim=-1))
        return LossSum(loss.sum(), weight.sum())

    def evaluate() -> Mapping[str, float]:
        if mean is not None:
            mean.refresh(lambda: F.log_softmax(predict_rows(train_rows)[:, :n_classes], dim=-1))
        return {"log_loss": plan.held_out_loss(with_constants(predict_rows(plan.held_out_rows)).double().cpu().numpy())}

    def micro_batches_at(step: int) -> list[np.ndarray]:
        rows = train_rows[step_indices(len(train_rows), schedule.batch_size, step, seed=plan.seed)]
        if cut is not None:
            return cut(rows)
        return [
            rows[start : start + schedule.micro_batch_size] for start in range(0, len(rows), schedule.micro_batch_size)
        ]

    return train(
        trained,
        loss_of=loss_of,
        micro_batches_at=micro_batches_at,
        n_steps=schedule.epochs * steps_per_epoch(len(train_rows), schedule.batch_size),
        evaluate=evaluate,
        select_on="log_loss",
        eval_every=schedule.eval_every,
        patience=schedule.patience,
        learning_rate=schedule.learning_rate,
        weight_decay=schedule.weight_decay,
        seed=plan.seed,
        checkpoint_dir=plan.checkpoint_dir,
        label="Fitting the preference model",
        learning_rate_of=learning_rate_of,
        after_step=None if mean is None else mean.end_step,
    )
