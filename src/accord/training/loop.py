"""The one training loop: preference models, calibration and supervised tuning all run through it.

Promises, each tested: 8 micro-batches of 1 take the same steps as 1 of 8; two processes take the same steps as one;
stopping and resuming equals not stopping; the model that is returned is the best one by `select_on`, which is never
the training loss.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from accord.errors import ArtifactError
from accord.progress import progress
from accord.randomness import keyed_seed
from accord.training.checkpoint import (
    Checkpoint,
    Tensors,
    read_newest_checkpoint,
    restore_tensors,
    trainable_tensors,
    write_checkpoint,
)
from accord.training.processes import (
    from_main,
    is_main,
    n_processes,
    own_share,
    process_number,
    sum_over_processes,
)


class LossSum(NamedTuple):
    """A micro-batch's sums over its examples; the loop divides Σ loss by Σ weight over the whole step."""

    loss: Tensor
    weight: Tensor | float


class Pace(NamedTuple):
    """What the steps before a row of the curve took: seconds (evaluations left out), and the weight trained on."""

    seconds: float
    weight: float


class TrainingResult(NamedTuple):
    """`curve`: one row per evaluation ({"step", "loss", …}); `best_step`: whose weights the model now holds.

    `paces` is parallel to `curve`; a run that was stopped and resumed counts the seconds of the steps it kept. Its
    seconds are the only thing here that differs from run to run.
    """

    curve: list[dict[str, float]]
    best_step: int
    best_value: float
    stopped_early: bool
    paces: list[Pace]


def train(
    model: nn.Module,
    *,
    loss_of: Callable[[Any], LossSum],
    micro_batches_at: Callable[[int], Sequence[Any]],
    n_steps: int,
    evaluate: Callable[[], Mapping[str, float]],
    select_on: str,
    eval_every: int,
    patience: int | None,
    learning_rate: float,
    weight_decay: float = 0.01,
    warmup_steps: int = 0,
    max_grad_norm: float = 1.0,
    seed: int,
    checkpoint_dir: Path | None,
    label: str,
    learning_rate_of: Callable[[str], float] | None = None,
    after_step: Callable[[], None] | None = None,
) -> TrainingResult:
    """Train the parameters that require gradients with AdamW; leave the model with the best weights found.

    Args:
        loss_of: micro-batch -> sums with graph.
        micro_batches_at: step number (0-based) -> its micro-batches; a pure function of the step. Of several processes
            (see processes.py) each takes its share of them; gradients, loss and weight are summed over all.
        evaluate: held-out figures of the model as it is; called at step 0, every `eval_every` steps and at the end.
        select_on: key of `evaluate`'s result; lower is better.
        patience: stop after this many evaluations without a new best; None: never.
        warmup_steps: linear warm-up, then linear decay to 0 at `n_steps`.
        seed: keys dropout by (seed, step, micro-batch), so that a resumed run repeats nothing and misses nothing, and
            two processes drop what one would drop.
        checkpoint_dir: where to resume from and write to, at every evaluation; None: no checkpoints.
        learning_rate_of: a parameter's name -> its own first learning rate; None: `learning_rate` for all.
        after_step: called when a step is done, on every process.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rate_of = learning_rate_of or (lambda _: learning_rate)
    optimizer = torch.optim.AdamW(_parameter_groups(parameters, weight_decay, rate_of), lr=learning_rate)
    run = _Run(model, parameters, optimizer)
    if checkpoint_dir is not None:
        run.resume(checkpoint_dir)
        _require_same_start(run.step, checkpoint_dir, device=next(model.parameters()).device)
    with progress(label, n_steps, done=run.step) as advance:
        while True:
            at_end = run.step >= n_steps
            if run.step % eval_every == 0 or at_end:
                if not run.curve or run.curve[-1]["step"] != run.step:
                    run.record(_evaluated(model, evaluate), select_on)
                    if checkpoint_dir is not None and is_main():
                        write_checkpoint(checkpoint_dir, run.step, run.checkpoint())
                if at_end or (patience is not None and run.n_since_best >= patience):
                    break
            factor = _learning_rate_factor(run.step, n_steps, warmup_steps)
            for group in optimizer.param_groups:
                group["lr"] = group["first_lr"] * factor
            step_seed = keyed_seed(seed, "step", run.step)
            started = time.monotonic()
            micro_batches = micro_batches_at(run.step)
            done = _take_step(model, parameters, optimizer, loss_of, micro_batches, max_grad_norm, step_seed)
            run.add(done, seconds=time.monotonic() - started)
            if after_step is not None:
                after_step()
            advance(1)
    restore_tensors(model, run.best)
    return TrainingResult(run.curve, run.best_step, run.best_value, run.step < n_steps, run.paces)


class _StepDone(NamedTuple):
    """A step's loss (nan without weight) and the weight it was divided by."""

    loss: float
    weight: float


