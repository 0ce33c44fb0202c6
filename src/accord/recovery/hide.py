"""Hiding votes: estimators see some of each item's votes, answer, and are judged on others.

A draw is keyed by seed and item id, so that neither the order of items nor that of annotations matters. Whatever is
visible at a small `keep` stays visible at every larger one, and the *targets*, the items whose hidden votes judge the
estimators, are the same for every `keep` of one seed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from accord.errors import ConfigError
from accord.preference.labelled import Annotations, LabelledItems
from accord.randomness import keyed_rng


class Hiding(NamedTuple):
    """Which votes estimators may see, and which they are judged on. Columns of votes: unacceptable, acceptable.

    An item without hidden votes is no target. The annotations are None where annotators are unknown.
    """

    visible: Float[np.ndarray, "N 2"]
    hidden: Float[np.ndarray, "N 2"]
    visible_annotations: Annotations | None
    hidden_annotations: Annotations | None

    @property
    def is_target(self) -> Bool[np.ndarray, " N"]:
        return self.hidden.sum(axis=1) > 0


class Estimate(NamedTuple):
    """Each item's acceptance, and the weight a + b of the Beta(a, b) that its share is believed to have.

    nan where there is no answer; `weight` is None where the estimator gives a number and no distribution. `latent`:
    what a denoiser thinks people would say without slips; None: the same as `acceptance`.
    """

    acceptance: Float[np.ndarray, " N"]
    weight: Float[np.ndarray, " N"] | None = None
    latent: Float[np.ndarray, " N"] | None = None


def hide_votes(items: LabelledItems, *, keep: Sequence[int], seed: int) -> list[Hiding]:
    """Keep k random votes of each target, for every k of `keep`, and hide the others.

    Targets have more than max(keep) votes; all other items keep all of theirs. Votes without names are drawn from the
    item's counts, without replacement.

    Raises:
        ConfigError: `keep` is not made of positive numbers, or no item has votes to hide.
    """
    votes = _single_votes(items)
    _check_keep(keep)
    is_target = items.n_votes > max(keep)
    _require_targets(is_target, keep, f"No item has more than {max(keep)} vote{'s' if max(keep) > 1 else ''}")
    rank = _random_rank(votes, np.ones(len(votes.item_index), dtype=bool), items.ids, is_target, seed)
    of_target = is_target[votes.item_index]
    return [_hiding(items, votes, ~of_target | (rank < k), of_target & (rank >= k)) for k in keep]


def hide_people(items: LabelledItems, *, keep: Sequence[int], seed: int) -> list[Hiding]:
    """Hide whole annotators: of the people in random order, the first ones are visible, the others vanish.

    People enter the visible panel until the items that were judged have k visible votes on average: k means votes per
    item here too, whatever the panel's size. Targets have a vote of the smallest visible panel and one of somebody
    outside the largest; what hidden people say of other items is neither visible nor hidden.

    Raises:
        ConfigError: unknown annotators, `keep` is not made of positive numbers, or nobody is left to hide.
    """
    _check_keep(keep)
    if items.annotations is None:
        raise ConfigError(
            "hide is 'people', but the annotators of this data are unknown (counts, or every vote its own annotator). "
            "Use --hide votes."
        )
    votes = _single_votes(items)
    panels = [_visible_people(items, votes, k, seed)[votes.annotator_index] for k in keep]
    smallest, largest = panels[int(np.argmin(keep))], panels[int(np.argmax(keep))]
    is_target = (_count(items, votes, smallest) > 0) & (_count(items, votes, ~largest) > 0)
    _require_targets(is_target, keep, "No item has votes both of visible and of hidden people")
    of_target = is_target[votes.item_index]
    return [_hiding(items, votes, panel, of_target & ~panel) for panel in panels]


def hide_panel(
    items: LabelledItems, *, keep: Sequence[int], is_first_panel: Bool[np.ndarray, " M"], seed: int
) -> list[Hiding]:
    """Two panels judged the items independently: k random votes of the first are visible, all of the second hidden.

    Targets have at least max(keep) votes of the first panel and one of the second; other items keep the first
    panel's votes. What a target has beyond k votes of the first panel is neither visible nor hidden.

    Args:
        is_first_panel: by annotator number.

    Raises:
        ConfigError: unknown annotators, `keep` is not made of positive numbers, or no item has enough votes.
    """
    _check_keep(keep)
    votes = _single_votes(items)
    if items.annotations is None:
        raise ConfigError("hide is 'panels', but the annotators of this data are unknown. Use --hide votes.")
    in_first = is_first_panel[votes.annotator_index]
    n_first, n_second = _count(items, votes, in_first), _count(items, votes, ~in_first)
    is_target = (n_first >= max(keep)) & (n_second > 0)
    _require_targets(is_target, keep, f"No item has {max(keep)} vote(s) of the first panel and one of the second")
    rank = _random_rank(votes, in_first, items.ids, is_target, seed)
    of_target = is_target[votes.item_index]
    return [_hiding(items, votes, in_first & (~of_target | (rank < k)), of_target & ~in_first) for k in keep]


# -- steps ------------------------------------------------------------------------------------------------------


class _SingleVotes(NamedTuple):
    """Every vote by itself, item by item; `annotator_index` is -1 where annotators are unknown."""

    item_index: Int[np.ndarray, " V"]
    annotator_index: Int[np.ndarray, " V"]
    is_acceptable: Bool[np.ndarray, " V"]


def _single_votes(items: LabelledItems) -> _SingleVotes:
    if items.annotations is not None:
        return _SingleVotes(*items.annotations)
    n_acceptable = items.n_acceptable.astype(np.int64)
    counts = np.stack([items.n_votes.astype(np.int64) - n_acceptable, n_acceptable], axis=1)
    item_index = np.repeat(np.arange(len(counts)), counts.sum(axis=1))
    is_acceptable = np.repeat(np.tile([False, True], len(counts)), counts.ravel())
    return _SingleVotes(item_index, np.full(len(item_index), -1), is_acceptable)


def _random_rank(
    votes: _SingleVotes,
    is_ranked: Bool[np.ndarray, " V"],
    ids: Sequence[str],
    is_target: Bool[np.ndarray, " N"],
    seed: int,
) -> Int[np.ndarray, " V"]:
    """0, 1, 2 … for the ranked votes of each target in random order; 0 for every other vote."""
    rank = np.zeros(len(votes.item_index), dtype=np.int64)
    ranked = np.flatnonzero(is_ranked & is_target[votes.item_index])
    starts = np.flatnonzero(np.diff(votes.item_index[ranked], prepend=-1))
    for part in np.split(ranked, starts[1:]):
        if len(part):
            rank[part] = keyed_rng(seed, "hide", ids[votes.item_index[part[0]]]).permutation(len(part))
    return rank


def _visible_people(items: LabelledItems, votes: _SingleVotes, keep: int, seed: int) -> Bool[np.ndarray, " M"]:
    """Whom the panel of `keep` visible votes per judged item is made of, by annotator number."""
    n_votes = np.bincount(votes.annotator_index)
    order = keyed_rng(seed, "hide", "people").permutation(len(n_votes))
    wanted = keep * int((items.n_votes > 0).sum())
    n_people = int(np.searchsorted(np.cumsum(n_votes[order]), wanted)) + 1
    is_visible = np.zeros(len(n_votes), dtype=bool)
    is_visible[order[:n_people]] = True
    return is_visible


def _count(items: LabelledItems, votes: _SingleVotes, which: Bool[np.ndarray, " V"]) -> Int[np.ndarray, " N"]:
    return np.bincount(votes.item_index[which], minlength=len(items.ids))


def _hiding(
    items: LabelledItems, votes: _SingleVotes, is_visible: Bool[np.ndarray, " V"], is_hidden: Bool[np.ndarray, " V"]
) -> Hiding:
    def counted(which: Bool[np.ndarray, " V"]) -> Float[np.ndarray, "N 2"]:
        of_label = [_count(items, votes, which & (votes.is_acceptable == label)) for label in (False, True)]
        return np.stack(of_label, axis=1).astype(np.float64)

    def annotations(which: Bool[np.ndarray, " V"]) -> Annotations | None:
        return None if items.annotations is None else Annotations(*(values[which] for values in votes))

    return Hiding(counted(is_visible), counted(is_hidden), annotations(is_visible), annotations(is_hidden))


def _check_keep(keep: Sequence[int]) -> None:
    if not keep or min(keep) < 1 or len(set(keep)) < len(keep):
        raise ConfigError(f"keep is {list(keep)}; expected numbers of visible votes from 1, each once, e.g. 1 2 3.")


def _require_targets(is_target: Bool[np.ndarray, " N"], keep: Sequence[int], found: str) -> None:
    if not is_target.any():
        remedy = "Lower --keep." if max(keep) > 1 else "Expected items that several people judged."
        raise ConfigError(f"{found}, so none can be hidden at --keep {' '.join(map(str, keep))}. {remedy}")
