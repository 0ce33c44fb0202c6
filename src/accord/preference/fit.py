"""`accord fit`: from annotated items to a preference model, its held-out predictions and posterior shares.

Checkpoints are selected on the vote log-loss of the dev split, never on the training objective: the d-PM objectives
go on falling while that rises. The test split is read once, after everything is chosen.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from accord.artifacts import Stage, open_stage
from accord.data.prepared import load_prepared
from accord.data.traits import annotators_with, load_traits, traits_file
from accord.errors import ConfigError
from accord.preference.card import model_card
from accord.preference.fit_lexical import fit_lexical_model
from accord.preference.head import HeadObjective, fit_heads, head_training, predict_head, standardisation
from accord.preference.labelled import Consensus, LabelledItems, label_items
from accord.preference.lexical import LEXICAL_MODEL
from accord.preference.model import PreferenceConfig, PreferenceModel, save_preference_model
from accord.preference.objectives import (
    N_CONSTANTS,
    LogNormaliser,
    Objective,
    build_objective,
    chunk_log_normaliser,
    n_outputs_of,
)
from accord.preference.posterior import PosteriorShares, fold_rows, out_of_fold_posterior
from accord.preference.predict import Features, acceptance_logits, encode_features, encode_pairs, predict
from accord.preference.reading import Reading, flip_rate, read_outputs
from accord.preference.results import AcceptancePredictions, write_results
from accord.preference.settings import FitSettings
from accord.preference.tune import (
    EncoderText,
    FitPlan,
    HeldOutLoss,
    LearnedConstants,
    Schedule,
    add_adapters,
    add_prefix,
    check_chunks,
    check_precision,
    log_normaliser,
    train_encoder,
    train_head,
)
from accord.preference.unpadded import require_prefix
from accord.pretrained import content_name, load_encoder, load_tokenizer
from accord.records import Measurement
from accord.training.loop import TrainingResult
from accord.training.processes import device, from_main

VERSION = 8
LEAST_SPREAD = 0.02
"""Of a trained encoder's features, as a share of their mean: dividing by less multiplies rounding errors, which shows
where the head's weights are rounded anew (`accord export reward`). builtin:minilm has no such feature."""


class Loaded(NamedTuple):
    """The model with its untrained head, its tokenizer, and what its encoder says of every item."""

    model: PreferenceModel
    tokenizer: Any
    features: Features


def fit_stage(items: Path, *, output_dir: Path, settings: FitSettings, seed: int) -> Path:
    """Fit a preference model and write its folder.

    Writes `model/` (see `save_preference_model`), `predictions.jsonl` and `posterior.jsonl` (every item),
    `curve.jsonl`, `results.json` (measurements on dev and test: the model, the baseline `constant`, and the proper
    scores of `vote_shares`, the votes' own shares, below which no model can be), `reliability.json`,
    `summary.json` (counts, calibration, warnings).

    Args:
        items: a folder of `accord prepare`, or an items file with scheme.json beside it.

    Raises:
        ConfigError: settings that contradict each other or the data. ArtifactError: a foreign output folder.
    """
    stage = from_main(
        lambda: open_stage(
            output_dir,
            stage="fit",
            version=VERSION,
            settings=settings,
            seed=seed,
            inputs=_inputs(items, settings),
        )
    )
    if from_main(lambda: stage.is_complete):
        return stage.folder
    try:
        if settings.model == LEXICAL_MODEL:
            from_main(lambda: fit_lexical_model(stage, _labelled(items, settings, seed=seed), settings, seed=seed))
            return stage.folder
        labelled, loaded = _prepare(items, settings, seed=seed)
    except ConfigError:
        from_main(stage.abandon)
        raise
    training = _train(loaded, labelled, settings, seed=seed, checkpoint_dir=stage.scratch_dir / "checkpoints")
    predictions = _predict(loaded, labelled, settings)
    from_main(lambda: _finish(stage, loaded, labelled, training, predictions, settings, seed=seed))
    return stage.folder


