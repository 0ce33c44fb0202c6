"""`accord score`: what candidates are ranked by."""

from pathlib import Path
from typing import Annotated

from accord.cli.options import COMMON, SETTINGS, StageOptions
from accord.cli.output import count_rows, run_stage, show_stage
from accord.scoring.settings import ScoreSettings

DEFAULTS = ScoreSettings()


def score(
    candidates: Path,
    *,
    preference: tuple[Path, ...],
    settings: Annotated[ScoreSettings, SETTINGS] = DEFAULTS,
    common: Annotated[StageOptions, COMMON],
) -> None:
    """Score candidates with a preference model.

    Args:
        candidates: Folder of `accord generate`, or a JSONL file of candidates.
        preference: Folder of `accord fit`, or of its model. For utility worst_group once for each group's model.
    """
    from accord.scoring.score import score_stage

    finished = run_stage(score_stage, candidates, preference, settings=settings, common=common)
    show_stage(
        finished,
        as_json=common.json,
        lines=[f"{count_rows(finished.folder / 'candidates.jsonl')} prompts with scored candidates"],
        then=f"accord calibrate {finished.folder} --output-dir FOLDER",
    )
