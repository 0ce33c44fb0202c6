"""A paper file: one table or figure of the paper, as a sweep for each of its generators.

    layout: table1
    rows:
    - {name: Aligned_major, fit.objective: majority}
    - {name: reference only, system: reference_only}
    compare: ["Aligned_major - reference only"]
    seeds: [0, 1, 13, 42, 1024]
    scales:
      tiny:
        generators:
        - {name: BART, base: esc/bart.yaml, published: MultiESC}

`rows` are points as under `vary` of a sweep; the generator before calibration is always the row Base. `decodings` (name
-> keys of section decode) repeats all rows under each way of decoding. Every row is tested against Base of the same
decoding; `compare` adds pairs of rows. Any other key is laid over each generator's base file, and what a generator says
itself wins. A scale is that of the paper file and of the base files alike.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from accord.config import check_keys, read_config
from accord.errors import ConfigError
from accord.pipeline import PipelineSettings, at_scale, laid_over, path_of
from accord.report.layouts import LAYOUTS
from accord.sweep.plan import SweepPlan, plan_sweep, point_settings

PAPER_KEYS = ("layout", "rows", "decodings", "compare", "generators", "n_rated", "ratings")
GENERATOR_KEYS = ("name", "published", "rows")
BASE_ROW = "Base"
BETWEEN = " · "
"""Stands between a decoding and a row in the name of a system."""


class PlannedRow(NamedTuple):
    """A row of the table under one decoding ("" where there is only one); `point` is its name in the sweep."""

    point: str
    decoding: str
    row: str


class PlannedGenerator(NamedTuple):
    """A generator of the table; `published`: the paper's generator whose rows stand beside, "" for none; `settings`: of
    every point of its sweep."""

    name: str
    published: str
    sweep: SweepPlan
    settings: tuple[PipelineSettings, ...]
    rows: tuple[PlannedRow, ...]


class PaperPlan(NamedTuple):
    """What a paper file says. `compare`: pairs of rows tested beside every row against Base; of a rating table
    `n_rated`: prompts of its study, `ratings`: what `accord rate --export` wrote of it, once there is any."""

    where: str
    layout: str
    scale: str
    generators: tuple[PlannedGenerator, ...]
    compare: tuple[tuple[str, str], ...]
    n_rated: int
    ratings: Path | None


def is_paper(path: Path) -> bool:
    """Whether a YAML file lays out a table or figure of the paper."""
    return "layout" in read_config(path)


def read_paper(path: Path, *, scale: str | None = None, seed: int | None = None) -> PaperPlan:
    """The plan of a paper file, every row's settings checked.

    Args:
        seed: instead of the file's seeds.

    Raises:
        ConfigError: a key, value, row or generator that cannot be; nothing has run then.
    """
    where = str(path)
    values = at_scale(read_config(path), scale, where=where)
    own = {key: value for key, value in values.items() if key not in PAPER_KEYS}
    rows = _rows(values.get("rows"), where=where)
    decodings = _decodings(values.get("decodings"), where=where)
    generators = _list_of_mappings(values, "generators", where=where)
    if seed is not None:
        generators = [{**found, "seeds": [seed]} for found in generators]
    n_rated = values.get("n_rated", 100)
    if type(n_rated) is not int or n_rated < 1:
        raise ConfigError(f"{where}: n_rated is {n_rated!r}. Expected a whole number from 1 on.")
    plan = PaperPlan(
        where,
        _layout(values.get("layout"), where=where),
        scale or "",
        tuple(_generator(found, own, rows, decodings, path, scale=scale) for found in generators),
        _pairs(values.get("compare", []), [row["name"] for row in rows], where=where),
        n_rated,
        None if values.get("ratings") is None else path_of(path, "ratings", values["ratings"]),
    )
    if plan.ratings is not None and not LAYOUTS[plan.layout].form:
        raise ConfigError(f"{where}: ratings are of a rating table, and {plan.layout} is none. Leave them out.")
    names = [generator.name for generator in plan.generators]
    if len(set(names)) < len(names):
        raise ConfigError(f"{where}: generators are called {', '.join(names)}. Expected names that differ.")
    return plan


def system_name(decoding: str, row: str) -> str:
    """What a row is called in the evaluation of its generator."""
    return f"{decoding}{BETWEEN}{row}" if decoding else row


# -- steps ------------------------------------------------------------------------------------------------------


def _generator(
    found: Mapping[str, Any],
    own: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    decodings: Mapping[str, Mapping[str, Any]],
    path: Path,
    *,
    scale: str | None,
) -> PlannedGenerator:
    name = found.get("name")
    if not isinstance(name, str) or not name.strip() or not isinstance(found.get("published", ""), str):
        raise ConfigError(f"{path}: a generator is {dict(found)!r}. Expected at least a name and a base file.")
    where = f"{path}: {name}"
    if not isinstance(found.get("base"), str):
        raise ConfigError(f"{where}: base is {found.get('base')!r}. Expected the file of a run, e.g. esc/bart.yaml.")
    kept = _chosen(found.get("rows"), rows, where=where)
    points = [
        {**row, **{f"decode.{key}": value for key, value in keys.items()}, "name": system_name(decoding, row["name"])}
        for decoding, keys in decodings.items()
        for row in kept
    ]
    laid = laid_over(own, {key: value for key, value in found.items() if key not in GENERATOR_KEYS})
    sweep = plan_sweep({**laid, "vary": points}, path, where=where, scale=scale)
    if sweep.base is None:
        raise ConfigError(f"{where}: base is demo. Expected the file of a run, e.g. esc/bart.yaml.")
    planned = [
        PlannedRow(system_name(decoding, row["name"]), decoding, row["name"]) for decoding in decodings for row in kept
    ]
    settings = tuple(point_settings(sweep, sweep.base))
    return PlannedGenerator(name, found.get("published", ""), sweep, settings, tuple(planned))


def _layout(found: Any, *, where: str) -> str:
    if found not in LAYOUTS:
        raise ConfigError(f"{where}: layout is {found!r}. Expected one of {', '.join(LAYOUTS)}.")
    return str(found)


def _list_of_mappings(values: Mapping[str, Any], key: str, *, where: str) -> list[Mapping[str, Any]]:
    found = values.get(key)
    if not isinstance(found, list) or not found or not all(isinstance(entry, Mapping) for entry in found):
        raise ConfigError(f"{where}: {key} is {found!r}. Expected a list, each with a name.")
    return found


def _rows(found: Any, *, where: str) -> list[Mapping[str, Any]]:
    rows = _list_of_mappings({"rows": found}, "rows", where=where)
    names = [row.get("name") for row in rows]
    for name in names:
        if not isinstance(name, str) or name == BASE_ROW or BETWEEN in name or names.count(name) > 1:
            raise ConfigError(
                f'{where}: a row is called {name!r}. Expected names that differ, not "{BASE_ROW}" and without '
                f'"{BETWEEN}".'
            )
    return rows


def _chosen(names: Any, rows: Sequence[Mapping[str, Any]], *, where: str) -> list[Mapping[str, Any]]:
    """The rows that a generator takes: all, or those it names."""
    if names is None:
        return list(rows)
    if not isinstance(names, list) or not names:
        raise ConfigError(f"{where}: rows is {names!r}. Expected a list of names of the file's rows.")
    known = {row["name"]: row for row in rows}
    check_keys(names, known, where=f"{where}: rows")
    return [known[name] for name in names]


def _decodings(found: Any, *, where: str) -> Mapping[str, Mapping[str, Any]]:
    if found is None:
        return {"": {}}
    if not isinstance(found, Mapping) or not found or not all(isinstance(keys, Mapping) for keys in found.values()):
        raise ConfigError(f"{where}: decodings is {found!r}. Expected names, each with keys of section decode.")
    return {str(name): keys for name, keys in found.items()}


def _pairs(found: Any, rows: Sequence[str], *, where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(found, list):
        raise ConfigError(f'{where}: compare is {found!r}. Expected a list of pairs of rows written "A - B".')
    pairs = []
    for text in found:
        first, _, second = str(text).partition(" - ")
        check_keys([first, second], [*rows, BASE_ROW], where=f"{where}: compare")
        pairs.append((first, second))
    return tuple(pairs)
