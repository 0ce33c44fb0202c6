"""The ranking loss against a double loop over pairs, and by hand."""

import math
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from accord.calibration.objectives import (
    PairReduction,
    dense_ranks,
    length_normalised,
    ranking_margin_loss,
    reference_loss,
)

ALL = torch.ones(1, 3, dtype=torch.bool)


def brute_force(
    logps: list[float], scores: list[float], *, margin: float, tie: float, margin_by: str, reduction: str
) -> float:
    """Eq. 7 read aloud: sort best first, visit every pair, skip ties."""
    order = sorted(range(len(scores)), key=lambda k: -scores[k])
    ranks: dict[int, int] = {}
    best_of_rank = math.inf
    for k in order:
        gap = best_of_rank - scores[k]
        if not ranks:
            ranks[k], best_of_rank = 0, scores[k]
        elif gap > 0 and gap >= tie:
            ranks[k], best_of_rank = max(ranks.values()) + 1, scores[k]
        else:
            ranks[k] = max(ranks.values())
    losses: list[float] = []
    by_gap: dict[int, list[float]] = {}
    for i in order:
        for j in order:
            difference = scores[i] - scores[j]
            if difference > 0 and difference >= tie:
                apart = ranks[j] - ranks[i] if margin_by == "rank" else difference
                losses.append(max(0.0, logps[j] - logps[i] + margin * apart))
                by_gap.setdefault(ranks[j] - ranks[i], []).append(losses[-1])
    if reduction == "gap_mean":
        return sum(sum(found) / len(found) for found in by_gap.values())
    return sum(losses) / (max(1, len(losses)) if reduction == "mean" else 1)


def test_by_hand() -> None:
    """P = (−2, −1, −4), S = (0.9, 0.5, 0.1), λ = 0.001.

    Pairs: (1, 2) violates by −1 + 2 + 0.001 = 1.001; (1, 3): −4 + 2 + 0.002 < 0; (2, 3): −4 + 1 + 0.001 < 0.
    """
    loss = ranking_margin_loss(torch.tensor([[-2.0, -1.0, -4.0]]), torch.tensor([[0.9, 0.5, 0.1]]), ALL)
    torch.testing.assert_close(loss, torch.tensor([1.001]))


def test_margin_grows_with_rank_or_score() -> None:
    """Equal likelihoods leave the margins alone: by rank λ(1 + 2 + 1) = 4λ; by score λ(0.4 + 0.8 + 0.4) = 1.6λ."""
    logps, scores = torch.zeros(1, 3), torch.tensor([[0.9, 0.5, 0.1]])
    torch.testing.assert_close(ranking_margin_loss(logps, scores, ALL, margin=0.5), torch.tensor([2.0]))
    by_score = ranking_margin_loss(logps, scores, ALL, margin=0.5, margin_by="score")
    torch.testing.assert_close(by_score, torch.tensor([0.8]))
    mean = ranking_margin_loss(logps, scores, ALL, margin=0.5, reduction="mean")
    torch.testing.assert_close(mean, torch.tensor([2.0 / 3]))


def test_means_of_pairs_equally_far_apart() -> None:
    """P = (−2, −1, −4), best first, λ = 1: neighbours lose 2 and max(0, −3 + 1) = 0, mean 1; the pair two ranks apart
    loses max(0, −2 + 2) = 0. The sum of pairs is 2, their mean 2/3, the sum of gap means 1.
    """
    logps, scores = torch.tensor([[-2.0, -1.0, -4.0]]), torch.tensor([[0.9, 0.5, 0.1]])
    found = {
        name: ranking_margin_loss(logps, scores, ALL, margin=1.0, reduction=name).item()
        for name in get_args(PairReduction)
    }
    assert found == pytest.approx({"sum": 2.0, "mean": 2 / 3, "gap_mean": 1.0})


def test_ties_are_not_compared_and_ranks_are_dense() -> None:
    """S = (0.9, 0.88, 0.1), tie 0.05: the first two share rank 0, the last has rank 1; two pairs, λ each."""
    scores = torch.tensor([[0.9, 0.88, 0.1]])
    assert dense_ranks(scores, ALL, tie=0.05).tolist() == [[0, 0, 1]]
    loss = ranking_margin_loss(torch.zeros(1, 3), scores, ALL, margin=1.0, tie=0.05)
    torch.testing.assert_close(loss, torch.tensor([2.0]))


def test_equal_scores_are_never_compared() -> None:
    loss = ranking_margin_loss(torch.tensor([[-9.0, -1.0, -5.0]]), torch.full((1, 3), 0.4), ALL, margin=1.0)
    assert loss.tolist() == [0.0]


