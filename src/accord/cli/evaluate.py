"""`accord evaluate`: measurements with intervals."""

from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated

from accord.cli.options import COMMON, SETTINGS, StageOptions
from accord.cli.output import INDENT, run_stage, show_stage
from accord.evaluation.settings import EvaluateSettings

DEFAULTS = EvaluateSettings()


def evaluate(
    *outputs: Path,
    values: tuple[Path, ...] = (),
    ratings: tuple[Path, ...] = (),
    settings: Annotated[EvaluateSettings, SETTINGS] = DEFAULTS,
    common: Annotated[StageOptions, COMMON],
) -> None:
    """Measure the texts of several generators, with intervals.

    Args:
        outputs: Folders of `accord decode`, or JSONL files of outputs.
        values: JSONL files with further numbers per output: {"id", "system", "seed", "sample", NAME: number}.
        ratings: Exports of `accord rate` (folders, or ratings.jsonl with form.yaml beside it); with or without outputs.
    """
    from accord.evaluation.evaluate import evaluate_stage
    from accord.evaluation.tables import read_sheet, render_text

    finished = run_stage(evaluate_stage, outputs, settings=settings, common=common, values=values, ratings=ratings)
    show_stage(
        finished,
        as_json=common.json,
        lines=render_text(read_sheet(finished.folder), width=get_terminal_size().columns - INDENT),
        then=f"accord report --evaluation {finished.folder} --output-dir FOLDER",
    )