def objective_with(log_normaliser: LogNormaliser, labelled: LabelledItems, settings: FitSettings) -> Objective:
    """The objective of the settings for these classes."""
    return build_objective(
        settings.objective,
        smoothing=settings.smoothing,
        log_normaliser=log_normaliser,
        acceptable=torch.tensor(labelled.acceptable),
    )


def held_out_log_loss(labelled: LabelledItems, rows: np.ndarray, settings: FitSettings) -> HeldOutLoss:
    """The figure checkpoints are selected on: mean log-loss per vote of the given items, from the head's outputs."""
    return lambda outputs: labelled.mean_log_loss(_read(outputs, labelled, settings).vote_logits, rows)


# -- steps ------------------------------------------------------------------------------------------------------


def _prepare(items: Path, settings: FitSettings, *, seed: int) -> tuple[LabelledItems, Loaded]:
    """Everything that can refuse the settings, before anything is trained."""
    check_chunks(settings.normaliser, settings.resolved_micro_batch_size)
    check_precision(settings.dtype, tuning=settings.tuning, device=device())
    labelled = _labelled(items, settings, seed=seed)
    return labelled, _load(labelled, settings, seed=seed)


def _labelled(items: Path, settings: FitSettings, *, seed: int) -> LabelledItems:
    return label_items(
        load_prepared(items),
        annotators=_voting(items, settings),
        groups=settings.groups,
        by_label=settings.classes == "labels",
        objective=settings.objective,
        consensus=Consensus(settings.consensus, seed),
    )


def _inputs(items: Path, settings: FitSettings) -> dict[str, Path | str]:
    """What the results depend on beside the settings; of a prepared folder its annotators are a part."""
    inputs: dict[str, Path | str] = {"items": items, "model": content_name(settings.model)}
    if settings.traits and not items.is_dir():
        inputs["traits_file"] = traits_file(items)
    return inputs


def _voting(items: Path, settings: FitSettings) -> tuple[str, ...]:
    """Whose votes count, as patterns of names; empty: everybody's."""
    if settings.annotators and settings.traits:
        raise ConfigError("annotators and traits both say who votes. Give one of them.")
    return annotators_with(load_traits(items), settings.traits) if settings.traits else settings.annotators


def _load(labelled: LabelledItems, settings: FitSettings, *, seed: int) -> Loaded:
    """Encode every item once and standardise the head's features by the training items."""
    tokenizer = load_tokenizer(settings.model)
    encoder = load_encoder(settings.model, n_layers=settings.encoder_layers)
    if settings.tuning == "prefix":
        require_prefix(encoder, settings.model)
    config = PreferenceConfig(
        base_model=settings.model,
        id2label=dict(enumerate(labelled.classes)),
        acceptable_label_ids=[int(label) for label in np.flatnonzero(labelled.acceptable)],
        pooling=settings.pooling,
        n_views=3 if settings.tuning == "head" else 1,
        head_size=settings.head_size,
        dropout=settings.dropout,
        has_concentration=settings.objective == "beta_binomial",
        flip_rate=flip_rate(settings.objective, smoothing=settings.smoothing, n_classes=len(labelled.classes)),
        max_input_tokens=settings.max_length,
    )
    model = PreferenceModel.from_encoder(encoder, config, seed=seed)
    model.to(device())
    features = _features(model, tokenizer, labelled, settings)
    mean, scale = standardisation(features.values[labelled.rows("train")])
    if settings.tuning != "head":
        scale = torch.maximum(scale, LEAST_SPREAD * mean.abs())
    model.head.feature_mean.copy_(mean)
    model.head.feature_scale.copy_(scale)
    return Loaded(model, tokenizer, features)


_LAST_FEATURES: dict[tuple[object, ...], Features] = {}
"""What a frozen encoder made of the items of the fit before, for the next one on the same: sweeps fit dozens."""


