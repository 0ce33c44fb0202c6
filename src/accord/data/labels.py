"""From annotations to numbers: votes per label, label distributions, consensus shares."""

from array import array
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from itertools import repeat
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from accord.data.schemes import LabelScheme, quoted
from accord.errors import ConfigError, DataError
from accord.randomness import keyed_seed
from accord.records import Annotation, Item

UNKNOWN_ANNOTATOR = -1
"""The annotator index of a vote that came as an anonymous count."""


class LabelCounts(NamedTuple):
    """Every label given to N items. V = all votes in the long arrays, item by item; L labels.

    Annotators are numbered by name, and an item's votes are in that order too: the order in which annotations come
    cannot change a bit of what is computed from them.

    `annotator_index` is `UNKNOWN_ANNOTATOR` (-1) where an item carries anonymous counts instead of annotations.
    """

    item_ids: list[str]
    labels: tuple[str, ...]
    counts: Int[np.ndarray, "N L"]
    item_index: Int[np.ndarray, " V"]
    annotator_index: Int[np.ndarray, " V"]
    label_index: Int[np.ndarray, " V"]
    annotators: list[str]


class Votes(NamedTuple):
    """`LabelCounts`, and what they say about acceptance: n_acceptable of n_votes people accept the item.

    An item whose annotators were all left out by `annotators` patterns stays, with n_votes = 0.
    """

    item_ids: list[str]
    labels: tuple[str, ...]
    counts: Int[np.ndarray, "N L"]
    item_index: Int[np.ndarray, " V"]
    annotator_index: Int[np.ndarray, " V"]
    label_index: Int[np.ndarray, " V"]
    annotators: list[str]
    acceptable: Bool[np.ndarray, " L"]
    n_acceptable: Int[np.ndarray, " N"]
    n_votes: Int[np.ndarray, " N"]


def build_votes(items: Iterable[Item], scheme: LabelScheme, *, annotators: Collection[str] | None = None) -> Votes:
    """Count the votes of each item.

    Args:
        items: in the order of the result's rows.
        scheme: of kind "vote".
        annotators: glob patterns ("A*"); only matching annotators vote. None or empty: all.

    Raises:
        ConfigError: the scheme holds shares, a pattern matches nobody, patterns meet anonymous counts, or the
            items answer several questions and the scheme names none.
        DataError: a label outside the scheme.
    """
    if scheme.kind == "share":
        raise ConfigError(
            f"Label scheme {scheme.name!r} estimates shares, so its labels are no votes. "
            "Use consensus_shares (objectives soft_mse, soft_kl), or a scheme of kind vote."
        )
    counted = count_labels(items, scheme, annotators=annotators)
    acceptable = np.array([label in scheme.acceptable for label in scheme.labels])
    return Votes(
        *counted,
        acceptable=acceptable,
        n_acceptable=counted.counts[:, acceptable].sum(axis=1),
        n_votes=counted.counts.sum(axis=1),
    )


def count_labels(
    items: Iterable[Item], scheme: LabelScheme, *, annotators: Collection[str] | None = None
) -> LabelCounts:
    """Like `build_votes`, for any kind of scheme: labels are counted, nothing is said about acceptance."""
    label_ids = {label: index for index, label in enumerate(scheme.labels)}
    annotator_ids: dict[str | None, int] = {}
    item_ids: list[str] = []
    item_index, annotator_index, label_index, times = array("q"), array("q"), array("q"), array("q")
    questions: set[str | None] = set()
    for row, item in enumerate(items):
        item_ids.append(item.id)
        found = _columns_of(item, scheme)
        labels = [label_ids.get(label, -1) for label in found.labels]
        if -1 in labels:
            raise _unknown_label(item, found.labels[labels.index(-1)], scheme)
        questions.update(found.questions)
        item_index.extend(repeat(row, len(labels)))
        annotator_index.extend([annotator_ids.setdefault(name, len(annotator_ids)) for name in found.annotators])
        label_index.extend(labels)
        times.extend(found.times)
    _require_one_question(questions)
    long = _Long(
        np.repeat(np.array(item_index, dtype=np.int64), times),
        np.repeat(np.array(annotator_index, dtype=np.int64), times),
        np.repeat(np.array(label_index, dtype=np.int64), times),
        list(annotator_ids),
    )
    by_name = _by_name(long)
    if annotators:
        by_name = _keep_annotators(by_name, annotators)
    flat = np.bincount(
        by_name.item_index * len(scheme.labels) + by_name.label_index, minlength=len(item_ids) * len(scheme.labels)
    )
    return LabelCounts(item_ids, scheme.labels, flat.reshape(len(item_ids), len(scheme.labels)), *by_name)


def annotations_for(item: Item, scheme: LabelScheme) -> tuple[Annotation, ...]:
    """The annotations that answer the scheme's question; all of them where the scheme names none."""
    if scheme.question is None:
        return item.annotations
    return tuple(a for a in item.annotations if a.question == scheme.question)


