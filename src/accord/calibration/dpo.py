"""Direct preference optimisation on the best and the worst of a prompt's candidates: a control of calibration."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.calibration.examples import Example
from accord.calibration.learning import Learning, Parts
from accord.calibration.offline import Candidates, calibration_loss, learn_from_candidates
from accord.candidates.logps import StateReader, completion_logps
from accord.errors import DataError

TOLERANCE = 0.05
"""Nats per token by which stored log-probabilities may differ from the starting generator's: bfloat16 rounds so."""


def dpo_loss(
    log_ratios: Float[Tensor, " B K"], scores: Float[Tensor, " B K"], mask: Bool[Tensor, " B K"], *, beta: float
) -> Float[Tensor, " B"]:
    """−log σ(β · (h_best − h_worst)), h = log π(y | x) − log π_start(y | x) (Rafailov et al. 2023, Eq. 7).

    Best and worst are the highest and the lowest score, the earlier candidate where several share one. A prompt whose
    scores are all equal has no pair and loss 0.

    Args:
        log_ratios: h in nats, not divided by length.
        mask: 1 keeps and 0 ignores a candidate; what stands in ignored places is never looked at.
    """
    if log_ratios.shape[1] == 0:
        return log_ratios.new_zeros(len(log_ratios))
    ratios = log_ratios.masked_fill(~mask, 0.0)
    highest, best = scores.masked_fill(~mask, -torch.inf).max(dim=1)
    lowest, worst = scores.masked_fill(~mask, torch.inf).min(dim=1)
    apart = ratios.gather(1, best[:, None]) - ratios.gather(1, worst[:, None])
    return torch.where(highest > lowest, -logsigmoid(beta * apart[:, 0]), 0.0)


def learn_best_against_worst(parts: Parts) -> Learning:
    """`dpo_loss`; training reads the two candidates of a prompt that it looks at, validation all of them.

    Raises:
        DataError: the candidates were written by another generator than the one that is calibrated.
    """
    settings = parts.settings

    def dpo(candidates: Candidates) -> Tensor:
        ratios = candidates.sum_logps - candidates.start_logps
        return dpo_loss(ratios, candidates.scores, candidates.mask, beta=settings.dpo_beta)

    train, dev = (
        with_start_logps(parts.generator, part, micro_batch_size=settings.micro_batch_size)
        for part in ([best_and_worst(example) for example in parts.examples], parts.dev)
    )
    require_own_candidates([*train, *dev], model=settings.model)
    return learn_from_candidates(parts, calibration_loss("dpo_loss", dpo, settings), examples=train, dev=dev)


def best_and_worst(example: Example) -> Example:
    """The example with the two candidates that `dpo_loss` looks at; with none where all scores are equal."""
    scores = np.asarray(example.scores)
    kept = [int(scores.argmax()), int(scores.argmin())] if len(set(example.scores)) > 1 else []
    return example.with_candidates(kept)


@torch.no_grad()
def with_start_logps(reader: StateReader, examples: Sequence[Example], *, micro_batch_size: int) -> list[Example]:
    """The examples with Σ log p of their candidates under the generator as it is now, at the start.

    Computed and not taken from the candidates' file: a text is tokenised anew, and where that gives other tokens than
    were written, the number on file is another sequence's.
    """
    found = []
    for start in range(0, len(examples), micro_batch_size):
        batch = examples[start : start + micro_batch_size]
        logps = completion_logps(reader, [e.prompt_ids for e in batch], [e.candidate_ids for e in batch])
        rows = logps.sum_logps.double().cpu().tolist()
        found += [e._replace(start_logps=row[: len(e.candidate_ids)]) for e, row in zip(batch, rows, strict=True)]
    return found


def require_own_candidates(examples: Sequence[Example], *, model: str) -> None:
    """Refuse candidates whose log-probabilities on file are not those of the starting generator.

    The median candidate decides: a few texts are written with other tokens than their own tokenisation.

    Raises:
        DataError: they differ by more than TOLERANCE nats per token.
    """
    differences = [
        abs(stored - found) / len(ids)
        for example in examples
        for stored, found, ids in zip(example.stored_logps, example.start_logps, example.candidate_ids, strict=True)
    ]
    if differences and (median := float(np.median(differences))) > TOLERANCE:
        raise DataError(
            f"objective dpo: the log-probabilities stored with the candidates are {median:.2f} nats per token away "
            f"(median) from those of {model!r}, from which training starts. Expected its own candidates: give the "
            "model, system prompt, chat setting and prompt length that `accord generate` used."
        )
