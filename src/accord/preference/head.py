"""Many heads on one frozen encoder, trained at once: features are computed once, the heads' weights are stacked.

A *run* is a set of rows with a seed; in every run one head is trained per objective. All heads of a run see the same
random sets and the same dropout, so their first layers are one matrix product. A head that is trained here takes the
same path, to float tolerance, as one that the training loop trains alone with the same seed: same start, same random
sets, same dropout, AdamW with linear decay, clipping, early stopping.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from accord.preference.model import PreferenceHead, base_rate_logits, drop
from accord.preference.objectives import CONSTANT_RATE, Objective
from accord.progress import progress
from accord.randomness import keyed_seed
from accord.training.batches import step_indices, steps_per_epoch


class HeadWeights(NamedTuple):
    """S heads: `hidden_weight` [S, H, F], `hidden_bias` [S, H], `output_weight` [S, O, H], `output_bias` [S, O],
    and the standardisation of each head's features, `feature_mean` and `feature_scale` [S, F].

    A learned constant is an output whose weights are 0.
    """

    hidden_weight: Tensor
    hidden_bias: Tensor
    output_weight: Tensor
    output_bias: Tensor
    feature_mean: Tensor
    feature_scale: Tensor


class FittedHeads(NamedTuple):
    """`weights`: each head at its best evaluation; `best_value`, `best_step` [S]: what was found there, and when.

    `last_weights`: each head after its last step, which is where it ran out of patience, if it did.
    """

    weights: HeadWeights
    last_weights: HeadWeights
    best_value: Float[np.ndarray, " S"]
    best_step: list[int]


class HeadObjective(NamedTuple):
    """What a head minimises, how many outputs that reads, and how many of these, the last, are learned constants."""

    loss: Objective
    n_outputs: int
    n_constants: int = 0


class HeadTraining(NamedTuple):
    """How every head is trained: see the fields of the same names in `FitSettings`.

    `final_rate`: the learning rates at the last step, as a share of the first ones; in between they go linearly.
    """

    head_size: int = 128
    dropout: float = 0.1
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    epochs: int = 30
    batch_size: int = 64
    eval_every: int = 20
    patience: int | None = 10
    max_grad_norm: float = 1.0
    final_rate: float = 0.0


@runtime_checkable
class HeadSettings(Protocol):
    """The settings that say how heads are trained, whichever verb they are of."""

    @property
    def head_size(self) -> int: ...
    @property
    def dropout(self) -> float: ...
    @property
    def epochs(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def eval_every(self) -> int: ...
    @property
    def patience(self) -> int: ...


def head_training(settings: HeadSettings, *, learning_rate: float, weight_decay: float) -> HeadTraining:
    """How these settings train heads."""
    return HeadTraining(
        settings.head_size,
        settings.dropout,
        learning_rate,
        weight_decay,
        settings.epochs,
        settings.batch_size,
        settings.eval_every,
        settings.patience,
    )


HeldOutLoss = Callable[[int, Float[np.ndarray, "N O"]], float]
"""(number of the run, a head's outputs for its held-out rows) -> the figure to be lowest."""


def standardisation(features: Float[Tensor, "N F"]) -> tuple[Float[Tensor, " F"], Float[Tensor, " F"]]:
    """Mean and standard deviation of each feature; a feature that does not vary is only centred (scale 1)."""
    mean = features.mean(0)
    scale = (features - mean).square().mean(0).sqrt()
    return mean, torch.where(scale > 1e-6, scale, torch.ones_like(scale))


def predict_heads(weights: HeadWeights, features: Float[Tensor, "N F"]) -> Float[Tensor, "S N O"]:
    """Every head's outputs for the same features, without dropout."""
    return torch.stack([predict_head(weights, head, features) for head in range(len(weights.hidden_bias))])


def predict_head(weights: HeadWeights, head: int, features: Float[Tensor, "N F"]) -> Float[Tensor, "N O"]:
    """One head's outputs, without dropout."""
    *layers, mean, scale = (tensor[head] for tensor in weights)
    return _outputs(tuple(layers), (features - mean) / scale)


def fit_heads(
    features: Float[Tensor, "N F"],
    votes: Float[Tensor, "N L"],
    *,
    train_rows: Sequence[np.ndarray],
    held_out_rows: Sequence[np.ndarray],
    held_out_loss: HeldOutLoss,
    seeds: Sequence[int],
    objective: HeadObjective,
    training: HeadTraining,
) -> FittedHeads:
    """Train S heads of one objective at once; see `fit_objectives`."""
    return fit_objectives(
        features,
        votes,
        train_rows=train_rows,
        held_out_rows=held_out_rows,
        held_out_loss={"": held_out_loss},
        seeds=seeds,
        objectives={"": objective},
        training=training,
    )[""]


def fit_objectives(
    features: Float[Tensor, "N F"],
    votes: Float[Tensor, "N L"],
    *,
    train_rows: Sequence[np.ndarray],
    held_out_rows: Sequence[np.ndarray],
    held_out_loss: Mapping[str, HeldOutLoss],
    seeds: Sequence[int],
    objectives: Mapping[str, HeadObjective],
    training: HeadTraining,
) -> dict[str, FittedHeads]:
    """Train one head per objective and run, all at once; keep each at its lowest held-out loss.

    Args:
        features, votes: of all items, in the same order.
        train_rows, held_out_rows, seeds: per run, the items its heads learn from, those they are selected on, and what
            their start, random sets and dropout depend on.
        held_out_loss: per objective.
        objectives: with a stateless normaliser (`ema` and `dataset` need the training loop). They get the rows of
            several runs at once, [runs, B, O].

    The number of steps is that of the run with the most training rows. An objective whose heads have all run out of
    patience costs nothing more.
    """
    runs = _Runs(features, train_rows, held_out_rows, seeds)
    n_steps = training.epochs * max(steps_per_epoch(len(rows), training.batch_size) for rows in train_rows)
    best = {name: _Best(len(seeds), training.patience) for name in objectives}
    names = list(objectives)
    trained = _starting_weights(runs, votes, list(objectives.values()), training.head_size)
    optimizer = _optimizer(trained, training)
    with progress(f"Fitting {len(seeds) * len(names)} heads", n_steps) as advance:
        for step in range(n_steps + 1):
            if step % training.eval_every == 0 or step == n_steps:
                for number, name in enumerate(names):
                    _evaluate(trained, runs, number, objectives[name], held_out_loss[name], best[name], step)
                going = [number for number, name in enumerate(names) if not best[name].all_stopped]
                if step == n_steps or not going:
                    break
                if len(going) < len(names):
                    trained, optimizer = _only(going, trained, optimizer, training)
                    names = [names[number] for number in going]
            for group in optimizer.param_groups:
                group["lr"] = group["first_lr"] * (n_steps - (1 - training.final_rate) * step) / n_steps
            optimizer.zero_grad(set_to_none=True)
            batches = runs.batches(training.batch_size, step)
            outputs = _dropped_outputs(trained, runs, batches, training.dropout, step)
            losses = [
                _summed_loss(trained.read_by(objectives[name], number, outputs), votes, batches, objectives[name].loss)
                for number, name in enumerate(names)
            ]
            torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
            _clip_each_head(trained, training.max_grad_norm)
            optimizer.step()
            advance(1)
    return {name: found.fitted(runs) for name, found in best.items()}


class _Runs:
    """What R runs learn from; nothing here changes while they are trained."""

    def __init__(
        self,
        features: Tensor,
        train_rows: Sequence[np.ndarray],
        held_out_rows: Sequence[np.ndarray],
        seeds: Sequence[int],
    ) -> None:
        self.features, self.train_rows, self.seeds = features, train_rows, seeds
        means, scales = zip(*(standardisation(features[rows]) for rows in train_rows), strict=True)
        self.mean, self.scale = torch.stack(means), torch.stack(scales)
        self.held_out = [
            (features[rows] - mean) / scale for rows, mean, scale in zip(held_out_rows, means, scales, strict=True)
        ]

    def batches(self, batch_size: int, step: int) -> list[np.ndarray]:
        """Each run's random set of item numbers."""
        return [
            rows[step_indices(len(rows), batch_size, step, seed=seed)]
            for rows, seed in zip(self.train_rows, self.seeds, strict=True)
        ]

    def standard(self, batches: Sequence[np.ndarray]) -> Tensor:
        """The standardised features [R, B, F] of the runs' sets; shorter ones are padded with row 0, to be cut off."""
        width = max(len(batch) for batch in batches)
        index = np.stack([np.pad(batch, (0, width - len(batch))) for batch in batches])
        return (self.features[index] - self.mean[:, None]) / self.scale[:, None]

    def masks(self, batches: Sequence[np.ndarray], sizes: Sequence[int], rate: float, step: int) -> list[Tensor]:
        """What dropout multiplies by, [R, B, size] per size: drawn as one head alone would draw for its own rows."""
        width = max(len(batch) for batch in batches)
        drawn: dict[tuple[int, int], list[Tensor]] = {}
        for key in {(seed, len(batch)) for seed, batch in zip(self.seeds, batches, strict=True)}:
            generator = torch.Generator().manual_seed(keyed_seed(key[0], "step", step))
            parts = [drop(torch.ones(key[1], size), rate, generator) for size in sizes]
            drawn[key] = [torch.cat([part, part.new_ones(width - key[1], part.shape[1])]) for part in parts]
        of_runs = [drawn[seed, len(batch)] for seed, batch in zip(self.seeds, batches, strict=True)]
        return [torch.stack(parts) for parts in zip(*of_runs, strict=True)]


class _Trained(NamedTuple):
    """The trained tensors of R runs and J objectives: `hidden_weight` [R, J, H, F], `hidden_bias` [R, J, H],
    `output_weight` [R, J, O, H], `output_bias` [R, J, O], `constants` [R, J, C].

    O and C are the most that any objective reads; what the others leave unread stays 0.
    """

    hidden_weight: Tensor
    hidden_bias: Tensor
    output_weight: Tensor
    output_bias: Tensor
    constants: Tensor

    def head(self, run: int, number: int, objective: HeadObjective) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Copies of one head's tensors in the manner of `HeadWeights`."""
        n_computed = objective.n_outputs - objective.n_constants
        weight = self.output_weight[run, number, :n_computed]
        constants = self.constants[run, number, : objective.n_constants]
        return (
            self.hidden_weight[run, number].detach().clone(),
            self.hidden_bias[run, number].detach().clone(),
            torch.cat([weight, weight.new_zeros(objective.n_constants, weight.shape[1])]).detach(),
            torch.cat([self.output_bias[run, number, :n_computed], constants]).detach(),
        )

    def hidden(self, standard: Tensor) -> Tensor:
        """All heads' hidden layers of every run's features: [R, B, F] -> [R, J, H, B].

        Items last: so the gradient of the weights comes out in their own layout.
        """
        weight, bias = self.hidden_weight.flatten(1, 2), self.hidden_bias.flatten(1, 2)
        hidden = torch.baddbmm(bias[:, :, None], weight, standard.transpose(1, 2)).tanh()
        return hidden.view(*self.hidden_bias.shape, -1)

    def outputs(self, hidden: Tensor) -> Tensor:
        """What the heads compute from [R, J, H, B]: [R, J, B, O], the constants still missing."""
        return (self.output_weight @ hidden + self.output_bias[:, :, :, None]).transpose(2, 3)

    def read_by(self, objective: HeadObjective, number: int, outputs: Tensor) -> Tensor:
        """The columns that objective `number` reads of [R, J, B, O], constants last: [R, B, n_outputs]."""
        computed = outputs[:, number, :, : objective.n_outputs - objective.n_constants]
        constants = self.constants[:, number, None, : objective.n_constants]
        return torch.cat([computed, constants.expand(-1, computed.shape[1], -1)], dim=-1)


class _Best:
    """One objective's heads: each run's at its lowest held-out loss, and at its last step.

    A head that has run out of patience is left alone.
    """

    def __init__(self, n_runs: int, patience: int | None) -> None:
        self._patience = patience
        self._values, self._steps, self._waited = [float("inf")] * n_runs, [0] * n_runs, [0] * n_runs
        self._kept: list[tuple[Tensor, ...]] = [()] * n_runs
        self._last: list[tuple[Tensor, ...]] = [()] * n_runs

    def update(self, run: int, step: int, value: float, weights: tuple[Tensor, ...]) -> None:
        self._last[run] = weights
        self._kept[run] = self._kept[run] or weights
        if value < self._values[run]:
            self._values[run], self._steps[run], self._waited[run] = value, step, 0
            self._kept[run] = weights
        else:
            self._waited[run] += 1

    def has_stopped(self, run: int) -> bool:
        return self._patience is not None and self._waited[run] >= self._patience

    @property
    def all_stopped(self) -> bool:
        return all(self.has_stopped(run) for run in range(len(self._values)))

    def fitted(self, runs: _Runs) -> FittedHeads:
        kept, last = _stacked(self._kept, runs), _stacked(self._last, runs)
        return FittedHeads(kept, last, np.array(self._values), self._steps)


def _stacked(heads: Sequence[tuple[Tensor, ...]], runs: _Runs) -> HeadWeights:
    hidden_weight, hidden_bias, output_weight, output_bias = map(torch.stack, zip(*heads, strict=True))
    return HeadWeights(hidden_weight, hidden_bias, output_weight, output_bias, runs.mean, runs.scale)


def _starting_weights(runs: _Runs, votes: Tensor, objectives: Sequence[HeadObjective], head_size: int) -> _Trained:
    """Every head starts as it would alone: a function of seed, sizes and the base rate of its training votes."""
    n_computed = [objective.n_outputs - objective.n_constants for objective in objectives]
    shape, most = (len(runs.seeds), len(objectives)), max(n_computed)
    n_features, n_constants = runs.features.shape[1], max(objective.n_constants for objective in objectives)
    trained = _Trained(
        torch.empty(*shape, head_size, n_features),
        torch.zeros(*shape, head_size),
        torch.zeros(*shape, most, head_size),
        torch.zeros(*shape, most),
        torch.zeros(*shape, n_constants),
    )
    n_labels = votes.shape[1]
    for run, (seed, rows) in enumerate(zip(runs.seeds, runs.train_rows, strict=True)):
        trained.output_bias[run, :, :n_labels] = base_rate_logits(votes[rows])
        for number, n_outputs in enumerate(n_computed):
            head = PreferenceHead(n_features, head_size, n_outputs, dropout=0.0)
            head.initialise(seed)
            trained.hidden_weight[run, number] = head.hidden.weight.detach()
            trained.output_weight[run, number, :n_outputs] = head.output.weight.detach()
    return _Trained(*(tensor.requires_grad_() for tensor in trained))


def _optimizer(trained: _Trained, training: HeadTraining) -> torch.optim.AdamW:
    groups = [
        ((trained.hidden_weight, trained.output_weight), training.weight_decay, training.learning_rate),
        ((trained.hidden_bias, trained.output_bias), 0.0, training.learning_rate),
        ((trained.constants,), 0.0, CONSTANT_RATE * training.learning_rate),
    ]
    return torch.optim.AdamW(
        [{"params": list(params), "weight_decay": decay, "first_lr": rate} for params, decay, rate in groups],
        lr=training.learning_rate,
        fused=True,
    )


def _only(
    numbers: Sequence[int], trained: _Trained, optimizer: torch.optim.AdamW, training: HeadTraining
) -> tuple[_Trained, torch.optim.AdamW]:
    """Go on with these objectives' heads alone."""
    kept = _Trained(*(tensor.detach()[:, numbers].requires_grad_() for tensor in trained))
    of_kept = _optimizer(kept, training)
    for old, new in zip(trained, kept, strict=True):
        of_kept.state[new] = {
            key: value[:, numbers] if value.ndim else value for key, value in optimizer.state[old].items()
        }
    return kept, of_kept


def _evaluate(
    trained: _Trained,
    runs: _Runs,
    number: int,
    objective: HeadObjective,
    held_out_loss: HeldOutLoss,
    best: _Best,
    step: int,
) -> None:
    """Measure the heads of objective `number` that have not stopped."""
    for run, standard in enumerate(runs.held_out):
        if best.has_stopped(run):
            continue
        weights = trained.head(run, number, objective)
        outputs = _outputs(weights, standard).double().numpy()
        best.update(run, step, held_out_loss(run, outputs), weights)


def _outputs(weights: tuple[Tensor, ...], standard: Tensor) -> Tensor:
    """One head's outputs [N, O] for standardised features, without dropout."""
    hidden_weight, hidden_bias, output_weight, output_bias = weights
    hidden = torch.addmm(hidden_bias, standard, hidden_weight.T).tanh()
    return torch.addmm(output_bias, hidden, output_weight.T)


def _dropped_outputs(
    trained: _Trained, runs: _Runs, batches: Sequence[np.ndarray], dropout: float, step: int
) -> Tensor:
    """All heads' outputs for their runs' sets, [R, J, B, O], with dropout before each layer."""
    standard = runs.standard(batches)
    if dropout == 0.0:
        return trained.outputs(trained.hidden(standard))
    sizes = (standard.shape[2], trained.hidden_bias.shape[2])
    of_features, of_hidden = runs.masks(batches, sizes, dropout, step)
    return trained.outputs(trained.hidden(standard * of_features) * of_hidden.transpose(1, 2)[:, None])


def _summed_loss(outputs: Tensor, votes: Tensor, batches: Sequence[np.ndarray], objective: Objective) -> Tensor:
    """Sum over runs of (Σ loss)/(Σ weight): the heads share no weight, so each gets its own gradient."""
    total = outputs.new_zeros(())
    for length in sorted({len(batch) for batch in batches}):
        runs = [run for run, batch in enumerate(batches) if len(batch) == length]
        rows = np.stack([batches[run] for run in runs])
        loss, weight = objective(outputs[runs, :length], votes[rows])
        total = total + (loss.sum(1) / weight.sum(1).clamp_min(torch.finfo(weight.dtype).tiny)).sum()
    return total


def _clip_each_head(trained: _Trained, max_norm: float) -> None:
    """Scale each head's gradient to `max_norm` where it is longer, as torch's clipping does for one model."""
    gradients = [tensor.grad for tensor in trained if tensor.grad is not None]
    norms = torch.stack([torch.linalg.vector_norm(gradient.flatten(2), dim=2) for gradient in gradients])
    scale = (max_norm / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp_max(1.0)
    if bool((scale < 1.0).any()):
        for gradient in gradients:
            gradient.mul_(scale.view(*scale.shape, *[1] * (gradient.ndim - 2)))
