"""Models that know who voted: their mathematics by hand, and two camps with opposite views that they tell apart."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from accord.errors import ConfigError
from accord.preference.annotator_heads import fit_annotator_heads, moved_logits
from accord.preference.by_annotator import AnnotatorData, AnnotatorModel, RunVotes, require_annotators
from accord.preference.head import HeadTraining
from accord.preference.labelled import Annotations
from accord.preference.pluralistic import Prototypes, fit_mixture, fit_pluralistic, ideal_point_logits
from accord.preference.variational import (
    VoteEncoder,
    fit_variational,
    gaussian_kl,
    mean_acceptance,
    pooled_evidence,
)

N_ITEMS, N_ANNOTATORS = 240, 12
TRAINING = HeadTraining(16, 0.1, 0.01, 0.1, 20, 16, 10, 10)


class Camps(NamedTuple):
    """Even annotators accept what is high in the first feature, odd ones what is low; the second moves everybody."""

    data: AnnotatorData
    truth: np.ndarray
    is_even: np.ndarray


def two_camps(n_runs: int = 2, *, silent: int | None = None) -> Camps:
    """Five votes per item; the last quarter is held out; annotator `silent` has no vote in training."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((N_ITEMS, 5)).astype(np.float32)
    is_even = np.arange(N_ANNOTATORS) % 2 == 0
    truth = 1 / (1 + np.exp(-(3 * features[:, :1] * np.where(is_even, 1, -1) + features[:, 1:2])))
    items = np.repeat(np.arange(N_ITEMS), 5)
    voters = np.concatenate([rng.choice(N_ANNOTATORS, 5, replace=False) for _ in range(N_ITEMS)])
    accepts = rng.random(len(items)) < truth[items, voters]
    kept = np.ones(len(items), dtype=bool) if silent is None else (voters != silent) | (items >= 180)
    annotations = Annotations(items[kept], voters[kept], accepts[kept])
    train, held_out = np.arange(180), np.arange(180, N_ITEMS)
    data = AnnotatorData(torch.from_numpy(features), annotations, [train] * n_runs, [held_out] * n_runs)
    return Camps(data, truth, is_even)


def fits(training: HeadTraining) -> dict[str, Callable[[AnnotatorData], AnnotatorModel]]:
    return {
        "annotator_heads": lambda data: fit_annotator_heads(data, latent_size=2, seed=0, training=training),
        "pluralistic": lambda data: fit_pluralistic(data, n_prototypes=2, latent_size=3, seed=0, training=training),
        "variational": lambda data: fit_variational(data, latent_size=2, seed=0, training=training),
    }


FITS = fits(TRAINING)
SHORT_FITS = fits(TRAINING._replace(dropout=0.0, epochs=2))


def expected_loss(probs: np.ndarray, truth: np.ndarray) -> float:
    """Of one vote of each annotator on each held-out item."""
    return float(-np.mean(truth * np.log(probs) + (1 - truth) * np.log1p(-probs)))


# -- mathematics --------------------------------------------------------------------------------------------------


def test_moved_logits_by_hand() -> None:
    """(0.75 − 0.25) + 2 · 1 + (−1) · 3 = −0.5; without a move the panel's logit stands."""
    outputs = torch.tensor([[0.25, 0.75, 2.0, -1.0], [0.25, 0.75, 2.0, -1.0]])
    assert moved_logits(outputs, torch.tensor([[1.0, 3.0], [0.0, 0.0]])).tolist() == [-0.5, 0.5]


def test_ideal_points_by_hand() -> None:
    """t = 1, distance² 0.25 + 4: −3.25. At the ideal point itself the logit is t."""
    points = torch.tensor([[0.5, 2.0], [1.0, 0.0]])
    logits = ideal_point_logits(points, torch.tensor([[1.0, 0.0]]).expand(2, 2), torch.tensor(1.0))
    assert logits.tolist() == [-3.25, 1.0]


def test_panel_probs_are_what_single_votes_are_predicted_by() -> None:
    own = Prototypes(2, 3, n_prototypes=4, latent_size=2, seed=0)
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())))
    outputs = torch.randn(5, 2, generator=torch.Generator().manual_seed(1))
    for annotator in range(3):
        logits = own.vote_terms(outputs, torch.full((5,), 1), torch.full((5,), annotator)).logits
        torch.testing.assert_close(own.panel_probs(outputs, 1)[:, annotator], logits.sigmoid())


def test_gaussian_kl_by_hand_and_against_torch() -> None:
    """μ = 1, σ² = 0.25: ½ (0.25 + 1 − 1 + log 4) = 0.8181; the prior itself costs nothing."""
    mean, variance = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.25], [1.0]])
    found = gaussian_kl(mean, variance)
    assert found.tolist() == pytest.approx([0.5 * (0.25 + math.log(4)), 0.0])
    prior = torch.distributions.Normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(torch.distributions.Normal(mean, variance.sqrt()), prior).sum(-1)
    torch.testing.assert_close(found, expected)


