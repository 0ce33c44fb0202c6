"""What a preference model can be trained on: pure functions of logits and votes, one loss and weight per example.

The caller divides Σ loss by Σ weight over the whole step. Everything is computed from log-probabilities, so that
saturated logits stay finite. An example without votes has loss 0 and weight 0. Axes before [B, L] are models that
are trained side by side: each has its own batch, and none knows of the others.

Notation: example i, label c of L, votes n_ic, n_i = Σ_c n_ic, q_i = softmax(logits_i), l_ic = n_ic / n_i,
p_ic = (n_ic + s) / (n_i + L·s) the smoothed prior, q̄ the normaliser, r_ic ∝ p_ic q_ic / q̄_c.

A *normaliser* is a function log q [B, L] -> log q̄ [B, L]. Only `chunk` makes batch mates matter.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  # the name everybody gives it
from jaxtyping import Bool, Float
from torch import Tensor

from accord.errors import ConfigError

LogNormaliser = Callable[[Tensor], Tensor]


class ExampleLosses(NamedTuple):
    """`loss` and `weight` of each example; the training loop divides their sums."""

    loss: Float[Tensor, "*S B"]
    weight: Float[Tensor, "*S B"]


Objective = Callable[[Tensor, Tensor], ExampleLosses]


# -- labels from votes --------------------------------------------------------------------------------------------


def vote_shares(votes: Float[Tensor, "*S B L"]) -> Float[Tensor, "*S B L"]:
    """The raw label distribution l_ic = n_ic / n_i; zeros for an example without votes."""
    return votes / votes.sum(-1, keepdim=True).clamp_min(torch.finfo(votes.dtype).tiny)


def prior_logps(votes: Float[Tensor, "*S B L"], *, smoothing: float) -> Float[Tensor, "*S B L"]:
    """log p_ic of the smoothed prior p_ic = (n_ic + s) / (n_i + L·s).

    Raises:
        ConfigError: s is not positive (a label nobody chose would have log p = −∞).
    """
    if not smoothing > 0:
        raise ConfigError(f"smoothing is {smoothing}; expected a number above 0. The released code of d-PM has 0.1.")
    smoothed = votes + smoothing
    return smoothed.log() - smoothed.sum(-1, keepdim=True).log()


def implied_flip_rate(smoothing: float, n_labels: int = 2) -> float:
    """The annotator noise that `dpm_em` assumes with one vote per item: s / (1 + L·s) for each wrong label."""
    return smoothing / (1.0 + n_labels * smoothing)


# -- normalisers --------------------------------------------------------------------------------------------------


def chunk_log_normaliser(logps: Float[Tensor, "*S B L"], *, size: int) -> Float[Tensor, "*S B L"]:
    """log of the mean prediction over each consecutive chunk of `size` rows, with gradient.

    Rows 0 … size−1 form the first chunk and so on; where B is no multiple of `size`, the last chunk is the shorter
    rest, averaged over its own rows. With `size` 1, q̄_i = q_i.
    """
    *leading, n_rows, n_labels = logps.shape
    n_chunks = n_rows // size
    chunks = logps[..., : n_chunks * size, :].reshape(*leading, n_chunks, size, n_labels)
    means = (chunks.logsumexp(-2, keepdim=True) - math.log(size)).expand_as(chunks).flatten(-3, -2)
    if n_rows == n_chunks * size:
        return means
    rest = logps[..., n_chunks * size :, :]
    return torch.cat([means, (rest.logsumexp(-2, keepdim=True) - math.log(rest.shape[-2])).expand_as(rest)], dim=-2)


def constant_log_normaliser(
    logps: Float[Tensor, "*S B L"], *, log_mean_probs: Float[Tensor, " L"]
) -> Float[Tensor, "*S B L"]:
    """A given log q̄, the same for every row, without gradient (`ema`, `dataset`)."""
    return log_mean_probs.detach().to(logps).expand_as(logps)


def no_log_normaliser(logps: Float[Tensor, "*S B L"]) -> Float[Tensor, "*S B L"]:
    """log q̄ = 0: r_ic ∝ p_ic q_ic (`none`)."""
    return torch.zeros_like(logps)


def chunk_size(normaliser: str) -> int | None:
    """G of `chunk:G`; None for `ema`, `dataset` and `none`.

    Raises:
        ConfigError: anything else.
    """
    if normaliser in ("ema", "dataset", "none"):
        return None
    name, _, size = normaliser.partition(":")
    if name == "chunk" and size.isdecimal() and int(size) > 0:
        return int(size)
    raise ConfigError(f"normaliser is {normaliser!r}; expected chunk:G (such as chunk:8), ema, dataset or none.")


# -- d-PM ---------------------------------------------------------------------------------------------------------


def posterior_logps(
    logps: Float[Tensor, "*S B L"],
    votes: Float[Tensor, "*S B L"],
    *,
    smoothing: float,
    log_normaliser: LogNormaliser,
) -> Float[Tensor, "*S B L"]:
    """log r_ic with r_ic ∝ p_ic q_ic / q̄_c (the paper, Eq. 4 and 5)."""
    return F.log_softmax(prior_logps(votes, smoothing=smoothing) + logps - log_normaliser(logps), dim=-1)


def dpm_qr_loss(
    logits: Float[Tensor, "*S B L"],
    votes: Float[Tensor, "*S B L"],
    *,
    smoothing: float,
    log_normaliser: LogNormaliser,
) -> ExampleLosses:
    """KL(q_i ‖ r_i), the paper's Eq. 6 as printed; gradient flows through q and r.

    Two labels, z = logit q, δ = logit p − logit q̄, q̄ held fixed: −∂L/∂z = δ q(1−q) − (r − q).

    1. The paper sums Eq. 4 over all data; here q̄ is the chosen normaliser's.
    2. The priors are smoothed (as in the released code; not mentioned in the paper).
    """
    logps = F.log_softmax(logits, dim=-1)
    r_logps = posterior_logps(logps, votes, smoothing=smoothing, log_normaliser=log_normaliser)
    return _weighted_by_presence(_kl(logps, r_logps), votes)


def dpm_rq_loss(
    logits: Float[Tensor, "*S B L"],
    votes: Float[Tensor, "*S B L"],
    *,
    smoothing: float,
    log_normaliser: LogNormaliser,
) -> ExampleLosses:
    """KL(r_i ‖ q_i) with gradient through r: what the released code of d-PM trains, instead of Eq. 6.

    Two labels, q̄ held fixed: −∂L/∂z = r − q − δ r(1−r).
    """
    logps = F.log_softmax(logits, dim=-1)
    r_logps = posterior_logps(logps, votes, smoothing=smoothing, log_normaliser=log_normaliser)
    return _weighted_by_presence(_kl(r_logps, logps), votes)


def dpm_em_loss(
    logits: Float[Tensor, "*S B L"],
    votes: Float[Tensor, "*S B L"],
    *,
    smoothing: float,
    log_normaliser: LogNormaliser,
) -> ExampleLosses:
    """KL(r_i ‖ q_i) with r held constant: expectation–maximisation for annotators with noise.

    Two labels: −∂L/∂z = r − q. With one vote per item and q̄ held at ½ a shared prediction rests at
    clip((ρ − ε) / (1 − 2ε), 0, 1), ρ the share of votes and ε = s / (1 + 2s) (`implied_flip_rate`).

    1. Neither in the paper nor in its code: both let the gradient through r.
    """
    logps = F.log_softmax(logits, dim=-1)
    r_logps = posterior_logps(logps.detach(), votes, smoothing=smoothing, log_normaliser=log_normaliser)
    return _weighted_by_presence(_kl(r_logps, logps), votes)


def dpm_free_energy_loss(
    logits: Float[Tensor, "*S B L"],
    votes: Float[Tensor, "*S B L"],
    *,
    smoothing: float,
    log_normaliser: LogNormaliser,
) -> ExampleLosses:
    """Σ_c q_ic (log q̄_c − log p_ic): its mean over a normalising set is −Σ_c q_ic log p_ic averaged − H(q̄).

    What the paper's Eq. 2 means with Eq. 4 substituted. The entropy is written row by row, since
    mean_i Σ_c q_ic log q̄_c = −H(q̄); so a chunk of 1 gives KL(q_i ‖ p_i), and a constant q̄ gives the same first
    order as one with gradient: −∂L/∂z = δ q(1−q) either way. With `none` only −Σ_c q_ic log p_ic remains.

    1. As printed the sign of Eq. 2 is off, and Eq. 6 drops the normaliser log Z that separates it from this.
    """
    logps = F.log_softmax(logits, dim=-1)
    energy = log_normaliser(logps) - prior_logps(votes, smoothing=smoothing)
    return _weighted_by_presence((logps.exp() * energy).sum(-1), votes)


# -- proper losses and baselines ------------------------------------------------------------------------------------


def votes_loss(logits: Float[Tensor, "*S B L"], votes: Float[Tensor, "*S B L"]) -> ExampleLosses:
    """−Σ_c n_ic log q_ic with weight n_i: every annotation on its own (the paper's w/oA).

    1. The released code applies softmax twice here, which bounds the loss and saturates the scores; we use logits.
    """
    return ExampleLosses(-(votes * F.log_softmax(logits, dim=-1)).sum(-1), votes.sum(-1))


def soft_mse_loss(logits: Float[Tensor, "*S B L"], votes: Float[Tensor, "*S B L"]) -> ExampleLosses:
    """‖q_i − l_i‖², summed over labels (the paper, Eq. 11). Shares are not smoothed."""
    return _weighted_by_presence((logits.softmax(-1) - vote_shares(votes)).square().sum(-1), votes)


def soft_kl_loss(logits: Float[Tensor, "*S B L"], votes: Float[Tensor, "*S B L"]) -> ExampleLosses:
    """KL(l_i ‖ q_i), 0 log 0 = 0. The released code's soft label; there smoothed by 0.1, here not."""
    shares = vote_shares(votes)
    entropy = torch.special.entr(shares).sum(-1)
    return _weighted_by_presence(-(shares * F.log_softmax(logits, dim=-1)).sum(-1) - entropy, votes)


def majority_loss(logits: Float[Tensor, "*S B L"], votes: Float[Tensor, "*S B L"]) -> ExampleLosses:
    """−log q at the majority label (the paper, Eq. 10).

    1. Tied labels share the target equally; the paper does not say, the released code favours one class.
    2. The released code applies softmax twice here; we use logits.
    """
    is_top = (votes == votes.amax(-1, keepdim=True)).to(logits)
    target = is_top / is_top.sum(-1, keepdim=True)
    return _weighted_by_presence(-(target * F.log_softmax(logits, dim=-1)).sum(-1), votes)


def beta_binomial_loss(
    outputs: Float[Tensor, "*S B L_plus_1"],
    votes: Float[Tensor, "*S B L"],
    *,
    acceptable: Bool[Tensor, " L"],
) -> ExampleLosses:
    """−log BetaBinomial(n_acc | n_i; μκ, (1−μ)κ): a share and how sure we are of it. Ours.

    The model has L + 1 outputs: L logits, whose softmax summed over acceptable labels is μ, and one more whose
    softplus is the concentration κ (`concentration`). The rising factorials are summed term by term,
    log Γ(a + k) / Γ(a) = Σ_{j<k} log(a + j), and the term j = 0 is log μ + log κ: finite however saturated μ is.

    Args:
        votes: whole numbers of votes.

    Edges: one vote gives the log-loss −log μ or −log(1 − μ), whatever κ; κ → ∞ gives the binomial.
    """
    logps = F.log_softmax(outputs[..., :-1], dim=-1)
    log_concentration = concentration(outputs[..., -1]).log()
    n_acceptable, n_votes = votes[..., acceptable].sum(-1), votes.sum(-1)
    log_likelihood = (
        _log_binomial(n_votes, n_acceptable)
        + _log_rising(logps[..., acceptable].logsumexp(-1) + log_concentration, n_acceptable)
        + _log_rising(logps[..., ~acceptable].logsumexp(-1) + log_concentration, n_votes - n_acceptable)
        - _log_rising(log_concentration, n_votes)
    )
    return _weighted_by_presence(-log_likelihood, votes)


def votes_noise_loss(outputs: Float[Tensor, "*S B L_plus_1"], votes: Float[Tensor, "*S B L"]) -> ExampleLosses:
    """−log Σ_c q_ic Π_v p(v | c; ε): one true label per item, observed by annotators who slip. Ours.

    Everybody who votes on item i means the same label c, drawn from q_i once for the item, and votes for each other
    label with probability ε: p(v | c; ε) is 1 − (L−1)ε for v = c and ε else. So with a_ic = n_ic log(1 − (L−1)ε) +
    (n_i − n_ic) log ε the loss is −log Σ_c exp(log q_ic + a_ic).

    The model has L + 1 outputs: L logits and one more, the same for every item, from which `learned_flip_rate` makes ε.

    Args:
        votes: whole numbers of votes.

    Edges: one vote gives −log((1 − Lε) q_c + ε), in which q and ε cannot be told apart: ε is learned from items with
    two votes or more. A fresh vote is predicted through the slips, by (1 − Lε) q + ε per label.

    1. Dawid and Skene (1979) have a confusion matrix per annotator; here all share one rate, and the prior of the
       label is the text's.
    """
    n_labels = votes.shape[-1]
    flip_rate = learned_flip_rate(outputs[..., -1:], n_labels)
    n_other = votes.sum(-1, keepdim=True) - votes
    log_slips = votes * torch.log1p(-(n_labels - 1) * flip_rate) + n_other * flip_rate.log()
    log_likelihood = (F.log_softmax(outputs[..., :-1], dim=-1) + log_slips).logsumexp(-1)
    return _weighted_by_presence(-log_likelihood, votes)


def learned_flip_rate(raw: Float[Tensor, "*any"], n_labels: int) -> Float[Tensor, "*any"]:
    """ε = σ(raw − log 9) / L, kept above 1e-6: 1/(10 L) at the start, and below 1/L, where votes would say nothing."""
    return (torch.sigmoid(raw - math.log(9.0)) / n_labels).clamp_min(1e-6)


def concentration(raw: Float[Tensor, "*S B"]) -> Float[Tensor, "*S B"]:
    """κ = softplus(raw), kept above 1e-6 so that its logarithm is finite."""
    return F.softplus(raw).clamp_min(1e-6)


OBJECTIVES: dict[str, Callable[..., ExampleLosses]] = {
    "dpm_qr": dpm_qr_loss,
    "dpm_rq": dpm_rq_loss,
    "dpm_em": dpm_em_loss,
    "dpm_free_energy": dpm_free_energy_loss,
    "votes": votes_loss,
    "soft_mse": soft_mse_loss,
    "soft_kl": soft_kl_loss,
    "majority": majority_loss,
    "votes_noise": votes_noise_loss,
    "beta_binomial": beta_binomial_loss,
}
DPM_OBJECTIVES = frozenset({"dpm_qr", "dpm_rq", "dpm_em", "dpm_free_energy"})
NEED_COUNTS = frozenset({"majority", "votes_noise", "beta_binomial"})
NEED_PAIRS = {"votes_noise": "the flip rate", "beta_binomial": "κ"}
"""What of an objective single votes say nothing about."""
N_CONSTANTS = {"votes_noise": 1}
"""How many of an objective's outputs, the last, are learned numbers that no item changes."""
CONSTANT_RATE = 64.0
"""Such a number learns at so many times the head's rate: an output moves by its bias and 64 weights at once."""


def n_outputs_of(name: str, n_classes: int) -> int:
    """How many outputs the objective reads: one per class, and one more for κ or ε."""
    return n_classes + int(name in NEED_PAIRS)


def build_objective(
    name: str, *, smoothing: float, log_normaliser: LogNormaliser, acceptable: Bool[Tensor, " L"]
) -> Objective:
    """The objective `name` with everything but logits and votes filled in.

    Raises:
        ConfigError: no such objective.
    """
    if name not in OBJECTIVES:
        raise ConfigError(f"objective is {name!r}; expected one of {', '.join(OBJECTIVES)}.")
    if name in DPM_OBJECTIVES:
        return partial(OBJECTIVES[name], smoothing=smoothing, log_normaliser=log_normaliser)
    if name == "beta_binomial":
        return partial(beta_binomial_loss, acceptable=acceptable)
    return OBJECTIVES[name]


def _kl(a_logps: Tensor, b_logps: Tensor) -> Tensor:
    """KL(a ‖ b) of each row."""
    return (a_logps.exp() * (a_logps - b_logps)).sum(-1)


def _weighted_by_presence(loss: Tensor, votes: Tensor) -> ExampleLosses:
    """Weight 1 for an example with votes; loss and weight 0 for one without."""
    has_votes = votes.sum(-1) > 0
    return ExampleLosses(torch.where(has_votes, loss, torch.zeros_like(loss)), has_votes.to(loss))


def _log_rising(log_start: Tensor, n_terms: Tensor) -> Tensor:
    """Σ_{j<n} log(a + j) with a = exp(log_start), per row; 0 where n = 0."""
    most = int(n_terms.max()) if n_terms.numel() else 0
    steps = torch.arange(most, device=log_start.device, dtype=log_start.dtype)
    later = (log_start.exp()[..., None] + steps).clamp_min(torch.finfo(log_start.dtype).tiny).log()
    terms = torch.where(steps == 0, log_start[..., None], later)
    return torch.where(steps < n_terms[..., None], terms, torch.zeros_like(terms)).sum(-1)


def _log_binomial(n: Tensor, k: Tensor) -> Tensor:
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
