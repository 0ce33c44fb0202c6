"""What text models make of the visible votes: the acceptance of every item, out of fold.

Fold f is predicted by a model that was trained on all folds but f and f + 1 and selected on the visible votes of
f + 1. Per hiding, the heads of all objectives and folds are trained at once, and so are the folds of every model that
knows who voted.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import expit
from torch import Tensor

from accord.errors import ConfigError
from accord.preference.annotator_heads import fit_annotator_heads
from accord.preference.by_annotator import AnnotatorData, AnnotatorModel, require_annotators
from accord.preference.head import HeadObjective, HeadTraining, fit_objectives, head_training, predict_head
from accord.preference.objectives import N_CONSTANTS, OBJECTIVES, build_objective, n_outputs_of
from accord.preference.pluralistic import fit_pluralistic
from accord.preference.posterior import FoldRows, fold_rows
from accord.preference.reading import read_outputs
from accord.preference.tune import log_normaliser
from accord.preference.variational import fit_variational
from accord.recovery.hide import Hiding
from accord.recovery.settings import TextSettings
from accord.statistics.proper_scores import vote_log_loss

ACCEPTABLE = np.array([False, True])


class TextEstimate(NamedTuple):
    """Of every item: `acceptance`, the share for a fresh annotator of the panel, by a model that saw no vote of the
    item's fold; `strength`, the κ of `beta_binomial`; `latent`, what a denoiser thinks people would say without slips.
    """

    acceptance: Float[np.ndarray, " N"]
    strength: Float[np.ndarray, " N"] | None = None
    latent: Float[np.ndarray, " N"] | None = None


def estimate_texts(
    features: Float[Tensor, "N F"],
    hidings: Sequence[Hiding],
    folds: Sequence[Int[np.ndarray, " N"]],
    *,
    names: Sequence[str],
    seeds: Sequence[int],
    settings: TextSettings,
    advance: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[str, int, TextEstimate]]:
    """Yield (name, number of the hiding, estimate), hiding by hiding, as each is finished.

    Args:
        hidings, folds, seeds: one of each; `folds` gives every item's fold, at least three of them.
        names: objectives of the preference model, and models by annotator.
        advance: told of every finished estimate.

    Raises:
        ConfigError: an unknown name, a fold without visible votes, or unknown annotators for a model by annotator.
    """
    known = (*OBJECTIVES, *BY_ANNOTATOR)
    for name in names:
        if name not in known:
            raise ConfigError(f"text estimator is {name!r}; expected one of {', '.join(known)}.")
    for number, (hiding, fold_of_item, seed) in enumerate(zip(hidings, folds, seeds, strict=True)):
        rows = _voted(hiding, fold_of_item)
        objectives = [name for name in names if name in OBJECTIVES]
        for name, estimate in _by_objective(features, hiding, rows, fold_of_item, objectives, seed, settings):
            yield name, number, estimate
            advance(1)
        for name in [name for name in names if name in BY_ANNOTATOR]:
            yield name, number, _by_annotator(name, features, hiding, rows, fold_of_item, seed, settings)
            advance(1)


def _fit_annotator_heads(data: AnnotatorData, settings: TextSettings, seed: int) -> AnnotatorModel:
    return fit_annotator_heads(data, latent_size=settings.latent_size, seed=seed, training=_training(settings))


def _fit_pluralistic(data: AnnotatorData, settings: TextSettings, seed: int) -> AnnotatorModel:
    return fit_pluralistic(
        data,
        n_prototypes=settings.n_prototypes,
        latent_size=settings.latent_size,
        seed=seed,
        training=_training(settings),
    )


def _fit_variational(data: AnnotatorData, settings: TextSettings, seed: int) -> AnnotatorModel:
    return fit_variational(data, latent_size=settings.latent_size, seed=seed, training=_training(settings))


BY_ANNOTATOR: dict[str, Callable[[AnnotatorData, TextSettings, int], AnnotatorModel]] = {
    "annotator_heads": _fit_annotator_heads,
    "pluralistic": _fit_pluralistic,
    "variational": _fit_variational,
}


# -- steps ------------------------------------------------------------------------------------------------------


def _voted(hiding: Hiding, folds: np.ndarray) -> FoldRows:
    """The rows with visible votes, as each fold's model uses them."""
    seen = np.flatnonzero(hiding.visible.sum(1) > 0)
    n_folds, n_voted = int(folds.max()) + 1, len(np.unique(folds[seen]))
    if n_folds < 3 or n_voted < n_folds:
        raise ConfigError(
            f"{n_voted} of {n_folds} folds have visible votes; expected all of at least 3, to train on, to select on "
            "and to predict. Use fewer folds, or leave out the text models."
        )
    return fold_rows(seen, folds[seen])


