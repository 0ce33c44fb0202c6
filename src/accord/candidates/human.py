"""What people wrote to the same prompts, as a system beside the others: the yardstick of every generator."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from accord.artifacts import open_stage
from accord.candidates.decode import OUTPUTS_FILE
from accord.candidates.prompts import read_prompts
from accord.errors import DataError
from accord.json_files import write_json, write_jsonl
from accord.records import Measurement, Output, PromptRow

VERSION = 1
SYSTEM = "human"


def human_stage(prompts: Path, *, output_dir: Path, seed: int, splits: Sequence[str] = ()) -> Path:
    """Write every reference as an output of the system `human`, in the order of the prompts.

    They carry no references themselves: a text compared with itself would be perfect in every metric of overlap.

    Raises:
        DataError: a prompt without a reference.
    """
    stage = open_stage(
        output_dir,
        stage="human",
        version=VERSION,
        settings={"system": SYSTEM, "splits": list(splits)},
        seed=seed,
        inputs={"prompts": prompts},
    )
    if not stage.is_complete:
        n_outputs = write_jsonl(
            stage.path(OUTPUTS_FILE), human_outputs(read_prompts(prompts, splits=splits), seed=seed)
        )
        nan = float("nan")
        counted = Measurement("n_outputs", SYSTEM, n_outputs, nan, nan, n_outputs, "count")
        write_json(stage.path("results.json"), [counted])
        stage.finish()
    return stage.folder


def human_outputs(rows: Sequence[PromptRow], *, seed: int) -> Iterator[Output]:
    """One output for every reference of every prompt."""
    for row in rows:
        if not row.references:
            raise DataError(
                f"Prompt {row.id!r} has no reference. Expected a human reply to every prompt; leave human_replies out."
            )
        for sample, text in enumerate(row.references):
            yield Output(row.id, row.prompt, text, system=SYSTEM, seed=seed, sample=sample, group=row.group)
