"""`make simulation`: which objective finds the true shares, where they are known? The study and its cells.

Every *cell* is a condition, a number of training items and a number of votes; every *contender* an objective as it is
trained there. The kept checkpoint has the lowest log-loss on held-out votes (`selected`); beside it stands the one
after the last step (`last`). All are judged on the same fresh items, which have votes of their own: q on the items as
unseen text, posterior shares on the items with their votes.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # the name everybody gives it
from scipy.special import entr, expit
from torch import Tensor

from accord.artifacts import open_stage
from accord.config import build_settings, read_config
from accord.errors import ConfigError
from accord.json_files import read_jsonl, write_json
from accord.preference.head import FittedHeads, HeadObjective, HeadTraining, HeadWeights, fit_objectives, predict_head
from accord.preference.objectives import (
    DPM_OBJECTIVES,
    N_CONSTANTS,
    NEED_COUNTS,
    NEED_PAIRS,
    ExampleLosses,
    Objective,
    build_objective,
    constant_log_normaliser,
    n_outputs_of,
    posterior_logps,
    prior_logps,
)
from accord.preference.posterior import PosteriorShares, fit_prior_strength, posterior_shares
from accord.preference.predict import acceptance_logits
from accord.preference.reading import Reading, read_outputs
from accord.preference.tune import log_normaliser
from accord.randomness import keyed_rng, keyed_seed
from accord.recovery.coverage import LEVEL, share_coverage
from accord.recovery.settings import Contender, SimulatedCell, SimulationSettings
from accord.recovery.simulated_items import CONDITIONS, SimulatedItems, simulate_items
from accord.recovery.simulation_tables import Outcome, simulation_measurements, simulation_page
from accord.resumable import map_batches
from accord.statistics.proper_scores import spearman, vote_log_loss
from accord.training.batches import steps_per_epoch

VERSION = 2
ACCEPTABLE = np.array([False, True])


class Task(NamedTuple):
    """One head to be trained: a contender on one seed's items of a cell."""

    cell: SimulatedCell
    contender: Contender
    seed: int


class CellItems(NamedTuple):
    """One seed's items of a cell: those to learn from, to select on, and to be judged on."""

    train: SimulatedItems
    held_out: SimulatedItems
    test: SimulatedItems


def run_simulation(output_dir: Path, settings: SimulationSettings) -> Path:
    """Run the study; write runs.jsonl (one line per head), results.json and simulation.md, return the folder.

    An interrupted study goes on with the first cell that is not finished.

    Raises:
        ConfigError: a condition or objective that does not exist, or settings that contradict each other.
    """
    check_simulation(settings)
    stage = open_stage(output_dir, stage="simulation", version=VERSION, settings=settings, seed=0, inputs={})
    if not stage.is_complete:
        tasks = list(plan_tasks(settings))
        compute = partial(_run_cell, tasks, settings=settings)
        map_batches(stage.scratch_dir, _by_cell(tasks), compute, stage.path("runs.jsonl"), label="Simulating")
        outcomes = list(read_jsonl(stage.path("runs.jsonl"), Outcome))
        write_json(stage.path("results.json"), simulation_measurements(outcomes))
        stage.path("simulation.md").write_text(simulation_page(outcomes, settings), encoding="utf-8")
        stage.finish()
    return stage.folder


def plan_tasks(settings: SimulationSettings) -> Iterator[Task]:
    """Cell by cell, every contender that can learn from it, on every seed."""
    for cell in settings.cells:
        for contender in settings.contenders:
            if _can_learn(contender, cell):
                yield from (Task(cell, contender, seed) for seed in range(settings.n_seeds))


def check_simulation(settings: SimulationSettings) -> None:
    """Refuse what would only fail after hours.

    Raises:
        ConfigError: names what is wrong.
    """
    for cell in settings.cells:
        if cell.condition not in CONDITIONS:
            raise ConfigError(f"condition is {cell.condition!r}; expected one of {', '.join(CONDITIONS)}.")
        if not 1 <= cell.min_votes <= cell.max_votes:
            raise ConfigError(
                f"votes are {cell.min_votes} to {cell.max_votes}; expected 1 or more, the lower one first."
            )
    names = [contender.name for contender in settings.contenders]
    if len(set(names)) < len(names):
        raise ConfigError(f"contenders are named {', '.join(names)}; expected each name once.")
    for contender in settings.contenders:
        _head_objective(contender, settings)


def cell_items(cell: SimulatedCell, seed: int, *, n_test: int) -> CellItems:
    """The items of one seed of a cell; a quarter as many as there are to learn from are there to select on."""
    simulated = simulate_items(
        CONDITIONS[cell.condition],
        cell.n_items + cell.n_held_out + n_test,
        min_votes=cell.min_votes,
        max_votes=cell.max_votes,
        rng=keyed_rng(seed, "simulate", cell.name),
    )
    ends = np.cumsum([cell.n_items, cell.n_held_out])
    parts = zip(*(np.split(values, ends) for values in simulated), strict=True)
    return CellItems(*(SimulatedItems(*part) for part in parts))


