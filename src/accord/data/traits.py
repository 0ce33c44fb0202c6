"""Annotators' traits (age, country, …): who the people are whose votes were counted.

A file of traits is JSONL or JSON with `{"annotator", "traits": {trait: value}}`, as `accord rate` exports it, or a
table (CSV, TSV, Parquet) with a column `annotator` and one column a trait. An empty value is unknown.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path
from typing import Any

from accord.data.formats import RawRow, container_of, raw_rows, resolve_format
from accord.data.prepared import ANNOTATORS_FILE
from accord.data.problems import MISSING, BadRow, Problem, bad_rows_error, problem, shown
from accord.data.schemes import quoted
from accord.errors import ConfigError

Traits = Mapping[str, Mapping[str, str]]
"""Annotator -> trait -> value; a trait that is not known of somebody is absent."""
REMEDY = "Correct it."


def read_traits(path: Path) -> Traits:
    """The traits of every annotator in a file; one without any has an empty mapping.

    Raises:
        DataError: rows that cannot be read, that name no annotator, or one twice.
    """
    container = container_of(path, resolve_format(path, "auto"))
    found: dict[str, dict[str, str]] = {}
    bad_rows: list[BadRow] = []
    for raw in raw_rows(path, container):
        annotator, traits, problems = _read_row(raw, is_table=container not in ("jsonl", "json"))
        if annotator in found:
            problems.append(problem("annotator", shown(annotator), "unique", "Remove one of the rows."))
        if problems:
            bad_rows.append(BadRow(path.name, raw.line, problems, raw.text))
        else:
            found[annotator] = traits
    if bad_rows:
        raise bad_rows_error(path.name, bad_rows)
    return found


def load_traits(folder_or_file: Path) -> Traits:
    """The traits in annotators.jsonl of a prepared folder, or beside an items file; empty where it holds none.

    Raises:
        DataError: see `read_traits`.
    """
    path = traits_file(folder_or_file)
    known = read_traits(path) if path.is_file() else {}
    return {annotator: traits for annotator, traits in known.items() if traits}


def traits_file(folder_or_file: Path) -> Path:
    """Where the traits of a prepared folder stand, or those beside an items file."""
    return (folder_or_file if folder_or_file.is_dir() else folder_or_file.parent) / ANNOTATORS_FILE


def annotators_with(traits: Traits, wanted: Sequence[str]) -> tuple[str, ...]:
    """Who has the wanted traits, as patterns that match these names alone.

    Args:
        wanted: each "trait=value", the value a glob pattern. Values of one trait are alternatives; of several traits
            each must be met.

    Raises:
        ConfigError: not of that form, no traits at all, a trait or value nobody has, or nobody has all.
    """
    if not traits:
        raise ConfigError(
            f"traits is {quoted(wanted)}, but the annotators have none. Give them to `accord prepare --traits FILE`."
        )
    values_of: dict[str, list[str]] = {}
    for text in wanted:
        trait, equals, value = text.partition("=")
        if not (trait and equals and value):
            raise ConfigError(f"traits has {text!r}. Expected TRAIT=VALUE, e.g. country=uk.")
        _require_known(traits, trait, value)
        values_of.setdefault(trait, []).append(value)
    found = [
        annotator
        for annotator, known in traits.items()
        if all(_has(known, trait, values) for trait, values in values_of.items())
    ]
    if not found:
        raise ConfigError(f"traits is {quoted(wanted)}, but nobody has all of them. Ask for fewer.")
    return tuple(escape(annotator) for annotator in found)


def _has(known: Mapping[str, str], trait: str, values: Sequence[str]) -> bool:
    return trait in known and any(fnmatchcase(known[trait], value) for value in values)


def _require_known(traits: Traits, trait: str, value: str) -> None:
    names = sorted({name for known in traits.values() for name in known})
    if trait not in names:
        raise ConfigError(f"traits names {trait!r}. Expected one of {quoted(names)}.")
    values = sorted({known[trait] for known in traits.values() if trait in known})
    if not any(fnmatchcase(found, value) for found in values):
        raise ConfigError(f"traits asks for {trait}={value}, which nobody has. Expected one of {quoted(values)}.")


def _read_row(raw: RawRow, *, is_table: bool) -> tuple[str, dict[str, str], list[Problem]]:
    """Annotator, traits, and what is wrong with the row."""
    if raw.value is None:
        return "", {}, list(raw.problems)
    problems: list[Problem] = []
    fields = dict(raw.value)
    annotator = _text(fields.pop("annotator", None))
    if not annotator:
        problems.append(problem("annotator", MISSING, "the name that the annotations have", REMEDY))
    given: Any = fields if is_table else fields.get("traits") or {}
    if not isinstance(given, dict):
        problems.append(problem("traits", shown(given), "an object of trait and value", REMEDY))
        return "", {}, problems
    traits = {str(trait): _text(value) for trait, value in given.items()}
    problems += [
        problem(f"trait {shown(trait)}", shown(given[trait]), "one value, text or a number", REMEDY)
        for trait, value in traits.items()
        if value is None
    ]
    return annotator or "", {trait: value for trait, value in traits.items() if value}, problems


def _text(value: Any) -> str | None:
    """A value as text, "" where it is absent; None where it is no single value."""
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return str(value).strip()
    return None
