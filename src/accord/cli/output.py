"""What a verb prints when its stage is done: for people, or as JSON for programs."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from accord.artifacts import MANIFEST_FILE
from accord.cli.options import StageOptions
from accord.json_files import read_json
from accord.training.processes import is_main

RESULTS_FILE = "results.json"
INDENT = 2  # of the lines below a stage's folder


class Finished(NamedTuple):
    """A stage's finished folder, and whether it had been finished before."""

    folder: Path
    reused: bool


def run_stage(
    stage: Callable[..., Path], *inputs: Any, settings: Any, common: StageOptions, **more_inputs: Any
) -> Finished:
    """Call a stage function with the settings and the common flags of its verb."""
    reused = (common.output_dir / MANIFEST_FILE).is_file()
    folder = stage(*inputs, output_dir=common.output_dir, settings=settings, seed=common.seed, **more_inputs)
    return Finished(folder, reused)


def show_stage(
    finished: Finished, *, as_json: bool, lines: Iterable[str] = (), then: str | None = None, **extra: Any
) -> None:
    """Say where a stage's results are, its key numbers, and what to do next.

    Args:
        lines: the key numbers, one line each.
        then: the command that usually follows.
        extra: further entries of the JSON result.
    """
    folder, reused = finished
    state = " (was finished already: reused)" if reused else ""
    text = [f"{folder}{state}", *(f"{' ' * INDENT}{line}".rstrip() for line in lines)]
    if then is not None:
        text.append(f"next: {then}")
    show(text, {"output_dir": str(folder), "reused": reused, **extra, "results": read_results(folder)}, as_json=as_json)


def show(lines: Sequence[str], result: Any, *, as_json: bool) -> None:
    """Print `lines`, or `result` as JSON, on standard output; of several processes the first one does."""
    if not is_main():
        return
    text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) if as_json else "\n".join(lines)
    sys.stdout.write(text + "\n")


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The measurements of a stage's folder; none where the stage measures nothing."""
    path = folder / RESULTS_FILE
    return list(read_json(path)) if path.is_file() else []


def measurement_lines(results: Sequence[dict[str, Any]], *, names: Sequence[str] = (), limit: int = 6) -> list[str]:
    """The first `limit` measurements (of the given `names`, if any) as an aligned table of text."""
    chosen = [row for row in results if not names or row["name"] in names]
    rows = [(row["name"], row["system"], interval_text(row), f"n={row['n']}") for row in chosen[:limit]]
    widths = [max(len(row[column]) for row in rows) for column in range(4)] if rows else []
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    left = len(chosen) - len(rows)
    return [*lines, f"… and {left} more in {RESULTS_FILE}"] if left else lines


def measurement_blocks(results: Sequence[dict[str, Any]], *, names: Sequence[str]) -> list[str]:
    """One block per measurement name, one line per system or paired difference, in the order of `results`."""
    lines = []
    for name in names:
        rows = [row for row in results if row["name"] == name]
        width = max((len(row["system"]) for row in rows), default=0)
        lines += [name, *(f"  {row['system'].ljust(width)}  {interval_text(row)}" for row in rows)] if rows else []
    return lines


def interval_text(row: dict[str, Any]) -> str:
    """`0.512 [0.470, 0.561]`; "undefined" where the value is."""
    value, low, high = row.get("value"), row.get("low"), row.get("high")
    if value is None:
        return "undefined"
    if low is None or high is None:
        return f"{value:.3f}"
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def count_rows(path: Path) -> int:
    """Rows of a JSONL file."""
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())