def _features(model: PreferenceModel, tokenizer: Any, labelled: LabelledItems, settings: FitSettings) -> Features:
    """Every item's features before any training, which are the same whatever the objective and the seed."""
    key = (
        content_name(settings.model),
        settings.encoder_layers,
        settings.pooling,
        settings.tuning == "head",
        settings.max_length,
        settings.batch_tokens,
        str(device()),
        tuple(labelled.pairs),
    )
    if key not in _LAST_FEATURES:
        _LAST_FEATURES.clear()
        _LAST_FEATURES[key] = encode_features(
            model, tokenizer, labelled.pairs, max_tokens_per_batch=settings.batch_tokens, among_processes=True
        )
    return _LAST_FEATURES[key]


def _read(outputs: np.ndarray, labelled: LabelledItems, settings: FitSettings) -> Reading:
    return read_outputs(
        outputs, objective=settings.objective, acceptable=labelled.acceptable, smoothing=settings.smoothing
    )


def _train(
    loaded: Loaded, labelled: LabelledItems, settings: FitSettings, *, seed: int, checkpoint_dir: Path
) -> TrainingResult:
    dev_rows = labelled.rows("dev")
    n_constants = N_CONSTANTS.get(settings.objective, 0)
    constants = LearnedConstants(n_constants).to(loaded.model.device) if n_constants else None
    plan = FitPlan(
        votes=torch.tensor(labelled.votes, dtype=torch.float32, device=loaded.model.device),
        train_rows=labelled.rows("train"),
        held_out_rows=dev_rows,
        held_out_loss=held_out_log_loss(labelled, dev_rows, settings),
        objective_of=partial(objective_with, labelled=labelled, settings=settings),
        normaliser=settings.normaliser if settings.objective.startswith("dpm_") else "none",
        schedule=Schedule(
            settings.epochs,
            settings.batch_size,
            settings.resolved_micro_batch_size,
            settings.eval_every,
            settings.patience,
            settings.resolved_learning_rate,
            settings.resolved_weight_decay,
        ),
        seed=seed,
        checkpoint_dir=checkpoint_dir,
        constants=constants,
    )
    result = _tune(loaded, labelled, plan, settings, seed=seed)
    if constants is not None:
        loaded.model.config.flip_rate = flip_rate(
            settings.objective,
            smoothing=settings.smoothing,
            n_classes=len(labelled.classes),
            constants=constants.values.detach().double().cpu().numpy(),
        )
    return result


def _tune(
    loaded: Loaded, labelled: LabelledItems, plan: FitPlan, settings: FitSettings, *, seed: int
) -> TrainingResult:
    """Train what the tuning names."""
    if settings.tuning == "head":
        return train_head(loaded.model, loaded.features.values, plan)
    model, train_rows = loaded.model, labelled.rows("train")
    rows = [pair.views[0] for pair in encode_pairs(model, loaded.tokenizer, labelled.pairs)]
    text = EncoderText(loaded.tokenizer, rows, settings.batch_tokens)
    make_trainable = {
        "prefix": partial(add_prefix, model, text, train_rows, length=settings.prefix_length, seed=seed),
        "lora": partial(add_adapters, model, rank=settings.lora_rank, seed=seed),
        "full": partial(model.encoder.requires_grad_, requires_grad=True),
    }
    make_trainable[settings.tuning]()
    return train_encoder(model, text, plan, head_learning_rate=settings.head_learning_rate, dtype=settings.dtype)


def _predict(loaded: Loaded, labelled: LabelledItems, settings: FitSettings) -> AcceptancePredictions:
    """The trained model's word on every item; with a frozen encoder the cached features are what it would see."""
    if settings.tuning == "head":
        with torch.inference_mode():
            outputs = loaded.model.eval().outputs(loaded.features.values)
        assert outputs.logits is not None
        logits = outputs.logits.double().cpu().numpy()
    else:
        logits = predict(
            loaded.model,
            loaded.tokenizer,
            labelled.pairs,
            max_tokens_per_batch=settings.batch_tokens,
            among_processes=True,
        ).logits
    flip = loaded.model.config.flip_rate
    return AcceptancePredictions(
        acceptance_logits(logits, labelled.acceptable, flip_rate=flip),
        acceptance_logits(logits, labelled.acceptable) if flip > 0 else None,
    )