def judge(reading: Reading, items: SimulatedItems, *, smoothing: float, is_dpm: bool) -> dict[str, float]:
    """How far what a head says of items is from the truth.

    `mse`, `spearman`, `kl`: its q against the true shares ρ (a denoiser's q is what people would say without slips).
    `vote_mse`, `log_loss`: the acceptance it predicts against the probability of an accepting vote, slips included;
    log-loss in expectation over fresh votes. With the items' own votes: `share_mse`, `prior_mse` the raw and the
    smoothed share, `posterior_mse` the posterior share with m fitted, `coverage` and `vote_coverage` of its 90 %
    credible intervals (of ρ, of the votes' probability), `strength` m; `kappa_coverage` with κ(x) instead of m;
    `r_mse` the d-PM posterior r, q̄ the mean over the items.
    """
    latent = reading.vote_logits if reading.latent_logits is None else reading.latent_logits
    truth, voting, one = items.truth, items.vote_share, np.ones(len(items.truth))
    found = {
        "mse": _mse(expit(latent), truth),
        "spearman": spearman(latent, truth),
        "kl": float(np.mean(vote_log_loss(latent, truth, one) - entr(truth) - entr(1 - truth))),
        "vote_mse": _mse(expit(reading.vote_logits), voting),
        "log_loss": float(np.mean(vote_log_loss(reading.vote_logits, voting, one))),
        **_judge_annotated(expit(reading.vote_logits), reading.concentration, items, smoothing=smoothing),
    }
    return found | ({"r_mse": _posterior_error(latent, items, smoothing=smoothing)} if is_dpm else {})


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study of a configuration and print its page."""
    parser = argparse.ArgumentParser(description=run_simulation.__doc__)
    parser.add_argument("config", type=Path, nargs="?", default=Path("configs/simulation.yaml"))
    parser.add_argument("--output-dir", type=Path, default=Path("runs/simulation"))
    parsed = parser.parse_args(arguments)
    settings = build_settings(SimulationSettings, read_config(parsed.config), where=str(parsed.config))
    folder = run_simulation(parsed.output_dir, settings)
    sys.stdout.write((folder / "simulation.md").read_text(encoding="utf-8"))
    sys.stdout.write(f"\n{folder / 'results.json'}\n")


# -- steps ------------------------------------------------------------------------------------------------------


def _can_learn(contender: Contender, cell: SimulatedCell) -> bool:
    if CONDITIONS[cell.condition].reads_consensus:
        return contender.objective not in NEED_COUNTS
    return cell.max_votes >= 2 or contender.objective not in NEED_PAIRS


def _by_cell(tasks: Sequence[Task]) -> list[list[int]]:
    """Task numbers of each cell, which is trained at once and redone as a whole."""
    cells: dict[str, list[int]] = {}
    for number, task in enumerate(tasks):
        cells.setdefault(task.cell.name, []).append(number)
    return list(cells.values())


def _run_cell(tasks: Sequence[Task], numbers: Sequence[int], *, settings: SimulationSettings) -> list[Outcome]:
    """Train the heads of one cell at once and judge each on its seed's test items."""
    chosen = [tasks[number] for number in numbers]
    cell = chosen[0].cell
    contenders = {task.contender.name: task.contender for task in chosen}
    items = [cell_items(cell, seed, n_test=settings.n_test) for seed in range(settings.n_seeds)]
    fitted = _fit_cell(cell, contenders, items, settings)

    def outcome(task: Task) -> Outcome:
        of_task = fitted[task.contender.name]
        selected, last = (
            _judge_head(weights, task.seed, items[task.seed].test, task.contender, settings)
            for weights in (of_task.weights, of_task.last_weights)
        )
        return Outcome(cell.name, task.contender.name, task.seed, selected, last, of_task.best_step[task.seed])

    return [outcome(task) for task in chosen]


def _fit_cell(
    cell: SimulatedCell,
    contenders: Mapping[str, Contender],
    items: Sequence[CellItems],
    settings: SimulationSettings,
) -> dict[str, FittedHeads]:
    """Every contender's heads, one per seed; all contenders see the same batches of a seed's items."""
    width = cell.n_items + cell.n_held_out
    starts = np.arange(len(items)) * width
    learned = [part for of_seed in items for part in (of_seed.train, of_seed.held_out)]
    held_out_votes = [of_seed.held_out.votes for of_seed in items]
    return fit_objectives(
        torch.tensor(np.concatenate([part.features for part in learned])),
        torch.tensor(np.concatenate([part.votes for part in learned]), dtype=torch.float32),
        train_rows=[np.arange(start, start + cell.n_items) for start in starts],
        held_out_rows=[np.arange(start + cell.n_items, start + width) for start in starts],
        held_out_loss={
            name: partial(_held_out_loss, held_out_votes, contender, settings) for name, contender in contenders.items()
        },
        seeds=[keyed_seed(seed, "head", cell.name) for seed in range(len(items))],
        objectives={name: _head_objective(contender, settings) for name, contender in contenders.items()},
        training=HeadTraining(
            head_size=settings.head_size,
            dropout=0.0,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            epochs=max(1, settings.max_steps // steps_per_epoch(cell.n_items, settings.batch_size)),
            batch_size=settings.batch_size,
            eval_every=settings.eval_every,
            patience=None,
            final_rate=settings.final_rate,
        ),
    )


def _held_out_loss(
    votes: Sequence[np.ndarray], contender: Contender, settings: SimulationSettings, run: int, outputs: np.ndarray
) -> float:
    """Mean log-loss per held-out vote of one seed's head."""
    n_votes = votes[run].sum(axis=1)
    vote_logits = _read(outputs, contender, settings).vote_logits
    return float(vote_log_loss(vote_logits, votes[run][:, 1], n_votes).sum() / n_votes.sum())


def _judge_head(
    weights: HeadWeights, run: int, items: SimulatedItems, contender: Contender, settings: SimulationSettings
) -> dict[str, float]:
    outputs = predict_head(weights, run, torch.tensor(items.features)).double().numpy()
    reading = _read(outputs, contender, settings)
    return judge(reading, items, smoothing=settings.smoothing, is_dpm=contender.objective in DPM_OBJECTIVES)


def _read(outputs: np.ndarray, contender: Contender, settings: SimulationSettings) -> Reading:
    """What a head says; with `through_slips` off a denoiser's q is taken for its prediction of votes."""
    if not contender.through_slips:
        return Reading(acceptance_logits(outputs[:, :2], ACCEPTABLE), None, None)
    return read_outputs(outputs, objective=contender.objective, acceptable=ACCEPTABLE, smoothing=settings.smoothing)


def _judge_annotated(
    acceptance: np.ndarray, kappa: np.ndarray | None, items: SimulatedItems, *, smoothing: float
) -> dict[str, float]:
    """The shares of items that have votes, estimated without text and from the posterior."""
    truth, n_votes, accepting = items.truth, items.votes.sum(axis=1), items.votes[:, 1]
    prior = prior_logps(torch.tensor(items.votes), smoothing=smoothing)[:, 1].exp().numpy()
    strength = fit_prior_strength(acceptance, accepting, n_votes)
    posterior = posterior_shares(acceptance, accepting, n_votes, strength=strength, level=LEVEL)
    found = {
        "share_mse": _mse(accepting / n_votes, truth),
        "prior_mse": _mse(prior, truth),
        "posterior_mse": _mse(posterior.share, truth),
        "strength": strength,
        "coverage": _coverage(posterior, truth),
        "vote_coverage": _coverage(posterior, items.vote_share),
    }
    if kappa is None:
        return found
    own = posterior_shares(acceptance, accepting, n_votes, strength=kappa, level=LEVEL)
    return found | {"kappa_coverage": _coverage(own, truth), "kappa_posterior_mse": _mse(own.share, truth)}


def _posterior_error(latent: np.ndarray, items: SimulatedItems, *, smoothing: float) -> float:
    """Squared error of the d-PM posterior r of items that have votes."""
    logps = F.logsigmoid(torch.tensor(np.stack([-latent, latent], axis=1)))
    mean = partial(constant_log_normaliser, log_mean_probs=logps.exp().mean(0).log())
    r_logps = posterior_logps(logps, torch.tensor(items.votes), smoothing=smoothing, log_normaliser=mean)
    return _mse(r_logps[:, 1].exp().numpy(), items.truth)


def _head_objective(contender: Contender, settings: SimulationSettings) -> HeadObjective:
    loss = build_objective(
        contender.objective,
        smoothing=settings.smoothing,
        log_normaliser=log_normaliser(contender.normaliser),
        acceptable=torch.tensor(ACCEPTABLE),
    )
    if contender.ties_unacceptable:
        loss = partial(_with_ties_broken, loss)
    return HeadObjective(loss, n_outputs_of(contender.objective, 2), N_CONSTANTS.get(contender.objective, 0))


def _with_ties_broken(loss: Objective, logits: Tensor, votes: Tensor) -> ExampleLosses:
    """The loss with half a vote more for unacceptable: whole votes have no ties then."""
    return loss(logits, votes + votes.new_tensor([0.5, 0.0]))


def _coverage(posterior: PosteriorShares, shares: np.ndarray) -> float:
    """How many of the shares lie in their credible interval; nan where there is none."""
    if np.isnan(posterior.low).any():
        return np.nan
    return float(share_coverage(posterior.low, posterior.high, shares).mean())


def _mse(estimate: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean((estimate - truth) ** 2))


if __name__ == "__main__":
    main()
