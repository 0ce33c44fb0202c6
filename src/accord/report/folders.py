"""Reading the stage folders a report is made from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from accord.evaluation.tables import null_as_nan
from accord.json_files import read_json, read_jsonl
from accord.records import Measurement, Output
from accord.report.document import ReportInputs

Row = dict[str, Any]


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a JSONL file that a stage wrote, as they are."""
    with path.open("rb") as file:
        for line in file:
            yield msgspec.json.decode(line)


def read_results(folder: Path) -> list[Measurement]:
    """The measurements of a stage's results.json; null is nan."""
    return msgspec.convert(null_as_nan(read_json(folder / "results.json")), list[Measurement])


def read_if_there(path: Path, absent: Any) -> Any:
    """A JSON file that not every folder of its stage has, or `absent`."""
    return read_json(path) if path.is_file() else absent


def read_per_item(folder: Path | None) -> list[Row]:
    """The evaluation's numbers per prompt and system; none without an evaluation."""
    path = None if folder is None else folder / "per_item.jsonl"
    return list(read_rows(path)) if path is not None and path.is_file() else []


def first_outputs(inputs: ReportInputs) -> list[list[Output]]:
    """Per prompt, in file order, every system's output with the lowest seed and sample."""
    first: dict[str, dict[str, Output]] = {}
    for path in inputs.outputs:
        for row in read_jsonl(outputs_path(path), Output):
            found = first.setdefault(row.id, {}).setdefault(row.system, row)
            if (row.seed, row.sample) < (found.seed, found.sample):
                first[row.id][row.system] = row
    return [list(by_system.values()) for by_system in first.values()]


def outputs_path(folder_or_file: Path) -> Path:
    """The outputs of a folder of `accord decode`, or the file itself."""
    return folder_or_file / "outputs.jsonl" if folder_or_file.is_dir() else folder_or_file


def stage_folders(inputs: ReportInputs) -> dict[str, Path]:
    """The inputs that are folders of a stage, by name."""
    return {name: folder for name, folder in inputs.by_name().items() if (folder / "stage.json").is_file()}


def prompt_text(prompt: Any) -> str:
    """A prompt as readable text: one turn as it is, several with their roles."""
    if isinstance(prompt, str):
        return prompt
    turns = [
        (turn["role"], turn["content"]) if isinstance(turn, dict) else (turn.role, turn.content) for turn in prompt
    ]
    return turns[0][1] if len(turns) == 1 else "\n".join(f"{role}: {content}" for role, content in turns)
