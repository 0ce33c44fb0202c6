"""Calibration objectives: likelihoods and scores of a prompt's candidates in, one loss per prompt out.

Each prompt stands on its own: batch mates never matter, absent candidates (mask 0) neither.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

PairReduction = Literal["sum", "mean", "gap_mean"]


def length_normalised(
    sum_logps: Float[Tensor, " B K"], n_tokens: Int[Tensor, " B K"], *, length_exponent: float
) -> Float[Tensor, " B K"]:
    """P(y) = Σ_t log p(y_t | x, y_<t) / |y|^α (Eq. 8), in nats per token for α = 1; 0 where there are no tokens."""
    return sum_logps / n_tokens.clamp(min=1).to(sum_logps.dtype) ** length_exponent


def ranking_margin_loss(
    candidate_logps: Float[Tensor, " B K"],
    scores: Float[Tensor, " B K"],
    mask: Bool[Tensor, " B K"],
    *,
    margin: float = 0.001,
    tie: float = 0.0,
    margin_by: Literal["rank", "score"] = "rank",
    reduction: PairReduction = "sum",
) -> Float[Tensor, " B"]:
    """Σ over pairs with S_i > S_j of max(0, P_j − P_i + λ_ij): what people prefer shall be likelier (Eq. 7).

    With `margin_by` "rank", λ_ij = λ·(rank_j − rank_i), the paper's λ·(j − i); with "score", λ_ij = λ·(S_i − S_j).

    Where we differ from the paper, which assumes all scores distinct:
    1. Candidates of equal score, and pairs closer than `tie`, are not compared.
    2. Ranks are dense: candidates within `tie` below the best of their rank share it, so every compared pair is at
       least one rank apart and none is further apart than the scores can tell.

    Args:
        candidate_logps: P, length-normalised log-probabilities, in any order of candidates.
        scores: S, higher is better.
        mask: 1 keeps and 0 ignores a candidate; what stands in ignored places is never looked at.
        reduction: "sum" over a prompt's pairs (the paper), their "mean", or "gap_mean": Σ_g of the mean over pairs g
            ranks apart (the paper's released code), where few distant pairs weigh as much as many close ones. A prompt
            without pairs has loss 0.
    """
    logps, scores = candidate_logps.masked_fill(~mask, 0.0), scores.masked_fill(~mask, 0.0)
    better = ranked_pairs(scores, mask, tie=tie)
    gaps = _row_minus_column(-dense_ranks(scores, mask, tie=tie).to(logps.dtype))
    apart = gaps if margin_by == "rank" else _row_minus_column(scores)
    violations = (margin * apart - _row_minus_column(logps)).clamp(min=0)
    return _REDUCTIONS[reduction](torch.where(better, violations, 0.0), better, gaps)


def reference_loss(
    sum_logps: Float[Tensor, " B R"], n_tokens: Int[Tensor, " B R"], mask: Bool[Tensor, " B R"]
) -> Float[Tensor, " B"]:
    """−1/|y*| Σ_t log p(y*_t) in nats per token (Eq. 9), averaged over a prompt's references; 0 where it has none."""
    losses = torch.where(mask, -length_normalised(sum_logps, n_tokens, length_exponent=1.0), 0.0)
    return losses.sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def ranked_pairs(scores: Float[Tensor, " B K"], mask: Bool[Tensor, " B K"], *, tie: float) -> Bool[Tensor, " B K K"]:
    """Where the row's candidate is better than the column's: S_i > S_j and S_i − S_j ≥ `tie`, both present."""
    difference = _row_minus_column(scores)
    return (difference > 0) & (difference >= tie) & mask[:, :, None] & mask[:, None, :]


def dense_ranks(scores: Float[Tensor, " B K"], mask: Bool[Tensor, " B K"], *, tie: float) -> Int[Tensor, " B K"]:
    """Ranks from 0, best first, counted from the top: a new rank starts at S ≤ (its predecessor's best) − `tie`.

    Absent candidates come after all others; their ranks mean nothing.
    """
    ordered, order = scores.masked_fill(~mask, -torch.inf).sort(dim=1, descending=True)
    ranks = torch.zeros_like(order)
    best_of_rank = ordered[:, 0] if ordered.shape[1] else ordered.new_zeros(len(ordered))
    for place in range(1, ordered.shape[1]):
        gap = best_of_rank - ordered[:, place]
        starts = (gap > 0) & (gap >= tie)
        ranks[:, place] = ranks[:, place - 1] + starts
        best_of_rank = torch.where(starts, ordered[:, place], best_of_rank)
    return torch.zeros_like(ranks).scatter(1, order, ranks)


def _row_minus_column(values: Float[Tensor, " B K"]) -> Float[Tensor, " B K K"]:
    return values[:, :, None] - values[:, None, :]


def _pair_sums(losses: Tensor, better: Tensor, gaps: Tensor) -> Tensor:  # noqa: ARG001 -- one signature
    return losses.sum(dim=(1, 2))


def _pair_means(losses: Tensor, better: Tensor, gaps: Tensor) -> Tensor:  # noqa: ARG001 -- one signature
    return losses.sum(dim=(1, 2)) / better.sum(dim=(1, 2)).clamp(min=1)


def _sums_of_gap_means(
    losses: Float[Tensor, " B K K"], better: Bool[Tensor, " B K K"], gaps: Float[Tensor, " B K K"]
) -> Float[Tensor, " B"]:
    """Σ_g mean of the losses of pairs g ranks apart; each pair's loss is divided by the number of its kind."""
    own = gaps.clamp(min=0).flatten(1).long()
    counts = torch.zeros_like(own).scatter_add(1, own, better.flatten(1).to(own.dtype))
    return (losses.flatten(1) / counts.gather(1, own).clamp(min=1)).sum(dim=1)


_REDUCTIONS: dict[PairReduction, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "sum": _pair_sums,
    "mean": _pair_means,
    "gap_mean": _sums_of_gap_means,
}
