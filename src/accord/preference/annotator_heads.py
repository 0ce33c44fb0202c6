"""Annotator heads: every annotator votes by the panel's head, moved in a few shared directions of its own.

    logit p(annotator a accepts item i) = z_i1 − z_i0 + e_a · d_i,      e_a ~ N(0, I) in R dimensions

z_i0, z_i1 and the R numbers d_i are linear in the hidden layer, which all share; z is the head of objective `votes`.
All is fitted together by maximum a posteriori; e_a = 0 is the panel's head, from which an annotator with few votes
hardly departs.

The idea is that of Davani, Díaz and Prabhakaran (2022), "Dealing with Disagreements: Looking Beyond the Majority Vote
in Subjective Annotations" (TACL 10), where each annotator has an output layer of its own on a shared encoder.

1. There every annotator's layer is free; here they differ in R directions, with a prior, so that an annotator with a
   handful of votes is no trouble.
2. There the annotators' majority is predicted; here their mean, each as often as it votes: the share for a fresh vote.
3. There the encoder is tuned; here it is frozen.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from accord.preference.by_annotator import (
    AnnotatorData,
    AnnotatorModel,
    VoteTerms,
    fit_by_annotator,
    require_annotators,
)
from accord.preference.head import HeadTraining

N_PANEL_OUTPUTS = 2
"""z_0 and z_1; an item's other outputs are d."""


def panel_logits(outputs: Float[Tensor, "*B D"]) -> Float[Tensor, "*B"]:
    """z_1 − z_0: how someone votes who is like the panel."""
    return outputs[..., 1] - outputs[..., 0]


def bias_panel(log_odds: Float[Tensor, " S"], output_bias: Float[Tensor, "S D"]) -> None:
    """Let z_1 − z_0 of every run start at `log_odds`."""
    output_bias[:, 0], output_bias[:, 1] = -log_odds / 2, log_odds / 2


def moved_logits(outputs: Float[Tensor, "*B D"], own: Float[Tensor, "*B R"]) -> Float[Tensor, "*B"]:
    """z_1 − z_0 + e · d."""
    return panel_logits(outputs) + (outputs[..., N_PANEL_OUTPUTS:] * own).sum(-1)


class OwnDirections(nn.Module):
    """e_a of every annotator and run, flat: [S·M·R]. They start at 0."""

    def __init__(self, n_runs: int, n_annotators: int, latent_size: int) -> None:
        super().__init__()
        self.n_outputs = N_PANEL_OUTPUTS + latent_size
        self._shape = (n_runs, n_annotators, latent_size)
        self.values = nn.Parameter(torch.zeros(n_runs * n_annotators * latent_size))

    def start_at(self, log_odds: Float[Tensor, " S"], output_bias: Float[Tensor, "S D"]) -> None:
        bias_panel(log_odds, output_bias)

    def vote_terms(
        self, outputs: Float[Tensor, "V D"], runs: Int[Tensor, " V"], annotators: Int[Tensor, " V"]
    ) -> VoteTerms:
        """Logit and ½ |e_a|²."""
        own = self.values.view(self._shape)[runs, annotators]
        return VoteTerms(moved_logits(outputs, own), 0.5 * own.square().sum(1))

    def panel_probs(self, outputs: Float[Tensor, "B D"], run: int) -> Float[Tensor, "B M"]:
        moves = outputs[:, N_PANEL_OUTPUTS:] @ self.values.view(self._shape)[run].T
        return torch.sigmoid(panel_logits(outputs)[:, None] + moves)


def fit_annotator_heads(data: AnnotatorData, *, latent_size: int, seed: int, training: HeadTraining) -> AnnotatorModel:
    """Fit the heads of every run of `data`.

    Raises:
        ConfigError: fewer than two annotators, or a run without votes.
    """
    require_annotators("annotator_heads", data.annotations)
    own = OwnDirections(len(data.train_rows), data.n_annotators, latent_size)
    return fit_by_annotator(data, own, n_outputs=own.n_outputs, seed=seed, training=training)