def _posterior(
    features: Tensor,
    labelled: LabelledItems,
    predictions: AcceptancePredictions,
    settings: FitSettings,
    *,
    seed: int,
) -> PosteriorShares:
    """Posterior shares of all items; the folds' models are heads on the frozen encoder, whatever the tuning.

    They take the settings of tuning head. Each is trained on all folds but two: the one it predicts and the one it is
    selected on.
    """
    if settings.tuning != "head":
        settings = replace(settings, tuning="head", learning_rate=None, weight_decay=None, epochs=FitSettings.epochs)
    return out_of_fold_posterior(
        labelled,
        expit(predictions.vote_logits),
        partial(_out_of_fold, features, labelled, settings=settings, seed=seed),
        n_folds=settings.n_folds,
        seed=seed,
    )


def _out_of_fold(
    features: Tensor, labelled: LabelledItems, seen: np.ndarray, folds: np.ndarray, *, settings: FitSettings, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """q of each seen item by a head that saw no item of its group, and κ where the objective has one (else nan).

    A normaliser that lives in the training loop (`ema`, `dataset`) is replaced by the mean over the whole step.
    """
    own = fold_rows(seen, folds)
    losses = [held_out_log_loss(labelled, rows, settings) for rows in own.held_out]
    normaliser = (
        partial(chunk_log_normaliser, size=settings.batch_size)
        if settings.normaliser in ("ema", "dataset")
        else log_normaliser(settings.normaliser)
    )
    fitted = fit_heads(
        features,
        torch.tensor(labelled.votes, dtype=torch.float32),
        train_rows=own.train,
        held_out_rows=own.held_out,
        held_out_loss=lambda head, outputs: losses[head](outputs),
        seeds=[seed] * len(losses),
        objective=HeadObjective(
            objective_with(normaliser, labelled, settings),
            n_outputs_of(settings.objective, len(labelled.classes)),
            N_CONSTANTS.get(settings.objective, 0),
        ),
        training=head_training(
            settings,
            learning_rate=settings.resolved_learning_rate,
            weight_decay=settings.resolved_weight_decay,
        ),
    )
    q, kappa = np.full(len(seen), np.nan), np.full(len(seen), np.nan)
    for fold, rows in enumerate(own.predicted):
        outputs = predict_head(fitted.weights, fold, features[rows])
        reading = _read(outputs.double().numpy(), labelled, settings)
        q[folds == fold] = expit(reading.vote_logits)
        if reading.concentration is not None:
            kappa[folds == fold] = reading.concentration
    return q, kappa


# -- files ------------------------------------------------------------------------------------------------------


def _finish(
    stage: Stage,
    loaded: Loaded,
    labelled: LabelledItems,
    training: TrainingResult,
    predictions: AcceptancePredictions,
    settings: FitSettings,
    *,
    seed: int,
) -> None:
    posterior = _posterior(loaded.features.values.cpu(), labelled, predictions, settings, seed=seed)

    def save_model(measured: Sequence[Measurement]) -> None:
        card = model_card(loaded.model.config, measured, tuning=settings.tuning, objective=settings.objective)
        save_preference_model(loaded.model, loaded.tokenizer, stage.path("model"), card=card)

    write_results(
        stage,
        labelled,
        predictions,
        posterior,
        system=settings.objective,
        curve=training.curve,
        summary={
            "n_prompts_cut": loaded.features.n_prompts_cut,
            "n_completions_cut": loaded.features.n_completions_cut,
            "learning_rate": settings.resolved_learning_rate,
            "weight_decay": settings.resolved_weight_decay,
            "best_step": training.best_step,
            "stopped_early": training.stopped_early,
            "flip_rate": loaded.model.config.flip_rate,
        },
        n_resamples=settings.n_resamples,
        seed=seed,
        save_model=save_model,
    )
    stage.finish()
