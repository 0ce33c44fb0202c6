"""The loss of supervised tuning, and how surprised a generator is by what people wrote."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from accord.calibration.examples import micro_batches
from accord.calibration.references import TuneExample
from accord.candidates.forced import WholeCompletions
from accord.candidates.logps import SequenceLogps, StateReader, completion_logps
from accord.statistics.resampling import ratio
from accord.training.loop import LossSum


class TokenLosses(NamedTuple):
    """Per prompt, [N]: Σ −log p of its references' tokens in nats, and the number of tokens that count."""

    sums: np.ndarray
    n_tokens: np.ndarray

    @property
    def statistics(self) -> np.ndarray:
        return np.stack([self.sums, self.n_tokens], axis=1)

    @property
    def mean(self) -> float:
        """Nats per token."""
        return float(self.sums.sum() / self.n_tokens.sum())


class Validation(NamedTuple):
    """`learnt`: over all tokens, as trained, but for label smoothing; `text`: over those at the generator's
    `loss_positions`, as perplexity is measured everywhere. The two are one where the generator chooses every token.
    """

    learnt: TokenLosses
    text: TokenLosses


def reference_token_loss(reader: StateReader, examples: Sequence[TuneExample], *, label_smoothing: float) -> LossSum:
    """−Σ log p over all tokens of all references of some prompts, and the number of these tokens.

    The loop divides the sums of a whole step, so every token of a step weighs the same, in a short reference as in a
    long one and however the step is split up: what transformers' Trainer does with `num_items_in_batch`. A forced
    prefix (the strategy that a reply is written after) counts too, so that it can be predicted.

    Args:
        label_smoothing: see `target_logps`.
    """
    logps = _logps(WholeCompletions(reader), examples, label_smoothing=label_smoothing)
    return LossSum(-logps.sum_logps.sum(), float(logps.n_tokens.sum()))


def validation(reader: StateReader, examples: Sequence[TuneExample], *, micro_batch_size: int) -> Validation:
    """How surprised the generator is by the references of each prompt."""
    learnt = token_losses(WholeCompletions(reader), examples, micro_batch_size=micro_batch_size)
    references = [ids for example in examples for ids in example.reference_ids]
    if not reader.forbidden_tokens and all(len(reader.loss_positions(ids)) == len(ids) for ids in references):
        return Validation(learnt, learnt)
    return Validation(learnt, token_losses(reader, examples, micro_batch_size=micro_batch_size))


@torch.no_grad()
def token_losses(reader: StateReader, examples: Sequence[TuneExample], *, micro_batch_size: int) -> TokenLosses:
    """Σ −log p of each prompt's references under `reader`, and how many of their tokens it counts."""
    sums, n_tokens = np.zeros(len(examples)), np.zeros(len(examples))
    places = {example.id: place for place, example in enumerate(examples)}
    for batch in micro_batches(examples, micro_batch_size):
        logps, rows = _logps(reader, batch), [places[example.id] for example in batch]
        sums[rows] = -logps.sum_logps.double().sum(dim=1).cpu().numpy()
        n_tokens[rows] = logps.n_tokens.sum(dim=1).cpu().numpy()
    return TokenLosses(sums, n_tokens)


def _logps(reader: StateReader, examples: Sequence[TuneExample], *, label_smoothing: float = 0.0) -> SequenceLogps:
    return completion_logps(
        reader,
        [example.prompt_ids for example in examples],
        [example.reference_ids for example in examples],
        label_smoothing=label_smoothing,
    )


def perplexity(sums: np.ndarray) -> np.ndarray:
    """exp(Σ loss / Σ tokens) of summed statistics [R, 2]."""
    return np.exp(ratio(sums))