def label_distribution(counts: Int[np.ndarray, "N L"]) -> Float[np.ndarray, "N L"]:
    """l_ic = n_ic / n_i, the raw share of each label; a row without votes is nan."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)


def smoothed_distribution(counts: Int[np.ndarray, "N L"], *, smoothing: float = 0.1) -> Float[np.ndarray, "N L"]:
    """p_ic = (n_ic + s) / (n_i + L·s), the prior of the d-PM objectives; s = 0.1 as in the paper's released code.

    A row without votes is uniform. One vote for class c gives p_ic = (1 + s) / (1 + L·s).

    Raises:
        ConfigError: smoothing is not positive (a zero prior forbids a label for ever).
    """
    if not smoothing > 0:
        raise ConfigError(f"smoothing is {smoothing}; expected a number above 0. Use label_distribution for none.")
    smoothed = counts + smoothing
    return smoothed / smoothed.sum(axis=1, keepdims=True)


def consensus_shares(
    items: Iterable[Item], scheme: LabelScheme, *, draw: Literal["midpoint", "uniform"] = "midpoint", seed: int = 0
) -> Float[np.ndarray, " N"]:
    """β_i, the estimated share of people who accept item i, from labels that are intervals of that share.

    One pseudo-vote (β, 1 - β) per item. Each label becomes its interval's midpoint (default), or a uniform draw
    inside it (the paper, appendix B.2), keyed by seed, item and annotator, so that neither the order of items nor
    that of annotators matters. Several labels of one item are averaged; an item without any is nan.

    Raises:
        ConfigError: the scheme is of kind "vote".
        DataError: a label outside the scheme.
    """
    if scheme.intervals is None:
        raise ConfigError(f"Label scheme {scheme.name!r} holds votes, no shares. Use build_votes.")
    shares: list[float] = []
    questions: set[str | None] = set()
    for item in items:
        total, n_labels = 0.0, 0
        for annotator, label, question, n in _labels_of(item, scheme):
            questions.add(question)
            if label not in scheme.intervals:
                raise DataError(f'Item "{item.id}": label "{label}" is not one of {quoted(scheme.labels)}.')
            low, high = scheme.intervals[label]
            for copy in range(n):
                position = 0.5
                if draw == "uniform":
                    position = keyed_seed(seed, "consensus", item.id, annotator or label, copy) / 2**63
                total += low + (high - low) * position
            n_labels += n
        shares.append(total / n_labels if n_labels else float("nan"))
    _require_one_question(questions)
    return np.array(shares)


class _Long(NamedTuple):
    item_index: Int[np.ndarray, " V"]
    annotator_index: Int[np.ndarray, " V"]
    label_index: Int[np.ndarray, " V"]
    annotators: list[Any]


class _Columns(NamedTuple):
    """The labels of one item, side by side: who gave each (None: unknown), to which question, how many times."""

    annotators: Sequence[str | None]
    labels: Sequence[str]
    questions: Sequence[str | None]
    times: Sequence[int]


def _columns_of(item: Item, scheme: LabelScheme) -> _Columns:
    """In the order of the annotations; of anonymous counts, in the order of the labels."""
    if item.votes is not None:
        labels = sorted(item.votes)
        n_labels = len(labels)
        return _Columns(
            [None] * n_labels, labels, [scheme.question] * n_labels, [item.votes[label] for label in labels]
        )
    found = annotations_for(item, scheme)
    return _Columns(
        [a.annotator for a in found], [a.label for a in found], [a.question for a in found], [1] * len(found)
    )


def _unknown_label(item: Item, label: str, scheme: LabelScheme) -> DataError:
    return DataError(
        f'Item "{item.id}": label "{label}" is not one of {quoted(scheme.labels)}. '
        "Add it to labels in the scheme, or run accord prepare with --on-bad-row skip."
    )


def _labels_of(item: Item, scheme: LabelScheme) -> list[tuple[str | None, str, str | None, int]]:
    """(annotator, label, question, how many) for each annotation, or for each anonymous count; sorted."""
    if item.votes is not None:
        return [(None, label, scheme.question, n) for label, n in sorted(item.votes.items())]
    labels = [(a.annotator, a.label, a.question, 1) for a in annotations_for(item, scheme)]
    return sorted(labels, key=lambda found: (found[0], found[2] or ""))


def _require_one_question(questions: set[str | None]) -> None:
    if len(questions) > 1:
        names = quoted(sorted(str(question) for question in questions))
        raise ConfigError(f"The annotations answer several questions: {names}. Choose one with --question.")


def _by_name(long: _Long) -> _Long:
    """Annotators numbered by name instead of by their first vote, and each item's votes in that order."""
    names = sorted(name for name in long.annotators if name is not None)
    numbers = {name: number for number, name in enumerate(names)}
    renumbered = np.array([numbers.get(name, UNKNOWN_ANNOTATOR) for name in long.annotators], dtype=np.int64)
    annotator_index = renumbered[long.annotator_index]
    order = np.argsort(long.item_index * (len(names) + 1) + annotator_index, kind="stable")
    return _Long(long.item_index[order], annotator_index[order], long.label_index[order], names)


def _keep_annotators(long: _Long, patterns: Collection[str]) -> _Long:
    """Only the annotators that match a pattern, numbered anew."""
    if (long.annotator_index == UNKNOWN_ANNOTATOR).any():
        raise ConfigError(
            f"annotators is {quoted(patterns)}, but items carry anonymous votes. "
            "Expected named annotations; leave annotators empty to use all votes."
        )
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in long.annotators):
            shown = quoted(long.annotators[:10]) + (" ..." if len(long.annotators) > 10 else "")
            raise ConfigError(f'annotators pattern "{pattern}" matches none of {shown}.')
    wanted = np.array([any(fnmatchcase(name, p) for p in patterns) for name in long.annotators], dtype=bool)
    renumbered = np.cumsum(wanted) - 1
    keep = wanted[long.annotator_index]
    return _Long(
        long.item_index[keep],
        renumbered[long.annotator_index[keep]],
        long.label_index[keep],
        [name for name, is_wanted in zip(long.annotators, wanted, strict=True) if is_wanted],
    )
