"""`accord calibrate`: make the candidates that more people would accept likelier, and keep the references likely.

The story: scored candidates -> token ids and scores -> a LoRA adapter on the upper layers, or all weights -> what the
objective learns from them, or from completions drawn afresh -> the one training loop, selected on the validation loss
-> the adapter or model, its curve, and how well likelihood follows score before and after. The preference model that
evaluates is never asked here.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from accord.artifacts import TIMING_FILE, Stage, open_stage
from accord.calibration.adapter import SAVE, require_trainable
from accord.calibration.before_after import before_after
from accord.calibration.dpo import learn_best_against_worst
from accord.calibration.examples import (
    Example,
    encode_rows,
    micro_batches,
    read_candidates,
    require_references,
)
from accord.calibration.learning import Figures, Learning, Parts, StepBatch
from accord.calibration.offline import learn_ranking
from accord.calibration.rloo import learn_from_fresh_samples, require_reward
from accord.calibration.samples import with_sampled_score
from accord.calibration.settings import CalibrateSettings
from accord.calibration.trained_part import trained_part
from accord.candidates.generators.load import load_chosen
from accord.json_files import write_json, write_jsonl
from accord.pretrained import content_name
from accord.records import Measurement
from accord.training.epochs import train_in_epochs
from accord.training.held_out import train_dev_rows
from accord.training.loop import TrainingResult
from accord.training.processes import device, from_main

VERSION = 2
GENERATOR_DIR = "generator"
FRESH = "rloo"
SELECTED_BY = "validation_loss"

LEARN: Mapping[str, Callable[[Parts], Learning]] = {
    "ranking_margin": learn_ranking,
    "dpo": learn_best_against_worst,
    FRESH: learn_from_fresh_samples,
}
"""Objective -> what it learns from the examples."""


def calibrate_stage(candidates: Path, *, output_dir: Path, settings: CalibrateSettings, seed: int) -> Path:
    """Calibrate a generator on scored candidates.

    Writes generator/, curve.jsonl, timing.jsonl, results.json, training.json.

    Args:
        candidates: folder of `accord score`, or a candidates.jsonl with scores. Rows of split "train" (or none) train,
            rows of split "dev" validate (see `train_dev_rows`); "test" is not read.
        seed: keys the adapter's start, the order of prompts, held-out groups and shuffled scores.

    Returns:
        The stage's folder; finished work is reused, unfinished training goes on from its checkpoint.
    """
    require_trainable(settings.tuning, settings.dtype)
    if settings.objective == FRESH:
        require_reward(settings)
    inputs: dict[str, Path | str] = {"candidates": candidates, "model": content_name(settings.model)}
    if settings.preference_model is not None:
        inputs["preference_model"] = content_name(settings.preference_model)
    stage = from_main(
        lambda: open_stage(output_dir, stage="calibrate", version=VERSION, settings=settings, seed=seed, inputs=inputs)
    )
    if not from_main(lambda: stage.is_complete):
        _calibrate(stage, candidates, settings, seed)
    return stage.folder


def _calibrate(stage: Stage, candidates: Path, settings: CalibrateSettings, seed: int) -> None:
    rows = read_candidates(candidates)
    split = train_dev_rows(rows, dev_fraction=settings.dev_fraction, seed=seed)
    generator = load_chosen(settings, device=str(device()))
    encode = partial(
        encode_rows,
        generator=generator,
        max_prompt_tokens=settings.max_prompt_tokens,
        score_control=settings.score_control,
        seed=seed,
    )
    examples, dev = encode(split.train), encode(split.dev)
    for part in (examples, dev):
        require_references(part, ranking_weight=settings.ranking_weight, reference_weight=settings.reference_weight)
    longest = max(dev, key=lambda example: example.n_tokens)
    trained, reader = trained_part(
        generator,
        settings,
        base_name=settings.model,
        seed=seed,
        probe=(longest.prompt_ids, longest.candidate_ids + longest.reference_ids),
    )
    learning = _learning(Parts(settings, seed, generator, reader, trained, examples, dev))
    before = learning.figures()
    result = _train(trained, learning, settings, seed, checkpoint_dir=stage.scratch_dir)
    after = learning.figures()

    def write() -> None:
        SAVE[settings.tuning](trained, generator.tokenizer, stage.path(GENERATOR_DIR), base_name=settings.model)
        write_jsonl(stage.path("curve.jsonl"), _curve(result))
        write_jsonl(stage.path(TIMING_FILE), _timing(result))
        write_json(stage.path("results.json"), _measurements(before, after, dev, settings, seed))
        write_json(stage.path("training.json"), _counts(result, examples, dev, n_rows=len(rows)))
        stage.finish()

    from_main(write)


def _learning(parts: Parts) -> Learning:
    """What the objective learns; with a preference model that is no reward, its score stands in the curve alone."""
    learning = LEARN[parts.settings.objective](parts)
    only_shown = parts.settings.preference_model is not None and parts.settings.objective != FRESH
    return with_sampled_score(parts, learning) if only_shown else learning


def _train(
    trained: Any, learning: Learning, settings: CalibrateSettings, seed: int, *, checkpoint_dir: Path
) -> TrainingResult:
    def step_batches(step: int, chosen: list[Example]) -> list[StepBatch]:
        return [StepBatch(step, batch) for batch in micro_batches(chosen, settings.micro_batch_size)]

    def evaluate() -> dict[str, float]:
        return {name: _mean(values) for name, values in learning.figures().items()}

    return train_in_epochs(
        trained,
        learning.examples,
        settings=settings,
        learning_rate=settings.resolved_learning_rate,
        micro_batches=step_batches,
        loss_of=learning.loss_of,
        evaluate=evaluate,
        select_on=SELECTED_BY,
        seed=seed,
        checkpoint_dir=checkpoint_dir,
        label="Calibrating",
    )


def _curve(result: TrainingResult) -> list[dict[str, float]]:
    """The loop's curve with the samples that the steps read: prompts, each with all its candidates, or with all that
    were drawn for it.
    """
    return [{**row, "samples": pace.weight} for row, pace in zip(result.curve, result.paces, strict=True)]


def _timing(result: TrainingResult) -> list[dict[str, float]]:
    """The seconds that the steps before each row of the curve took, and the samples they read in one."""
    return [
        {
            "step": row["step"],
            "seconds": pace.seconds,
            "samples_per_second": pace.weight / pace.seconds if pace.seconds else math.nan,
        }
        for row, pace in zip(result.curve, result.paces, strict=True)
    ]


def _measurements(
    before: Figures, after: Figures, dev: Sequence[Example], settings: CalibrateSettings, seed: int
) -> list[Measurement]:
    """Level before ("base"), level after ("calibrated") and their paired difference, intervals by group."""
    clusters = np.array([example.group for example in dev])
    measured_on = _measured_on(settings)
    return [
        row
        for name in before
        if name != SELECTED_BY
        for row in before_after(
            name,
            before[name],
            after[name],
            system="calibrated",
            clusters=clusters,
            signature=f"split:dev|{measured_on[name]}",
            seed=seed,
        )
    ]


def _measured_on(settings: CalibrateSettings) -> dict[str, str]:
    """A figure's name -> what a signature must tell of it."""
    trained = "true" if settings.score_control == "none" else settings.score_control
    drawn = f"drawn:{settings.num_samples}|temperature:{settings.temperature}|max_new_tokens:{settings.max_new_tokens}"
    return {
        **dict.fromkeys(("ranking_loss", "dpo_loss"), f"scores:{trained}"),
        **dict.fromkeys(("kendall_tau", "pairwise_accuracy"), "scores:true"),
        "reference_loss": "scores:none",
        "kl": f"{drawn}|nats per completion",
        "reward": f"{drawn}|{settings.utility} - {settings.kl_weight} kl",
        settings.utility: drawn,
    }


def _counts(
    result: TrainingResult, examples: Sequence[Example], dev: Sequence[Example], *, n_rows: int
) -> dict[str, Any]:
    """What took part, what was left out, and where training stopped."""
    both = [*examples, *dev]
    return {
        "n_train": len(examples),
        "n_dev": len(dev),
        "n_not_used": n_rows - len(both),
        "n_without_references": sum(not example.reference_ids for example in both),
        "n_candidates": sum(len(example.candidate_ids) for example in both),
        "n_candidates_unfinished": sum(example.n_unfinished for example in both),
        "n_prompts_cut": sum(example.n_cut > 0 for example in both),
        "best_step": result.best_step,
        "best_validation_loss": result.best_value,
        "stopped_early": result.stopped_early,
    }


def _mean(values: np.ndarray) -> float:
    """Mean of the defined values; nan where there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan
