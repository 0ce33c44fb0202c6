"""`accord run SWEEP.yaml`: the chain at every point and seed of a sweep, and one evaluation of them all.

All runs share one folder, so that a stage is made once for all points and seeds that agree up to it; what is finished
is never done again. How the data are read and split, and the independent judge, are the same for all runs; the
preference model, candidates, calibration and decoding take the run's own seed. A run that fails is noted and the others
go on; the evaluation is of what there is.
"""

import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec

from accord.artifacts import open_stage
from accord.errors import AccordError
from accord.evaluation.settings import EvaluateSettings
from accord.json_files import read_jsonl, write_json, write_jsonl
from accord.pipeline import Measure, PipelineSettings, Run, run_systems
from accord.records import Output
from accord.sweep.plan import PlannedPoint, SweepPlan, point_settings

VERSION = 1
OUTPUTS_FILE = "outputs.jsonl"
SWEEP_FILE = "sweep.json"
BASE = "base"

Runs = dict[str, dict[int, Run]]
"""Point -> seed -> what is finished of the run."""


class SweepRun(NamedTuple):
    """The folders a sweep ends with; None where the sweep has no such part. `failed`: "POINT, seed S" -> why."""

    votes: Path | None
    evaluation: Path | None
    report: Path
    failed: dict[str, str]
    n_runs: int


class _Base(NamedTuple):
    settings: PipelineSettings
    measure: Measure | None
    notes: Path | None


def run_sweep(plan: SweepPlan, *, output_dir: Path, say: Callable[[str], None] | None = None) -> SweepRun:
    """Run every point under every seed, then compare the points; returns the folders of the comparison.

    Raises:
        ConfigError: a point's settings are wrong; nothing has run then.
        AccordError: every run failed.
    """
    say = say or print_line
    base = _base(plan, output_dir)
    settings = dict(zip((point.name for point in plan.points), point_settings(plan, base.settings), strict=True))
    runs, failed = run_all(plan, settings, output_dir=output_dir, say=say)
    if not runs:
        raise AccordError(f"Every run of {plan.where} failed. {failures(failed)}")
    evaluate = next(iter(settings.values())).evaluate
    outputs = _outputs(plan, runs, output_dir=output_dir)
    votes = None if outputs and _same_fits(runs) else _votes(plan, runs, evaluate, output_dir=output_dir)
    evaluation = _evaluation(plan, runs, outputs, evaluate, base.measure, output_dir=output_dir) if outputs else None
    sweep = _sweep_stage(plan, runs, failed, votes, evaluation, output_dir=output_dir)
    report = _report(runs, outputs, sweep, votes, evaluation, base, output_dir=output_dir)
    return SweepRun(votes, evaluation, report, failed, len(plan.points) * len(plan.seeds))


def failure_text(run: SweepRun) -> str:
    """What failed and what to do, for the end of the run; "" where nothing did."""
    if not run.failed:
        return ""
    return (
        f"{len(run.failed)} of {run.n_runs} runs failed and are missing from the comparison. {failures(run.failed)} "
        "Give the same command again to try them alone."
    )


# -- runs -------------------------------------------------------------------------------------------------------


def _base(plan: SweepPlan, output_dir: Path) -> _Base:
    """The settings that all points start from; the demo's come with their data."""
    if plan.base is not None:
        return _Base(plan.base, None, None)
    from accord.demo.run import demo_base

    return _Base(*demo_base(output_dir, seed=plan.data_seed))


def run_all(
    plan: SweepPlan, settings: Mapping[str, PipelineSettings], *, output_dir: Path, say: Callable[[str], None]
) -> tuple[Runs, dict[str, str]]:
    """Seed by seed, so that a sweep that is stopped early has every point of its first seeds."""
    runs: Runs = {}
    failed: dict[str, str] = {}
    for seed in plan.seeds:
        for name, point in settings.items():
            label = f"{name}, seed {seed}"
            say(f"== {label}")
            try:
                run = run_systems(point, output_dir=output_dir, seed=seed, data_seed=plan.data_seed, say=say)
            except AccordError as error:
                failed[label] = str(error)
            except Exception as error:
                failed[label] = f"{type(error).__name__}: {error}"
                say(traceback.format_exc())
            else:
                runs.setdefault(name, {})[seed] = run
            if label in failed:
                say(f"failed: {failed[label]}")
    return {name: runs[name] for name in settings if name in runs}, failed


def failures(failed: Mapping[str, str]) -> str:
    return " ".join(f"{label}: {reason.rstrip('.')}." for label, reason in failed.items())


# -- comparison -------------------------------------------------------------------------------------------------


def _same_fits(runs: Runs) -> bool:
    """Whether all points have the same preference models, so that there is nothing to compare about them."""
    by_seed: dict[int, set[Path]] = {}
    for found in runs.values():
        for seed, run in found.items():
            by_seed.setdefault(seed, set()).add(run.preference)
    return all(len(folders) == 1 for folders in by_seed.values())


