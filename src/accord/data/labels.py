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
    item_ids: list[str] = []
    judgements = _Judgements(scheme)
    judgement_index, n_judgements, times = array("q"), array("q"), array("q")
    for item in items:
        item_ids.append(item.id)
        said: Sequence[Annotation | str] = annotations_for(item, scheme) if item.votes is None else sorted(item.votes)
        try:
            judgement_index.extend(map(judgements.__getitem__, said))
        except KeyError as unknown:
            raise _unknown_label(item, unknown.args[0], scheme) from None
        n_judgements.append(len(said))
        times.extend(repeat(1, len(said)) if item.votes is None else map(item.votes.__getitem__, sorted(item.votes)))
    _require_one_question(judgements.questions)
    judged = np.repeat(np.array(judgement_index, dtype=np.int64), times)
    by_name = _by_name(
        _Long(
            np.repeat(np.repeat(np.arange(len(item_ids)), n_judgements), times),
            judged,
            np.array(judgements.label_ids, dtype=np.int64)[judged],
            judgements.annotators,
        )
    )
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


class _Judgements(dict[Annotation | str, int]):
    """Different annotations, and labels of anonymous votes, numbered as they come: few, however many items there are.

    `label_ids` and `annotators` (None: unknown) are those of each number. A label outside the scheme is a KeyError.
    """

    def __init__(self, scheme: LabelScheme) -> None:
        self.scheme = scheme
        self.label_ids: list[int] = []
        self.annotators: list[str | None] = []
        self.questions: set[str | None] = set()

    def __missing__(self, said: Annotation | str) -> int:
        if isinstance(said, str):
            annotator, label, question = None, said, self.scheme.question
        else:
            annotator, label, question = said.annotator, said.label, said.question
        if label not in self.scheme.labels:
            raise KeyError(label)
        self.label_ids.append(self.scheme.labels.index(label))
        self.annotators.append(annotator)
        self.questions.add(question)
        return self.setdefault(said, len(self))


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
    """Annotators, who may be listed several times, numbered by name, and each item's votes in that order."""
    names = sorted({name for name in long.annotators if name is not None})
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
