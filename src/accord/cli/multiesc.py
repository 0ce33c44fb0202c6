"""`accord multiesc`: the parts of MultiESC, one command each."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from accord.candidates.planning.settings import FeedbackSettings, MultiEscSettings, SequenceSettings
from accord.cli.options import COMMON, SETTINGS, StageOptions
from accord.cli.output import Finished, measurement_lines, read_results, run_stage, show_stage

DEFAULTS = MultiEscSettings()
SEQUENCE_DEFAULTS = SequenceSettings()
FEEDBACK_DEFAULTS = FeedbackSettings()

multiesc = App(
    name="multiesc",
    help="The parts of MultiESC: a generator that writes after a strategy, and the planner that chooses it.",
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
    from accord.candidates.planning.build import build_multiesc_stage
    from accord.json_files import read_json

    finished = run_stage(build_multiesc_stage, bart, settings=settings, common=common)
    summary = read_json(finished.folder / "summary.json")
    show_stage(
        finished,
        as_json=common.json,
        lines=["tokens: " + ", ".join(f"{count} {kind}" for kind, count in summary.items())],
        then=f"accord tune PROMPTS --model {finished.folder} --output-dir FOLDER",
        summary=summary,
    )


@multiesc.command
def sequences(
    prompts: Path,
    *,
    settings: Annotated[SequenceSettings, SETTINGS] = SEQUENCE_DEFAULTS,
    common: Annotated[StageOptions, COMMON],
) -> None:
    """Write prompts whose references are the strategies to come, for a generator of such sequences.

    Args:
        prompts: Folder of `accord prepare --source esconv`, or JSONL of prompts with strategies.
    """
    from accord.candidates.planning.sequences import sequences_stage

    finished = run_stage(sequences_stage, prompts, settings=settings, common=common)
    show_stage(
        finished,
        as_json=common.json,
        then=f"accord tune {finished.folder / 'prompts.jsonl'} --model MODEL --output-dir FOLDER",
    )


@multiesc.command
def feedback(
    candidates: Path,
    *,
    settings: Annotated[FeedbackSettings, SETTINGS] = FEEDBACK_DEFAULTS,
    common: Annotated[StageOptions, COMMON],
) -> None:
    """Fit the predictor of the seeker's feedback to a sequence of strategies.

    Args:
        candidates: Folder of `accord generate --method beam` on the prompts of `accord multiesc sequences`.
    """
    from accord.candidates.planning.fit_feedback import fit_feedback_stage

    finished = run_stage(fit_feedback_stage, candidates, settings=settings, common=common)
    show_stage(
        finished,
        as_json=common.json,
        lines=measurement_lines(read_results(finished.folder)),
        then=f"accord multiesc plan PROMPTS --candidates FOLDER --feedback {finished.folder} --output-dir FOLDER",
    )


@multiesc.command
def plan(prompts: Path, *, candidates: Path, feedback: Path, common: Annotated[StageOptions, COMMON]) -> None:
    """Give each prompt the strategy that the lookahead planner chooses.

    Args:
        prompts: Folder of `accord prepare --source esconv`, or JSONL of prompts with strategies; those of split train
            tell how strategies follow each other.
        candidates: Folder of `accord generate --method beam`: sequences of strategies for the prompts to plan.
        feedback: Folder of `accord multiesc feedback`.
    """
    from accord.artifacts import MANIFEST_FILE
    from accord.candidates.planning.plan import plan_stage
    from accord.json_files import read_json

    reused = (common.output_dir / MANIFEST_FILE).is_file()
    folder = plan_stage(
        prompts, output_dir=common.output_dir, candidates=candidates, feedback=feedback, seed=common.seed
    )
    summary = read_json(folder / "summary.json")
    show_stage(
        Finished(folder, reused),
        as_json=common.json,
        lines=[f"{summary['n_planned']} prompts planned, {summary['n_as_annotated']} as annotated"],
        then=f"accord decode {folder / 'prompts.jsonl'} --model GENERATOR --strategy gold --system NAME "
        "--output-dir FOLDER",
        summary=summary,
    )
