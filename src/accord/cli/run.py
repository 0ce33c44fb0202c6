"""`accord run`: the whole chain from one YAML file."""

from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated

from accord.cli.options import SWITCH
from accord.cli.output import measurement_blocks, measurement_lines, read_results, show
from accord.errors import AccordError

if TYPE_CHECKING:
    from accord.pipeline import Run
    from accord.sweep.paper import PaperRun
    from accord.sweep.run import SweepRun

HEADLINE = ("true_acceptance", "acceptance", "calibrating_acceptance", "length", "distinct_2")
"""Measurements printed at the end of a run; the report shows all."""


def run(
    config: Path,
    *,
    scale: str | None = None,
    output_dir: Path | None = None,
    seed: int | None = None,
    json: Annotated[bool, SWITCH] = False,
) -> None:
    """Run the whole chain from a YAML file, a sweep of it (`vary`), or a table of the paper (`layout`); finished stages
    are reused.

    Args:
        config: YAML file with one section per stage, of a sweep or of a paper's table; its paths are relative to it.
        scale: Which of the file's scales, e.g. tiny, small or full.
        output_dir: Folder for all stages, each in STAGE/FINGERPRINT/. Default: runs/FILE or runs/FILE-SCALE; the
            paper's tables share runs/paper-SCALE.
        seed: Replaces the seed of the file; of a sweep or table, its seeds.
        json: Print the result as JSON instead of text; progress stays on standard error.
    """
    from accord.pipeline import read_pipeline, run_pipeline
    from accord.sweep.paper_plan import is_paper, read_paper
    from accord.sweep.plan import is_sweep, read_sweep

    name = "paper" if is_paper(config) else config.stem
    folder = output_dir or Path("runs") / "-".join([name, *([scale] if scale else [])])
    if is_paper(config):
        from accord.sweep.paper import run_paper

        show_paper(run_paper(read_paper(config, scale=scale, seed=seed), output_dir=folder), as_json=json)
        return
    if is_sweep(config):
        from accord.sweep.run import run_sweep

        plan = read_sweep(config, scale=scale)
        plan = plan if seed is None else plan._replace(seeds=(seed,))
        show_sweep(run_sweep(plan, output_dir=folder), output_dir=folder, as_json=json)
        return
    settings, seed_of_file = read_pipeline(config, scale=scale)
    finished = run_pipeline(settings, output_dir=folder, seed=seed_of_file if seed is None else seed)
    show_run(finished, output_dir=folder, as_json=json)


def show_sweep(run: "SweepRun", *, output_dir: Path, as_json: bool) -> None:
    """The comparison of a sweep's points and where its report is.

    Raises:
        AccordError: some runs failed; names them.
    """
    from accord.evaluation.tables import read_sheet, render_text
    from accord.sweep.run import failure_text
    from accord.sweep.votes import vote_sheet

    width = get_terminal_size().columns
    lines: list[str] = []
    if run.votes is not None:
        lines += ["held-out votes", "", *render_text(vote_sheet(read_sheet(run.votes)), width=width), ""]
    if run.evaluation is not None:
        lines += ["generated texts", "", *render_text(read_sheet(run.evaluation), width=width), ""]
    report = run.report / "report.html"
    folders = {"votes": run.votes, "evaluation": run.evaluation}
    results = {name: read_results(folder) for name, folder in folders.items() if folder is not None}
    found = {"output_dir": str(output_dir), "report": str(report), "failed": run.failed, "results": results}
    show([*lines, f"report: {report}"], found, as_json=as_json)
    if run.failed:
        raise AccordError(failure_text(run))


def show_paper(run: "PaperRun", *, as_json: bool) -> None:
    """The table and where its page is.

    Raises:
        AccordError: some runs failed; names them.
    """
    from accord.sweep.paper import failure_text

    page = run.report / "report.html"
    lines = [f"report: {page}", f"tables: {run.report / 'tables'}"]
    if run.study is not None:
        lines += [
            f"study:  {run.study}",
            f"next: accord rate --study {run.study} --annotators 6, then accord rate --export {run.study} --output-dir "
            "FOLDER, and name FOLDER as ratings in the configuration",
        ]
    found = {"report": str(page), "paper": str(run.paper), "failed": run.failed}
    show(lines, found | {"study": None if run.study is None else str(run.study)}, as_json=as_json)
    if run.failed:
        raise AccordError(failure_text(run))


def show_run(run: "Run", *, output_dir: Path, as_json: bool) -> None:
    """The headline numbers of a finished run and where its report is."""
    results = read_results(run.evaluation or run.preference)
    report = run.report / "report.html"
    blocks = measurement_lines(results) if run.evaluation is None else measurement_blocks(results, names=HEADLINE)
    lines = [*blocks, f"report: {report}"]
    show(lines, {"output_dir": str(output_dir), "report": str(report), "results": results}, as_json=as_json)
