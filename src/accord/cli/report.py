"""`accord report`: one page that needs nothing beside it."""

from pathlib import Path
from typing import Annotated

from accord.cli.options import COMMON, SETTINGS, StageOptions
from accord.cli.output import run_stage, show_stage
from accord.errors import ConfigError
from accord.report.settings import ReportSettings

DEFAULTS = ReportSettings()


def report(
    *,
    prepared: Path | None = None,
    preference: Path | None = None,
    independent: Path | None = None,
    candidates: Path | None = None,
    calibration: tuple[str, ...] = (),
    outputs: tuple[Path, ...] = (),
    evaluation: Path | None = None,
    notes: Path | None = None,
    sweep: Path | None = None,
    votes: Path | None = None,
    paper: Path | None = None,
    settings: Annotated[ReportSettings, SETTINGS] = DEFAULTS,
    common: Annotated[StageOptions, COMMON],
) -> None:
    """Render the folders of a run as one report.html; what is not given is left out.

    Args:
        prepared: Folder of `accord prepare`.
        preference: Folder of `accord fit`: the model that scored the candidates.
        independent: Folder of `accord fit`: the model that evaluates.
        candidates: Folder of `accord score`.
        calibration: Folders of `accord calibrate`, each as NAME=FOLDER.
        outputs: Folders of `accord decode` or outputs.jsonl files, whose texts are shown side by side.
        evaluation: Folder of `accord evaluate`.
        notes: A Markdown file to show at the end; its first paragraph also stands at the top.
        sweep: Folder OUT/sweep/FINGERPRINT of a sweep; give its OUT/sweep_evaluation/FINGERPRINT as evaluation.
        votes: Folder OUT/sweep_votes/FINGERPRINT of a sweep: its preference models compared.
        paper: Folder OUT/paper/FINGERPRINT of a table or figure of the paper, which needs nothing else.
    """
    from accord.report.render import ReportInputs, report_stage

    inputs = ReportInputs(
        prepared=prepared,
        preference=preference,
        independent=independent,
        candidates=candidates,
        calibration=_named_folders(calibration),
        outputs=outputs,
        evaluation=evaluation,
        notes=notes,
        sweep=sweep,
        votes=votes,
        paper=paper,
    )
    finished = run_stage(report_stage, inputs, settings=settings, common=common)
    show_stage(finished, as_json=common.json, then=f"open {finished.folder / 'report.html'}")


def _named_folders(pairs: tuple[str, ...]) -> dict[str, Path]:
    folders = {}
    for pair in pairs:
        name, separator, folder = pair.partition("=")
        if not (name and separator and folder):
            raise ConfigError(f'--calibration "{pair}" is not NAME=FOLDER. Write e.g. calibrated=runs/calibrate.')
        folders[name] = Path(folder)
    return folders
