"""Many heads on one frozen encoder, trained at once: features are computed once, the heads' weights are stacked.

A head that is trained here takes the same path, to float tolerance, as one that the training loop trains alone with
the same seed: same start, same random sets, same dropout, AdamW with linear decay, clipping, early stopping.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from accord.preference.model import PreferenceHead, drop
from accord.preference.objectives import Objective
from accord.progress import progress
from accord.randomness import keyed_seed
from accord.training.batches import step_indices, steps_per_epoch


class HeadWeights(NamedTuple):
    """S heads: `hidden_weight` [S, H, F], `hidden_bias` [S, H], `output_weight` [S, O, H], `output_bias` [S, O],
    and the standardisation of each head's features, `feature_mean` and `feature_scale` [S, F]."""

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


HeldOutLoss = Callable[[int, Float[np.ndarray, "N O"]], float]


def standardisation(features: Float[Tensor, "N F"]) -> tuple[Float[Tensor, " F"], Float[Tensor, " F"]]:
    """Mean and standard deviation of each feature; a feature that does not vary is only centred (scale 1)."""
    mean = features.mean(0)
    scale = (features - mean).square().mean(0).sqrt()
    return mean, torch.where(scale > 1e-6, scale, torch.ones_like(scale))


def predict_heads(weights: HeadWeights, features: Float[Tensor, "N F"]) -> Float[Tensor, "S N O"]:
    """Every head's outputs for the same features, without dropout."""
    return torch.stack([_one_head(weights, head, features) for head in range(len(weights.hidden_bias))])


def fit_heads(
    features: Float[Tensor, "N F"],
    votes: Float[Tensor, "N L"],
    *,
    train_rows: Sequence[np.ndarray],
    held_out_rows: Sequence[np.ndarray],
    held_out_loss: HeldOutLoss,
    seeds: Sequence[int],
    objective: Objective,
    n_outputs: int,
    head_size: int = 128,
    dropout: float = 0.1,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.01,
    epochs: int = 30,
    batch_size: int = 64,
    eval_every: int = 20,
    patience: int | None = 10,
    max_grad_norm: float = 1.0,
) -> FittedHeads:
    """Train S heads at once, each on its own rows with its own seed; keep each at its lowest held-out loss.

    Args:
        features, votes: of all items, in the same order.
        train_rows, held_out_rows: per head, the items it learns from and those it is selected on.
        held_out_loss: (head number, its outputs for its held-out rows) -> the figure to be lowest.
        objective: with a stateless normaliser (`ema` and `dataset` need the training loop).

    The number of steps is that of the head with the most training rows.
    """
    weights = _starting_weights(features, train_rows, seeds, head_size, n_outputs)
    trained = [weights.hidden_weight, weights.output_weight, weights.hidden_bias, weights.output_bias]
    optimizer = torch.optim.AdamW(
        [{"params": trained[:2], "weight_decay": weight_decay}, {"params": trained[2:], "weight_decay": 0.0}],
        lr=learning_rate,
    )
    n_steps = epochs * max(steps_per_epoch(len(rows), batch_size) for rows in train_rows)
    best = _Best(weights, patience)
    with progress(f"Fitting {len(seeds)} heads", n_steps) as advance:
        for step in range(n_steps + 1):
            if step % eval_every == 0 or step == n_steps:
                with torch.no_grad():
                    held_out = [_one_head(weights, head, features[rows]) for head, rows in enumerate(held_out_rows)]
                best.update(step, [held_out_loss(head, out.double().numpy()) for head, out in enumerate(held_out)])
                if step == n_steps or best.all_stopped:
                    break
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * (n_steps - step) / n_steps
            optimizer.zero_grad(set_to_none=True)
            batches = [
                rows[step_indices(len(rows), batch_size, step, seed=seed)]
                for rows, seed in zip(train_rows, seeds, strict=True)
            ]
            generators = [torch.Generator().manual_seed(keyed_seed(seed, "step", step)) for seed in seeds]
            outputs = _stacked_outputs(weights, features, batches, dropout, generators)
            _summed_loss(outputs, votes, batches, objective).backward()  # type: ignore[no-untyped-call]
            _clip_each_head(trained, max_grad_norm)
            optimizer.step()
            advance(1)
    return FittedHeads(best.weights, best.last_weights, np.array(best.values), best.steps)


def load_head(head: PreferenceHead, weights: HeadWeights, number: int) -> None:
    """Copy head `number` of the stack into a model's head."""
    with torch.no_grad():
        head.hidden.weight.copy_(weights.hidden_weight[number])
        head.hidden.bias.copy_(weights.hidden_bias[number])
        head.output.weight.copy_(weights.output_weight[number])
        head.output.bias.copy_(weights.output_bias[number])
        head.feature_mean.copy_(weights.feature_mean[number])
        head.feature_scale.copy_(weights.feature_scale[number])


