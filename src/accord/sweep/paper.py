"""`accord run PAPER.yaml`: a table or figure of the paper, from raw corpora to a page with the published numbers.

Every generator is a sweep over the table's rows and its own evaluation; all share one folder, so that tables and
figures of the paper reuse each other's stages. Holm's correction is over the tests of all generators together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from accord.artifacts import open_stage
from accord.errors import AccordError
from accord.evaluation.settings import EvaluateSettings
from accord.json_files import read_jsonl, write_jsonl
from accord.pipeline import Run
from accord.randomness import keyed_rng
from accord.records import Output
from accord.report.document import ReportInputs
from accord.report.layouts import LAYOUTS
from accord.report.render import report_stage
from accord.report.settings import ReportSettings
from accord.sweep.paper_plan import BASE_ROW, PaperPlan, PlannedGenerator, system_name
from accord.sweep.paper_stage import PaperGenerator, PaperRow, paper_stage
from accord.sweep.run import OUTPUTS_FILE, Runs, any_run, failures, print_line, renamed_stage, run_all

VERSION = 1
BASE_SYSTEM = "base"


class PaperRun(NamedTuple):
    """The folders a paper file ends with. `study`: of a rating table without ratings; `failed`: "MODEL: ROW, seed S" ->
    why."""

    paper: Path
    report: Path
    study: Path | None
    failed: dict[str, str]


def run_paper(plan: PaperPlan, *, output_dir: Path, say: Callable[[str], None] | None = None) -> PaperRun:
    """Run every generator, row and seed, then lay out the table; what is finished is never done again.

    Raises:
        AccordError: every run of a generator failed.
    """
    say = say or print_line
    failed: dict[str, str] = {}
    found = []
    for generator in plan.generators:
        say(f"=== {generator.name}")
        sweep = generator.sweep
        settings = dict(zip((point.name for point in sweep.points), generator.settings, strict=True))
        runs, of_generator = run_all(sweep, settings, output_dir=output_dir, say=say)
        failed |= {f"{generator.name}: {label}": reason for label, reason in of_generator.items()}
        if not runs:
            raise AccordError(f"Every run of {generator.name} failed. {failures(of_generator)}")
        found.append(_finished(plan, generator, next(iter(settings.values())).evaluate, runs, output_dir))
    is_to_be_rated = LAYOUTS[plan.layout].form and plan.ratings is None
    study = _study(plan, found[0], output_dir) if is_to_be_rated else None
    paper = paper_stage(plan, found, list(failed), output_dir=output_dir / "paper" / "{fingerprint}")
    report = report_stage(
        ReportInputs(paper=paper),
        output_dir=output_dir / "report" / "{fingerprint}",
        settings=ReportSettings(title=LAYOUTS[plan.layout].title),
    )
    return PaperRun(paper, report, study, failed)


def failure_text(run: PaperRun) -> str:
    """What failed and what to do, for the end of the run; "" where nothing did."""
    if not run.failed:
        return ""
    return (
        f"{len(run.failed)} runs failed and are missing from the table. {failures(run.failed)} "
        "Give the same command again to try them alone."
    )


# -- steps ------------------------------------------------------------------------------------------------------


def _finished(
    plan: PaperPlan, generator: PlannedGenerator, settings: EvaluateSettings, runs: Runs, output_dir: Path
) -> PaperGenerator:
    """The rows of one generator that finished, Base first in each decoding, and their evaluation."""
    points = {point.name: point for point in generator.sweep.points}
    rows: list[PaperRow] = []
    for planned in generator.rows:
        found, point = runs.get(planned.point), points[planned.point]
        if found is None:
            continue
        if all(row.decoding != planned.decoding for row in rows):
            written = _outputs(found, BASE_SYSTEM, system_name(planned.decoding, BASE_ROW), output_dir)
            rows.append(PaperRow(planned.decoding, BASE_ROW, {}, tuple(found), written))
        first = next(iter(found.values()))
        is_written = point.system != BASE_SYSTEM  # a row of scores alone, as in Fig. 3, writes nothing of its own
        rows.append(
            PaperRow(
                planned.decoding,
                planned.row,
                point.values,
                tuple(found),
                _outputs(found, point.system, planned.point, output_dir) if is_written else None,
                first.candidates,
                first.calibration.get(point.system),
            )
        )
    evaluate = replace(
        settings,
        preference_model=str(any_run(runs).independent),
        compare=_tested(plan, [row for row in rows if row.outputs is not None]),
        baseline=None,
    )
    evaluation = _evaluation(plan, generator, rows, evaluate, output_dir)
    return PaperGenerator(
        generator.name, generator.published, generator.sweep.data_seed, tuple(rows), evaluation, evaluate
    )


def _outputs(runs: Mapping[int, Run], system: str, name: str, output_dir: Path) -> Path:
    """What one row wrote under all seeds."""
    found = {seed: run.outputs[system] for seed, run in runs.items()}
    return renamed_stage(name, found, output_dir=output_dir / "points" / "{fingerprint}")


def _evaluation(
    plan: PaperPlan,
    generator: PlannedGenerator,
    rows: Sequence[PaperRow],
    settings: EvaluateSettings,
    output_dir: Path,
) -> Path:
    """The rows of one generator on the same prompts under the independent judge, or what people said of them."""
    from accord.evaluation.evaluate import evaluate_stage

    outputs = [row.outputs for row in rows if row.outputs is not None]
    return evaluate_stage(
        outputs if plan.ratings is None else [],
        output_dir=output_dir / "paper_evaluation" / "{fingerprint}",
        settings=settings if plan.ratings is None else replace(settings, preference_model=None),
        seed=generator.sweep.data_seed,
        ratings=[] if plan.ratings is None else [plan.ratings],
    )


def _tested(plan: PaperPlan, rows: Sequence[PaperRow]) -> tuple[str, ...]:
    """Every row against Base of its decoding, and the file's own pairs."""
    pairs = []
    for decoding in dict.fromkeys(row.decoding for row in rows):
        here = [row.row for row in rows if row.decoding == decoding]
        wanted = [*((row, BASE_ROW) for row in here if row != BASE_ROW), *plan.compare]
        pairs += [
            f"{system_name(decoding, first)} - {system_name(decoding, second)}"
            for first, second in dict.fromkeys(wanted)
            if {first, second} <= set(here)
        ]
    return tuple(pairs)


