"""The objectives against hand-derived answers, closed forms of their gradients, finite differences and SciPy."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from accord.errors import ConfigError
from accord.preference.objectives import (
    DPM_OBJECTIVES,
    NEED_PAIRS,
    OBJECTIVES,
    ExampleLosses,
    beta_binomial_loss,
    build_objective,
    chunk_log_normaliser,
    chunk_size,
    constant_log_normaliser,
    implied_flip_rate,
    learned_flip_rate,
    majority_loss,
    n_outputs_of,
    no_log_normaliser,
    posterior_logps,
    prior_logps,
    soft_kl_loss,
    soft_mse_loss,
    vote_shares,
    votes_loss,
    votes_noise_loss,
)

HALF = torch.tensor([0.5, 0.5], dtype=torch.float64).log()
ACCEPTABLE = torch.tensor([False, True])
PLAIN = sorted(set(OBJECTIVES) - DPM_OBJECTIVES - set(NEED_PAIRS))


def doubles(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def objective(name: str, *, size: int = 8) -> Callable[[Tensor, Tensor], ExampleLosses]:
    return build_objective(
        name, smoothing=0.1, log_normaliser=partial(chunk_log_normaliser, size=size), acceptable=ACCEPTABLE
    )


def random_batch(seed: int, n_rows: int = 7, n_labels: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2.0 * torch.randn(n_rows, n_labels, generator=generator, dtype=torch.float64)
    votes = torch.randint(0, 4, (n_rows, n_labels), generator=generator).double()
    votes[:, 0] += 1.0
    return logits, votes


def test_prior_is_the_smoothed_share_by_hand() -> None:
    """Votes (1, 3), s = 0.1: (1.1, 3.1) / 4.2 = (0.2619, 0.7381). A unanimous pair: 2.1 / 2.2 = 0.9545."""
    priors = prior_logps(doubles([[1, 3], [0, 2]]), smoothing=0.1).exp()
    torch.testing.assert_close(priors, doubles([[1.1 / 4.2, 3.1 / 4.2], [0.1 / 2.2, 2.1 / 2.2]]))


def test_prior_without_smoothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"smoothing is 0\.0; expected a number above 0"):
        prior_logps(doubles([[1, 0]]), smoothing=0.0)


def test_posterior_by_hand() -> None:
    """q = (0.2, 0.8), q̄ = (0.4, 0.6), p = (0.5, 0.5): r ∝ (0.5, 1.3333), so r = (0.2727, 0.7273)."""
    r = posterior_logps(
        doubles([[0.2, 0.8]]).log(),
        doubles([[2, 2]]),
        smoothing=0.1,
        log_normaliser=partial(constant_log_normaliser, log_mean_probs=doubles([[0.4, 0.6]])[0].log()),
    ).exp()
    torch.testing.assert_close(r, doubles([[3 / 11, 8 / 11]]))


def test_proper_losses_by_hand() -> None:
    """q = (0.25, 0.75) and votes (1, 3): −log 0.25 − 3 log 0.75 = 2.2493 at weight 4; q equals the share."""
    logits, votes = doubles([[0.25, 0.75]]).log(), doubles([[1, 3]])
    loss, weight = votes_loss(logits, votes)
    assert float(loss) == pytest.approx(-math.log(0.25) - 3 * math.log(0.75))
    assert float(weight) == 4.0
    assert float(soft_mse_loss(logits, votes).loss) == pytest.approx(0.0, abs=1e-15)
    assert float(soft_kl_loss(logits, votes).loss) == pytest.approx(0.0, abs=1e-15)
    assert float(majority_loss(logits, votes).loss) == pytest.approx(-math.log(0.75))


def test_soft_losses_of_a_unanimous_item_by_hand() -> None:
    """q = (0.2, 0.8), share (0, 1): squared error 0.04 + 0.04; KL = −log 0.8."""
    logits, votes = doubles([[0.2, 0.8]]).log(), doubles([[0, 2]])
    assert float(soft_mse_loss(logits, votes).loss) == pytest.approx(0.08)
    assert float(soft_kl_loss(logits, votes).loss) == pytest.approx(-math.log(0.8))


def test_majority_splits_ties_between_the_tied_labels_only() -> None:
    """Votes (2, 2, 1): half of −log q at each of the first two labels."""
    probs = doubles([[0.5, 0.2, 0.3]])
    loss = majority_loss(probs.log(), doubles([[2, 2, 1]])).loss
    assert float(loss) == pytest.approx(-0.5 * math.log(0.5) - 0.5 * math.log(0.2))


@pytest.mark.parametrize("name", ["dpm_rq", "dpm_em"])
def test_chunks_of_one_make_rq_and_em_the_forward_divergence(name: str) -> None:
    logits, votes = random_batch(0)
    priors = prior_logps(votes, smoothing=0.1)
    expected = F.kl_div(logits.log_softmax(-1), priors, log_target=True, reduction="none").sum(-1)
    torch.testing.assert_close(objective(name, size=1)(logits, votes).loss, expected)


@pytest.mark.parametrize("name", ["dpm_qr", "dpm_free_energy"])
def test_chunks_of_one_make_qr_and_free_energy_the_reverse_divergence(name: str) -> None:
    logits, votes = random_batch(1)
    priors = prior_logps(votes, smoothing=0.1)
    expected = F.kl_div(priors, logits.log_softmax(-1), log_target=True, reduction="none").sum(-1)
    torch.testing.assert_close(objective(name, size=1)(logits, votes).loss, expected)


def test_free_energy_of_a_chunk_is_its_definition() -> None:
    """The mean over a chunk is −Σ_c q_ic log p_ic averaged − H(q̄)."""
    logits, votes = random_batch(2, n_rows=5)
    probs = logits.softmax(-1)
    mean = probs.mean(0)
    expected = -(probs * prior_logps(votes, smoothing=0.1)).sum(-1).mean() + (mean * mean.log()).sum()
    torch.testing.assert_close(objective("dpm_free_energy", size=5)(logits, votes).loss.mean(), expected)


def test_free_energy_and_qr_differ_by_log_z() -> None:
    """KL(q ‖ r) = free energy + log Z with Z = Σ_c p_c q_c / q̄_c (the term that Eq. 6 drops)."""
    logits, votes = random_batch(3)
    logps = logits.log_softmax(-1)
    log_z = (prior_logps(votes, smoothing=0.1) + logps - chunk_log_normaliser(logps, size=8)).logsumexp(-1)
    expected = objective("dpm_free_energy")(logits, votes).loss + log_z
    torch.testing.assert_close(objective("dpm_qr")(logits, votes).loss, expected)


@pytest.mark.parametrize("name", ["dpm_qr", "dpm_rq"])
@pytest.mark.parametrize("n_labels", [2, 3])
def test_every_hard_labelling_with_all_classes_costs_nothing(name: str, n_labels: int) -> None:
    """Even where it contradicts unanimous votes: what these objectives reward is hardness."""
    hard = torch.arange(6) % n_labels
    logits = 40.0 * F.one_hot(hard, n_labels).double()
    votes = 3.0 * F.one_hot((hard + 1) % n_labels, n_labels).double()
    assert float(objective(name, size=6)(logits, votes).loss.max()) < 1e-6


@pytest.mark.parametrize("name", sorted(DPM_OBJECTIVES))
def test_collapse_to_one_class_costs_something(name: str) -> None:
    logits = doubles([[0.0, 40.0]] * 4)
    votes = doubles([[3, 0], [0, 3], [3, 0], [0, 3]])
    assert float(objective(name, size=4)(logits, votes).loss.mean()) > 0.1


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_saturated_logits_stay_finite(name: str) -> None:
    logits = torch.zeros(4, n_outputs_of(name, 2))
    logits[:, :2] = torch.tensor([[1e4, -1e4], [-1e4, 1e4], [1e4, 1e4], [0.0, 1e4]])
    logits.requires_grad_()
    loss, weight = objective(name, size=2)(logits, torch.tensor([[0.0, 3.0], [2, 1], [1, 1], [3, 0]]))
    (gradient,) = torch.autograd.grad(loss.sum() / weight.sum(), logits)
    assert loss.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"dpm_em"}))
def test_gradients_match_finite_differences(name: str) -> None:
    logits, votes = random_batch(4, n_rows=5, n_labels=2)
    if name in NEED_PAIRS:
        logits = torch.cat([logits, doubles([[0.3], [-1.0], [2.0], [0.0], [1.0]])], dim=1)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: objective(name, size=2)(x, votes).loss, (logits,))


def test_gradients_match_finite_differences_for_em_with_its_target_frozen() -> None:
    """`dpm_em` differentiates KL(r ‖ q) in q alone, so the finite difference must hold r at its value."""
    logits, votes = random_batch(5)
    r = posterior_logps(
        logits.log_softmax(-1), votes, smoothing=0.1, log_normaliser=partial(chunk_log_normaliser, size=8)
    )
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(objective("dpm_em")(logits, votes).loss.sum(), logits)
    (expected,) = torch.autograd.grad(F.kl_div(logits.log_softmax(-1), r, log_target=True, reduction="sum"), logits)
    torch.testing.assert_close(gradient, expected)


def closed_form_descent(name: str, q: Tensor, r: Tensor, p: Tensor, delta: Tensor) -> Tensor:
    """−∂L/∂z on the logit z of two labels with q̄ held fixed, derived by hand in the docstrings."""
    return {
        "dpm_rq": r - q - delta * r * (1 - r),
        "dpm_em": r - q,
        "dpm_qr": delta * q * (1 - q) - (r - q),
        "dpm_free_energy": delta * q * (1 - q),
        "soft_kl": p - q,
    }[name]


@pytest.mark.parametrize("name", sorted(DPM_OBJECTIVES))
@pytest.mark.parametrize("mean_acceptance", [0.5, 0.8])
def test_gradients_match_their_closed_forms_with_the_normaliser_held(name: str, mean_acceptance: float) -> None:
    z = torch.tensor([-2.0, -0.5, 0.0, 0.7, 3.0], dtype=torch.float64, requires_grad=True)
    votes = doubles([[1, 3], [2, 2], [0, 2], [3, 1], [4, 0]])
    mean = torch.tensor([1 - mean_acceptance, mean_acceptance], dtype=torch.float64).log()
    bound = build_objective(
        name,
        smoothing=0.1,
        log_normaliser=partial(constant_log_normaliser, log_mean_probs=mean),
        acceptable=ACCEPTABLE,
    )
    (gradient,) = torch.autograd.grad(bound(torch.stack([torch.zeros_like(z), z], -1), votes).loss.sum(), z)
    p = prior_logps(votes, smoothing=0.1).exp()[:, 1]
    delta = p.logit() - mean.exp()[1].logit()
    q, r = z.detach().sigmoid(), (z.detach() + delta).sigmoid()
    torch.testing.assert_close(-gradient, closed_form_descent(name, q, r, p, delta))


@pytest.mark.parametrize("name", ["dpm_rq", "dpm_qr"])
def test_gradients_through_the_normaliser_match_their_closed_forms(name: str) -> None:
    """∂(mean loss)/∂logit q̄ = −mean_i δ_i r_i(1−r_i) for RQ and mean_i (q_i − r_i) for QR."""
    z = torch.tensor([-1.0, 0.2, 1.5], dtype=torch.float64)
    votes = doubles([[1, 3], [2, 0], [1, 2]])
    mean_logit = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    log_mean = F.logsigmoid(torch.stack([-mean_logit, mean_logit]))
    loss = OBJECTIVES[name](
        torch.stack([torch.zeros_like(z), z], -1),
        votes,
        smoothing=0.1,
        log_normaliser=lambda logps: log_mean.expand_as(logps),
    ).loss
    (gradient,) = torch.autograd.grad(loss.mean(), mean_logit)
    delta = prior_logps(votes, smoothing=0.1).exp()[:, 1].logit() - 0.4
    q, r = z.sigmoid(), (z + delta).sigmoid()
    expected = -(delta * r * (1 - r)).mean() if name == "dpm_rq" else (q - r).mean()
    torch.testing.assert_close(gradient, expected)


def test_the_released_form_pushes_a_doubtful_item_away_from_its_votes() -> None:
    """Prior 0.75 at q = 0.1 and q̄ = ½: descent −0.056 with gradient through r, positive with r held constant."""
    z = torch.tensor([0.1], dtype=torch.float64).logit().requires_grad_()
    descent = {}
    for name in ("dpm_rq", "dpm_em"):
        loss = OBJECTIVES[name](
            torch.stack([torch.zeros_like(z), z], -1),
            doubles([[1, 3]]),
            smoothing=1e-12,
            log_normaliser=partial(constant_log_normaliser, log_mean_probs=HALF),
        ).loss
        descent[name] = -float(torch.autograd.grad(loss.sum(), z)[0])
    assert descent["dpm_rq"] == pytest.approx(-0.056, abs=5e-4)
    assert descent["dpm_em"] == pytest.approx(0.15)  # r = 0.25, r − q = 0.15


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.7, 0.9, 0.95])
def test_em_rests_at_the_inverse_noise_stretch(share: float) -> None:
    """One vote an item, q̄ held at ½: gradient descent on one shared logit ends at clip((ρ − ε)/(1 − 2ε), 0, 1)."""
    epsilon = implied_flip_rate(0.1)
    assert epsilon == pytest.approx(0.1 / 1.2)
    n_acceptable = round(20 * share)
    votes = torch.tensor([[0.0, 1.0]] * n_acceptable + [[1.0, 0.0]] * (20 - n_acceptable), dtype=torch.float64)
    z = torch.zeros((), dtype=torch.float64, requires_grad=True)
    bound = build_objective(
        "dpm_em",
        smoothing=0.1,
        log_normaliser=partial(constant_log_normaliser, log_mean_probs=HALF),
        acceptable=ACCEPTABLE,
    )
    for _ in range(1500):
        logits = torch.stack([torch.zeros_like(z), z]).expand(len(votes), 2)
        (gradient,) = torch.autograd.grad(bound(logits, votes).loss.mean(), z)
        z = (z - 4.0 * gradient).detach().requires_grad_()
    expected = min(1.0, max(0.0, (share - epsilon) / (1 - 2 * epsilon)))
    assert float(z.detach().sigmoid()) == pytest.approx(expected, abs=1e-3)


def test_chunk_normaliser_by_hand() -> None:
    """Five rows in chunks of 2: means of rows 0–1 and 2–3, and the last row alone."""
    probs = doubles([[0.2, 0.8], [0.6, 0.4], [0.5, 0.5], [0.1, 0.9], [0.3, 0.7]])
    expected = doubles([[0.4, 0.6], [0.4, 0.6], [0.3, 0.7], [0.3, 0.7], [0.3, 0.7]])
    torch.testing.assert_close(chunk_log_normaliser(probs.log(), size=2).exp(), expected)


def test_batch_mates_matter_within_a_chunk_only() -> None:
    logits, votes = random_batch(6, n_rows=8)
    whole = objective("dpm_rq", size=4)(logits, votes).loss
    torch.testing.assert_close(whole[4:], objective("dpm_rq", size=4)(logits[4:], votes[4:]).loss)
    assert not torch.allclose(whole, objective("dpm_rq", size=2)(logits, votes).loss)


def test_normaliser_names() -> None:
    assert [chunk_size(name) for name in ("chunk:8", "ema", "dataset", "none")] == [8, None, None, None]
    for name in ("chunk", "chunk:0", "chunk:-1", "batch"):
        with pytest.raises(ConfigError, match=r"expected chunk:G \(such as chunk:8\), ema, dataset or none"):
            chunk_size(name)


def test_without_normaliser_the_posterior_is_prior_times_prediction() -> None:
    """q = (0.25, 0.75), p = (3.1, 1.1)/4.2: r ∝ (0.775, 0.825)."""
    r = posterior_logps(
        doubles([[0.25, 0.75]]).log(), doubles([[3, 1]]), smoothing=0.1, log_normaliser=no_log_normaliser
    ).exp()
    torch.testing.assert_close(r, doubles([[0.775 / 1.6, 0.825 / 1.6]]))


def test_unknown_objective_is_refused() -> None:
    with pytest.raises(ConfigError, match="objective is 'dpm'; expected one of dpm_qr, dpm_rq"):
        objective("dpm")


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_an_example_without_votes_has_no_loss_and_no_weight(name: str) -> None:
    logits = torch.ones(2, n_outputs_of(name, 2))
    loss, weight = objective(name, size=1)(logits, torch.tensor([[0.0, 0.0], [1.0, 2.0]]))
    assert float(loss[0]) == 0.0
    assert float(weight[0]) == 0.0
    assert float(weight[1]) == (3.0 if name == "votes" else 1.0)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_an_empty_batch_gives_empty_losses(name: str) -> None:
    loss, weight = objective(name)(torch.zeros(0, n_outputs_of(name, 2)), torch.zeros(0, 2))
    assert loss.shape == weight.shape == (0,)


@given(seed=st.integers(0, 10_000), name=st.sampled_from(sorted(set(OBJECTIVES) - set(NEED_PAIRS))))
@settings(max_examples=40, deadline=None)
def test_names_of_labels_and_order_within_a_chunk_are_irrelevant(seed: int, name: str) -> None:
    logits, votes = random_batch(seed, n_rows=6)
    rows = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    labels = torch.tensor([2, 0, 1])
    loss = objective(name)(logits, votes).loss
    torch.testing.assert_close(objective(name)(logits[rows], votes[rows]).loss, loss[rows])
    torch.testing.assert_close(objective(name)(logits[:, labels], votes[:, labels]).loss, loss)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_divergences_are_never_negative(seed: int) -> None:
    logits, votes = random_batch(seed)
    for name in ("dpm_qr", "dpm_rq", "dpm_em", "soft_kl", "soft_mse", "majority", "votes"):
        assert float(objective(name)(logits, votes).loss.min()) > -1e-12


@given(seed=st.integers(0, 10_000), name=st.sampled_from([*PLAIN, "dpm_em"]))
@settings(max_examples=30, deadline=None)
def test_a_shift_of_all_logits_changes_nothing(seed: int, name: str) -> None:
    logits, votes = random_batch(seed)
    torch.testing.assert_close(objective(name)(logits + 3.0, votes).loss, objective(name)(logits, votes).loss)


def test_votes_and_soft_kl_differ_by_weight_and_entropy() -> None:
    """n_i · (KL(l ‖ q) + H(l)) = −Σ n_ic log q_ic."""
    logits, votes = random_batch(7)
    loss, n_votes = votes_loss(logits, votes)
    entropy = torch.special.entr(vote_shares(votes)).sum(-1)
    torch.testing.assert_close(n_votes * (soft_kl_loss(logits, votes).loss + entropy), loss)


@pytest.mark.parametrize(("mean", "raw"), [(0.3, 2.0), (0.9, -1.0), (0.5, 30.0)])
def test_beta_binomial_equals_scipy(mean: float, raw: float) -> None:
    kappa = math.log1p(math.exp(raw))
    counts = [(0, 2), (2, 0), (1, 3), (5, 2), (1, 0)]
    votes = doubles([[unacceptable, acceptable] for acceptable, unacceptable in counts])
    outputs = doubles([[math.log(1 - mean), math.log(mean), raw]] * len(counts))
    expected = [
        -stats.betabinom.logpmf(acceptable, acceptable + unacceptable, mean * kappa, (1 - mean) * kappa)
        for acceptable, unacceptable in counts
    ]
    torch.testing.assert_close(
        beta_binomial_loss(outputs, votes, acceptable=ACCEPTABLE).loss, torch.tensor(expected, dtype=torch.float64)
    )


def test_beta_binomial_with_one_vote_is_the_log_loss_whatever_the_concentration() -> None:
    outputs = doubles([[math.log(0.3), math.log(0.7), raw] for raw in (-3.0, 0.0, 5.0)])
    loss = beta_binomial_loss(outputs, doubles([[0, 1]] * 3), acceptable=ACCEPTABLE).loss
    torch.testing.assert_close(loss, torch.full((3,), -math.log(0.7), dtype=torch.float64))


def test_beta_binomial_with_great_concentration_is_the_binomial() -> None:
    outputs = doubles([[math.log(0.3), math.log(0.7), 1e7]])
    loss = beta_binomial_loss(outputs, doubles([[1, 3]]), acceptable=ACCEPTABLE).loss
    assert float(loss) == pytest.approx(-stats.binom.logpmf(3, 4, 0.7), abs=1e-5)


def test_beta_binomial_sums_the_acceptable_labels() -> None:
    """Labels (bad, fair, good) with shares (0.2, 0.3, 0.5): μ = 0.8 and n_acc = 1 + 2."""
    outputs = doubles([[math.log(0.2), math.log(0.3), math.log(0.5), 1.0]])
    loss = beta_binomial_loss(outputs, doubles([[1, 1, 2]]), acceptable=torch.tensor([False, True, True])).loss
    kappa = math.log1p(math.e)
    assert float(loss) == pytest.approx(-stats.betabinom.logpmf(3, 4, 0.8 * kappa, 0.2 * kappa))


def raw_flip_rate(epsilon: float, n_labels: int = 2) -> float:
    """The output from which `learned_flip_rate` makes ε."""
    return math.log(9.0) + math.log(n_labels * epsilon / (1 - n_labels * epsilon))


def test_flip_rate_starts_at_a_tenth_of_its_bound_and_stays_inside() -> None:
    raw = torch.tensor([0.0, 1e4, -1e4, raw_flip_rate(0.2)], dtype=torch.float64)
    torch.testing.assert_close(learned_flip_rate(raw, 2), torch.tensor([0.05, 0.5, 1e-6, 0.2], dtype=torch.float64))
    assert float(learned_flip_rate(torch.zeros(()), 5)) == pytest.approx(0.02)


def test_votes_noise_by_hand() -> None:
    """q = (0.3, 0.7), ε = 0.1, votes (1, 2): 0.3 · 0.9 · 0.1² + 0.7 · 0.1 · 0.9² = 0.0027 + 0.0567 = 0.0594."""
    outputs = doubles([[math.log(0.3), math.log(0.7), raw_flip_rate(0.1)]])
    loss, weight = votes_noise_loss(outputs, doubles([[1, 2]]))
    assert float(loss) == pytest.approx(-math.log(0.0594))
    assert float(weight) == 1.0


def test_votes_noise_of_three_labels_by_hand() -> None:
    """q = (0.2, 0.3, 0.5), ε = 0.1 per wrong label, votes (2, 0, 1): the right label is voted for with 0.8.

    0.2 · 0.8² · 0.1 + 0.3 · 0.1³ + 0.5 · 0.1² · 0.8 = 0.0128 + 0.0003 + 0.004 = 0.0171.
    """
    outputs = doubles([[math.log(0.2), math.log(0.3), math.log(0.5), raw_flip_rate(0.1, 3)]])
    assert float(votes_noise_loss(outputs, doubles([[2, 0, 1]])).loss) == pytest.approx(-math.log(0.0171))


def test_votes_noise_sums_to_one_over_all_sequences_of_votes() -> None:
    """Three votes: Σ_k C(3, k) exp(−loss(3 − k, k)) = 1."""
    outputs = doubles([[0.4, -0.7, raw_flip_rate(0.07)]] * 4)
    votes = doubles([[3, 0], [2, 1], [1, 2], [0, 3]])
    likelihood = (-votes_noise_loss(outputs, votes).loss).exp()
    assert float((likelihood * torch.tensor([1.0, 3.0, 3.0, 1.0])).sum()) == pytest.approx(1.0)


def test_votes_noise_with_one_vote_is_the_log_loss_through_the_slips() -> None:
    """(1 − 2 · 0.1) · 0.7 + 0.1 = 0.66."""
    outputs = doubles([[math.log(0.3), math.log(0.7), raw_flip_rate(0.1)]])
    assert float(votes_noise_loss(outputs, doubles([[0, 1]])).loss) == pytest.approx(-math.log(0.66))


def test_votes_noise_without_slips_believes_in_one_label_only() -> None:
    """ε → 0: unanimous votes cost −log q, divided ones −log ε at least."""
    outputs = doubles([[math.log(0.3), math.log(0.7), -1e4]] * 2)
    loss = votes_noise_loss(outputs, doubles([[0, 3], [1, 1]])).loss
    assert float(loss[0]) == pytest.approx(-math.log(0.7), abs=1e-5)
    assert float(loss[1]) == pytest.approx(-math.log(1e-6), rel=1e-3)


def test_votes_noise_finds_rate_and_shares_of_a_simulated_panel() -> None:
    """Four votes on one of two labels, ε = 0.15, q = 0.7: maximum likelihood on 4,000 items finds both."""
    generator = torch.Generator().manual_seed(0)
    is_accepted = torch.rand(4000, generator=generator) < 0.7
    chance = torch.where(is_accepted, 0.85, 0.15)
    n_acceptable = torch.binomial(torch.full((4000,), 4.0), chance, generator=generator).double()
    votes = torch.stack([4 - n_acceptable, n_acceptable], 1)
    raw = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    for _ in range(400):
        outputs = torch.stack([torch.zeros(()), raw[0], raw[1]]).expand(4000, 3)
        (gradient,) = torch.autograd.grad(votes_noise_loss(outputs, votes).loss.mean(), raw)
        raw = (raw - 2.0 * gradient).detach().requires_grad_()
    assert float(raw[0].detach().sigmoid()) == pytest.approx(0.7, abs=0.03)
    assert float(learned_flip_rate(raw[1].detach(), 2)) == pytest.approx(0.15, abs=0.01)


@given(seed=st.integers(0, 10_000), name=st.sampled_from(sorted(NEED_PAIRS)))
@settings(max_examples=30, deadline=None)
def test_order_of_items_and_a_shift_of_all_logits_are_irrelevant_where_pairs_are_needed(seed: int, name: str) -> None:
    logits, votes = random_batch(seed, n_rows=6, n_labels=2)
    extra = doubles([[0.3]] * 6)
    rows = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    loss = objective(name)(torch.cat([logits, extra], 1), votes).loss
    torch.testing.assert_close(objective(name)(torch.cat([logits + 3.0, extra], 1)[rows], votes[rows]).loss, loss[rows])


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
@pytest.mark.parametrize("size", [3, 4, 8])
def test_models_side_by_side_do_not_influence_each_other(name: str, size: int) -> None:
    """[S, B, O] at once equals S times [B, O]; 8 rows in chunks of 3, 4 and 8."""
    batches = [random_batch(seed, n_rows=8, n_labels=n_outputs_of(name, 2)) for seed in range(3)]
    outputs, votes = torch.stack([b[0] for b in batches]), torch.stack([b[1][:, :2] for b in batches])
    together = objective(name, size=size)(outputs, votes)
    for number in range(3):
        alone = objective(name, size=size)(outputs[number], votes[number])
        torch.testing.assert_close(together.loss[number], alone.loss)
        torch.testing.assert_close(together.weight[number], alone.weight)
