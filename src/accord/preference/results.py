"""The files of a fitted preference model, whatever its family: measurements, predictions, posterior shares, summary."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from accord.artifacts import Stage
from accord.json_files import write_json, write_jsonl
from accord.preference.labelled import LabelledItems
from accord.preference.measure import (
    calibration_figures,
    calibration_warnings,
    constant_logits,
    held_out,
    measure,
    reliability,
)
from accord.preference.posterior import PosteriorShares
from accord.randomness import keyed_rng
from accord.records import Measurement

HELD_OUT_SPLITS = ("dev", "test")
FLOOR = "vote_shares"
PROPER_SCORES = ("log_loss", "brier", "cross_entropy")

logger = logging.getLogger("accord")


class AcceptancePredictions(NamedTuple):
    """Per item: logit of a fresh annotator's acceptance, and what a denoiser thinks people would say without slips.

    `latent_logits` is None where the model is no denoiser.
    """

    vote_logits: Float[np.ndarray, " N"]
    latent_logits: Float[np.ndarray, " N"] | None


def write_results(
    stage: Stage,
    labelled: LabelledItems,
    predictions: AcceptancePredictions,
    posterior: PosteriorShares,
    *,
    system: str,
    curve: Sequence[Mapping[str, float]],
    summary: Mapping[str, Any],
    n_resamples: int,
    seed: int,
    save_model: Callable[[Sequence[Measurement]], None],
) -> None:
    """Write everything that `accord fit` promises beside the model, which `save_model` writes.

    Args:
        system: what the model is called among the measurements.
        summary: what the family adds to summary.json.
        save_model: is given the measurements of `system`, for the model card.
    """
    dev_rows = labelled.rows("dev")
    dev_figures = calibration_figures(predictions.vote_logits[dev_rows], held_out(labelled, "dev"))
    warnings = calibration_warnings(dev_figures)
    if np.isnan(posterior.share[labelled.n_votes > 0]).any():
        warnings.append(
            "Posterior shares are undefined (nan): they need three groups and some items with two votes or more."
        )
    for warning in warnings:
        logger.warning("%s", warning)
    measured = _measurements(labelled, predictions, system=system, n_resamples=n_resamples, seed=seed)
    save_model([m for m in measured if m.system == system])
    write_jsonl(stage.path("predictions.jsonl"), _prediction_rows(labelled, predictions))
    write_jsonl(stage.path("posterior.jsonl"), _posterior_rows(labelled, posterior))
    write_jsonl(stage.path("curve.jsonl"), curve)
    write_json(stage.path("results.json"), measured)
    write_json(
        stage.path("reliability.json"),
        {
            split: reliability(predictions.vote_logits[labelled.rows(split)], held_out(labelled, split))
            for split in HELD_OUT_SPLITS
        },
    )
    counts = {
        "n_items": len(labelled.ids),
        "n_items_without_votes": int(np.sum(labelled.n_votes == 0)),
        "n_train_items": len(labelled.rows("train")),
    }
    write_json(stage.path("summary.json"), {**counts, **summary, "dev_calibration": dev_figures, "warnings": warnings})


def _measurements(
    labelled: LabelledItems, predictions: AcceptancePredictions, *, system: str, n_resamples: int, seed: int
) -> list[Measurement]:
    train_rows = labelled.rows("train")
    base_rate = float(labelled.n_acceptable[train_rows].sum() / labelled.n_votes[train_rows].sum())
    found = []
    for split in HELD_OUT_SPLITS:
        rows = labelled.rows(split)
        if len(rows) == 0:
            continue
        shares = labelled.n_acceptable[rows] / labelled.n_votes[rows]
        with np.errstate(divide="ignore"):
            systems = {
                system: predictions.vote_logits[rows],
                "constant": constant_logits(base_rate, len(rows)),
                FLOOR: np.log(shares) - np.log1p(-shares),
            }
        for name, logits in systems.items():
            rng = keyed_rng(seed, "fit", "measure", split)
            data = held_out(labelled, split)
            measured = measure(logits, data, system=name, n_resamples=n_resamples, rng=rng)
            found += [m for m in measured if name != FLOOR or m.name in PROPER_SCORES]
    return found


def _prediction_rows(labelled: LabelledItems, predictions: AcceptancePredictions) -> list[dict[str, Any]]:
    rows = []
    for row, item_id in enumerate(labelled.ids):
        found = {
            "id": item_id,
            "split": str(labelled.splits[row]) or None,
            "acceptance": float(expit(predictions.vote_logits[row])),
            "acceptance_logit": float(predictions.vote_logits[row]),
            "n_acceptable": _count(labelled.n_acceptable[row]),
            "n_votes": _count(labelled.n_votes[row]),
        }
        if predictions.latent_logits is not None:
            found["latent_acceptance"] = float(expit(predictions.latent_logits[row]))
        rows.append(found)
    return rows


def _posterior_rows(labelled: LabelledItems, posterior: PosteriorShares) -> list[dict[str, Any]]:
    return [
        {
            "id": item_id,
            **{name: float(value) for name, value in zip(posterior._fields, values, strict=True)},
            "n_votes": _count(n_votes),
        }
        for item_id, n_votes, *values in zip(labelled.ids, labelled.n_votes, *posterior, strict=True)
    ]


def _count(votes: float) -> int | float:
    """Whole votes as integers; the pseudo-votes of a consensus scheme stay fractions."""
    return int(votes) if float(votes).is_integer() else float(votes)