def test_fewer_than_two_candidates_give_zero() -> None:
    mask = torch.tensor([[True, False], [False, False]])
    assert ranking_margin_loss(torch.randn(2, 2), torch.randn(2, 2), mask, margin=1.0).tolist() == [0.0, 0.0]
    assert ranking_margin_loss(torch.zeros(2, 0), torch.zeros(2, 0), mask[:, :0]).tolist() == [0.0, 0.0]


CANDIDATES = st.lists(
    st.tuples(st.integers(-40, 0).map(lambda v: v / 8), st.integers(0, 16).map(lambda v: v / 16)),
    min_size=1,
    max_size=7,
)


@given(
    candidates=CANDIDATES,
    margin=st.sampled_from([0.0, 0.001, 0.5]),
    tie=st.sampled_from([0.0, 0.125, 0.3]),
    margin_by=st.sampled_from(["rank", "score"]),
    reduction=st.sampled_from(["sum", "mean", "gap_mean"]),
    order=st.randoms(use_true_random=False),
)
def test_equals_the_double_loop_in_any_order_and_padding(
    candidates: list[tuple[float, float]], margin: float, tie: float, margin_by: str, reduction: str, order: object
) -> None:
    options = {"margin": margin, "tie": tie, "margin_by": margin_by, "reduction": reduction}
    expected = brute_force([p for p, _ in candidates], [s for _, s in candidates], **options)  # type: ignore[arg-type]
    rows: list[tuple[float, float, bool]] = [(p, s, True) for p, s in candidates]
    rows += [(math.nan, math.nan, False), (3.0, 9.0, False)]
    order.shuffle(rows)  # type: ignore[attr-defined]
    logps, scores, mask = (torch.tensor([column]) for column in zip(*rows, strict=True))
    found = ranking_margin_loss(logps.double(), scores.double(), mask, **options)  # type: ignore[arg-type]
    assert found.tolist() == pytest.approx([expected], abs=1e-9)


def test_batch_mates_do_not_matter() -> None:
    logps, scores = torch.randn(4, 5), torch.randn(4, 5)
    mask = torch.rand(4, 5) > 0.3
    together = ranking_margin_loss(logps, scores, mask, margin=0.1)
    alone = [ranking_margin_loss(logps[i : i + 1], scores[i : i + 1], mask[i : i + 1], margin=0.1) for i in range(4)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_gradient_raises_the_better_and_lowers_the_worse() -> None:
    """P = (−2, −1, −4), S = (0.9, 0.5, 0.1): only the first pair is violated, so d = (−1, +1, 0), masked 0."""
    logps = torch.tensor([[-2.0, -1.0, -4.0, math.nan]], requires_grad=True)
    mask = torch.tensor([[True, True, True, False]])
    ranking_margin_loss(logps, torch.tensor([[0.9, 0.5, 0.1, math.nan]]), mask).sum().backward()  # type: ignore[no-untyped-call]
    assert logps.grad is not None
    assert logps.grad.tolist() == [[-1.0, 1.0, 0.0, 0.0]]


def test_gradient_matches_finite_differences() -> None:
    scores = torch.tensor([[0.3, 0.9, 0.1, 0.6], [0.2, 0.2, 0.8, 0.5]], dtype=torch.float64)
    mask = torch.tensor([[True, True, True, True], [True, True, True, False]])
    logps = torch.randn(2, 4, dtype=torch.float64, generator=torch.manual_seed(0), requires_grad=True)

    def loss(values: Tensor) -> Tensor:
        return ranking_margin_loss(values, scores, mask, margin=0.3, margin_by="score")

    assert torch.autograd.gradcheck(loss, (logps,))


def test_length_exponent() -> None:
    """−6 nats in 4 tokens: −6/4 = −1.5 for α = 1, −6/2 = −3 for α = ½, −6 for α = 0."""
    sums, n_tokens = torch.tensor([[-6.0, 0.0]]), torch.tensor([[4, 0]])
    for exponent, expected in ((1.0, -1.5), (0.5, -3.0), (0.0, -6.0)):
        assert length_normalised(sums, n_tokens, length_exponent=exponent).tolist() == [[expected, 0.0]]


def test_reference_loss_by_hand() -> None:
    """References of −6 nats in 4 tokens and −2 nats in 1: (1.5 + 2)/2 = 1.75; none: 0."""
    sums = torch.tensor([[-6.0, -2.0], [0.0, 0.0]])
    mask = torch.tensor([[True, True], [False, False]])
    assert reference_loss(sums, torch.tensor([[4, 1], [0, 0]]), mask).tolist() == [1.75, 0.0]
