"""A sweep file: one experiment at several settings and seeds, every combination a run of the chain.

    base: ../esconv.yaml
    scale: tiny
    vary: {generate.num_candidates: [5, 10, 15, 20]}
    seeds: [0, 1, 13, 42, 1024]

Any other key is laid over the base, section by section and key by key. A mapping under `vary` makes a grid; a list of
mappings names its points one by one, and each may name the `system` that stands for it.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from accord.config import build_settings, canonical_key, check_keys, read_config
from accord.errors import ConfigError
from accord.pipeline import (
    PATHS,
    SECTION_TYPES,
    SYSTEMS,
    PipelineSettings,
    at_scale,
    build_pipeline,
    check_pipeline,
    path_of,
    read_run,
)
from accord.ranges import check_numbers

SWEEP_KEYS = ("base", "scale", "vary", "seeds", "system")
SWEEP_FLAGS = ("human_replies", "watch_acceptance")
"""Flags of a run that a sweep may lay over it."""
DEMO = "demo"
MAX_POINTS = 100

Changes = dict[str, dict[str, Any]]
"""Section -> key -> value; keys of the whole run stand in section ""."""


class PlannedPoint(NamedTuple):
    """One setting of a sweep: `values` are what varies, by dotted key; `changes` the same by section; `system`: which
    system of its runs stands for it."""

    name: str
    values: dict[str, Any]
    changes: Changes
    system: str


class SweepPlan(NamedTuple):
    """What a sweep file says. `base` is None for the demo, whose settings are made when it runs.

    `common`: what the file lays over the base; `data_seed`: of the split and the independent judge, which all runs
    share.
    """

    where: str
    base: PipelineSettings | None
    common: Changes
    points: tuple[PlannedPoint, ...]
    seeds: tuple[int, ...]
    data_seed: int


def is_sweep(path: Path) -> bool:
    """Whether a YAML file varies anything."""
    return "vary" in read_config(path)


def read_sweep(path: Path, *, scale: str | None = None) -> SweepPlan:
    """The plan of a sweep file, every point's settings checked.

    Args:
        scale: of the base; wins over the file's own.

    Raises:
        ConfigError: a key, value or point that cannot be; nothing has run then.
    """
    return plan_sweep(read_config(path), path, where=str(path), scale=scale)


def plan_sweep(values: Mapping[str, Any], path: Path, *, where: str, scale: str | None = None) -> SweepPlan:
    """The plan that the keys of a sweep file at `path` make; `where` opens every error.

    Raises:
        ConfigError: see `read_sweep`.
    """
    scale = values.get("scale") if scale is None else scale
    if not isinstance(scale, str | None):
        raise ConfigError(f"{where}: scale is {scale!r}. Expected the name of one of the base's scales.")
    own = {key: value for key, value in values.items() if key not in SWEEP_KEYS}
    base, data_seed = _base(values.get("base"), own, path, scale=scale)
    laid_over = {} if "base" not in values else own
    data_seed = laid_over.get("seed", data_seed)
    if type(data_seed) is not int:
        raise ConfigError(f"{where}: seed is {data_seed!r}. Expected a whole number.")
    plan = SweepPlan(
        where,
        base,
        _common(laid_over, path),
        _points(values["vary"], _system(values.get("system", "calibrated"), where=where), where=where),
        _seeds(values.get("seeds"), data_seed, where=where),
        data_seed,
    )
    if plan.base is not None:
        point_settings(plan, plan.base)
    return plan


def point_settings(plan: SweepPlan, base: PipelineSettings) -> list[PipelineSettings]:
    """The settings of every point, in order.

    Raises:
        ConfigError: an unknown key, a value of the wrong type, or sections that contradict each other; names the point.
    """
    common = changed(base, plan.common, where=plan.where)
    found = []
    for point in plan.points:
        where = f"{plan.where}: {point.name}"
        settings = changed(common, point.changes, where=where)
        try:
            check_pipeline(settings)
            for section in SECTION_TYPES:
                check_numbers(getattr(settings, section) or {})
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        found.append(replace(settings, systems=tuple(dict.fromkeys(("base", point.system)))))
    return found


def changed(settings: PipelineSettings, changes: Changes, *, where: str) -> PipelineSettings:
    """The settings with the sections' keys changed.

    Raises:
        ConfigError: an unknown section or key, or a value of the wrong type.
    """
    check_keys([name for name in changes if name], SECTION_TYPES, where=where)
    check_keys(changes.get("", {}), (*SWEEP_FLAGS, *PATHS), where=where)
    built: dict[str, Any] = dict(changes.get("", {}))
    for section in filter(None, changes):
        keys = {canonical_key(str(key)): value for key, value in changes[section].items()}
        new: Any = build_settings(SECTION_TYPES[section], keys, where=f"{where}: {section}")
        old = getattr(settings, section)
        built[section] = new if old is None else replace(old, **{key: getattr(new, key) for key in keys})
    return replace(settings, **built)


# -- steps ------------------------------------------------------------------------------------------------------


def _base(name: Any, own: Mapping[str, Any], path: Path, *, scale: str | None) -> tuple[PipelineSettings | None, int]:
    """The settings and seed of the base: another file, the demo (None: it makes them when it runs), or this file."""
    if name == DEMO:
        if scale is not None:
            raise ConfigError(f"{path}: scale is {scale!r}, but the demo has none. Leave it out.")
        return None, 0
    base_path = path if name is None else path_of(path, "base", name)
    values = at_scale(own, scale, where=str(path)) if name is None else read_run(base_path, scale=scale)
    if "vary" in values:
        raise ConfigError(f"{path}: base is {name}, a sweep itself. Expected the file of one run, without vary.")
    return build_pipeline(values, base_path), values.get("seed", 0)


def _common(own: Mapping[str, Any], path: Path) -> Changes:
    """What the sweep file lays over its base; paths are relative to the sweep file."""
    changes: Changes = {}
    for key, value in own.items():
        if isinstance(value, Mapping):
            changes[key] = dict(value)
        elif key in SECTION_TYPES:
            raise ConfigError(f"{path}: {key} is {value!r}. Expected settings, one `key: value` per line.")
        elif key != "seed":
            if key in SWEEP_FLAGS and not isinstance(value, bool):
                raise ConfigError(f"{path}: {key} is {value!r}. Expected true or false.")
            changes.setdefault("", {})[key] = path_of(path, key, value).absolute() if key in PATHS else value
    return changes


def _points(vary: Any, system: str, *, where: str) -> tuple[PlannedPoint, ...]:
    """The points; `system` stands for those that name none."""
    systems: Iterable[str] = itertools.repeat(system)
    if isinstance(vary, Mapping) and vary:
        rows = list(_grid(vary, where=where))
    elif isinstance(vary, Sequence) and not isinstance(vary, str) and vary:
        rows = [_named(row, where=where) for row in vary]
        systems = (_system(row.get("system", system), where=where) for row in vary)
    else:
        raise ConfigError(
            f"{where}: vary is {vary!r}. Expected settings with lists of values (a grid), e.g. "
            "{generate.num_candidates: [5, 10]}, or a list of points."
        )
    if len(rows) > MAX_POINTS:
        raise ConfigError(f"{where}: vary makes {len(rows)} points. Expected at most {MAX_POINTS}; take fewer values.")
    short = _short_keys([key for _, values in rows for key in values])
    if (
        isinstance(vary, Mapping)
        and len(vary) == 1
        and all(isinstance(v, str) for _, row in rows for v in row.values())
    ):
        rows = [(str(*values.values()), values) for _, values in rows]  # "votes" says as much as "objective=votes"
    points = [
        PlannedPoint(name or _point_name(values, short), values, _by_section(values, where=where), stands_for)
        for (name, values), stands_for in zip(rows, systems, strict=False)
    ]
    names = [point.name for point in points]
    for name in names:
        if names.count(name) > 1 or name in (*SYSTEMS, "human") or " - " in name or not name.strip():
            raise ConfigError(
                f'{where}: a point of vary is called "{name}". Expected names that differ, none of '
                f'{", ".join((*SYSTEMS, "human"))}, without " - "; give the point a `name`.'
            )
    return tuple(points)


def _grid(vary: Mapping[str, Any], *, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every combination of the values, the last key fastest."""
    for key, choices in vary.items():
        if not isinstance(choices, list) or not choices:
            raise ConfigError(f"{where}: vary.{key} is {choices!r}. Expected a list of values to try.")
    for values in itertools.product(*vary.values()):
        yield "", dict(zip(vary, values, strict=True))


