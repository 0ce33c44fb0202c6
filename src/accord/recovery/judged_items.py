"""The items that `accord recover` works on: read, without the test split, and what belongs together among them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from jaxtyping import Int

from accord.data.labels import annotations_for
from accord.data.prepare import prepare_scheme, read_source
from accord.data.prepared import SCHEME_FILE, Prepared, load_prepared
from accord.data.schemes import load_scheme
from accord.data.settings import PrepareSettings
from accord.data.splits import connected_components
from accord.errors import ConfigError, DataError
from accord.json_files import read_jsonl
from accord.preference.labelled import LabelledItems, count_items
from accord.records import Item
from accord.recovery.measure import Truth
from accord.recovery.settings import RecoverSettings


class JudgedItems(NamedTuple):
    """`annotators`: names by annotator number. `has_people`: somebody voted twice, so annotators are people and no
    seats. `prompts`: a number per prompt, -1 for a text without. `bundles`: items with the same number must not be on
    two sides of a fold (one group, or identical texts). `n_set_aside`: items of other splits. `truth`: of a
    simulation."""

    prepared: Prepared
    labelled: LabelledItems
    annotators: list[str]
    has_people: bool
    prompts: Int[np.ndarray, " N"]
    bundles: list[int]
    n_set_aside: int
    truth: Truth | None


def read_judged_items(source: Path, settings: RecoverSettings) -> JudgedItems:
    """Read a prepared folder, an items file with its scheme beside it, or any file that `accord prepare` reads.

    Raises:
        DataError: rows that cannot be read. ConfigError: a scheme of shares, or no item of the wanted splits.
    """
    prepared = _read(Path(source), settings)
    if prepared.scheme.kind == "share":
        raise ConfigError(
            f"Label scheme {prepared.scheme.name!r} estimates shares, so there are no votes to hide. "
            "Expected items whose labels are votes of single people."
        )
    kept = _of_splits(prepared.items, settings.splits)
    n_set_aside = len(prepared.items) - len(kept)
    prepared = Prepared(kept, prepared.scheme)
    labelled = count_items(prepared)
    return JudgedItems(
        prepared,
        labelled,
        sorted({a.annotator for item in kept for a in annotations_for(item, prepared.scheme)}),
        labelled.annotations is not None and int(np.bincount(labelled.annotations.annotator_index).max(initial=0)) > 1,
        _prompt_numbers(kept),
        connected_components(
            [
                (("group", cluster), ("text", *pair))
                for cluster, pair in zip(labelled.clusters, labelled.pairs, strict=True)
            ]
        ),
        n_set_aside,
        _read_truth(Path(settings.truth), labelled.ids) if settings.truth else None,
    )


def _read(source: Path, settings: RecoverSettings) -> Prepared:
    if source.is_dir() or (source.with_name(SCHEME_FILE).is_file() and not settings.scheme):
        items, scheme = load_prepared(source)
        scheme = load_scheme(settings.scheme) if settings.scheme else scheme
        return Prepared(items, msgspec.structs.replace(scheme, question=settings.question or scheme.question))
    reading = PrepareSettings(scheme=settings.scheme, question=settings.question, prompts="optional")
    scheme = prepare_scheme(reading)
    return Prepared(read_source(source, settings=reading, scheme=scheme).items, scheme)


class _TrueShares(msgspec.Struct):
    """A line of the file of true shares."""

    id: str
    acceptance: float
    vote_share: float


def _read_truth(path: Path, ids: Sequence[str]) -> Truth:
    found = {row.id: row for row in read_jsonl(path, _TrueShares)}
    missing = [name for name in ids if name not in found]
    if missing:
        raise DataError(f"{path} has no line for item {missing[0]!r} ({len(missing)} missing). Expected every item.")
    rows = [found[name] for name in ids]
    return Truth(np.array([row.vote_share for row in rows]), np.array([row.acceptance for row in rows]))


def _of_splits(items: Sequence[Item], splits: Sequence[str]) -> list[Item]:
    kept = [item for item in items if (item.split in splits if splits else item.split != "test")]
    if not kept:
        found = ", ".join(sorted({item.split or "none" for item in items})) or "none"
        asked = f"of splits {', '.join(splits)}" if splits else "outside split test"
        raise ConfigError(
            f"No item {asked} (found splits: {found}). Say which to use with --splits, e.g. --splits test."
        )
    return kept


def _prompt_numbers(items: Sequence[Item]) -> Int[np.ndarray, " N"]:
    """Items with the same prompt get the same number."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(item.prompt, len(numbers)) if item.prompt else -1 for item in items])
