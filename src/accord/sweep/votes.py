"""The preference models of a sweep's points on the same held-out votes: which predicts people best?"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from scipy.special import expit

from accord.artifacts import open_stage
from accord.data.prepared import ITEMS_FILE
from accord.errors import ConfigError
from accord.evaluation.measure import (
    Measured,
    Resampling,
    compare_systems,
    difference_measurements,
    measure_levels,
    with_holm,
)
from accord.evaluation.settings import EvaluateSettings
from accord.evaluation.tables import Sheet, build_sheet, resampled_unit, write_tables
from accord.json_files import read_jsonl, read_numbered, write_json
from accord.records import Item
from accord.statistics.proper_scores import brier_score, vote_log_loss

VERSION = 1
SPLITS = ("test", "dev")
PREDICTIONS_FILE = "predictions.jsonl"

Fits = Mapping[str, Mapping[int, Path]]
"""Point -> seed -> folder of `accord fit`."""


class HeldOutVotes(NamedTuple):
    """The items of one split that have votes, and every point's word on them, by seed: log-odds of acceptance."""

    split: str
    clusters: Shaped[np.ndarray, " N"]
    n_acceptable: Float[np.ndarray, " N"]
    n_votes: Float[np.ndarray, " N"]
    logits: dict[str, Float[np.ndarray, "seeds N"]]


def votes_stage(
    prepared: Path,
    fits: Fits,
    *,
    output_dir: Path,
    settings: EvaluateSettings,
    pairs: Sequence[tuple[str, str]],
    seed: int,
) -> Path:
    """Compare preference models on held-out votes, paired by item and seed; writes what `accord evaluate` writes.

    Log-loss and Brier score per vote, on the items of split test, or dev where there is no test. Groups of items and
    seeds are resampled.

    Args:
        prepared: folder of `accord prepare`, for the items' groups.
        settings: how intervals and tests are made. pairs: which points are compared.

    Raises:
        ConfigError: see `read_votes`.
    """
    inputs: dict[str, Path | str] = {
        f"{point}, seed {seed_of_fit}": folder for point, found in fits.items() for seed_of_fit, folder in found.items()
    }
    how_settings = {name: getattr(settings, name) for name in ("test", "n_resamples", "n_randomisations", "level")} | {
        "pairs": [list(pair) for pair in pairs]
    }
    stage = open_stage(
        output_dir,
        stage="sweep_votes",
        version=VERSION,
        settings=how_settings,
        seed=seed,
        inputs=inputs | {"prepared": prepared},
    )
    if stage.is_complete:
        return stage.folder
    votes = read_votes(prepared, fits)
    how = Resampling(
        votes.clusters,
        settings.n_resamples,
        settings.n_randomisations,
        settings.level,
        seed,
        test=settings.test,
        seeds={point: tuple(found) for point, found in fits.items()},
    )
    measured = vote_metrics(votes)
    levels = measure_levels(measured, how=how)
    comparisons = compare_systems(measured, pairs, how=how)
    differences = with_holm(difference_measurements(comparisons, measured, how=how), comparisons)
    measurements = [*levels, *differences]
    n_items = len(votes.n_votes)
    counts = {
        point: {"n_outputs": n_items, "n_empty": 0, "n_seeds": len(found), "n_prompts": n_items}
        for point, found in fits.items()
    }
    write_json(stage.path("results.json"), measurements)
    write_json(stage.path("comparisons.json"), comparisons)
    write_json(stage.path("outputs.json"), counts)
    sheet = vote_sheet(build_sheet(measurements, comparisons, counts=counts))
    write_tables(stage.folder, sheet, measurements, comparisons)
    stage.finish()
    return stage.folder


def vote_sheet(sheet: Sheet) -> Sheet:
    """An evaluation's sheet in the words of items and votes."""
    _, *counted = sheet.outputs
    n_items = counted[0][1]
    caption = (
        f"{n_items} held-out items, per vote, lower is better; every seed's model by itself, then averaged; "
        f"in brackets bootstrap intervals over {resampled_unit(signature for _, signature in sheet.signatures)}."
    )
    return sheet._replace(caption=caption, outputs=[["point", "items", "seeds"], *(row[:3] for row in counted)])


def vote_metrics(votes: HeldOutVotes) -> list[Measured]:
    """Means over votes: every item gives the sum of its votes' losses and their number, under every seed."""
    losses: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "log_loss": lambda logits: vote_log_loss(logits, votes.n_acceptable, votes.n_votes),
        "brier": lambda logits: brier_score(expit(logits), votes.n_acceptable, votes.n_votes),
    }
    return [
        Measured(
            name,
            f"{name}|per vote|split:{votes.split}",
            {
                point: np.stack([np.stack([loss(row), votes.n_votes], axis=1) for row in logits])
                for point, logits in votes.logits.items()
            },
        )
        for name, loss in losses.items()
    ]


def read_votes(prepared: Path, fits: Fits) -> HeldOutVotes:
    """The points' predictions of the items of split test that have votes, or of split dev without any.

    Raises:
        ConfigError: two points were not fitted to the same votes, so that there is nothing to compare.
    """
    tables = {point: [_predictions(folder) for folder in found.values()] for point, found in fits.items()}
    first = next(iter(tables.values()))[0]
    split = next((name for name in SPLITS if any(row["split"] == name and row["n_votes"] for row in first)), SPLITS[-1])
    kept = [n for n, row in enumerate(first) if row["split"] == split and row["n_votes"]]
    wanted = [_votes(first[n]) for n in kept]
    for point, found in tables.items():
        for rows in found:
            if [_votes(rows[n]) for n in kept if n < len(rows)] != wanted:
                raise ConfigError(
                    f"The preference model of {point} has other held-out votes than that of {next(iter(fits))}. "
                    "Expected the same for all points; vary no setting that chooses items, annotators or splits."
                )
    groups = {item.id: item.group for item in read_jsonl(prepared / ITEMS_FILE, Item)}
    names = [first[n]["id"] for n in kept]
    return HeldOutVotes(
        split,
        np.array([f"item:{name}" if groups[name] is None else f"group:{groups[name]}" for name in names]),
        np.array([first[n]["n_acceptable"] for n in kept], dtype=np.float64),
        np.array([first[n]["n_votes"] for n in kept], dtype=np.float64),
        {
            point: np.array([[rows[n]["acceptance_logit"] for n in kept] for rows in found], dtype=np.float64)
            for point, found in tables.items()
        },
    )


# -- steps ------------------------------------------------------------------------------------------------------


def _predictions(folder: Path) -> list[dict[str, Any]]:
    path = folder / PREDICTIONS_FILE
    return [row for _, row in read_numbered(path, dict[str, Any], name="prediction")]


def _votes(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["id"], row["split"], row["n_acceptable"], row["n_votes"]
