"""`accord suggest`: which items to have annotated next, and whether that order would have paid on the votes there are.

What is predicted of an item must not have seen its votes, or they would count twice. So a preference model that was
fitted on these very items gives its out-of-fold predictions (posterior.jsonl of `accord fit`); any other gives what it
predicts, and the items must be new to it. Without a model all items share one prior, fitted to their votes.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from jaxtyping import Float
from scipy.special import expit

from accord.artifacts import STAGE_FILE, Stage, hash_input, open_stage, read_stage
from accord.data.prepared import load_prepared
from accord.errors import AccordError, ArtifactError, ConfigError
from accord.json_files import read_jsonl, write_json, write_jsonl
from accord.preference.labelled import LabelledItems, count_items
from accord.preference.posterior import PosteriorBeta, fit_prior_strength, posterior_beta, shares_of
from accord.preference.predict import load_acceptance_model
from accord.pretrained import content_name
from accord.randomness import keyed_rng
from accord.records import Measurement
from accord.recovery.budget import fit_population
from accord.recovery.next_vote import by_value, expected_reduction, variance
from accord.recovery.replay import Replay, replay
from accord.recovery.settings import SuggestSettings
from accord.recovery.verdict import LEAST_GROUPS
from accord.statistics.resampling import bootstrap_interval, describe_interval
from accord.statistics.significance import paired_bootstrap

VERSION = 1
SUGGESTIONS_FILE = "suggestions.jsonl"
REPLAY_FILE = "replay.jsonl"
ORDER = "suggested"
LEVEL = 0.95  # of the intervals of measurements

logger = logging.getLogger("accord")


class Prior(NamedTuple):
    """What is known of each item without its own votes, and where that comes from, in words."""

    known: PosteriorBeta
    source: str

    @property
    def is_common(self) -> bool:
        """Whether the same is known of all items."""
        a, b = self.known
        return bool(np.ptp(a) < 1e-9 and np.ptp(b) < 1e-9)


class PosteriorRow(msgspec.Struct):
    """A line of posterior.jsonl, as far as it is read here; null where undefined."""

    id: str
    share: float | None
    n_votes: float
    n_effective: float | None = None


class VoteRow(msgspec.Struct):
    """A line of predictions.jsonl, as far as it is read here."""

    id: str
    n_acceptable: float
    n_votes: float


def suggest_stage(
    items: Path, *, preference: Path | None = None, output_dir: Path, settings: SuggestSettings, seed: int
) -> Path:
    """Write the items that are most worth another vote, and, if asked, the replay of the votes there are.

    Writes `suggestions.jsonl` ({"id", "expected_reduction", "share", "low", "high", "n_votes"}, the most worth first,
    no item twice), `results.json`, `summary.json`, and with `settings.replay` `replay.jsonl` ({"order", "n_revealed",
    "votes_per_item", "brier", "low", "high"}, intervals over seeds).

    Args:
        items: a folder of `accord prepare`, or an items file with scheme.json beside it.
        preference: folder of `accord fit` or of a model; None: one prior for all items.

    Raises:
        ConfigError: a scheme of shares; nothing says how much a prediction is worth. ArtifactError: a foreign folder.
    """
    inputs: dict[str, Path | str] = {"items": items}
    if preference is not None:
        inputs["preference"] = content_name(str(preference))
    stage = open_stage(output_dir, stage="suggest", version=VERSION, settings=settings, seed=seed, inputs=inputs)
    if not stage.is_complete:
        try:
            _suggest(stage, items, preference, settings, seed)
        except AccordError:
            stage.abandon()
            raise
    return stage.folder


def read_prior(items: LabelledItems, source: Path, preference: Path | None) -> Prior:
    """What is known of each item without its votes.

    Raises:
        ConfigError: nothing says how much a prediction is worth, or the out-of-fold predictions are undefined.
        ArtifactError: no preference model.
    """
    if preference is None:
        return _common_prior(items)
    if _was_fitted_on(preference, source):
        return Prior(_out_of_fold(preference, items.ids), "out-of-fold predictions of the model fitted on these items")
    return _predicted(items, preference)


# -- what is known ----------------------------------------------------------------------------------------------


def _common_prior(items: LabelledItems) -> Prior:
    population = fit_population(items.n_acceptable, items.n_votes)
    _require_strength(population.strength, "Pass --preference MODEL")
    return Prior(_without_votes(population.acceptance, population.strength), "one prior for all items")


def _was_fitted_on(preference: Path, source: Path) -> bool:
    if not (preference / STAGE_FILE).is_file():
        return False
    description = read_stage(preference)
    return description["stage"] == "fit" and description["inputs"].get("items") == hash_input(source)


def _out_of_fold(preference: Path, ids: Sequence[str]) -> PosteriorBeta:
    """The posterior that `accord fit` wrote, with the votes that it had added taken out again."""
    posterior = {row.id: row for row in read_jsonl(preference / "posterior.jsonl", PosteriorRow)}
    votes = {row.id: row for row in read_jsonl(preference / "predictions.jsonl", VoteRow)}
    rows = [posterior[item_id] for item_id in ids]
    if any(row.share is None for row in rows):
        raise ConfigError(
            f"{preference} has no posterior shares (they need three groups, and items with two votes or more). "
            "Leave --preference out, or fit on more items."
        )
    if any(row.n_effective is None for row in rows):
        raise ArtifactError(f"{preference} does not say how many votes a share rests on. Fit it again.")
    share = np.array([row.share for row in rows], dtype=np.float64)
    n_effective = np.array([row.n_effective for row in rows], dtype=np.float64)
    n_acceptable = np.array([votes[item_id].n_acceptable for item_id in ids])
    n_votes = np.array([votes[item_id].n_votes for item_id in ids])
    a = share * n_effective
    return PosteriorBeta(a - n_acceptable, n_effective - a - (n_votes - n_acceptable))


def _predicted(items: LabelledItems, preference: Path) -> Prior:
    """What a model predicts of items that are new to it; κ(x) votes, else as many as their votes or its own say."""
    model = load_acceptance_model(preference)
    _warn_of_known_ids(preference, items.ids)
    found = model.acceptance(items.pairs)
    acceptance = expit(found.logits)
    strength = found.concentration
    source = "predictions of the model, worth κ(x) votes"
    if strength is None:
        learned, source = _strength(items, acceptance, preference)
        strength = np.full(len(acceptance), learned)
    return Prior(_without_votes(acceptance, strength), source)


def _strength(items: LabelledItems, acceptance: np.ndarray, preference: Path) -> tuple[float, str]:
    own = fit_prior_strength(acceptance, items.n_acceptable, items.n_votes)
    if not np.isnan(own):
        return own, f"predictions of the model, worth {own:.1f} votes (by the votes of these items)"
    of_fit = _strength_of_fit(preference)
    _require_strength(of_fit, "Pass the folder of `accord fit` instead of its model, or a beta_binomial model")
    return of_fit, f"predictions of the model, worth {of_fit:.1f} votes (by the votes it was fitted on)"


def _strength_of_fit(preference: Path) -> float:
    """m of the items that a model was fitted on; nan where its folder does not tell."""
    path = preference / "posterior.jsonl"
    if not path.is_file():
        return np.nan
    rows = read_jsonl(path, PosteriorRow)
    return next((row.n_effective - row.n_votes for row in rows if row.n_effective is not None), np.nan)


def _warn_of_known_ids(preference: Path, ids: Sequence[str]) -> None:
    path = preference / "posterior.jsonl"
    if not path.is_file():
        return
    known = {row.id for row in read_jsonl(path, PosteriorRow)}
    n_known = len(known.intersection(ids))
    if n_known:
        logger.warning(
            "%d of the %d items have ids of items that %s was fitted on. If they are the same texts, their votes count "
            "twice: fit on this file, then suggest.",
            n_known,
            len(ids),
            preference,
        )


def _without_votes(acceptance: Float[np.ndarray, " N"], strength: float | Float[np.ndarray, " N"]) -> PosteriorBeta:
    nothing = np.zeros(len(acceptance))
    return posterior_beta(acceptance, nothing, nothing, strength=strength)


def _require_strength(strength: float, remedy: str) -> None:
    if np.isnan(strength):
        raise ConfigError(
            "No item has two votes or more, so nothing says how many votes a prediction is worth. "
            f"{remedy}, or collect two votes on some items first."
        )


# -- files ------------------------------------------------------------------------------------------------------


def _suggest(stage: Stage, source: Path, preference: Path | None, settings: SuggestSettings, seed: int) -> None:
    prepared = load_prepared(source)
    if prepared.scheme.kind == "share":
        raise ConfigError(
            f"Label scheme {prepared.scheme.name!r} estimates shares, so another label is no vote. "
            "Expected items whose labels are votes of single people."
        )
    items = count_items(prepared)
    prior = read_prior(items, source, preference)
    known = PosteriorBeta(prior.known.a + items.n_acceptable, prior.known.b + items.n_votes - items.n_acceptable)
    value = expected_reduction(known)
    ties = np.array([keyed_rng(seed, "suggest", item_id).random() for item_id in items.ids])
    chosen = by_value(value, ties, among=np.ones(len(value), dtype=bool))[: settings.n]
    measured = [_gain("suggested", value[chosen], known), _gain("random", np.repeat(value.mean(), len(chosen)), known)]
    summary: dict[str, Any] = {
        "n_items": len(items.ids),
        "n_suggested": len(chosen),
        "prior": prior.source,
        "prior_is_common": prior.is_common,
        "n_without_votes": int((items.n_votes == 0).sum()),
    }
    if settings.replay:
        found = _replay(prior, items, settings, seed)
        write_jsonl(stage.path(REPLAY_FILE), _replay_rows(found, settings, seed))
        compared = _compare(found, items, settings, seed)
        measured += compared
        replayed = ~np.isnan(found.per_item[ORDER])
        n_groups = len(set(items.clusters[replayed]))
        summary |= {"n_replayed": found.n_items, "verdict": _verdict(compared, prior, n_groups=n_groups)}
    write_jsonl(stage.path(SUGGESTIONS_FILE), _suggestions(items, known, value, chosen, settings.level))
    write_json(stage.path("results.json"), measured)
    write_json(stage.path("summary.json"), summary)
    stage.finish()


def _gain(system: str, reductions: np.ndarray, known: PosteriorBeta) -> Measurement:
    """The part of the mean variance of all shares that these votes are expected to remove."""
    total = float(variance(known).sum())
    part = float(reductions.sum()) / total if total > 0 else np.nan
    signature = f"expected_reduction|votes:{len(reductions)}|of the summed variance of all shares"
    return Measurement("expected_reduction", system, part, np.nan, np.nan, len(known.a), signature)


def _suggestions(
    items: LabelledItems, known: PosteriorBeta, value: np.ndarray, chosen: np.ndarray, level: float
) -> list[dict[str, Any]]:
    shares = shares_of(known, level=level)
    return [
        {
            "id": items.ids[row],
            "expected_reduction": float(value[row]),
            "share": float(shares.share[row]),
            "low": float(shares.low[row]),
            "high": float(shares.high[row]),
            "n_votes": int(items.n_votes[row]),
        }
        for row in chosen.tolist()
    ]


def _replay(prior: Prior, items: LabelledItems, settings: SuggestSettings, seed: int) -> Replay:
    if not (items.n_votes >= 2).any():
        raise ConfigError("No item has two votes or more, so none can be kept back. Leave --replay out.")
    votes = np.stack([items.n_votes - items.n_acceptable, items.n_acceptable], axis=1)
    return replay(prior.known, votes, items.ids, n_seeds=settings.seeds, n_points=settings.points, seed=seed)


def _replay_rows(found: Replay, settings: SuggestSettings, seed: int) -> list[dict[str, Any]]:
    rows = []
    for order, curve in found.brier.items():
        for point, n_revealed in enumerate(found.n_revealed.tolist()):
            rng = keyed_rng(seed, "replay interval", order, point)
            brier = bootstrap_interval(curve[:, point], n_resamples=settings.n_resamples, level=LEVEL, rng=rng)
            rows.append(
                {
                    "order": order,
                    "n_revealed": n_revealed,
                    "votes_per_item": n_revealed / found.n_items,
                    "brier": brier.value,
                    "low": brier.low,
                    "high": brier.high,
                }
            )
    return rows


def _compare(found: Replay, items: LabelledItems, settings: SuggestSettings, seed: int) -> list[Measurement]:
    """The mean Brier score over the curve, by order, and the paired differences; replays of an item are averaged."""
    how = describe_interval(n_resamples=settings.n_resamples, level=LEVEL, clusters="group")
    signature = f"replay_brier|seeds:{settings.seeds}|points:{len(found.n_revealed)}|{how}"
    options: Mapping[str, Any] = {"clusters": items.clusters, "n_resamples": settings.n_resamples, "level": LEVEL}
    measured = []
    for order, per_item in found.per_item.items():
        interval = bootstrap_interval(per_item, rng=keyed_rng(seed, "replay measure"), **options)
        measured.append(Measurement("replay_brier", order, *interval, found.n_items, signature))
    for order, per_item in found.per_item.items():
        if order != ORDER:
            rng = keyed_rng(seed, "replay measure")
            difference = paired_bootstrap(found.per_item[ORDER], per_item, rng=rng, **options)
            name = f"{ORDER} - {order}"
            measured.append(Measurement("replay_brier", name, *difference[:3], found.n_items, signature))
    return measured


def _verdict(compared: Sequence[Measurement], prior: Prior, *, n_groups: int) -> list[str]:
    """What the replay says, one line for each order that the suggested one was compared with."""
    lines = []
    for found in compared:
        first, minus, other = found.system.partition(" - ")
        if not minus:
            continue
        interval = f"Brier score {found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}] over the whole replay"
        if n_groups < LEAST_GROUPS:
            lines.append(f"{first} against {other}: {interval}. Of {n_groups} groups no claim is made.")
        elif found.high < 0:
            lines.append(f"The {first} order beats {other}: {interval}.")
        elif found.low > 0:
            lines.append(f"The {first} order is worse than {other}: {interval}.")
        else:
            lines.append(f"The {first} order does not beat {other}: {interval}, which may be chance.")
    if prior.is_common:
        lines.append("All items have the same prior, so the first votes go to items with the fewest.")
    return lines
