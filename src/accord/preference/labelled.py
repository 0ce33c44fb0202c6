"""Items as a preference model learns from them: texts, votes per class, who voted, which split."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from accord.data.labels import UNKNOWN_ANNOTATOR, build_votes, consensus_shares
from accord.data.prepared import Prepared
from accord.data.schemes import quoted
from accord.errors import ConfigError
from accord.preference.objectives import NEED_COUNTS, NEED_PAIRS
from accord.records import Item, Prompt
from accord.statistics.proper_scores import vote_log_loss

BINARY_CLASSES = ("unacceptable", "acceptable")
MIN_SHARE_OF_PAIRS = 0.1


class Consensus(NamedTuple):
    """How a graded consensus becomes a share; see `consensus_shares`."""

    draw: Literal["midpoint", "uniform"] = "midpoint"
    seed: int = 0


MIDPOINT = Consensus()


class Annotations(NamedTuple):
    """Single votes of known annotators: item number, annotator number, whether the label is acceptable."""

    item_index: Int[np.ndarray, " V"]
    annotator_index: Int[np.ndarray, " V"]
    is_acceptable: Bool[np.ndarray, " V"]


class LabelledItems(NamedTuple):
    """N items with votes for L classes. `clusters`: group, or the id of an item without one.

    Votes are whole numbers, but for a consensus scheme: there each item has one pseudo-vote (1 − β, β).
    `annotations` is None where annotators are unknown.
    """

    ids: list[str]
    pairs: list[tuple[Prompt, str]]
    splits: Shaped[np.ndarray, " N"]
    clusters: Shaped[np.ndarray, " N"]
    classes: tuple[str, ...]
    acceptable: Bool[np.ndarray, " L"]
    votes: Float[np.ndarray, "N L"]
    annotations: Annotations | None

    @property
    def n_votes(self) -> Float[np.ndarray, " N"]:
        return self.votes.sum(axis=1)

    @property
    def n_acceptable(self) -> Float[np.ndarray, " N"]:
        return self.votes[:, self.acceptable].sum(axis=1)

    def rows(self, split: str) -> Int[np.ndarray, " n"]:
        """The items of a split that have votes."""
        return np.flatnonzero((self.splits == split) & (self.n_votes > 0))

    def mean_log_loss(self, logits: Float[np.ndarray, " n"], rows: Int[np.ndarray, " n"]) -> float:
        """Mean log-loss per vote of some items, from their log-odds of acceptance: what models are selected on."""
        n_acceptable, n_votes = self.n_acceptable[rows], self.n_votes[rows]
        return float(vote_log_loss(logits, n_acceptable, n_votes).sum() / n_votes.sum())


def label_items(
    prepared: Prepared,
    *,
    annotators: tuple[str, ...],
    groups: tuple[str, ...] = (),
    by_label: bool,
    objective: str,
    consensus: Consensus = MIDPOINT,
) -> LabelledItems:
    """Count the votes that count.

    Args:
        annotators: glob patterns; empty: everybody.
        groups: glob patterns of the items' groups, see `in_groups`; empty: all. Votes on other items do not count.
        by_label: keep every label of the scheme; else two classes, unacceptable and acceptable.
        objective: its name, to refuse data that it cannot learn from.
        consensus: of a consensus scheme, where each item is one pseudo-vote.

    Raises:
        ConfigError: no train or dev votes; a consensus scheme with an objective that needs counts, or with annotators
            chosen; an objective that needs pairs of votes, where less than a tenth of the training items have two.
    """
    found = count_items(
        prepared, annotators=annotators, groups=groups, by_label=by_label, objective=objective, consensus=consensus
    )
    _check(found, objective)
    return found


def count_items(
    prepared: Prepared,
    *,
    annotators: tuple[str, ...] = (),
    groups: tuple[str, ...] = (),
    by_label: bool = False,
    objective: str = "votes",
    consensus: Consensus = MIDPOINT,
) -> LabelledItems:
    """Like `label_items`, for items that need no splits to learn from and to select on."""
    items, scheme = prepared
    if scheme.kind == "share":
        found = _from_shares(prepared, objective, annotators, consensus)
    else:
        votes = build_votes(items, scheme, annotators=annotators or None)
        known = bool((votes.annotator_index != UNKNOWN_ANNOTATOR).all())
        is_acceptable = votes.acceptable[votes.label_index]
        annotations = Annotations(votes.item_index, votes.annotator_index, is_acceptable) if known else None
        binary = np.stack([votes.n_votes - votes.n_acceptable, votes.n_acceptable], axis=1)
        found = _labelled(
            items,
            votes.labels if by_label else BINARY_CLASSES,
            votes.acceptable if by_label else np.array([False, True]),
            (votes.counts if by_label else binary).astype(np.float64),
            annotations,
        )
    return _only_groups(found, groups) if groups else found


def in_groups(names: Sequence[str], patterns: Sequence[str]) -> Bool[np.ndarray, " N"]:
    """Which names match a pattern and no pattern that begins with "!"; with "!" patterns alone, all others match."""
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")] or ["*"]
    refused = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    return np.array(
        [
            any(fnmatchcase(name, p) for p in wanted) and not any(fnmatchcase(name, p) for p in refused)
            for name in names
        ],
        dtype=bool,
    )


def _only_groups(items: LabelledItems, groups: tuple[str, ...]) -> LabelledItems:
    """Items of other groups keep their texts and lose their votes."""
    kept = in_groups([str(name) for name in items.clusters], groups)
    annotations = items.annotations
    if annotations is not None:
        of_kept = kept[annotations.item_index]
        annotations = Annotations(*(values[of_kept] for values in annotations))
    return items._replace(votes=items.votes * kept[:, None], annotations=annotations)


def _from_shares(
    prepared: Prepared, objective: str, annotators: tuple[str, ...], consensus: Consensus
) -> LabelledItems:
    if objective in NEED_COUNTS:
        raise ConfigError(
            f"objective {objective!r} needs counts of votes, but label scheme {prepared.scheme.name!r} estimates "
            "shares. Use soft_kl, soft_mse or votes."
        )
    if annotators:
        raise ConfigError(
            f"annotators is {quoted(annotators)}, but label scheme {prepared.scheme.name!r} estimates what everybody "
            "thinks, and all estimates of an item are averaged. Leave annotators and traits empty."
        )
    shares = consensus_shares(prepared.items, prepared.scheme, draw=consensus.draw, seed=consensus.seed)
    votes = np.nan_to_num(np.stack([1 - shares, shares], axis=1))
    return _labelled(prepared.items, BINARY_CLASSES, np.array([False, True]), votes, None)


def _labelled(
    items: list[Item],
    classes: tuple[str, ...],
    acceptable: np.ndarray,
    votes: np.ndarray,
    annotations: Annotations | None,
) -> LabelledItems:
    return LabelledItems(
        ids=[item.id for item in items],
        pairs=[(item.prompt, item.completion) for item in items],
        splits=np.array([item.split or "" for item in items]),
        clusters=np.array([item.group if item.group is not None else item.id for item in items]),
        classes=classes,
        acceptable=acceptable,
        votes=votes,
        annotations=annotations,
    )


def _check(items: LabelledItems, objective: str) -> None:
    for split, purpose in (("train", "learn from"), ("dev", "select checkpoints on")):
        if len(items.rows(split)) == 0:
            raise ConfigError(
                f"No item of split {split!r} has votes; expected some to {purpose}. "
                "Check the splits that `accord prepare` wrote, and the settings annotators and groups."
            )
    if objective in NEED_PAIRS:
        share = float(np.mean(items.n_votes[items.rows("train")] >= 2))
        if share < MIN_SHARE_OF_PAIRS:
            raise ConfigError(
                f"{share:.0%} of the training items have two votes or more; {objective} needs at least "
                f"{MIN_SHARE_OF_PAIRS:.0%}, since single votes say nothing about {NEED_PAIRS[objective]}. "
                "Use objective votes."
            )
