"""The outputs of all systems as one table: the same prompts for every system, every cell filled."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from accord.errors import ConfigError, DataError
from accord.evaluation.metrics.metric import is_empty
from accord.json_files import read_jsonl, read_numbered
from accord.records import Output

OUTPUTS_FILE = "outputs.jsonl"
KEY_FIELDS = ("id", "system", "seed", "sample")
SEPARATOR = " - "
"""Stands between the two systems of a difference, so that no system's name may hold it."""
OutputKey = tuple[str, str, int, int]


class OutputTable(NamedTuple):
    """`outputs[system][p]`: what `system` wrote for prompt p, by seed and sample.

    `prompt_ids` [P] in file order; `clusters` [P]: each prompt's group, or the prompt itself; `seeds[system]`: in
    order, every one of which wrote for every prompt.
    """

    systems: tuple[str, ...]
    prompt_ids: tuple[str, ...]
    clusters: np.ndarray
    outputs: dict[str, list[list[Output]]]
    seeds: dict[str, tuple[int, ...]]


def read_outputs(paths: Sequence[Path]) -> OutputTable:
    """Read outputs.jsonl files or the folders that hold one, and check them together (`build_output_table`)."""
    files = [path / OUTPUTS_FILE if path.is_dir() else path for path in paths]
    return build_output_table(row for file in files for row in read_jsonl(file, Output))


def build_output_table(rows: Iterable[Output]) -> OutputTable:
    """Arrange outputs by system and prompt.

    Raises:
        DataError: no outputs; the same (id, system, seed, sample) twice; a system without some prompt, or a seed of
            it; or one prompt id with two prompts, groups or sets of references.
    """
    by_system: dict[str, dict[str, list[Output]]] = {}
    seen: set[OutputKey] = set()
    first: dict[str, Output] = {}
    for row in rows:
        key = output_key(row)
        if key in seen:
            shown = ", ".join(f"{field} {value!r}" for field, value in zip(KEY_FIELDS, key, strict=True))
            raise DataError(f"Two outputs with {shown}. Expected one; number further draws with `sample` or `seed`.")
        seen.add(key)
        if SEPARATOR in row.system:
            raise DataError(
                f'System "{row.system}" has "{SEPARATOR}" in its name, the sign of a difference. Rename it.'
            )
        _check_same_prompt(first.setdefault(row.id, row), row)
        by_system.setdefault(row.system, {}).setdefault(row.id, []).append(row)
    if not first:
        raise DataError("No outputs found. Expected at least one row; make them with `accord decode`.")
    prompt_ids = tuple(first)
    for system, found in by_system.items():
        _check_no_prompt_missing(system, prompt_ids, found)
    clusters = np.array([_cluster(first[prompt_id]) for prompt_id in prompt_ids])
    cells = {
        system: [sorted(found[prompt_id], key=lambda row: (row.seed, row.sample)) for prompt_id in prompt_ids]
        for system, found in by_system.items()
    }
    seeds = {system: _seeds(system, prompt_ids, found) for system, found in cells.items()}
    return OutputTable(tuple(by_system), prompt_ids, clusters, cells, seeds)


def output_key(row: Output) -> OutputKey:
    """What names an output among all."""
    return (row.id, row.system, row.seed, row.sample)


def smallest_n_samples(table: OutputTable) -> int:
    """The least number of samples that any system has of a prompt under one seed."""
    cells = [cell for cells in table.outputs.values() for cell in cells]
    return min(min(Counter(row.seed for row in cell).values()) for cell in cells)


def seed_cells(table: OutputTable, system: str, seed: int, prompts: slice = slice(None)) -> list[list[Output]]:
    """What one seed of a system wrote for each prompt."""
    return [[row for row in cell if row.seed == seed] for cell in table.outputs[system][prompts]]


def count_outputs(table: OutputTable) -> dict[str, dict[str, int]]:
    """Per system: outputs, empty ones among them, seeds, prompts."""
    counts = {}
    for system, cells in table.outputs.items():
        rows = [row for cell in cells for row in cell]
        counts[system] = {
            "n_outputs": len(rows),
            "n_empty": sum(is_empty(row) for row in rows),
            "n_seeds": len(table.seeds[system]),
            "n_prompts": len(cells),
        }
    return counts


# -- values that come with the outputs ----------------------------------------------------------------------------