def _named(row: Any, *, where: str) -> tuple[str, dict[str, Any]]:
    if not isinstance(row, Mapping) or not isinstance(row.get("name", ""), str):
        raise ConfigError(
            f"{where}: a point of vary is {row!r}. Expected its settings, e.g. {{name: soft, fit.objective: soft_kl}}."
        )
    return row.get("name", ""), {key: value for key, value in row.items() if key not in ("name", "system")}


def _by_section(values: Mapping[str, Any], *, where: str) -> Changes:
    changes: Changes = {}
    for dotted, value in values.items():
        section, separator, key = str(dotted).rpartition(".")
        if separator and section not in map(canonical_key, SECTION_TYPES):
            check_keys([section], SECTION_TYPES, where=f"{where}: vary")
        if not separator:
            raise ConfigError(
                f'{where}: vary has "{dotted}". Expected SECTION.KEY, e.g. fit.objective; a key of the whole run '
                "cannot vary."
            )
        changes.setdefault(canonical_key(section), {})[canonical_key(key)] = value
    return changes


def _short_keys(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each dotted key, where it is no other key's too."""
    unique = list(dict.fromkeys(map(str, keys)))
    last = [key.rpartition(".")[2] for key in unique]
    return {key: short if last.count(short) == 1 else key for key, short in zip(unique, last, strict=True)}


def _point_name(values: Mapping[str, Any], short: Mapping[str, str]) -> str:
    """`objective=votes, num_candidates=5`."""
    shown = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    return ", ".join(f"{short[str(key)]}={value}" for key, value in shown.items())


def _seeds(found: Any, seed: int, *, where: str) -> tuple[int, ...]:
    seeds = [seed] if found is None else found
    is_list = isinstance(seeds, list) and bool(seeds) and all(type(s) is int and s >= 0 for s in seeds)
    if not is_list or len(set(seeds)) != len(seeds):
        raise ConfigError(f"{where}: seeds is {found!r}. Expected a list of different whole numbers from 0 on.")
    return tuple(seeds)


def _system(found: Any, *, where: str) -> str:
    if found not in SYSTEMS:
        raise ConfigError(f"{where}: system is {found!r}. Expected one of {', '.join(SYSTEMS)}.")
    return str(found)