def test_evidence_adds_up_by_hand() -> None:
    """Pulls 2 and −1, precisions 1 and 2, and padding: τ = 4, mean ¼, variance ¼. Without votes: the prior."""
    pull = torch.tensor([[[2.0], [-1.0], [9.0]], [[5.0], [5.0], [5.0]]])
    precision = torch.tensor([[[1.0], [2.0], [7.0]], [[5.0], [5.0], [5.0]]])
    mask = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    q = pooled_evidence(pull, precision, mask)
    assert q.mean.flatten().tolist() == [0.25, 0.0]
    assert q.variance.flatten().tolist() == [0.25, 1.0]


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 4.0), (1.5, 0.5), (-3.0, 2.0), (2.0, 1e-6)])
def test_mean_acceptance_is_close_to_the_integral(mean: float, variance: float) -> None:
    scale = math.sqrt(variance)
    expected, _ = integrate.quad(lambda z: stats.norm.pdf(z) / (1 + math.exp(-(mean + scale * z))), -8, 8, epsabs=1e-10)
    found = mean_acceptance(torch.tensor(mean, dtype=torch.float64), torch.tensor(variance, dtype=torch.float64))
    assert float(found) == pytest.approx(expected, abs=0.015)


def test_padding_of_the_encoder_moves_nothing_and_turned_votes_move_the_mean() -> None:
    texts = torch.randn(1, 2, 4, 3, generator=torch.Generator().manual_seed(0))
    signs = torch.tensor([[[1.0, -1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]]])
    encoder = VoteEncoder(texts, signs, signs.abs(), latent_size=2, seed=3)
    wide = VoteEncoder(
        torch.nn.functional.pad(texts, (0, 0, 0, 2), value=7.0),
        torch.nn.functional.pad(signs, (0, 2)),
        torch.nn.functional.pad(signs.abs(), (0, 2)),
        latent_size=2,
        seed=3,
    )
    turned = VoteEncoder(texts, -signs, signs.abs(), latent_size=2, seed=3)
    both = torch.zeros(2, dtype=torch.long), torch.arange(2)
    found = encoder.posterior(*both)
    torch.testing.assert_close(found.mean, wide.posterior(*both).mean)
    torch.testing.assert_close(found.variance, wide.posterior(*both).variance)
    assert not torch.allclose(found.mean, turned.posterior(*both).mean)


# -- two camps ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def camps() -> Camps:
    return two_camps(1)


@pytest.fixture(scope="module")
def models(camps: Camps) -> dict[str, AnnotatorModel]:
    return {name: fit(camps.data) for name, fit in FITS.items()}


@pytest.mark.parametrize("name", FITS)
def test_votes_of_known_annotators_on_new_items_are_predicted_better_than_by_the_panel(
    camps: Camps, models: dict[str, AnnotatorModel], name: str
) -> None:
    """The panel is divided, so that its share says little of anybody; truth costs 0.40 nats a vote."""
    held_out = camps.data.held_out_rows[0]
    features, truth = camps.data.features[held_out], camps.truth[held_out]
    share = models[name].acceptance(features, 0).numpy()
    by_annotator = expected_loss(models[name].panel_probs(features, 0).double().numpy(), truth)
    by_panel = expected_loss(np.repeat(share[:, None], N_ANNOTATORS, axis=1), truth)
    assert by_annotator < by_panel - 0.1
    assert by_annotator < 0.52


@pytest.mark.parametrize("name", FITS)
def test_the_share_of_the_panel_is_recovered(camps: Camps, models: dict[str, AnnotatorModel], name: str) -> None:
    """What remains when the camps cancel out is the second feature."""
    held_out = camps.data.held_out_rows[0]
    share = models[name].acceptance(camps.data.features[held_out], 0).numpy()
    assert np.corrcoef(share, camps.truth[held_out].mean(1))[0, 1] > 0.6


def test_prototypes_find_the_camps(camps: Camps, models: dict[str, AnnotatorModel]) -> None:
    """Everybody's larger share is in the prototype of their camp."""
    own = models["pluralistic"].own
    assert isinstance(own, Prototypes)
    lead = own.mixtures[0].argmax(1).numpy()
    assert len(set(lead[camps.is_even])) == len(set(lead[~camps.is_even])) == 1
    assert lead[0] != lead[1]