def _rated_outputs(plan: PaperPlan, generator: PaperGenerator, output_dir: Path) -> list[Path]:
    """What is shown to annotators: every row's first draw of the first seed on the same prompts, drawn once."""
    found = []
    chosen: frozenset[str] | None = None
    for row in generator.rows:
        if row.outputs is None:
            continue
        texts = list(read_jsonl(row.outputs / OUTPUTS_FILE, Output))
        first = {text.id: text for text in reversed(texts) if text.seed == row.seeds[0]}
        if chosen is None:
            names = sorted(first)
            order = keyed_rng(generator.data_seed, "paper", "rated").permutation(len(names))
            chosen = frozenset(names[n] for n in order[: plan.n_rated])
        stage = open_stage(
            output_dir / "rated_outputs" / "{fingerprint}",
            stage="rated_outputs",
            version=VERSION,
            settings={"system": row.row, "n_rated": plan.n_rated},
            seed=generator.data_seed,
            inputs={"outputs": row.outputs},
        )
        if not stage.is_complete:
            write_jsonl(stage.path(OUTPUTS_FILE), (text for text in first.values() if text.id in chosen))
            stage.finish()
        found.append(stage.folder)
    return found


def _study(plan: PaperPlan, generator: PaperGenerator, output_dir: Path) -> Path:
    """The rating study of a rating table, ready to be served by `accord rate --study FOLDER --annotators 6`."""
    from accord.rating.draft import StudyInputs
    from accord.rating.settings import RateSettings
    from accord.rating.study import open_study

    folder = output_dir / f"study-{plan.layout}"
    inputs = StudyInputs(_rated_outputs(plan, generator, output_dir))
    settings = RateSettings(form=LAYOUTS[plan.layout].form, annotators_per_item=3)
    open_study(folder, inputs, settings=settings, seed=generator.data_seed).close()
    return folder
