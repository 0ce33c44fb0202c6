"""`accord rate`: people rate the outputs of several systems, blind."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from accord.cli.options import COMMON, DEFAULT_OPTIONS, SETTINGS, Options
from accord.cli.output import show
from accord.errors import ConfigError
from accord.ranges import check_numbers
from accord.rating.settings import RateSettings, ServeSettings

if TYPE_CHECKING:
    from accord.rating.serve import Served

DEFAULTS = RateSettings()
SERVE_DEFAULTS = ServeSettings()


def rate(
    *outputs: Path,
    study: Path = Path("study"),
    annotators: int = 3,
    checks: Path | None = None,
    suggestions: Path | None = None,
    export: Path | None = None,
    output_dir: Path | None = None,
    seed: int = 0,
    settings: Annotated[RateSettings, SETTINGS] = DEFAULTS,
    serve: Annotated[ServeSettings, SETTINGS] = SERVE_DEFAULTS,
    common: Annotated[Options, COMMON] = DEFAULT_OPTIONS,
) -> None:
    """Serve pages on which several people rate outputs, blind; or export what they said.

    Args:
        outputs: Folders of `accord decode`, or JSONL files of outputs. Not needed to go on with a study.
        study: Folder of the study; the same command again goes on with it.
        annotators: Links to make; more can be made on the admin page.
        checks: JSONL of texts with known answers: {"prompt", "completion", "expected": {QUESTION: label or labels}}.
        suggestions: File of `accord suggest`, for --order suggest.
        export: A study's folder or file: write its ratings to --output-dir instead of serving it.
        output_dir: Folder for the export.
        seed: Of the order of prompts and texts.
    """
    if (export is None) != (output_dir is None):
        raise ConfigError("--export STUDY and --output-dir FOLDER belong together. Give both or neither.")
    if export is not None and output_dir is not None:
        _export(export, output_dir, as_json=common.json)
        return
    _require_web()
    from accord.rating.draft import StudyInputs
    from accord.rating.serve import check_address, serve_study
    from accord.rating.study import open_study

    check_numbers({"annotators": annotators})
    check_address(serve)
    store = open_study(study, StudyInputs(outputs, checks, suggestions), settings=settings, seed=seed)
    try:
        serve_study(
            store, serve, n_annotators=annotators, announce=lambda served: _announce(served, study, as_json=common.json)
        )
    except KeyboardInterrupt:  # the way to stop it
        sys.stderr.write("accord: stopped. Every answer that was confirmed is saved; the same command goes on.\n")
    finally:
        store.close()


def _require_web() -> None:
    try:
        import jinja2  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"accord rate needs {error.name}: pip install 'accord[web]'") from None


def _announce(served: "Served", study: Path, *, as_json: bool) -> None:
    for warning in served.warnings:
        sys.stderr.write(f"accord: {warning}\n")
    lines = [
        f"{study}: rating has begun; answers are saved here as they are given",
        f"  admin  {served.admin}",
        *(f"  {name.ljust(5)}  {link}" for name, link in served.links.items()),
        "  Give each annotator one link. Ctrl-C stops; the same command goes on.",
    ]
    show(lines, {"study": str(study), **served._asdict()}, as_json=as_json)
    sys.stdout.flush()


def _export(study: Path, output_dir: Path, *, as_json: bool) -> None:
    from accord.rating.export import RATINGS_FILE, export_study
    from accord.rating.study import read_study

    store = read_study(study)
    try:
        found = export_study(store, output_dir)
    finally:
        store.close()
    unrated = f"; {found.n_unrated} texts have no ratings and are left out" if found.n_unrated else ""
    lines = [
        str(output_dir),
        f"  {found.n_ratings} ratings of {found.n_rated} texts by {found.n_annotators} annotators{unrated}",
    ]
    if found.n_ratings:
        scheme = output_dir / "QUESTION.json"
        lines.append(f"next: accord prepare {output_dir / RATINGS_FILE} --scheme {scheme} --output-dir FOLDER")
    show(lines, {"output_dir": str(output_dir), **found._asdict()}, as_json=as_json)
