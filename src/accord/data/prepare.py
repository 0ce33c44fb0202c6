"""`accord prepare`: a corpus goes through the door, is split, described and written in accord's own format."""

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from accord.artifacts import Stage, open_stage
from accord.data.corpora import SOURCES, ItemSource, PromptSource, check_settings
from accord.data.describe import describe, disagreement_rows
from accord.data.formats import STANDARD_INPUT, file_name, resolve_format
from accord.data.hub import HUB_PREFIX, write_hub_table
from accord.data.prepared import (
    AGREEMENT_FILE,
    ANNOTATORS_FILE,
    COUNTS_FILE,
    ITEMS_FILE,
    PROMPTS_FILE,
    SCHEME_FILE,
)
from accord.data.problems import BadRow
from accord.data.prompts import PromptReading, describe_prompts, select_prompts, split_prompts
from accord.data.reader import Reading, read_all
from accord.data.schema import parse_renames, read_items
from accord.data.schemes import SCHEMES, LabelScheme, load_scheme, quoted
from accord.data.settings import PrepareSettings
from accord.data.splits import assign_splits, split_leaks
from accord.data.traits import read_traits
from accord.errors import AccordError, ConfigError, DataError
from accord.json_files import write_json, write_jsonl

VERSION = 2
DEFAULT_SCHEME = "acceptable"
"""What a file's labels mean when nothing else is said."""


def prepare_stage(source: Path | str, *, output_dir: Path, settings: PrepareSettings, seed: int) -> Path:
    """Read `source` and write a prepared folder, the input of every later stage.

    Files: items.jsonl, scheme.json, annotators.jsonl, agreement.json, disagreement.jsonl; of a corpus that nobody
    judged (ESConv) prompts.jsonl and prompts.json instead. Where there are any, metadata.jsonl (further fields by
    id) and rejects.jsonl (skipped rows). Nothing is left behind when the source is refused.

    Args:
        source: a file, "-" for standard input, "hub:" and the name of a data set of the Hub, or the file or folder
            of a known corpus (`settings.source`).

    Raises:
        DataError: bad rows; all of them are listed. ConfigError: settings that contradict each other.
        ArtifactError: the folder belongs to something else.
    """
    check_settings(settings)
    corpus = SOURCES.get(settings.source)
    scheme = None if isinstance(corpus, PromptSource) else prepare_scheme(settings)
    if str(source) == STANDARD_INPUT:
        settings = replace(settings, format=resolve_format(source, settings.format))
    with _standing(source, settings) as path:
        stage = open_stage(
            output_dir,
            stage="prepare",
            version=VERSION,
            settings=replace(settings, scheme="" if scheme is None else scheme.name),
            seed=seed,
            inputs=_inputs(path, settings),
        )
        if stage.is_complete:
            return stage.folder
        try:
            if isinstance(corpus, PromptSource):
                _write_prompts(stage, corpus.read(path, settings), settings, seed)
            else:
                assert scheme is not None
                _write_items(stage, read_source(path, settings=settings, scheme=scheme), scheme, settings, seed)
        except AccordError:
            stage.abandon()
            raise
    return stage.folder


def read_source(source: Path, *, settings: PrepareSettings, scheme: LabelScheme) -> Reading:
    """Everything in a file or in a known corpus of annotated items, through the door."""
    corpus = SOURCES.get(settings.source)
    if isinstance(corpus, ItemSource):
        return corpus.read(source, scheme, settings)
    reader = read_items(
        source,
        format=settings.format,
        scheme=scheme,
        on_bad_row=settings.on_bad_row,
        rename=parse_renames(settings.rename),
        annotator_columns=settings.annotator_columns,
        delimiter=settings.delimiter,
        prompts=settings.prompts,
        texts=Path(settings.texts) if settings.texts else None,
    )
    return read_all(reader)


def prepare_scheme(settings: PrepareSettings) -> LabelScheme:
    """The scheme of the settings, or the source's own, for the question asked."""
    corpus = SOURCES.get(settings.source)
    own = corpus.scheme if isinstance(corpus, ItemSource) else DEFAULT_SCHEME
    scheme = load_scheme(settings.scheme or own)
    return msgspec.structs.replace(scheme, question=settings.question) if settings.question else scheme


def _inputs(path: Path, settings: PrepareSettings) -> dict[str, Path | str]:
    """What the results depend on beside the settings, by content."""
    inputs: dict[str, Path | str] = {"corpus": path}
    if settings.scheme not in ("", *SCHEMES):
        inputs["scheme"] = settings.scheme
    if settings.texts:
        inputs["texts"] = Path(settings.texts)
    if settings.traits:
        inputs["traits"] = Path(settings.traits)
    return inputs