def _votes(plan: SweepPlan, runs: Runs, evaluate: EvaluateSettings, *, output_dir: Path) -> Path:
    """The points' preference models on held-out votes, each against the first."""
    from accord.sweep.votes import votes_stage

    first, *others = runs
    return votes_stage(
        any_run(runs).prepared,
        {name: {seed: run.preference for seed, run in found.items()} for name, found in runs.items()},
        output_dir=output_dir / "sweep_votes" / "{fingerprint}",
        settings=evaluate,
        pairs=[(name, first) for name in others],
        seed=plan.data_seed,
    )


def _outputs(plan: SweepPlan, runs: Runs, *, output_dir: Path) -> dict[str, Path]:
    """System of the comparison -> its folder: the untouched generator, if all points share it, and every point."""
    if not any_run(runs).outputs:
        return {}
    systems = {point.name: point.system for point in plan.points}
    folders = {name: {seed: run.outputs[systems[name]] for seed, run in found.items()} for name, found in runs.items()}
    untouched: dict[int, set[Path]] = {}
    for found in runs.values():
        for seed, run in found.items():
            untouched.setdefault(seed, set()).add(run.outputs[BASE])
    if BASE not in systems.values() and all(len(same) == 1 for same in untouched.values()):
        folders = {BASE: {seed: same.pop() for seed, same in sorted(untouched.items())}} | folders
    named = {
        name: renamed_stage(name, found, output_dir=output_dir / "points" / "{fingerprint}")
        for name, found in folders.items()
    }
    human = any_run(runs).outputs.get("human")
    return named if human is None else named | {"human": human}


def renamed_stage(name: str, outputs: Mapping[int, Path], *, output_dir: Path) -> Path:
    """What one system wrote under all seeds, in one file and under the point's name."""
    inputs = {f"seed {seed}": folder for seed, folder in outputs.items()}
    stage = open_stage(
        output_dir, stage="sweep_outputs", version=VERSION, settings={"system": name}, seed=0, inputs=inputs
    )
    if not stage.is_complete:
        rows = (row for folder in outputs.values() for row in read_jsonl(folder / OUTPUTS_FILE, Output))
        write_jsonl(stage.path(OUTPUTS_FILE), (msgspec.structs.replace(row, system=name) for row in rows))
        stage.finish()
    return stage.folder


def _evaluation(
    plan: SweepPlan,
    runs: Runs,
    outputs: Mapping[str, Path],
    settings: EvaluateSettings,
    measure: Measure | None,
    *,
    output_dir: Path,
) -> Path:
    """All points on the same prompts, averaged over seeds, under the judge of the first point."""
    from accord.evaluation.evaluate import evaluate_stage

    compare = settings.compare
    if not compare and settings.baseline is None:
        yardsticks = ([BASE] if BASE in outputs else []) + list(runs)[:1]
        compare = tuple(f"{name} - {other}" for other in yardsticks for name in runs if name != other)
    return evaluate_stage(
        list(outputs.values()),
        output_dir=output_dir / "sweep_evaluation" / "{fingerprint}",
        settings=replace(settings, preference_model=str(any_run(runs).independent), compare=compare),
        seed=plan.data_seed,
        values=[] if measure is None else measure(list(outputs.values())),
    )


def _sweep_stage(
    plan: SweepPlan,
    runs: Runs,
    failed: Mapping[str, str],
    votes: Path | None,
    evaluation: Path | None,
    *,
    output_dir: Path,
) -> Path:
    """sweep.json: what varied, which seeds are there, which runs failed."""
    points = [_point_row(point, runs) for point in plan.points]
    settings = {
        "points": points,
        "failed": list(failed),
        "seeds": list(plan.seeds),
        "data_seed": plan.data_seed,
        "systems": {point.name: point.system for point in plan.points},
    }
    inputs = {name: folder for name, folder in (("votes", votes), ("evaluation", evaluation)) if folder is not None}
    stage = open_stage(
        output_dir / "sweep" / "{fingerprint}",
        stage="sweep",
        version=VERSION,
        settings=settings,
        seed=plan.data_seed,
        inputs=inputs,
    )
    if not stage.is_complete:
        write_json(stage.path(SWEEP_FILE), settings)
        stage.finish()
    return stage.folder


def _point_row(point: PlannedPoint, runs: Runs) -> dict[str, object]:
    return {"name": point.name, "values": point.values, "seeds": list(runs.get(point.name, {}))}


def _report(
    runs: Runs,
    outputs: Mapping[str, Path],
    sweep: Path,
    votes: Path | None,
    evaluation: Path | None,
    base: _Base,
    *,
    output_dir: Path,
) -> Path:
    from accord.report.document import ReportInputs
    from accord.report.render import report_stage

    inputs = ReportInputs(
        prepared=any_run(runs).prepared,
        sweep=sweep,
        votes=votes,
        outputs=list(outputs.values()),
        evaluation=evaluation,
        notes=base.notes,
    )
    return report_stage(inputs, output_dir=output_dir / "report" / "{fingerprint}", settings=base.settings.report)


def any_run(runs: Runs) -> Run:
    return next(iter(next(iter(runs.values())).values()))


def print_line(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 -- the run's own log
