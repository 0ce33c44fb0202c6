"""Would another order of collecting votes have paid? Real votes, revealed one after the other as if they were new.

Of every item half of its votes (rounded down) are kept back, at random. The others come to light in the order that a
policy asks for them; after each batch the posterior share of every item is held against the votes kept back. All
policies see the same votes of an item in the same order and are judged on the same ones, so their difference is that
of the items they ask for. An item can give no more votes than it has: where all have two or three, no order can differ
much from another.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from accord.preference.posterior import PosteriorBeta
from accord.progress import progress
from accord.randomness import keyed_rng
from accord.recovery.next_vote import by_value, expected_reduction
from accord.statistics.proper_scores import brier_score

Policy = Callable[[PosteriorBeta, np.ndarray], np.ndarray]
"""What is known of each item now, and how many votes of it have been seen -> which to ask for first; higher is sooner.
Equal ones come in random order."""

POLICIES: dict[str, Policy] = {
    "suggested": lambda known, n_seen: expected_reduction(known),  # noqa: ARG005 -- one signature
    "fewest_votes": lambda known, n_seen: -n_seen,  # noqa: ARG005
    "random": lambda known, n_seen: np.zeros(len(n_seen)),  # noqa: ARG005
}


class Replay(NamedTuple):
    """Brier score of the posterior share against one vote that was kept back, by policy; P points, S seeds.

    `per_item`: the same of each item [N], averaged over points and seeds: the area under its curve. nan for items with
    fewer than two votes, which take no part.
    """

    n_revealed: Int[np.ndarray, " P"]
    brier: dict[str, Float[np.ndarray, "S P"]]
    per_item: dict[str, Float[np.ndarray, " N"]]

    @property
    def n_items(self) -> int:
        return int((~np.isnan(next(iter(self.per_item.values())))).sum())


def replay(
    prior: PosteriorBeta, votes: Float[np.ndarray, "N 2"], ids: list[str], *, n_seeds: int, n_points: int, seed: int
) -> Replay:
    """Reveal votes in the order of every policy, `n_seeds` times with other votes kept back.

    Args:
        prior: of each item without any vote of its own.
        votes: whole numbers, unacceptable and acceptable.
        n_points: batches in which all votes come to light. A batch asks for an item again only when it has asked for
            every other one that has votes left.
    """
    taking_part = votes.sum(axis=1) >= 2
    rows = np.flatnonzero(taking_part)
    own_prior = PosteriorBeta(prior.a[rows], prior.b[rows])
    own_ids = [ids[row] for row in rows.tolist()]
    curves: dict[str, list[np.ndarray]] = {policy: [] for policy in POLICIES}
    totals = {policy: np.zeros(len(rows)) for policy in POLICIES}
    n_revealed = np.zeros(1, dtype=np.int64)
    with progress("Replaying votes", n_seeds) as advance:
        for draw in range(n_seeds):
            hand = _deal(votes[rows], own_ids, seed, draw)
            n_revealed = _points(hand, n_points)
            for policy in POLICIES:
                errors = _play(own_prior, hand, POLICIES[policy], n_revealed, keyed_rng(seed, "replay", policy, draw))
                curves[policy].append(errors.mean(axis=1))
                totals[policy] += errors.mean(axis=0) / n_seeds
            advance(1)
    per_item = {policy: _spread_out(total, rows, len(votes)) for policy, total in totals.items()}
    return Replay(n_revealed, {policy: np.stack(found) for policy, found in curves.items()}, per_item)


# -- steps ------------------------------------------------------------------------------------------------------


class _Hand(NamedTuple):
    """Votes of each item in the order they come to light, 1 accepting, padded; and those kept back."""

    accepts: Int[np.ndarray, "N most"]
    n: Int[np.ndarray, " N"]
    kept_accepting: Int[np.ndarray, " N"]
    n_kept: Int[np.ndarray, " N"]


def _deal(votes: Float[np.ndarray, "N 2"], ids: list[str], seed: int, draw: int) -> _Hand:
    """The votes of each item shuffled, by a key of its id, and cut in two."""
    n_votes = votes.sum(axis=1).astype(np.int64)
    n_kept = n_votes // 2
    n = n_votes - n_kept
    accepts = np.zeros((len(votes), int(n.max(initial=0))), dtype=np.int64)
    kept_accepting = np.zeros(len(votes), dtype=np.int64)
    for row, (item_id, counts) in enumerate(zip(ids, votes.astype(np.int64), strict=True)):
        shuffled = keyed_rng(seed, "replay", item_id, draw).permutation(np.repeat([0, 1], counts))
        accepts[row, : n[row]] = shuffled[: n[row]]
        kept_accepting[row] = shuffled[n[row] :].sum()
    return _Hand(accepts, n, kept_accepting, n_kept)


def _points(hand: _Hand, n_points: int) -> Int[np.ndarray, " P"]:
    """Numbers of revealed votes from none to all, each once."""
    return np.unique(np.round(np.linspace(0, hand.n.sum(), n_points + 1)).astype(np.int64))


def _play(
    prior: PosteriorBeta, hand: _Hand, policy: Policy, n_revealed: Int[np.ndarray, " P"], rng: np.random.Generator
) -> Float[np.ndarray, "P N"]:
    """Each item's Brier score per kept vote at every point."""
    n_seen = np.zeros(len(hand.n), dtype=np.int64)
    accepting = np.zeros(len(hand.n), dtype=np.int64)
    errors = []
    for goal in n_revealed:
        while (missing := int(goal - n_seen.sum())) > 0:
            known = PosteriorBeta(prior.a + accepting, prior.b + n_seen - accepting)
            asked = by_value(policy(known, n_seen), rng.random(len(n_seen)), among=n_seen < hand.n)[:missing]
            accepting[asked] += hand.accepts[asked, n_seen[asked]]
            n_seen[asked] += 1
        share = (prior.a + accepting) / (prior.a + prior.b + n_seen)
        errors.append(brier_score(share, hand.kept_accepting, hand.n_kept) / hand.n_kept)
    return np.stack(errors)


def _spread_out(values: Float[np.ndarray, " n"], rows: Int[np.ndarray, " n"], n_items: int) -> Float[np.ndarray, " N"]:
    everywhere = np.full(n_items, np.nan)
    everywhere[rows] = values
    return everywhere
