"""`accord recover`: which estimator finds out what everyone thinks."""

from pathlib import Path
from typing import Annotated

from accord.cli.options import COMMON, SETTINGS, StageOptions
from accord.cli.output import run_stage, show_stage
from accord.recovery.settings import RecoverSettings

DEFAULTS = RecoverSettings()


def recover(
    items: Path,
    *,
    settings: Annotated[RecoverSettings, SETTINGS] = DEFAULTS,
    common: Annotated[StageOptions, COMMON],
) -> None:
    """Hide votes, see which estimator finds them again, and say which one to use.

    Args:
        items: Folder of `accord prepare`, or a file that it reads.
    """
    from accord.json_files import read_json
    from accord.recovery.recover import recover_stage
    from accord.recovery.recovered_tables import summary_lines

    finished = run_stage(recover_stage, items, settings=settings, common=common)
    summary, verdicts = (read_json(finished.folder / name) for name in ("summary.json", "verdict.json"))
    show_stage(
        finished,
        as_json=common.json,
        lines=[
            *(line for verdict in verdicts for line in verdict["words"]),
            "",
            *summary_lines(summary),
            "",
            *summary["panel"],
        ],
        then=f"read {finished.folder}/recover.md",
        verdicts=verdicts,
        summary=summary,
    )
