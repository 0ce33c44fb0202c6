"""`accord calibrate`: make the candidates that more people would accept likelier, and keep the references likely.

The story: scored candidates -> token ids and scores -> a LoRA adapter on the upper layers, or all weights -> the one
training loop, selected on the validation ranking and reference loss -> the adapter or model, its curve, and how well
likelihood follows score before and after. The preference model that evaluates is never asked here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from accord.artifacts import Stage, open_stage, write_json, write_jsonl
from accord.calibration.adapter import SAVE, require_trainable
from accord.calibration.before_after import before_after
from accord.calibration.examples import (
    Example,
    encode_rows,
    micro_batches,
    read_candidates,
    require_references,
    train_dev_rows,
)
from accord.calibration.objectives import OBJECTIVES, RankingObjective, length_normalised, reference_loss
from accord.calibration.settings import CalibrateSettings
from accord.calibration.trained_part import trained_part
from accord.candidates.generators.load import load_generator
from accord.candidates.logps import StateReader, completion_logps
from accord.pretrained import content_name
from accord.records import Measurement
from accord.training.batches import step_indices, steps_per_epoch
from accord.training.loop import LossSum, TrainingResult, train
from accord.training.processes import device, from_main

VERSION = 1
GENERATOR_DIR = "generator"


@dataclass(frozen=True)
class CalibrationLoss:
    """The loss of a prompt: `ranking_weight` · ranking + `reference_weight` · reference."""

    ranking: Callable[[Tensor, Tensor, Tensor], Tensor]
    length_exponent: float
    ranking_weight: float
    reference_weight: float


class PromptLosses(NamedTuple):
    """Per prompt, [B]: the two losses and their weighted sum; per candidate [B, W]: P and which places hold one."""

    ranking: Tensor
    reference: Tensor
    total: Tensor
    candidate_logps: Tensor
    candidate_mask: Tensor


def calibrate_stage(candidates: Path, *, output_dir: Path, settings: CalibrateSettings, seed: int) -> Path:
    """Calibrate a generator on scored candidates; writes generator/, curve.jsonl, results.json, training.json.

    Args:
        candidates: folder of `accord score`, or a candidates.jsonl with scores. Rows of split "train" (or none) train,
            rows of split "dev" validate (see `train_dev_rows`); "test" is not read.
        seed: keys the adapter's start, the order of prompts, held-out groups and shuffled scores.

    Returns:
        The stage's folder; finished work is reused, unfinished training goes on from its checkpoint.
    """
    require_trainable(settings.tuning, settings.dtype)
    inputs: dict[str, Path | str] = {"candidates": candidates, "model": content_name(settings.model)}
    stage = from_main(
        lambda: open_stage(output_dir, stage="calibrate", version=VERSION, settings=settings, seed=seed, inputs=inputs)
    )
    if not from_main(lambda: stage.is_complete):
        _calibrate(stage, candidates, settings, seed)
    return stage.folder


def _calibrate(stage: Stage, candidates: Path, settings: CalibrateSettings, seed: int) -> None:
    rows = read_candidates(candidates)
    split = train_dev_rows(rows, dev_fraction=settings.dev_fraction, seed=seed)
    generator = load_generator(
        settings.model,
        system_prompt=settings.system_prompt,
        chat=settings.chat,
        dtype=settings.dtype,
        device=str(device()),
    )
    encode = partial(
        encode_rows,
        generator=generator,
        max_prompt_tokens=settings.max_prompt_tokens,
        score_control=settings.score_control,
        seed=seed,
    )
    examples, dev = encode(split.train), encode(split.dev)
    for part in (examples, dev):
        require_references(part, ranking_weight=settings.ranking_weight, reference_weight=settings.reference_weight)
    longest = max(dev, key=lambda example: example.n_tokens)
    trained, reader = trained_part(
        generator,
        tuning=settings.tuning,
        lora_layers=settings.lora_layers,
        r=settings.lora_r,
        alpha=settings.lora_alpha,
        dropout=settings.lora_dropout,
        base_name=settings.model,
        seed=seed,
        probe=(longest.prompt_ids, longest.candidate_ids + longest.reference_ids),
    )
    loss = _loss(settings)
    before = _validation_figures(reader, loss, dev, settings.micro_batch_size)
    result = _train(trained, reader, loss, examples, dev, settings, seed, checkpoint_dir=stage.scratch_dir)
    after = _validation_figures(reader, loss, dev, settings.micro_batch_size)

    def write() -> None:
        SAVE[settings.tuning](trained, generator.tokenizer, stage.path(GENERATOR_DIR), base_name=settings.model)
        write_jsonl(stage.path("curve.jsonl"), result.curve)
        write_json(stage.path("results.json"), _measurements(before, after, dev, settings.score_control, seed))
        write_json(stage.path("training.json"), _counts(result, examples, dev, n_rows=len(rows)))
        stage.finish()

    from_main(write)


def prompt_losses(
    reader: StateReader, examples: Sequence[Example], loss: CalibrationLoss, *, needed_only: bool
) -> PromptLosses:
    """Both losses of each prompt, which its candidates and references share.

    Args:
        needed_only: skip the candidates where the ranking weight is 0, and the references where theirs is; the skipped
            loss is 0.
    """
    with_candidates = loss.ranking_weight > 0 or not needed_only
    with_references = loss.reference_weight > 0 or not needed_only
    completions = [
        (example.candidate_ids if with_candidates else []) + (example.reference_ids if with_references else [])
        for example in examples
    ]
    logps = completion_logps(reader, [example.prompt_ids for example in examples], completions)
    device, width = logps.mask.device, logps.mask.shape[1]
    n_candidates = torch.tensor([len(e.candidate_ids) if with_candidates else 0 for e in examples], device=device)
    is_candidate = torch.arange(width, device=device) < n_candidates[:, None]
    scores = torch.zeros(len(examples), width, dtype=torch.float64)
    for row, example in enumerate(examples):
        if with_candidates:
            scores[row, : len(example.scores)] = torch.tensor(example.scores, dtype=torch.float64)
    candidate_logps = length_normalised(logps.sum_logps, logps.n_tokens, length_exponent=loss.length_exponent)
    ranking = loss.ranking(candidate_logps, scores.to(device, torch.float64), is_candidate)
    reference = reference_loss(logps.sum_logps, logps.n_tokens, logps.mask & ~is_candidate)
    total = loss.ranking_weight * ranking + loss.reference_weight * reference
    return PromptLosses(ranking, reference, total, candidate_logps, is_candidate)


def _train(
    adapted: Any,
    reader: StateReader,
    loss: CalibrationLoss,
    examples: Sequence[Example],
    dev: Sequence[Example],
    settings: CalibrateSettings,
    seed: int,
    *,
    checkpoint_dir: Path,
) -> TrainingResult:
    def loss_of(batch: Sequence[Example]) -> LossSum:
        losses = prompt_losses(reader, batch, loss, needed_only=True)
        return LossSum(losses.total.sum(), float(len(batch)))

    def micro_batches_at(step: int) -> list[list[Example]]:
        chosen = step_indices(len(examples), settings.batch_size, step, seed=seed)
        return micro_batches([examples[int(number)] for number in chosen], settings.micro_batch_size)

    def evaluate() -> dict[str, float]:
        figures = _validation_figures(reader, loss, dev, settings.micro_batch_size)
        return {
            "validation_loss": float(np.mean(figures.total)),
            "ranking_loss": float(np.mean(figures.ranking)),
            "reference_loss": _mean(figures.reference),
            "pairwise_accuracy": _mean(figures.pairwise_accuracy),
        }

    return train(
        adapted,
        loss_of=loss_of,
        micro_batches_at=micro_batches_at,
        n_steps=math.ceil(settings.epochs * steps_per_epoch(len(examples), settings.batch_size)),
        evaluate=evaluate,
        select_on="validation_loss",
        eval_every=settings.eval_every,
        patience=settings.patience,
        learning_rate=settings.resolved_learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=settings.warmup_steps,
        max_grad_norm=settings.max_grad_norm,
        seed=seed,
        checkpoint_dir=checkpoint_dir,
        label="Calibrating",
    )


class ValidationFigures(NamedTuple):
    """Per validation prompt [N]; nan where a prompt has no reference or no pair of different scores.

    `total`, `ranking`, `reference` as the run trains them (shuffled scores in that control); `kendall_tau` and
    `pairwise_accuracy` compare P with the true scores always.
    """

    total: np.ndarray
    ranking: np.ndarray
    reference: np.ndarray
    kendall_tau: np.ndarray
    pairwise_accuracy: np.ndarray


@torch.no_grad()
def _validation_figures(
    reader: StateReader, loss: CalibrationLoss, dev: Sequence[Example], micro_batch_size: int
) -> ValidationFigures:
    rows = []
    for start in range(0, len(dev), micro_batch_size):
        batch = dev[start : start + micro_batch_size]
        losses = prompt_losses(reader, batch, loss, needed_only=False)
        for n, example in enumerate(batch):
            logps = losses.candidate_logps[n][losses.candidate_mask[n]].double().cpu().numpy()
            scores = np.asarray(example.true_scores)
            rows.append(
                (
                    float(losses.total[n]),
                    float(losses.ranking[n]),
                    float(losses.reference[n]) if example.reference_ids else math.nan,
                    rank_correlation(logps, scores),
                    pairwise_accuracy(logps, scores),
                )
            )
    return ValidationFigures(*np.array(rows).T)


def rank_correlation(logps: np.ndarray, scores: np.ndarray) -> float:
    """Kendall's tau-b between the likelihoods and scores [K] of one prompt; nan where either is constant."""
    if len(set(scores)) < 2 or len(set(logps)) < 2:
        return math.nan
    return float(stats.kendalltau(logps, scores).statistic)