class _Best:
    """Each head's weights at its lowest held-out loss so far; a head that has run out of patience is left alone."""

    def __init__(self, weights: HeadWeights, patience: int | None) -> None:
        n_heads = len(weights.hidden_bias)
        self._current, self._patience = weights, patience
        self.weights = HeadWeights(*(tensor.detach().clone() for tensor in weights))
        self.last_weights = HeadWeights(*(tensor.detach().clone() for tensor in weights))
        self.values, self.steps, self._waited = [float("inf")] * n_heads, [0] * n_heads, [0] * n_heads

    def update(self, step: int, values: Sequence[float]) -> None:
        for head, value in enumerate(values):
            if self._has_stopped(head):
                continue
            self._copy(head, self.last_weights)
            if value < self.values[head]:
                self.values[head], self.steps[head], self._waited[head] = value, step, 0
                self._copy(head, self.weights)
            else:
                self._waited[head] += 1

    def _copy(self, head: int, kept: HeadWeights) -> None:
        for to, current in zip(kept, self._current, strict=True):
            to[head] = current[head].detach()

    def _has_stopped(self, head: int) -> bool:
        return self._patience is not None and self._waited[head] >= self._patience

    @property
    def all_stopped(self) -> bool:
        return all(self._has_stopped(head) for head in range(len(self.values)))


def _starting_weights(
    features: Tensor, train_rows: Sequence[np.ndarray], seeds: Sequence[int], head_size: int, n_outputs: int
) -> HeadWeights:
    heads = []
    for seed, rows in zip(seeds, train_rows, strict=True):
        head = PreferenceHead(features.shape[1], head_size, n_outputs, dropout=0.0)
        head.initialise(seed)
        layers = (head.hidden.weight, head.hidden.bias, head.output.weight, head.output.bias)
        heads.append((*(layer.detach() for layer in layers), *standardisation(features[rows])))
    stacked = [torch.stack(tensors) for tensors in zip(*heads, strict=True)]
    return HeadWeights(*(tensor.requires_grad_() for tensor in stacked[:4]), *stacked[4:])


def _one_head(weights: HeadWeights, head: int, features: Tensor) -> Tensor:
    """One head's outputs [N, O], without dropout."""
    standard = (features - weights.feature_mean[head]) / weights.feature_scale[head]
    hidden = torch.tanh(torch.addmm(weights.hidden_bias[head], standard, weights.hidden_weight[head].T))
    return torch.addmm(weights.output_bias[head], hidden, weights.output_weight[head].T)


def _stacked_outputs(
    weights: HeadWeights,
    features: Tensor,
    batches: Sequence[np.ndarray],
    dropout: float,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Each head's outputs for its own rows, [S, B, O]; shorter batches are padded with row 0, to be cut off."""
    width = max(len(batch) for batch in batches)
    index = np.stack([np.pad(batch, (0, width - len(batch))) for batch in batches])
    standard = (features[index] - weights.feature_mean[:, None]) / weights.feature_scale[:, None]
    standard = _drop_each(standard, batches, dropout, generators)
    hidden = torch.baddbmm(weights.hidden_bias[:, None], standard, weights.hidden_weight.transpose(1, 2)).tanh()
    hidden = _drop_each(hidden, batches, dropout, generators)
    return torch.baddbmm(weights.output_bias[:, None], hidden, weights.output_weight.transpose(1, 2))


def _drop_each(
    values: Tensor, batches: Sequence[np.ndarray], rate: float, generators: Sequence[torch.Generator]
) -> Tensor:
    """Dropout in which each head draws for its own rows from its own generator."""
    if rate == 0.0:
        return values
    parts = []
    for head, (batch, generator) in enumerate(zip(batches, generators, strict=True)):
        kept = drop(values[head, : len(batch)], rate, generator)
        parts.append(torch.cat([kept, values[head, len(batch) :]]))
    return torch.stack(parts)


def _summed_loss(outputs: Tensor, votes: Tensor, batches: Sequence[np.ndarray], objective: Objective) -> Tensor:
    """Sum over heads of (Σ loss)/(Σ weight): the heads share no weight, so each gets its own gradient."""
    total = outputs.new_zeros(())
    for head, batch in enumerate(batches):
        loss, weight = objective(outputs[head, : len(batch)], votes[batch])
        if float(weight.sum()) > 0:
            total = total + loss.sum() / weight.sum()
    return total


def _clip_each_head(parameters: Sequence[Tensor], max_norm: float) -> None:
    """Scale each head's gradient to `max_norm` where it is longer, as torch's clipping does for one model."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    squares = sum(gradient.flatten(1).square().sum(1) for gradient in gradients)
    scale = (max_norm / (torch.as_tensor(squares).sqrt() + 1e-6)).clamp_max(1.0)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.ndim - 1)))