def test_a_new_annotator_finds_its_camp_from_a_few_votes(camps: Camps, models: dict[str, AnnotatorModel]) -> None:
    """Ten votes of an odd annotator, prototypes frozen; turned votes lead to the other camp, none to the panel."""
    model = models["pluralistic"]
    own = model.own
    assert isinstance(own, Prototypes)
    with torch.no_grad():
        points = model.shared.of_run(camps.data.features[:10], 0)
        fixed = {
            "prototypes": own.points[0].detach(),
            "threshold": own.threshold[0].detach(),
            "panel_logits": own.panel_logits[0].detach(),
        }
        lead = int(own.mixtures[0, 1].argmax())
    votes = torch.from_numpy((camps.truth[:10, 1] > 0.5).astype(np.float32))
    assert int(fit_mixture(points, votes, **fixed).argmax()) == lead
    assert int(fit_mixture(points, 1 - votes, **fixed).argmax()) != lead
    nobody = fit_mixture(points[:0], votes[:0], **fixed)
    torch.testing.assert_close(nobody, fixed["panel_logits"].softmax(-1))


@pytest.mark.parametrize("name", FITS)
def test_an_annotator_without_votes_is_the_panel(name: str) -> None:
    """Silent in training: its own part is the prior, and the panel's share does not count it."""
    camps = two_camps(1, silent=3)
    model = FITS[name](camps.data)
    assert float(model.n_votes[0, 3]) == 0.0
    own = model.own
    if isinstance(own, VoteEncoder):
        with torch.no_grad():
            q = own.posterior(torch.tensor([0]), torch.tensor([3]))
        assert q.mean.tolist() == [[0.0, 0.0]]
        assert q.variance.tolist() == [[1.0, 1.0]]
    elif isinstance(own, Prototypes):
        torch.testing.assert_close(own.mixtures[0, 3], own.panel_logits[0].softmax(-1))
    else:
        probs = model.panel_probs(camps.data.features[:20], 0)
        outputs = model.shared.of_run(camps.data.features[:20], 0)
        torch.testing.assert_close(probs[:, 3], (outputs[:, 1] - outputs[:, 0]).sigmoid())


@pytest.mark.parametrize("name", FITS)
def test_runs_side_by_side_and_runs_again_give_the_same(name: str) -> None:
    """Without dropout two equal runs are one; a second fit is the first, bit for bit."""
    data = two_camps(2).data
    one, other = SHORT_FITS[name](data), SHORT_FITS[name](data)
    features = data.features[180:]
    assert torch.equal(one.acceptance(features, 0), other.acceptance(features, 0))
    if name != "variational":  # its runs draw different latents
        torch.testing.assert_close(one.acceptance(features, 0), one.acceptance(features, 1))


@pytest.mark.parametrize("name", FITS)
def test_order_of_annotations_is_irrelevant(name: str) -> None:
    data = two_camps(1).data
    shuffled = np.random.default_rng(5).permutation(len(data.annotations.item_index))
    annotations = Annotations(*(values[shuffled] for values in data.annotations))
    one, other = SHORT_FITS[name](data), SHORT_FITS[name](data._replace(annotations=annotations))
    torch.testing.assert_close(one.acceptance(data.features, 0), other.acceptance(data.features, 0))


def test_what_cannot_be_learned_is_refused() -> None:
    with pytest.raises(ConfigError, match="pluralistic learns who votes how, but annotators are unknown here"):
        require_annotators("pluralistic", None)
    one = Annotations(np.array([0, 1]), np.array([4, 4]), np.array([True, False]))
    with pytest.raises(ConfigError, match="variational learns how annotators differ, but 1 voted here"):
        require_annotators("variational", one)
    data = two_camps(1).data
    with pytest.raises(ConfigError, match="Fold 0 has no votes to be trained or to be selected on"):
        FITS["annotator_heads"](data._replace(held_out_rows=[np.array([], dtype=np.int64)]))


def test_losses_of_a_batch_by_hand(camps: Camps) -> None:
    """Two votes on one item at logit 0: 2 log 2; the prior ½ (2² + 2²) of each annotator is spread over its votes."""
    data = two_camps(1).data
    model = fit_by_annotator_untrained(data)
    votes = RunVotes(
        torch.zeros(2, dtype=torch.long),
        torch.zeros(2, dtype=torch.long),
        torch.tensor([0, 1]),
        torch.tensor([1.0, 0.0]),
    )
    with torch.no_grad():
        model.shared.output_weight.zero_()
        model.shared.output_bias.zero_()
        model.own.values.fill_(2.0)  # type: ignore[operator]
        found = model.summed_loss(data.features[None, :1], votes)
    n_votes = np.bincount(data.of_run(0).annotator_index)
    assert float(found) == pytest.approx(2 * math.log(2) + 4.0 / n_votes[0] + 4.0 / n_votes[1])


def fit_by_annotator_untrained(data: AnnotatorData) -> AnnotatorModel:
    return fit_annotator_heads(data, latent_size=2, seed=0, training=TRAINING._replace(epochs=0)).eval()