def read_values(paths: Sequence[Path], table: OutputTable, *, reserved: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Further numbers per output: name -> {system: [seeds, P]}, means over the outputs that have one, else nan.

    A row is {"id", "system", "seed" (0), "sample" (0), NAME: number or null, …}.

    Raises:
        DataError: not such a row; a row for no known output; a name given twice for one output, or a metric's name.
    """
    known = {output_key(row) for cells in table.outputs.values() for cell in cells for row in cell}
    numbers: dict[str, dict[OutputKey, float]] = {}
    for path in paths:
        line = 0
        for line, row in read_numbered(path, dict[str, Any], name="values"):
            key = _value_key(row, where=f"{path} line {line}")
            if key not in known:
                shown = ", ".join(f"{field} {value!r}" for field, value in zip(KEY_FIELDS, key, strict=True))
                raise DataError(f"{path} line {line}: no output has {shown}. Expected a row per output evaluated.")
            for name, value in row.items():
                if name not in KEY_FIELDS:
                    _add_number(numbers, name, key, value, where=f"{path} line {line}", reserved=reserved)
        if line == 0:
            raise DataError(f"{path} has no values. Expected a row per output evaluated.")
    return {
        name: {
            system: np.stack([_prompt_means(seed_cells(table, system, seed), found) for seed in table.seeds[system]])
            for system in table.systems
        }
        for name, found in numbers.items()
    }


# -- comparisons --------------------------------------------------------------------------------------------------


def parse_comparisons(systems: Sequence[str], *, compare: Sequence[str], baseline: str | None) -> list[tuple[str, str]]:
    """The pairs (A, B) of "A - B" texts, then every other system with the baseline; each once.

    Raises:
        ConfigError: not "A - B", or a system of which there are no outputs.
    """
    pairs = []
    for text in compare:
        names = text.split(SEPARATOR)
        if len(names) != 2:
            raise ConfigError(f'Cannot compare "{text}". Expected two systems written "A - B".')
        pairs.append((names[0].strip(), names[1].strip()))
    if baseline is not None:
        pairs += [(system, baseline) for system in systems if system != baseline]
    for name in [*(name for pair in pairs for name in pair), *([baseline] if baseline else [])]:
        if name not in systems:
            raise ConfigError(f'No outputs of system "{name}". Found outputs of: {", ".join(systems)}.')
    return list(dict.fromkeys(pairs))


# -- steps ------------------------------------------------------------------------------------------------------


def _cluster(row: Output) -> str:
    return f"prompt:{row.id}" if row.group is None else f"group:{row.group}"


def _check_same_prompt(known: Output, row: Output) -> None:
    """An output without references is let through: the human replies themselves are compared with none."""
    for field in ("prompt", "references", "group") if row.references else ("prompt", "group"):
        if getattr(known, field) != getattr(row, field):
            raise DataError(
                f'Prompt id "{row.id}" has one {field} in the outputs of {known.system} and another in those of '
                f"{row.system}. Expected outputs for the same prompts file; decode both systems from it."
            )


def _check_no_prompt_missing(system: str, prompt_ids: Sequence[str], found: dict[str, list[Output]]) -> None:
    missing = [prompt_id for prompt_id in prompt_ids if prompt_id not in found]
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise DataError(
            f"System {system} has no output for {len(missing)} of {len(prompt_ids)} prompts: {shown}. "
            "Expected the same prompts for every system; decode it on all of them."
        )


def _seeds(system: str, prompt_ids: Sequence[str], cells: Sequence[Sequence[Output]]) -> tuple[int, ...]:
    seeds = tuple(sorted({row.seed for cell in cells for row in cell}))
    for prompt_id, cell in zip(prompt_ids, cells, strict=True):
        missing = set(seeds) - {row.seed for row in cell}
        if missing:
            raise DataError(
                f"System {system} has outputs of seeds {', '.join(map(str, seeds))}, but for prompt {prompt_id} none "
                f"of seed {min(missing)}. Expected every seed on every prompt; number further draws with `sample`."
            )
    return seeds


def _value_key(row: dict[str, Any], *, where: str) -> OutputKey:
    prompt_id, system, seed, sample = row.get("id"), row.get("system"), row.get("seed", 0), row.get("sample", 0)
    if isinstance(prompt_id, str) and isinstance(system, str) and isinstance(seed, int) and isinstance(sample, int):
        return prompt_id, system, seed, sample
    shown = repr({name: row[name] for name in KEY_FIELDS if name in row})[:200]
    raise DataError(f'{where}: expected "id" and "system" as texts, "seed" and "sample" as integers; found {shown}.')


def _add_number(
    numbers: dict[str, dict[OutputKey, float]],
    name: str,
    key: OutputKey,
    value: Any,
    *,
    where: str,
    reserved: Iterable[str],
) -> None:
    if name in reserved:
        raise DataError(f'{where}: "{name}" is a metric of accord. Give the values another name.')
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise DataError(f"{where}: {name} is {value!r}. Expected a number, or null where undefined.")
    if key in numbers.setdefault(name, {}):
        raise DataError(f"{where}: a second {name} for the same output. Expected one.")
    numbers[name][key] = np.nan if value is None else float(value)


def _prompt_means(cells: Sequence[Sequence[Output]], found: dict[OutputKey, float]) -> np.ndarray:
    means = []
    for cell in cells:
        values = [found[output_key(row)] for row in cell if not np.isnan(found.get(output_key(row), np.nan))]
        means.append(float(np.mean(values)) if values else np.nan)
    return np.array(means)