def pairwise_accuracy(logps: np.ndarray, scores: np.ndarray) -> float:
    """Share of a prompt's pairs of different score whose better one is likelier, ties half; nan without such pairs."""
    better = scores[:, None] > scores[None, :]
    difference = logps[:, None] - logps[None, :]
    return float(np.mean(((difference > 0) + 0.5 * (difference == 0))[better])) if better.any() else math.nan


def _measurements(
    before: ValidationFigures, after: ValidationFigures, dev: Sequence[Example], score_control: str, seed: int
) -> list[Measurement]:
    """Level before ("base"), level after ("calibrated") and their paired difference, intervals by group."""
    clusters = np.array([example.group for example in dev])
    trained = "true" if score_control == "none" else score_control
    named = (
        ("ranking_loss", "ranking", trained),
        ("reference_loss", "reference", "none"),
        ("kendall_tau", "kendall_tau", "true"),
        ("pairwise_accuracy", "pairwise_accuracy", "true"),
    )
    measurements = []
    for name, field, scores in named:
        measurements += before_after(
            name,
            getattr(before, field),
            getattr(after, field),
            system="calibrated",
            clusters=clusters,
            signature=f"split:dev|scores:{scores}",
            seed=seed,
        )
    return measurements


def _counts(
    result: TrainingResult, examples: Sequence[Example], dev: Sequence[Example], *, n_rows: int
) -> dict[str, Any]:
    """What took part, what was left out, and where training stopped."""
    both = [*examples, *dev]
    return {
        "n_train": len(examples),
        "n_dev": len(dev),
        "n_not_used": n_rows - len(both),
        "n_without_references": sum(not example.reference_ids for example in both),
        "n_candidates": sum(len(example.candidate_ids) for example in both),
        "n_candidates_unfinished": sum(example.n_unfinished for example in both),
        "n_prompts_cut": sum(example.n_cut > 0 for example in both),
        "best_step": result.best_step,
        "best_validation_loss": result.best_value,
        "stopped_early": result.stopped_early,
    }


def _loss(settings: CalibrateSettings) -> CalibrationLoss:
    objective: RankingObjective = OBJECTIVES[settings.objective]
    ranking = partial(
        objective,
        margin=settings.margin,
        tie=settings.tie,
        margin_by=settings.margin_by,
        reduction=settings.pair_reduction,
    )
    return CalibrationLoss(ranking, settings.length_exponent, settings.ranking_weight, settings.reference_weight)


def _mean(values: np.ndarray) -> float:
    """Mean of the defined values; nan where there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan
