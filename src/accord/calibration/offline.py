"""Learning from scored candidates that were written once: their ranking, and how well likelihood follows score."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import stats
from torch import Tensor

from accord.calibration.examples import Example
from accord.calibration.learning import Figures, Learning, Parts, StepBatch
from accord.calibration.objectives import length_normalised, ranking_margin_loss, reference_loss
from accord.calibration.settings import CalibrateSettings
from accord.candidates.logps import StateReader, completion_logps
from accord.training.loop import LossSum


class Candidates(NamedTuple):
    """A batch's candidates: Σ log p under the model and under its start, Σ p, |y|, S, and which places hold one.

    `start_logps` are 0 where the examples have none.
    """

    sum_logps: Float[Tensor, " B K"]
    start_logps: Float[Tensor, " B K"]
    sum_probs: Float[Tensor, " B K"]
    n_tokens: Int[Tensor, " B K"]
    scores: Float[Tensor, " B K"]
    mask: Bool[Tensor, " B K"]


@dataclass(frozen=True)
class CalibrationLoss:
    """The loss of a prompt: `ranking_weight` · that of its candidates, called `name`, + `reference_weight` · reference.

    `length_exponent` is that of P, whose order is compared with that of the scores.
    """

    name: str
    of_candidates: Callable[[Candidates], Tensor]
    length_exponent: float
    ranking_weight: float
    reference_weight: float


class PromptLosses(NamedTuple):
    """Per prompt, [B]: the two losses and their weighted sum; per candidate [B, W]: P and which places hold one."""

    of_candidates: Tensor
    reference: Tensor
    total: Tensor
    candidate_logps: Tensor
    candidate_mask: Tensor


def learn_ranking(parts: Parts) -> Learning:
    """The paper's objective: `ranking_margin_loss` of length-normalised log-probabilities, or of probabilities."""
    settings = parts.settings
    objective = partial(
        ranking_margin_loss,
        margin=settings.margin,
        tie=settings.tie,
        margin_by=settings.margin_by,
        reduction=settings.pair_reduction,
    )

    def ranking(candidates: Candidates) -> Tensor:
        likelihoods = {"logp": candidates.sum_logps, "probability": candidates.sum_probs}[settings.likelihood]
        normalised = length_normalised(likelihoods, candidates.n_tokens, length_exponent=settings.length_exponent)
        return objective(normalised, candidates.scores, candidates.mask)

    loss = calibration_loss("ranking_loss", ranking, settings)
    return learn_from_candidates(parts, loss, examples=parts.examples, dev=parts.dev)


def calibration_loss(
    name: str, of_candidates: Callable[[Candidates], Tensor], settings: CalibrateSettings
) -> CalibrationLoss:
    """The loss with the weights that the settings give."""
    return CalibrationLoss(
        name, of_candidates, settings.length_exponent, settings.ranking_weight, settings.reference_weight
    )


def learn_from_candidates(
    parts: Parts, loss: CalibrationLoss, *, examples: Sequence[Example], dev: Sequence[Example]
) -> Learning:
    """Steps on the candidates of `examples`, figures on those of `dev`."""

    def loss_of(batch: StepBatch) -> LossSum:
        losses = prompt_losses(parts.reader, batch.examples, loss, needed_only=True)
        return LossSum(losses.total.sum(), float(len(batch.examples)))

    def figures() -> Figures:
        return candidate_figures(parts.reader, loss, dev, micro_batch_size=parts.settings.micro_batch_size)

    return Learning(examples, loss_of, figures)


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
    scores = _table([e.scores if with_candidates else [] for e in examples], width).to(device)
    start_logps = _table([e.start_logps if with_candidates else [] for e in examples], width).to(device)
    candidate_logps = length_normalised(logps.sum_logps, logps.n_tokens, length_exponent=loss.length_exponent)
    candidates = Candidates(
        logps.sum_logps, start_logps.to(logps.sum_logps), logps.sum_probs, logps.n_tokens, scores, is_candidate
    )
    of_candidates = loss.of_candidates(candidates)
    reference = reference_loss(logps.sum_logps, logps.n_tokens, logps.mask & ~is_candidate)
    total = loss.ranking_weight * of_candidates + loss.reference_weight * reference
    return PromptLosses(of_candidates, reference, total, candidate_logps, is_candidate)


@torch.no_grad()
def candidate_figures(
    reader: StateReader, loss: CalibrationLoss, dev: Sequence[Example], *, micro_batch_size: int
) -> Figures:
    """The losses as the run trains them (shuffled scores in that control), and how P compares with the true scores.

    nan: `reference_loss` of a prompt without references, `kendall_tau` and `pairwise_accuracy` of one without two
    different scores.
    """
    names = ("validation_loss", loss.name, "reference_loss", "kendall_tau", "pairwise_accuracy")
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
                    float(losses.of_candidates[n]),
                    float(losses.reference[n]) if example.reference_ids else math.nan,
                    rank_correlation(logps, scores),
                    pairwise_accuracy(logps, scores),
                )
            )
    return dict(zip(names, np.array(rows).T, strict=True))


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


def _table(rows: Sequence[Sequence[float]], width: int) -> Tensor:
    """Rows of up to `width` numbers side by side, float64, 0 where a row ends."""
    table = torch.zeros(len(rows), width, dtype=torch.float64)
    for n, row in enumerate(rows):
        table[n, : len(row)] = torch.tensor(row, dtype=torch.float64)
    return table
