"""A pluralistic mixture: K prototypes, of which every annotator's ideal point is a mixture.

    logit p(annotator a accepts item i) = t − |f(x_i) − Σ_k m_ak p_k|²,      m_a = softmax(g + e_a),   e_a ~ N(0, I)

f maps the text to a space in which closeness is acceptance, the prototypes p_k lie in that space, m_a on the simplex
says how much of each prototype is in annotator a, g is the panel's own mixture, t the distance that is still accepted.

Chen, Chen, Rege and Vinayak (2024), "PAL: Pluralistic Alignment Framework for Learning from Heterogeneous Preferences"
(arXiv 2406.08469): ideal points as mixtures of prototypes, few-shot for a new annotator with the prototypes frozen.

1. PAL learns from comparisons, as the difference of two distances; here each text is judged by itself, so that one
   distance is compared with a learned t.
2. PAL's mixture weights are free; here they have a prior around the panel's mixture g, so that an annotator without
   votes is the panel.
3. PAL's second form, in which prototypes depend on the prompt, is not here: the encoder reads prompt and completion as
   a pair, and f maps both.
4. What is predicted is the mean over annotators, each as often as it votes; PAL predicts each annotator.
"""

import torch
import torch.nn.functional as F  # noqa: N812
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
from accord.randomness import keyed_seed

FEW_SHOT_STEPS = 200


def ideal_point_logits(
    points: Float[Tensor, "*B D"], ideals: Float[Tensor, "*B D"], threshold: Float[Tensor, "*any"]
) -> Float[Tensor, "*B"]:
    """t − |point − ideal|²."""
    return threshold - (points - ideals).square().sum(-1)


class Prototypes(nn.Module):
    """p_k, t and g of every run, and e_a of every annotator; everything but p_k is flat.

    Prototypes start apart, as f's outputs do, by the seed; annotators start as the panel, the panel as an even mixture.
    """

    def __init__(self, n_runs: int, n_annotators: int, *, n_prototypes: int, latent_size: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(keyed_seed(seed, "prototypes"))
        start = torch.randn(n_prototypes, latent_size, generator=generator) * latent_size**-0.5
        self.n_outputs = latent_size
        self._shape = (n_runs, n_annotators, n_prototypes)
        self.prototypes = nn.Parameter(start.repeat(n_runs, 1, 1).flatten())
        self.threshold = nn.Parameter(torch.ones(n_runs))
        self.panel = nn.Parameter(torch.zeros(n_runs * n_prototypes))
        self.own = nn.Parameter(torch.zeros(n_runs * n_annotators * n_prototypes))

    @property
    def points(self) -> Float[Tensor, "S K D"]:
        """The prototypes."""
        n_runs, _, n_prototypes = self._shape
        return self.prototypes.view(n_runs, n_prototypes, self.n_outputs)

    @property
    def panel_logits(self) -> Float[Tensor, "S K"]:
        """g."""
        return self.panel.view(self._shape[0], self._shape[2])

    @property
    def mixtures(self) -> Float[Tensor, "S M K"]:
        """m_a of every annotator."""
        return (self.panel_logits[:, None] + self.own.view(self._shape)).softmax(-1)

    def start_at(self, log_odds: Float[Tensor, " S"], output_bias: Float[Tensor, "S D"]) -> None:  # noqa: ARG002
        """t starts so much further out; f stays centred."""
        self.threshold.add_(log_odds)

    def vote_terms(
        self, outputs: Float[Tensor, "V D"], runs: Int[Tensor, " V"], annotators: Int[Tensor, " V"]
    ) -> VoteTerms:
        """Logit and ½ |e_a|²."""
        own = self.own.view(self._shape)[runs, annotators]
        mixtures = (self.panel_logits[runs] + own).softmax(-1)
        ideals = (mixtures[:, None] @ self.points[runs])[:, 0]
        return VoteTerms(ideal_point_logits(outputs, ideals, self.threshold[runs]), 0.5 * own.square().sum(1))

    def panel_probs(self, outputs: Float[Tensor, "B D"], run: int) -> Float[Tensor, "B M"]:
        ideals = self.mixtures[run] @ self.points[run]
        distances = outputs.square().sum(1, keepdim=True) - 2 * outputs @ ideals.T + ideals.square().sum(1)
        return torch.sigmoid(self.threshold[run] - distances)


def fit_pluralistic(
    data: AnnotatorData, *, n_prototypes: int, latent_size: int, seed: int, training: HeadTraining
) -> AnnotatorModel:
    """Fit prototypes and mixtures of every run of `data`.

    Raises:
        ConfigError: fewer than two annotators, or a run without votes.
    """
    require_annotators("pluralistic", data.annotations)
    own = Prototypes(
        len(data.train_rows), data.n_annotators, n_prototypes=n_prototypes, latent_size=latent_size, seed=seed
    )
    return fit_by_annotator(data, own, n_outputs=own.n_outputs, seed=seed, training=training)


def fit_mixture(
    points: Float[Tensor, "n D"],
    is_acceptable: Float[Tensor, " n"],
    *,
    prototypes: Float[Tensor, "K D"],
    threshold: Float[Tensor, ""],
    panel_logits: Float[Tensor, " K"],
) -> Float[Tensor, " K"]:
    """m of a new annotator from a few votes, prototypes and texts frozen: maximum a posteriori from e = 0.

    Args:
        points: f(x) of the items the annotator voted on. Without any the panel's mixture is returned.
    """
    own = torch.zeros_like(panel_logits, requires_grad=True)
    optimizer = torch.optim.LBFGS([own], max_iter=FEW_SHOT_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        ideal = (panel_logits + own).softmax(-1) @ prototypes
        logits = ideal_point_logits(points, ideal.expand_as(points), threshold)
        found = F.binary_cross_entropy_with_logits(logits, is_acceptable, reduction="sum") + 0.5 * own.square().sum()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return (panel_logits + own).softmax(-1).detach()
