"""What a head's outputs say of votes: every objective reads its own, and this is the one place that knows how."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float

from accord.preference.objectives import concentration, implied_flip_rate, learned_flip_rate
from accord.preference.predict import acceptance_logits


class Reading(NamedTuple):
    """Log-odds [N] that a fresh annotator accepts; what a denoiser thinks people would say without slips, and the
    concentration κ, each None where the objective has none."""

    vote_logits: Float[np.ndarray, " N"]
    latent_logits: Float[np.ndarray, " N"] | None
    concentration: Float[np.ndarray, " N"] | None


def read_outputs(
    outputs: Float[np.ndarray, "N O"], *, objective: str, acceptable: Bool[np.ndarray, " L"], smoothing: float
) -> Reading:
    """The outputs of a head trained on `objective`: L logits, then κ's or ε's where there is one."""
    n_classes = len(acceptable)
    constants = outputs[0, n_classes:] if objective == "votes_noise" and len(outputs) else outputs[:0, -1]
    epsilon = flip_rate(objective, smoothing=smoothing, n_classes=n_classes, constants=constants)
    logits = outputs[:, :n_classes]
    kappa = concentration(torch.as_tensor(outputs[:, -1])).numpy() if objective == "beta_binomial" else None
    return Reading(
        acceptance_logits(logits, acceptable, flip_rate=epsilon),
        acceptance_logits(logits, acceptable) if epsilon > 0 else None,
        kappa,
    )


def flip_rate(
    objective: str, *, smoothing: float, n_classes: int, constants: Float[np.ndarray, " C"] | None = None
) -> float:
    """ε of a denoiser, through which it predicts votes; 0 for every other objective.

    Args:
        constants: what was learned beside the head; empty or None: as training starts.
    """
    if objective == "dpm_em":
        return implied_flip_rate(smoothing, n_classes)
    if objective == "votes_noise":
        raw = 0.0 if constants is None or len(constants) == 0 else float(constants[0])
        return float(learned_flip_rate(torch.tensor(raw, dtype=torch.float64), n_classes))
    return 0.0