def _by_objective(
    features: Tensor,
    hiding: Hiding,
    rows: FoldRows,
    folds: np.ndarray,
    names: Sequence[str],
    seed: int,
    settings: TextSettings,
) -> Iterator[tuple[str, TextEstimate]]:
    """One head per objective and fold, trained together."""
    if not names:
        return
    votes = hiding.visible
    fitted = fit_objectives(
        features,
        torch.tensor(votes, dtype=torch.float32),
        train_rows=rows.train,
        held_out_rows=rows.held_out,
        held_out_loss={name: partial(_held_out_loss, name, votes, rows.held_out, settings) for name in names},
        seeds=[seed] * len(rows.train),
        objectives={name: _head_objective(name, settings) for name in names},
        training=_training(settings),
    )
    for name, heads in fitted.items():
        outputs = np.empty((len(features), n_outputs_of(name, 2)))
        for fold in range(len(rows.train)):
            own = np.flatnonzero(folds == fold)
            outputs[own] = predict_head(heads.weights, fold, features[own]).double().numpy()
        yield name, _estimate(name, outputs, folds, settings)


def _by_annotator(
    name: str,
    features: Tensor,
    hiding: Hiding,
    rows: FoldRows,
    folds: np.ndarray,
    seed: int,
    settings: TextSettings,
) -> TextEstimate:
    """One model per fold, trained side by side, that knows who cast the visible votes."""
    annotations = require_annotators(name, hiding.visible_annotations)
    data = AnnotatorData(features, annotations, rows.train, rows.held_out)
    model = BY_ANNOTATOR[name](data, settings, seed)
    acceptance = np.empty(len(features))
    for fold in range(len(rows.train)):
        own = np.flatnonzero(folds == fold)
        acceptance[own] = model.acceptance(features[own], fold).double().numpy()
    return TextEstimate(acceptance)


def _estimate(name: str, outputs: np.ndarray, folds: np.ndarray, settings: TextSettings) -> TextEstimate:
    """Read each fold by itself: a learned constant is its own."""
    parts: Mapping[str, np.ndarray] = {key: np.full(len(outputs), np.nan) for key in TextEstimate._fields}
    for fold in np.unique(folds):
        own = folds == fold
        reading = read_outputs(outputs[own], objective=name, acceptable=ACCEPTABLE, smoothing=settings.smoothing)
        parts["acceptance"][own] = expit(reading.vote_logits)
        if reading.concentration is not None:
            parts["strength"][own] = reading.concentration
        if reading.latent_logits is not None:
            parts["latent"][own] = expit(reading.latent_logits)
    found = {key: values for key, values in parts.items() if not np.isnan(values).all()}
    return TextEstimate(**found)


def _held_out_loss(
    name: str, votes: np.ndarray, held_out: Sequence[np.ndarray], settings: TextSettings, fold: int, outputs: np.ndarray
) -> float:
    """Mean log-loss per visible vote of the fold's held-out rows."""
    reading = read_outputs(outputs, objective=name, acceptable=ACCEPTABLE, smoothing=settings.smoothing)
    n_votes = votes[held_out[fold]].sum(1)
    return float(vote_log_loss(reading.vote_logits, votes[held_out[fold], 1], n_votes).sum() / n_votes.sum())


def _head_objective(name: str, settings: TextSettings) -> HeadObjective:
    loss = build_objective(
        name,
        smoothing=settings.smoothing,
        log_normaliser=log_normaliser(settings.normaliser),
        acceptable=torch.tensor(ACCEPTABLE),
    )
    return HeadObjective(loss, n_outputs_of(name, 2), N_CONSTANTS.get(name, 0))


def _training(settings: TextSettings) -> HeadTraining:
    return head_training(settings, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay)
