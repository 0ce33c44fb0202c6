"""`accord multiesc`: the parts of MultiESC, one command each."""

from typing import Annotated

from cyclopts import App, Parameter

from accord.candidates.planning.settings import MultiEscSettings
from accord.cli.options import COMMON, SETTINGS, StageOptions
from accord.cli.output import run_stage, show_stage

DEFAULTS = MultiEscSettings()

multiesc = App(
    name="multiesc",
    help="Build the generator of MultiESC from a BART, which then writes after a strategy.",
    default_parameter=Parameter(negative_iterable=()),
)


@multiesc.command
def generator(
    bart: str,
    *,
    settings: Annotated[MultiEscSettings, SETTINGS] = DEFAULTS,
    common: Annotated[StageOptions, COMMON],
) -> None:
    """Give a BART a second, gated cross-attention to the turns of a conversation, and the strategies as tokens.

    Args:
        bart: Local path, Hub id, or a folder of `accord tune`.
    """
    from accord.artifacts import read_json
    from accord.candidates.planning.build import build_multiesc_stage

    finished = run_stage(build_multiesc_stage, bart, settings=settings, common=common)
    summary = read_json(finished.folder / "summary.json")
    show_stage(
        finished,
        as_json=common.json,
        lines=["tokens: " + ", ".join(f"{count} {kind}" for kind, count in summary.items())],
        then=f"accord tune PROMPTS --model {finished.folder} --output-dir FOLDER",
        summary=summary,
    )