def _write_items(stage: Stage, reading: Reading, scheme: LabelScheme, settings: PrepareSettings, seed: int) -> None:
    items = assign_splits(
        reading.items,
        fractions=settings.fractions,
        seed=seed,
        disjoint_text=settings.disjoint_text,
        resplit=settings.resplit,
    )
    agreement = describe(items, scheme, n_resamples=settings.n_resamples, seed=seed)
    agreement |= {
        "leaks": split_leaks(items)._asdict(),
        "n_rows": reading.n_rows,
        "n_rejected": len(reading.bad_rows),
        "ignored_fields": reading.ignored_fields,
        **reading.counts,
    }
    if settings.traits:
        agreement |= _with_traits(agreement["annotators"], Path(settings.traits))
    write_jsonl(stage.path(ITEMS_FILE), items)
    write_json(stage.path(SCHEME_FILE), scheme)
    write_jsonl(stage.path(ANNOTATORS_FILE), agreement["annotators"])
    write_json(stage.path(AGREEMENT_FILE), agreement)
    write_jsonl(stage.path("disagreement.jsonl"), disagreement_rows(items, scheme))
    _write_rest(stage, reading.metadata, reading.bad_rows)


def _with_traits(annotators: Sequence[Mapping[str, Any]], path: Path) -> dict[str, Any]:
    """The rows of the annotators with their traits, and of how many none is known.

    Raises:
        DataError: bad rows, or none of the annotators is among them.
    """
    traits = read_traits(path)
    rows = [{**row, "traits": dict(traits.get(row["annotator"], {}))} for row in annotators]
    n_without = sum(not row["traits"] for row in rows)
    if n_without == len(rows):
        raise DataError(
            f"{path.name} has traits of {quoted(sorted(traits)[:5])}, none of whom made an annotation. Expected names "
            f"such as {quoted([row['annotator'] for row in annotators][:5])}; correct the column annotator."
        )
    return {"annotators": rows, "n_annotators_without_traits": n_without}


def _write_prompts(stage: Stage, reading: PromptReading, settings: PrepareSettings, seed: int) -> None:
    whole = split_prompts(reading.prompts, fractions=settings.fractions, seed=seed, resplit=settings.resplit)
    kept = select_prompts(whole, per_group=settings.prompts_per_group, per_split=settings.max_prompts, seed=seed)
    ids = {row.id for row in kept}
    write_jsonl(stage.path(PROMPTS_FILE), kept)
    write_json(stage.path(COUNTS_FILE), describe_prompts(reading, kept))
    _write_rest(stage, [entry for entry in reading.metadata if entry["id"] in ids], reading.bad_rows)


def _write_rest(stage: Stage, metadata: Sequence[Mapping[str, Any]], bad_rows: Sequence[BadRow]) -> None:
    if metadata:
        write_jsonl(stage.path("metadata.jsonl"), metadata)
    if bad_rows:
        write_jsonl(stage.path("rejects.jsonl"), bad_rows)
    stage.finish()


def _expected(settings: PrepareSettings) -> str:
    """What CORPUS should be, for an error message."""
    corpus = SOURCES.get(settings.source)
    if corpus is None or corpus.published is None:
        return "Expected a file of annotations, or a corpus's folder."
    return corpus.published.expected


@contextmanager
def _standing(source: Path | str, settings: PrepareSettings) -> Iterator[Path]:
    """The source as a path. What is no path is copied to a file first, because it is hashed and then read."""
    name, subset = str(source), settings.subset
    if subset and not name.startswith(HUB_PREFIX):
        raise ConfigError(f"subset is {subset!r}, but {name} is no data set of the Hub (hub:NAME). Leave subset out.")
    with tempfile.TemporaryDirectory() as folder:
        if name == STANDARD_INPUT:
            path = Path(folder) / file_name(source)
            with path.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        elif name.startswith(HUB_PREFIX):
            path = Path(folder) / (re.sub(r"[^\w.@-]+", "-", name.removeprefix(HUB_PREFIX)).strip("-") + ".parquet")
            write_hub_table(name.removeprefix(HUB_PREFIX), path, subset=subset)
        else:
            path = Path(source)
            if not path.exists():
                raise DataError(f"{source} does not exist. {_expected(settings)}")
        yield path