class _Run:
    """The state that lives through a training run, and how it is saved and restored."""

    def __init__(self, model: nn.Module, parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        self.model, self.parameters, self.optimizer = model, parameters, optimizer
        self.step = 0
        self.curve: list[dict[str, float]] = []
        self.losses: list[float] = []
        self.pace, self.paces = Pace(0.0, 0.0), list[Pace]()
        self.best: Tensors = trainable_tensors(model)
        self.best_step, self.best_value, self.n_since_best = 0, float("inf"), 0

    def add(self, done: _StepDone, *, seconds: float) -> None:
        self.losses.append(done.loss)
        self.pace = Pace(self.pace.seconds + seconds, self.pace.weight + done.weight)
        self.step += 1

    def record(self, figures: Mapping[str, float], select_on: str) -> None:
        """Add a row to the curve; `loss` is the mean training loss since the row before."""
        loss = sum(self.losses) / len(self.losses) if self.losses else float("nan")
        self.curve.append({"step": self.step, "loss": loss, **figures})
        self.paces.append(self.pace)
        self.losses = []
        if figures[select_on] < self.best_value:
            self.best, self.best_step = trainable_tensors(self.model), self.step
            self.best_value, self.n_since_best = figures[select_on], 0
        else:
            self.n_since_best += 1

    def checkpoint(self) -> Checkpoint:
        moments = {
            f"{name}/{key}": torch.as_tensor(value)
            for name, parameter in self.parameters.items()
            for key, value in self.optimizer.state.get(parameter, {}).items()
        }
        tensors = {"model": trainable_tensors(self.model), "best": self.best}
        if moments:
            tensors["optimizer"] = moments
        state = {
            "step": self.step,
            "curve": self.curve,
            "paces": self.paces,
            "best_step": self.best_step,
            "best_value": self.best_value,
            "n_since_best": self.n_since_best,
        }
        return Checkpoint(tensors, state)

    def resume(self, checkpoint_dir: Path) -> None:
        """Take up the newest whole checkpoint, if there is one."""
        found = read_newest_checkpoint(checkpoint_dir)
        if found is None:
            return
        restore_tensors(self.model, found.tensors["model"])
        self.best = {name: value.to(self.parameters[name].device) for name, value in found.tensors["best"].items()}
        for key, value in found.tensors.get("optimizer", {}).items():
            name, moment = key.rsplit("/", 1)
            parameter = self.parameters[name]
            self.optimizer.state[parameter][moment] = value if moment == "step" else value.to(parameter.device)
        state = found.state
        self.step, self.best_step, self.n_since_best = (
            state["step"],
            state["best_step"],
            state["n_since_best"],
        )
        self.best_value = float("inf") if state["best_value"] is None else state["best_value"]
        self.curve = [{key: float("nan") if v is None else v for key, v in row.items()} for row in state["curve"]]
        self.paces = [Pace(*pace) for pace in state["paces"]]
        self.pace = self.paces[-1]


def _require_same_start(step: int, checkpoint_dir: Path, *, device: torch.device) -> None:
    """Wait until every process has read its checkpoint, before the main one writes the next.

    Raises:
        ArtifactError: they start from different steps.
    """
    total = sum_over_processes(torch.tensor(step, device=device))
    if int(total) != step * n_processes():
        raise ArtifactError(
            f"process {process_number()} goes on from step {step}, others from another: they do not see the same "
            f"checkpoints in {checkpoint_dir}. Put --output-dir on a disk that all of them share."
        )


def _take_step(
    model: nn.Module,
    parameters: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    loss_of: Callable[[Any], LossSum],
    micro_batches: Sequence[Any],
    max_grad_norm: float,
    step_seed: int,
) -> _StepDone:
    """One optimiser step on the gradient of (Σ loss)/(Σ weight) over all micro-batches; returns that ratio."""
    model.train()
    optimizer.zero_grad(set_to_none=True)
    sums = torch.zeros(2, dtype=torch.float64)
    for number, micro_batch in own_share(list(enumerate(micro_batches))):
        torch.manual_seed(step_seed + number)
        found = loss_of(micro_batch)
        if found.loss.requires_grad:
            found.loss.backward()  # type: ignore[no-untyped-call]  # torch ships no types for it
        sums += torch.tensor([float(found.loss.detach()), float(found.weight)], dtype=torch.float64)
    loss, weight = _summed(sums, parameters).tolist()
    if weight == 0.0:
        return _StepDone(float("nan"), 0.0)
    for parameter in parameters.values():
        if parameter.grad is not None:
            parameter.grad.div_(weight)
    nn.utils.clip_grad_norm_(parameters.values(), max_grad_norm)
    optimizer.step()
    return _StepDone(loss / weight, weight)


def _summed(sums: Tensor, parameters: dict[str, nn.Parameter]) -> Tensor:
    """`sums` and, in place, the gradients, both added up over all processes.

    A parameter without a gradient on one process has one where another process has: it is 0 here.
    """
    if n_processes() == 1:
        return sums
    trained = list(parameters.values())
    has_gradient = torch.tensor([float(p.grad is not None) for p in trained], dtype=torch.float64)
    totals = sum_over_processes(torch.cat([sums, has_gradient]).to(trained[0].device)).cpu()
    shared = [p for p, n_holders in zip(trained, totals[2:].tolist(), strict=True) if n_holders]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in shared]
    if gradients:
        flat = sum_over_processes(torch.cat([gradient.flatten() for gradient in gradients]))
        for p, total in zip(shared, torch.split(flat, [p.numel() for p in shared]), strict=True):
            p.grad = total.view_as(p)
    return totals[:2]


def _evaluated(model: nn.Module, evaluate: Callable[[], Mapping[str, float]]) -> Mapping[str, float]:
    """The figures of the main process: all processes must decide alike when to stop."""
    model.eval()
    with torch.no_grad():
        figures = evaluate()
    return from_main(lambda: dict(figures))


def _parameter_groups(
    parameters: dict[str, nn.Parameter], weight_decay: float, learning_rate_of: Callable[[str], float]
) -> list[dict[str, Any]]:
    """One group per learning rate and decay; weight decay on matrices only, none on biases and normalisation weights.

    `first_lr` stays what it was while the schedule changes `lr`.
    """
    groups: dict[tuple[bool, float], dict[str, Any]] = {}
    for name, parameter in sorted(parameters.items(), key=lambda named: named[1].ndim <= 1):
        is_matrix, rate = parameter.ndim > 1, learning_rate_of(name)
        group = {"params": [], "weight_decay": weight_decay if is_matrix else 0.0, "first_lr": rate}
        groups.setdefault((is_matrix, rate), group)["params"].append(parameter)
    return list(groups.values())


def _learning_rate_factor(step: int, n_steps: int, warmup_steps: int) -> float:
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    return max(0.0, (n_steps - step) / max(1, n_steps - warmup_steps))
