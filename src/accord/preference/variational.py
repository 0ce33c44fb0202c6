"""A variational annotator latent: an encoder reads an annotator's votes, and votes are predicted from what it says.

    z_a ~ N(0, I),   logit p(annotator a accepts item i | z_a) = panel logit_i + z_a · d_i
    ELBO = Σ_a [ E_{q(z_a)} Σ_i log p(vote_ai | x_i, z_a) − KL(q(z_a) ‖ N(0, I)) ],   q(z_a) = encoder({(x_i, vote_ai)})

The panel's logit and the R directions d_i are those of annotator heads. Each vote of annotator a contributes evidence:
a precision t_j > 0 and a pull u_j in every dimension, and

    q(z_a) = N(Σ_j u_j / τ_a, 1/τ_a),   τ_a = 1 + Σ_j t_j

so that an annotator without votes is the prior. The expectation is taken with one draw per annotator and step; after
training the mean acceptance over q is σ(mean / √(1 + π·variance / 8)) (MacKay 1992).

Poddar, Wan, Ivison, Gupta and Jaques (2024), "Personalizing Reinforcement Learning from Human Feedback with Variational
Preference Learning" (VPL, NeurIPS 2024): a latent per user, inferred from a set of its annotations, that conditions the
reward model; trained on the ELBO.

1. VPL compares two texts (Bradley–Terry); here each text is judged by itself.
2. VPL's encoder pools a set of comparisons and returns mean and variance; here votes add up as evidence, so that more
   votes make q narrower, and none leave the prior.
3. VPL's reward network takes z beside the text; here z moves the logit in R directions of the shared layer, which
   leaves the decoder too little freedom to do without z.
4. The encoder reads at most `MAX_CONTEXT` votes of an annotator, chosen by the seed, and of each text its
   `CONTEXT_SIZE` principal components.
5. VPL's rescaling of rewards (SPO) and its choice of questions serve policies and are not here.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor, nn

from accord.preference.annotator_heads import N_PANEL_OUTPUTS, bias_panel, moved_logits, panel_logits
from accord.preference.by_annotator import (
    AnnotatorData,
    AnnotatorModel,
    VoteTerms,
    fit_by_annotator,
    require_annotators,
)
from accord.preference.head import HeadTraining, standardisation
from accord.randomness import keyed_rng, keyed_seed

MAX_CONTEXT = 32
CONTEXT_SIZE = 32
ENCODER_SIZE = 16
FIRST_PRECISION = -3.0
"""softplus of it, 0.05: what a vote's evidence is worth at the start, in each dimension."""


class Posterior(NamedTuple):
    """q(z_a) of U annotators: a Gaussian per dimension."""

    mean: Float[Tensor, "U R"]
    variance: Float[Tensor, "U R"]


def gaussian_kl(mean: Float[Tensor, "*B R"], variance: Float[Tensor, "*B R"]) -> Float[Tensor, "*B"]:
    """KL(N(μ, σ²) ‖ N(0, I)) = ½ Σ (σ² + μ² − 1 − log σ²)."""
    return 0.5 * (variance + mean.square() - 1.0 - variance.log()).sum(-1)


def pooled_evidence(
    pull: Float[Tensor, "U C R"], precision: Float[Tensor, "U C R"], mask: Float[Tensor, "U C"]
) -> Posterior:
    """q(z_a) from the evidence of a's votes; `mask` is 1 for a vote and 0 for padding."""
    total = 1.0 + (precision * mask[..., None]).sum(1)
    return Posterior((pull * mask[..., None]).sum(1) / total, 1.0 / total)


def mean_acceptance(mean: Float[Tensor, "*B"], variance: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """E σ(z) for z ~ N(mean, variance), by σ(mean / √(1 + π·variance / 8)) (MacKay 1992)."""
    return torch.sigmoid(mean / torch.sqrt(1.0 + torch.pi * variance / 8.0))


class VoteEncoder(nn.Module):
    """Reads the votes that each annotator cast in training: texts [S, M, C, P], signs ±1 and mask [S, M, C].

    A vote's evidence is linear in (g, s·g, s), g = tanh(B p + b) of the text's components p and s = ±1 the vote.
    Its parameters are flat, so that the loop takes them for no matrices and leaves them undecayed.
    """

    texts: Tensor
    signs: Tensor
    mask: Tensor

    def __init__(self, texts: Tensor, signs: Tensor, mask: Tensor, *, latent_size: int, seed: int) -> None:
        super().__init__()
        n_runs, self.n_outputs = len(texts), N_PANEL_OUTPUTS + latent_size
        self._text_shape = (n_runs, texts.shape[-1] + 1, ENCODER_SIZE)
        self._evidence_shape = (n_runs, 2 * ENCODER_SIZE + 1, 2 * latent_size)
        for name, values in (("texts", texts), ("signs", signs), ("mask", mask)):
            self.register_buffer(name, values)
        generator = torch.Generator().manual_seed(keyed_seed(seed, "vote encoder"))
        self.of_text = nn.Parameter(_uniform(self._text_shape, generator))
        self.of_evidence = nn.Parameter(_uniform(self._evidence_shape, generator))

    def posterior(self, runs: Int[Tensor, " U"], annotators: Int[Tensor, " U"]) -> Posterior:
        """q(z_a) of these annotators."""
        of_text = self.of_text.view(self._text_shape)[runs]
        hidden = torch.tanh(self.texts[runs, annotators] @ of_text[:, :-1] + of_text[:, -1:])
        signs = self.signs[runs, annotators, :, None]
        evidence = torch.cat([hidden, signs * hidden, signs], -1) @ self.of_evidence.view(self._evidence_shape)[runs]
        pull, raw_precision = evidence.chunk(2, dim=-1)
        return pooled_evidence(pull, F.softplus(raw_precision + FIRST_PRECISION), self.mask[runs, annotators])

    def start_at(self, log_odds: Float[Tensor, " S"], output_bias: Float[Tensor, "S D"]) -> None:
        bias_panel(log_odds, output_bias)

    def vote_terms(
        self, outputs: Float[Tensor, "V D"], runs: Int[Tensor, " V"], annotators: Int[Tensor, " V"]
    ) -> VoteTerms:
        """Logit for one draw of z_a per annotator, and KL(q(z_a) ‖ N(0, I))."""
        n_annotators = self.mask.shape[1]
        pairs, number = torch.unique(runs * n_annotators + annotators, return_inverse=True)
        q = self.posterior(pairs // n_annotators, pairs % n_annotators)
        drawn = q.mean + q.variance.sqrt() * torch.randn_like(q.mean)
        return VoteTerms(moved_logits(outputs, drawn[number]), gaussian_kl(*q)[number])

    def panel_probs(self, outputs: Float[Tensor, "B D"], run: int) -> Float[Tensor, "B M"]:
        n_annotators = self.mask.shape[1]
        q = self.posterior(torch.full((n_annotators,), run), torch.arange(n_annotators))
        directions = outputs[:, N_PANEL_OUTPUTS:]
        mean = panel_logits(outputs)[:, None] + directions @ q.mean.T
        return mean_acceptance(mean, directions.square() @ q.variance.T)


def fit_variational(data: AnnotatorData, *, latent_size: int, seed: int, training: HeadTraining) -> AnnotatorModel:
    """Fit encoder and decoder of every run of `data`.

    Raises:
        ConfigError: fewer than two annotators, or a run without votes.
    """
    require_annotators("variational", data.annotations)
    parts = [_context(data, run, seed=seed) for run in range(len(data.train_rows))]
    texts, signs, mask = (torch.stack(tensors) for tensors in zip(*parts, strict=True))
    own = VoteEncoder(texts, signs, mask, latent_size=latent_size, seed=seed)
    return fit_by_annotator(data, own, n_outputs=own.n_outputs, seed=seed, training=training)


def _context(data: AnnotatorData, run: int, *, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the encoder of a run reads: [M, C, P], [M, C], [M, C]."""
    size = min(CONTEXT_SIZE, data.features.shape[1], *(len(rows) for rows in data.train_rows))  # the same for every run
    components = _principal_components(data.features, data.train_rows[run], size=size, seed=seed)
    votes, n_annotators = data.of_run(run), data.n_annotators
    order = np.lexsort((votes.item_index, votes.annotator_index))  # the order of annotations in the file is no matter
    order = order[keyed_rng(seed, "context").permutation(len(order))]
    items, signs = np.zeros((n_annotators, MAX_CONTEXT), dtype=np.int64), np.zeros((n_annotators, MAX_CONTEXT))
    for annotator in range(n_annotators):
        chosen = order[votes.annotator_index[order] == annotator][:MAX_CONTEXT]
        items[annotator, : len(chosen)] = votes.item_index[chosen]
        signs[annotator, : len(chosen)] = np.where(votes.is_acceptable[chosen], 1.0, -1.0)
    all_signs = torch.tensor(signs, dtype=torch.float32)
    return components[torch.from_numpy(items)], all_signs, all_signs.abs()


def _principal_components(features: Tensor, train_rows: np.ndarray, *, size: int, seed: int) -> Tensor:
    """Of the standardised texts, scaled to unit variance over the training rows: [N, size]."""
    mean, scale = standardisation(features[train_rows])
    standard = (features - mean) / scale
    with torch.random.fork_rng():
        torch.manual_seed(keyed_seed(seed, "components"))
        _, deviations, directions = torch.pca_lowrank(standard[train_rows], q=size, center=False)
    return standard @ directions / (deviations / len(train_rows) ** 0.5).clamp_min(1e-6)


def _uniform(shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """±1/√inputs, flat; the same for every run."""
    n_runs, n_inputs, n_outputs = shape
    start = (2 * torch.rand(n_inputs, n_outputs, generator=generator) - 1) * n_inputs**-0.5
    return start.repeat(n_runs, 1, 1).flatten()
