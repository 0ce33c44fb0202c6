"""`accord tune`: the generator learns what people wrote."""

from pathlib import Path
from typing import Annotated

from accord.calibration.settings import TuneSettings
from accord.cli.options import COMMON, SETTINGS, StageOptions
from accord.cli.output import measurement_lines, read_results, run_stage, show_stage

DEFAULTS = TuneSettings()


def tune(
    prompts: Path,
    *,
    settings: Annotated[TuneSettings, SETTINGS] = DEFAULTS,
    common: Annotated[StageOptions, COMMON],
) -> None:
    """Tune a generator on the texts that people wrote to prompts.

    Args:
        prompts: Folder of `accord prepare`, or JSONL: {"id", "prompt", "references", "group"?, "split"?} on each line.
    """
    from accord.calibration.tune import tune_stage

    finished = run_stage(tune_stage, prompts, settings=settings, common=common)
    show_stage(
        finished,
        as_json=common.json,
        lines=measurement_lines(read_results(finished.folder)),
        then=f"accord generate PROMPTS --model {finished.folder} --output-dir FOLDER",
    )
