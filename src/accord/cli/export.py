"""`accord export`: what accord found, in the formats of plain transformers and TRL."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from accord.calibration.settings import PairsSettings
from accord.cli.options import COMMON, SETTINGS, StageOptions
from accord.cli.output import Finished, run_stage, show_stage

DEFAULTS = PairsSettings()

export = App(
    name="export",
    help="Export a preference model or preference pairs for transformers and TRL.",
    default_parameter=Parameter(negative_iterable=()),
)


@export.command
def reward(preference: Path, *, common: Annotated[StageOptions, COMMON]) -> None:
    """Write a preference model as a one-logit classifier that plain transformers loads, with equal scores.

    Args:
        preference: Folder of `accord fit`, or of its model: --tuning lora --pooling first_token.
    """
    from accord.artifacts import MANIFEST_FILE
    from accord.json_files import read_json
    from accord.preference.export import export_reward_stage

    reused = (common.output_dir / MANIFEST_FILE).is_file()
    folder = export_reward_stage(preference, output_dir=common.output_dir, seed=common.seed)
    summary = read_json(folder / "summary.json")
    show_stage(
        Finished(folder, reused),
        as_json=common.json,
        lines=[
            f"largest difference to accord's logits, over {summary['n_texts_compared']} texts: "
            f"{summary['largest_logit_difference']:.1e}"
        ],
        then=f'AutoModelForSequenceClassification.from_pretrained("{folder}")',
        summary=summary,
    )


@export.command
def pairs(
    candidates: Path,
    *,
    preference: Path | None = None,
    settings: Annotated[PairsSettings, SETTINGS] = DEFAULTS,
    common: Annotated[StageOptions, COMMON],
) -> None:
    """Write scored candidates as pairs of a chosen and a rejected completion, in TRL's columns.

    Args:
        candidates: Folder of `accord score`, or a JSONL file of scored candidates.
        preference: The preference model that scored them: it scores the references too, which then take part like any
            completion. Left out: references take no part.
    """
    from accord.calibration.pairs import export_pairs_stage
    from accord.json_files import read_json

    finished = run_stage(export_pairs_stage, candidates, settings=settings, common=common, preference=preference)
    summary = read_json(finished.folder / "summary.json")
    show_stage(
        finished,
        as_json=common.json,
        lines=[
            "{n_pairs} pairs of {n_prompts} prompts; left out: {n_ties} ties, {n_below_margin} below the margin; "
            "{n_prompts_without_pairs} prompts without a pair".format(**summary)
        ],
        then=f'datasets.load_dataset("json", data_dir="{finished.folder}")',
        summary=summary,
    )
