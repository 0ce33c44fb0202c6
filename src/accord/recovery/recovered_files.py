"""The files of a finished `accord recover`: what was measured, what was decided, and what both are about."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from accord.artifacts import Stage
from accord.json_files import replacing, write_json, write_jsonl
from accord.randomness import keyed_rng
from accord.records import Measurement
from accord.recovery.judged_items import JudgedItems
from accord.recovery.measure import CLIP, LEVEL_OF_INTERVALS, PER_VOTE, Measured, leave_one_out_log_loss, vote_noise
from accord.recovery.panel import PanelStudy, panel_lines, panel_parts, write_panel
from accord.recovery.recovered_tables import differences_csv, recovery_csv, recovery_page
from accord.recovery.settings import RecoverSettings
from accord.recovery.verdict import LEAST_GROUPS, Compared, Verdict, compare, decide
from accord.recovery.vote_estimators import fit_beta_prior
from accord.statistics.resampling import bootstrap_interval, describe_interval

N_NAMED = 5

logger = logging.getLogger("accord")

Signatures = Mapping[tuple[str, int, str, str], str]
"""Question, keep, metric and estimator -> what exactly the number is."""


class Question(NamedTuple):
    """What is asked at every keep, and what everything is compared with."""

    name: str
    baseline: str


class Recovered(NamedTuple):
    """All that was measured, by question and keep; `is_target` [N]: items that were judged under some hiding."""

    questions: list[Question]
    by_question: dict[str, dict[int, Measured]]
    reliability: dict[str, Any]
    is_target: Bool[np.ndarray, " N"]


def write_recovered(
    stage: Stage,
    judged: JudgedItems,
    recovered: Recovered,
    study: PanelStudy,
    not_run: Sequence[str],
    settings: RecoverSettings,
    *,
    seed: int,
) -> None:
    """Compare, decide, and write everything.

    Args:
        not_run: a line for every estimator that could not take part.
    """
    labelled = judged.labelled
    n_groups = len(set(labelled.clusters[recovered.is_target]))
    compared: list[Compared] = []
    verdicts: list[Verdict] = []
    for question in recovered.questions:
        by_keep = recovered.by_question[question.name]
        found = compare(question.name, by_keep, baseline=question.baseline)
        compared += found
        verdicts.append(decide(question.name, by_keep, found, baseline=question.baseline, n_groups=n_groups))
    signatures = dict(_signatures(recovered, judged, settings))
    references = _references(judged, recovered.is_target, settings, seed=seed)
    summary = _summary(judged, recovered, references, not_run, settings)
    used = verdicts[0].use
    summary["panel"] = panel_lines(study, estimator=used)
    for line in [*summary["warnings"], *_too_few_line(summary)]:
        logger.warning("%s", line)
    write_jsonl(stage.path("too_few_votes.jsonl"), _too_few_rows(judged, recovered.is_target))
    write_json(stage.path("reliability.json"), recovered.reliability)
    write_json(stage.path("summary.json"), summary)
    write_json(stage.path("verdict.json"), verdicts)
    texts = {
        "recover.md": recovery_page(
            recovered.by_question, compared, verdicts, summary, panel_parts(study, estimator=used)
        ),
        "recovery.csv": recovery_csv(recovered.by_question, signatures),
        "differences.csv": differences_csv(compared),
    }
    for name, text in texts.items():
        with replacing(stage.path(name)) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_panel(stage, study)
    write_json(stage.path("results.json"), [*_measurements(recovered, signatures), *references])


# -- steps ------------------------------------------------------------------------------------------------------


def _signatures(
    recovered: Recovered, judged: JudgedItems, settings: RecoverSettings
) -> Iterator[tuple[tuple[str, int, str, str], str]]:
    """What exactly each number is."""
    for question, by_keep in recovered.by_question.items():
        for keep, measured in by_keep.items():
            for metric, name in measured.numbers:
                unit = "group*annotator" if judged.has_people and metric in PER_VOTE else "group"
                how = describe_interval(n_resamples=settings.n_resamples, level=LEVEL_OF_INTERVALS, clusters=unit)
                parts = [metric, f"question:{question}", f"keep:{keep}", f"hide:{settings.hide}"]
                parts += [f"hidings:{measured.n_hidings[name]}", *([f"clip:{CLIP:g}"] if metric == "log_loss" else [])]
                yield (question, keep, metric, name), "|".join([*parts, how])


def _measurements(recovered: Recovered, signatures: Signatures) -> Iterator[Measurement]:
    for question, by_keep in recovered.by_question.items():
        for keep, measured in by_keep.items():
            for (metric, name), number in measured.numbers.items():
                signature = signatures[question, keep, metric, name]
                title = f"{question}/{keep}/{metric}"
                yield Measurement(title, name, number.value, *number.interval, measured.n_items, signature)


def _references(
    judged: JudgedItems, is_target: np.ndarray, settings: RecoverSettings, *, seed: int
) -> list[Measurement]:
    """What all votes of the targets say of each other: leave-one-out log-loss, and the noise of the Brier score."""
    votes, clusters = judged.labelled.votes[is_target], judged.labelled.clusters[is_target]
    mean, strength = fit_beta_prior(votes)
    n = votes.sum(axis=1)
    sums = {
        "leave_one_out": ("log_loss", leave_one_out_log_loss(votes, mean=mean, strength=strength)),
        "noise": ("brier", vote_noise(votes) * n),
    }
    found = []
    for name, (metric, values) in sums.items():
        interval = bootstrap_interval(
            np.stack([values, n], axis=1),
            clusters=clusters,
            n_resamples=settings.n_resamples,
            rng=keyed_rng(seed, "recover", name),
        )
        how = describe_interval(n_resamples=settings.n_resamples, level=LEVEL_OF_INTERVALS, clusters="group")
        found.append(
            Measurement(
                f"all votes/{metric}", name, *interval, len(votes), f"{metric}|{name}|all votes of targets|{how}"
            )
        )
    return found


def _summary(
    judged: JudgedItems,
    recovered: Recovered,
    references: Sequence[Measurement],
    not_run: Sequence[str],
    settings: RecoverSettings,
) -> dict[str, Any]:
    labelled = judged.labelled
    too_few = [row["id"] for row in _too_few_rows(judged, recovered.is_target)]
    return {
        "n_items": len(labelled.ids),
        "n_items_without_votes": int((labelled.n_votes == 0).sum()),
        "n_votes": int(labelled.n_votes.sum()),
        "n_groups": len(set(labelled.clusters)),
        "n_annotators": len(judged.annotators) if judged.has_people else None,
        "n_set_aside": judged.n_set_aside,
        "n_targets": int(recovered.is_target.sum()),
        "n_too_few": len(too_few),
        "too_few": too_few[:N_NAMED],
        "seeds": settings.seeds,
        "references": {f"{m.system} {m.name.partition('/')[2]}": round(m.value, 4) for m in references},
        "undefined": {
            f"{question}/{keep}": [
                name for name in measured.n_hidings if np.isnan(measured.number("log_loss", name).value)
            ]
            for question, by_keep in recovered.by_question.items()
            for keep, measured in by_keep.items()
            if any(np.isnan(measured.number("log_loss", name).value) for name in measured.n_hidings)
        },
        "not_run": list(not_run),
        "warnings": _warnings(judged, recovered),
    }


def _warnings(judged: JudgedItems, recovered: Recovered) -> list[str]:
    """What a user should know before trusting the numbers; one line each."""
    found = []
    votes = judged.labelled.votes[recovered.is_target]
    if (votes.sum(axis=0) == 0).any():
        label = judged.labelled.classes[int(votes.sum(axis=0).argmax())]
        found.append(f"Every vote of the judged items is {label}: there is nothing to tell the estimators apart.")
    n_groups = len(set(judged.labelled.clusters[recovered.is_target]))
    if n_groups < LEAST_GROUPS:
        found.append(f"The judged items form {n_groups} group(s): differences between estimators prove nothing.")
    return found


def _too_few_rows(judged: JudgedItems, is_target: np.ndarray) -> list[dict[str, Any]]:
    """Items with votes of which none was ever hidden."""
    n_votes = judged.labelled.n_votes
    rows = np.flatnonzero(~is_target & (n_votes > 0))
    return [{"id": judged.labelled.ids[row], "n_votes": int(n_votes[row])} for row in rows]


def _too_few_line(summary: Mapping[str, Any]) -> list[str]:
    if not summary["n_too_few"]:
        return []
    return [
        f"{summary['n_too_few']} items have too few votes to hide any ({', '.join(summary['too_few'])}"
        f"{', …' if summary['n_too_few'] > N_NAMED else ''}); all are in too_few_votes.jsonl."
    ]
