"""What docs/method-preference.md says of the forces of the four d-PM forms, held against the losses' own gradients."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import binom

from accord.preference.objectives import (
    build_objective,
    constant_log_normaliser,
    dpm_em_loss,
    dpm_free_energy_loss,
    dpm_qr_loss,
    dpm_rq_loss,
    prior_logps,
    soft_kl_loss,
)

FORMS = {"rq": dpm_rq_loss, "em": dpm_em_loss, "qr": dpm_qr_loss, "free_energy": dpm_free_energy_loss}


def votes_with_prior(p: float, *, smoothing: float = 0.1) -> torch.Tensor:
    """Ten (fractional) votes whose smoothed prior of acceptance is p."""
    total = 10 + 2 * smoothing
    return torch.tensor([[(1 - p) * total - smoothing, p * total - smoothing]], dtype=torch.float64)


def force(loss: Callable[..., tuple[torch.Tensor, torch.Tensor]], *, q: float, p: float, mean: float = 0.5) -> float:
    """−∂loss/∂z at prediction q with prior p and a constant normaliser: positive pushes towards acceptable."""
    z = torch.tensor(float(logit(q)), dtype=torch.float64, requires_grad=True)
    logits = torch.stack([torch.zeros_like(z), z])[None]
    log_normaliser = partial(constant_log_normaliser, log_mean_probs=torch.tensor([1 - mean, mean]).double().log())
    loss(logits, votes_with_prior(p), smoothing=0.1, log_normaliser=log_normaliser)[0].sum().backward()  # type: ignore[no-untyped-call]
    assert z.grad is not None
    return -float(z.grad)


@pytest.mark.parametrize("q", [0.1, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("delta", [0.01, -0.01])
def test_weak_evidence(q: float, delta: float) -> None:
    """rq and qr: ½ δ² q(1−q)(2q−1), away from ½ whatever the sign of δ; em and the free energy: δ q(1−q)."""
    p = float(expit(delta))
    for name, loss in FORMS.items():
        expected = delta if name in ("em", "free_energy") else delta**2 * (2 * q - 1) / 2
        assert force(loss, q=q, p=p) == pytest.approx(expected * q * (1 - q), rel=0.03)


def test_unanimous_against_split_items() -> None:
    """The table of forces on an undecided prediction, and how much more a prior of .97 pulls than one of .75."""
    found = {name: [force(loss, q=0.5, p=p) for p in (0.75, 0.97)] for name, loss in FORMS.items()}
    expected = {"rq": (0.044, 0.369), "em": (0.25, 0.47), "qr": (0.025, 0.399), "free_energy": (0.275, 0.869)}
    assert {name: tuple(round(value, 3) for value in values) for name, values in found.items()} == expected
    ratios = {name: round(high / low, 1) for name, (low, high) in found.items()}
    assert ratios == {"rq": 8.4, "em": 1.9, "qr": 16.2, "free_energy": 3.2}


def test_soft_labels_pull_by_the_difference() -> None:
    z = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    votes = torch.tensor([[25.0, 75.0], [3.0, 97.0]], dtype=torch.float64)
    soft_kl_loss(torch.stack([torch.zeros_like(z), z], dim=1), votes).loss.sum().backward()  # type: ignore[no-untyped-call]
    assert z.grad is not None
    np.testing.assert_allclose(-z.grad, [0.25, 0.47])


def test_three_of_four_is_pushed_to_unacceptable_where_most_is_accepted() -> None:
    """p = 3.1/4.2 = .738; at q̄ = .8, δ = −.35; at q̄ = .5 it is pushed to acceptable."""
    p = float(prior_logps(torch.tensor([[1.0, 3.0]]), smoothing=0.1)[0, 1].exp())
    assert logit(p) - logit(0.8) == pytest.approx(-0.35, abs=0.005)
    for name in ("em", "free_energy"):
        assert force(FORMS[name], q=0.8, p=p, mean=0.8) < 0 < force(FORMS[name], q=0.8, p=p)


@pytest.mark.parametrize(("share", "n_votes"), [(0.7, 1), (0.7, 3), (0.8, 3), (0.6, 8)])
def test_where_em_rests(share: float, n_votes: int) -> None:
    """A shared prediction at q̄ = ½: with one vote clip((ρ − ε)/(1 − 2ε)); with more it is pushed further out."""
    k = np.arange(n_votes + 1)
    weights = binom.pmf(k, n_votes, share)
    priors = (k + 0.1) / (n_votes + 0.2)

    def mean_force(q: float) -> float:
        return float(np.dot(weights, [force(dpm_em_loss, q=q, p=p) for p in priors]))

    rests = brentq(mean_force, 0.5, 1 - 1e-9) if mean_force(1 - 1e-6) < 0 else 1.0
    epsilon = 0.1 / 1.2
    expected = {(0.7, 1): (0.7 - epsilon) / (1 - 2 * epsilon), (0.7, 3): 0.96, (0.8, 3): 1.0, (0.6, 8): 1.0}
    assert rests == pytest.approx(expected[share, n_votes], abs=0.01)


def test_every_hard_labelling_costs_rq_and_qr_nothing() -> None:
    """Predictions of 20 nats, half of them against unanimous votes: loss 0; the proper loss counts every error."""
    votes = torch.tensor([[0.0, 4.0]] * 4, dtype=torch.float64)
    logits = torch.tensor([[0.0, 20.0], [0.0, -20.0]] * 2, dtype=torch.float64)
    normaliser = partial(constant_log_normaliser, log_mean_probs=torch.tensor([0.5, 0.5]).double().log())
    for name in ("dpm_rq", "dpm_qr"):
        objective = build_objective(
            name, smoothing=0.1, log_normaliser=normaliser, acceptable=torch.tensor([False, True])
        )
        assert float(objective(logits, votes).loss.max()) < 1e-4
    assert float(soft_kl_loss(logits, votes).loss.max()) == pytest.approx(20.0)
