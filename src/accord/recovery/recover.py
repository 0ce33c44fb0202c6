"""`accord recover`: hide votes, let every estimator see the others, measure, and say which one to use."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from accord.artifacts import SCRATCH_DIR, Stage, open_stage
from accord.data.prepared import SCHEME_FILE
from accord.data.schemes import SCHEMES
from accord.data.traits import Traits, load_traits, read_traits, traits_file
from accord.errors import AccordError, ConfigError
from accord.preference.labelled import in_groups
from accord.pretrained import content_name
from accord.progress import progress
from accord.randomness import keyed_seed
from accord.recovery.estimates import (
    LEAST_GROUPS,
    SLOW,
    Answers,
    Plan,
    choose_text_estimators,
    encode_items,
    estimate_all,
    plan_folds,
    posterior_estimate,
)
from accord.recovery.hide import Estimate, Hiding, hide_panel, hide_people, hide_votes
from accord.recovery.judged_items import JudgedItems, read_judged_items
from accord.recovery.measure import Measured, measure, reliability
from accord.recovery.panel import PanelStudy, study_panel
from accord.recovery.recovered_files import Question, Recovered, write_recovered
from accord.recovery.settings import RecoverSettings
from accord.recovery.vote_estimators import choose_vote_estimators
from accord.statistics.proper_scores import ReliabilityCurve
from accord.statistics.resampling import Interval

VERSION = 2
BETA_PRIOR = "beta_prior"
PLAIN_BASELINES = (BETA_PRIOR, "add_s", "add_1", "share", "constant")
"""What others are compared with where no text model runs: the first of these that was asked for."""

logger = logging.getLogger("accord")


def recover_stage(items: Path, *, output_dir: Path, settings: RecoverSettings, seed: int) -> Path:
    """Find out which estimator recovers the votes that were hidden from it, and write the folder.

    Writes `recover.md` (verdict and tables), `results.json` (measurements), `recovery.csv`, `differences.csv`,
    `verdict.json`, `reliability.json`, `summary.json` (counts, what was left out and why, warnings) and
    `too_few_votes.jsonl` (items with too few votes to hide any). An interrupted run goes on with the estimates that
    are missing.

    Args:
        items: a folder of `accord prepare`, or any file that it reads.

    Raises:
        ConfigError: settings that contradict each other or the data. DataError: bad rows.
        ArtifactError: a foreign output folder.
    """
    stage = _open(items, output_dir, settings, seed)
    if stage.is_complete:
        return stage.folder
    try:
        judged = read_judged_items(items, settings)
        traits = read_traits(Path(settings.traits)) if settings.traits else load_traits(items)
        plan, not_run = _plan(judged, settings, seed=seed)
        _hide(judged, settings, seed=seed, number=0)  # so that it is refused before anything is computed
        features_path = stage.folder / SCRATCH_DIR / "features.safetensors"
        features = encode_items(judged, settings, path=features_path) if plan.texts else None
    except AccordError:
        stage.abandon()
        raise
    for line in not_run:
        logger.warning("%s", line)
    recovered, study = _recover(stage, judged, plan, features, traits, settings, seed=seed)
    write_recovered(stage, judged, recovered, study, not_run, settings, seed=seed)
    stage.finish()
    return stage.folder


# -- steps ------------------------------------------------------------------------------------------------------


def _open(items: Path, output_dir: Path, settings: RecoverSettings, seed: int) -> Stage:
    inputs: dict[str, Path | str] = {"items": items}
    if settings.scheme not in ("", *SCHEMES):
        inputs["scheme"] = settings.scheme
    beside = Path(items).with_name(SCHEME_FILE)
    if not settings.scheme and Path(items).is_file() and beside.is_file():
        inputs["scheme beside"] = beside
    if settings.traits:
        inputs["traits"] = Path(settings.traits)
    elif Path(items).is_file() and traits_file(items).is_file():
        inputs["traits beside"] = traits_file(items)
    if settings.truth:
        inputs["truth"] = Path(settings.truth)
    if settings.objectives != ("none",):
        inputs["model"] = content_name(settings.model)
    return open_stage(output_dir, stage="recover", version=VERSION, settings=settings, seed=seed, inputs=inputs)


def _plan(judged: JudgedItems, settings: RecoverSettings, *, seed: int) -> tuple[Plan, list[str]]:
    """Who takes part, and one line for each that cannot."""
    if settings.n_folds < LEAST_GROUPS:
        raise ConfigError(f"n_folds is {settings.n_folds}; expected {LEAST_GROUPS} or more.")
    votes, no_votes = choose_vote_estimators(settings.estimators, annotators_known=judged.has_people)
    n_bundles = len(set(judged.bundles))
    texts, no_texts = choose_text_estimators(settings.objectives, has_people=judged.has_people, n_bundles=n_bundles)
    if len(votes) == 1 and not texts:
        raise ConfigError("estimators and objectives are both none: nobody is left to be measured. Name some.")
    slow = min(settings.slow_seeds, settings.seeds)
    everywhere = _baselines(votes, texts)
    n_hidings = {name: slow if name in SLOW and name not in everywhere else settings.seeds for name in [*votes, *texts]}
    seeds = [keyed_seed(seed, "recover", "folds", number) for number in range(settings.seeds)]
    folds = plan_folds(judged.bundles, n_folds=settings.n_folds, seeds=seeds) if texts else []
    return Plan(votes, texts, n_hidings, folds), [*no_votes, *no_texts]


def _hide(judged: JudgedItems, settings: RecoverSettings, *, seed: int, number: int) -> list[Hiding]:
    """The hidings of one seed, one per keep."""
    own = keyed_seed(seed, "recover", "hiding", number)
    ways: dict[str, Callable[..., list[Hiding]]] = {
        "votes": hide_votes,
        "people": hide_people,
        "panels": partial(hide_panel, is_first_panel=in_groups(judged.annotators, settings.first_panel)),
    }
    labelled = judged.labelled
    if settings.hide == "people" and not judged.has_people:
        labelled = labelled._replace(annotations=None)
    found = ways[settings.hide](labelled, keep=settings.keep, seed=own)
    if judged.has_people:
        return found
    return [hiding._replace(visible_annotations=None, hidden_annotations=None) for hiding in found]


def _recover(
    stage: Stage,
    judged: JudgedItems,
    plan: Plan,
    features: Tensor | None,
    traits: Traits,
    settings: RecoverSettings,
    *,
    seed: int,
) -> tuple[Recovered, PanelStudy]:
    """Everything measured, one keep after the other; the panel by the first hiding of the largest keep."""
    questions = _questions(plan)
    by_question: dict[str, dict[int, Measured]] = {question.name: {} for question in questions}
    curves: dict[str, Any] = {question.name: {} for question in questions}
    is_target = np.zeros(len(judged.labelled.ids), dtype=bool)
    labelled = judged.labelled if judged.has_people else judged.labelled._replace(annotations=None)
    shown: dict[str, np.ndarray] = {}
    with progress("Recovering", plan.n_estimates * len(settings.keep)) as advance:
        for position, keep in enumerate(settings.keep):
            hidings = [_hide(judged, settings, seed=seed, number=k)[position] for k in range(settings.seeds)]
            folder = stage.scratch_dir / f"keep-{keep}"
            answers = estimate_all(
                hidings, plan, features=features, folder=folder, settings=settings, seed=seed, advance=advance
            )
            is_target |= np.any([hiding.is_target for hiding in hidings], axis=0)
            for question in questions:
                estimates = _estimates(question.name, answers, hidings)
                if keep == max(settings.keep):
                    shown |= {name: found[0].acceptance for name, found in estimates.items()}
                by_question[question.name][keep] = measure(
                    labelled,
                    hidings,
                    estimates,
                    prompts=judged.prompts,
                    truth=judged.truth,
                    n_resamples=settings.n_resamples,
                    seed=keyed_seed(seed, "recover", "measure", question.name),
                )
                curves[question.name][keep] = {
                    name: _points(reliability(labelled, hidings, found)) for name, found in estimates.items()
                }
    annotated = by_question["annotated"]
    study = study_panel(
        judged,
        is_target=is_target,
        measured=[(k, _brier(found)) for k, found in annotated.items() if BETA_PRIOR in found.n_hidings],
        hiding=_hide(judged, settings, seed=seed, number=0)[settings.keep.index(max(settings.keep))],
        estimates=shown,
        text=next((question.baseline for question in questions if question.name == "unseen"), None),
        traits=traits,
        budget=settings.budget,
        target=settings.target,
        n_resamples=settings.n_resamples,
        seed=keyed_seed(seed, "recover", "panel"),
    )
    return Recovered(questions, by_question, curves, is_target), study


def _brier(measured: Measured) -> Interval:
    number = measured.number("brier", BETA_PRIOR)
    return Interval(number.value, *number.interval)


def _baselines(votes: Sequence[str], texts: Sequence[str]) -> list[str]:
    """What the others are compared with: `votes`, else the first text model, else the first of PLAIN_BASELINES."""
    if "votes" in texts:
        return ["votes"]
    return list(texts[:1]) or [next(name for name in PLAIN_BASELINES if name in votes)]


def _questions(plan: Plan) -> list[Question]:
    """Annotated items, and unseen text where text models run."""
    (baseline,) = _baselines(plan.votes, plan.texts)
    if not plan.texts:
        return [Question("annotated", baseline)]
    return [Question("annotated", f"{baseline}+votes"), Question("unseen", baseline)]


def _estimates(question: str, answers: Answers, hidings: Sequence[Hiding]) -> dict[str, Sequence[Estimate]]:
    """Who answers a question: on unseen text the text alone, on annotated items also what the votes say."""
    constant = {"constant": answers.votes["constant"]}
    if question == "unseen":
        return {**constant, **answers.texts}
    posteriors = {
        f"{name}+votes": [posterior_estimate(text, hiding) for text, hiding in zip(found, hidings, strict=False)]
        for name, found in answers.texts.items()
    }
    text_alone = {name: found for name, found in answers.texts.items() if name == "votes"}
    return {**answers.votes, **text_alone, **posteriors}


def _points(curve: ReliabilityCurve) -> list[dict[str, float]]:
    return [
        {"predicted": float(predicted), "observed": float(observed), "n": float(n)}
        for predicted, observed, n in zip(*curve, strict=True)
    ]
