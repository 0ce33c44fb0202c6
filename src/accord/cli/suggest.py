"""`accord suggest`: what to have annotated next."""

from pathlib import Path
from typing import Annotated

from accord.cli.options import COMMON, SETTINGS, StageOptions
from accord.cli.output import measurement_lines, read_results, run_stage, show_stage
from accord.recovery.settings import SuggestSettings

DEFAULTS = SuggestSettings()


def suggest(
    items: Path,
    *,
    preference: Path | None = None,
    settings: Annotated[SuggestSettings, SETTINGS] = DEFAULTS,
    common: Annotated[StageOptions, COMMON],
) -> None:
    """Say which items to have annotated next, and whether that order would have paid so far.

    Args:
        items: Folder of `accord prepare`; items without votes are welcome.
        preference: Folder of `accord fit`. If it was fitted on these items, its out-of-fold predictions are taken.
            Without it all items share one prior.
    """
    from accord.json_files import read_json
    from accord.recovery.suggest import suggest_stage

    finished = run_stage(suggest_stage, items, settings=settings, common=common, preference=preference)
    summary = read_json(finished.folder / "summary.json")
    show_stage(
        finished,
        as_json=common.json,
        lines=[
            f"{summary['n_suggested']} of {summary['n_items']} items suggested, by {summary['prior']}",
            *measurement_lines(read_results(finished.folder), limit=8),
            *summary.get("verdict", []),
        ],
        then=f"have the items of {finished.folder / 'suggestions.jsonl'} annotated, one more vote each",
        summary=summary,
    )
