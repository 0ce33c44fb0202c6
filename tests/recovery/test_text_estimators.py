"""Text models on hidden votes: out of fold, deterministic, and the heads that `accord fit` would train."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from accord.errors import ConfigError
from accord.preference.labelled import Annotations
from accord.preference.objectives import OBJECTIVES
from accord.recovery.hide import Hiding
from accord.recovery.settings import TextSettings
from accord.recovery.text_estimators import BY_ANNOTATOR, TextEstimate, estimate_texts

SETTINGS = TextSettings(head_size=8, epochs=8, batch_size=16, eval_every=4, learning_rate=0.01, weight_decay=0.1)
N_ITEMS = 96


def toy(seed: int) -> tuple[Tensor, Hiding, np.ndarray]:
    """Features of which the first decides the share; three votes per item, of which two are visible; four folds."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(N_ITEMS, 6, generator=generator)
    rng = np.random.default_rng(seed)
    share = torch.sigmoid(3 * features[:, 0]).numpy()
    visible, hidden = rng.binomial(2, share).astype(float), rng.binomial(1, share).astype(float)
    hiding = Hiding(np.stack([2 - visible, visible], 1), np.stack([1 - hidden, hidden], 1), None, None)
    return features, hiding, np.arange(N_ITEMS) % 4


def estimates(names: list[str], *, seeds: tuple[int, ...] = (0, 1)) -> dict[tuple[str, int], TextEstimate]:
    features, _, folds = toy(0)
    hidings = [toy(seed)[1] for seed in seeds]
    found = estimate_texts(features, hidings, [folds] * len(seeds), names=names, seeds=seeds, settings=SETTINGS)
    return {(name, number): estimate for name, number, estimate in found}


def test_every_objective_answers_every_item_and_learns_the_share() -> None:
    found = estimates(sorted(OBJECTIVES))
    assert len(found) == 2 * len(OBJECTIVES)
    truth = torch.sigmoid(3 * toy(0)[0][:, 0]).numpy()
    for (name, _), estimate in found.items():
        assert estimate.acceptance.shape == (N_ITEMS,)
        assert np.all((estimate.acceptance > 0) & (estimate.acceptance < 1))
        assert (estimate.strength is not None) == (name == "beta_binomial")
        assert (estimate.latent is not None) == (name in ("dpm_em", "votes_noise"))
        if name in ("votes", "soft_kl", "soft_mse", "beta_binomial", "votes_noise"):
            assert np.corrcoef(estimate.acceptance, truth)[0, 1] > 0.7


def test_the_answer_depends_neither_on_company_nor_on_the_order_of_seeds() -> None:
    """An objective beside others, and a hiding beside others, is what it is alone, to float tolerance."""
    together, alone = estimates(["votes", "dpm_em", "votes_noise"]), estimates(["votes_noise"], seeds=(1,))
    np.testing.assert_allclose(
        together["votes_noise", 1].acceptance, alone["votes_noise", 0].acceptance, rtol=1e-3, atol=1e-4
    )
    again = estimates(["votes", "dpm_em", "votes_noise"])
    for key, estimate in together.items():
        np.testing.assert_array_equal(estimate.acceptance, again[key].acceptance)


def test_votes_of_a_fold_change_no_prediction_of_that_fold() -> None:
    """Fold 2 is turned round: its own answers stay, those of folds trained or selected on it change."""
    features, hiding, folds = toy(0)
    turned = hiding.visible.copy()
    turned[folds == 2] = turned[folds == 2][:, ::-1]
    found = [
        next(
            estimate_texts(
                features, [hiding._replace(visible=visible)], [folds], names=["votes"], seeds=[0], settings=SETTINGS
            )
        )[2].acceptance
        for visible in (hiding.visible, turned)
    ]
    same = [np.allclose(found[0][folds == fold], found[1][folds == fold]) for fold in range(4)]
    assert same == [False, False, True, False]


def test_items_without_visible_votes_are_answered_too() -> None:
    features, hiding, folds = toy(0)
    visible = hiding.visible.copy()
    visible[:10] = 0.0
    ((_, _, estimate),) = estimate_texts(
        features, [hiding._replace(visible=visible)], [folds], names=["votes"], seeds=[0], settings=SETTINGS
    )
    assert not np.isnan(estimate.acceptance).any()


def test_a_hiding_is_finished_before_the_next_begins() -> None:
    features, _, folds = toy(0)
    counted: list[int] = []
    found = estimate_texts(
        features,
        [toy(0)[1], toy(1)[1]],
        [folds, folds],
        names=["votes", "majority"],
        seeds=[0, 1],
        settings=replace(SETTINGS, epochs=1),
        advance=counted.append,
    )
    assert [(name, number) for name, number, _ in found] == [
        ("votes", 0),
        ("majority", 0),
        ("votes", 1),
        ("majority", 1),
    ]
    assert counted == [1, 1, 1, 1]


def test_models_by_annotator_answer_where_annotators_are_known_and_are_refused_where_not() -> None:
    features, hiding, folds = toy(0)
    counts = hiding.visible.astype(int)
    items = np.repeat(np.arange(N_ITEMS), 2)
    accepts = np.concatenate([[False] * no + [True] * yes for no, yes in counts])
    annotators = (np.arange(len(items)) * 7) % 11
    known = hiding._replace(visible_annotations=Annotations(items, annotators, accepts))
    truth = torch.sigmoid(3 * features[:, 0]).numpy()
    names = sorted(BY_ANNOTATOR)
    found = estimate_texts(features, [known], [folds], names=names, seeds=[0], settings=SETTINGS)
    for name, _, estimate in found:
        assert np.corrcoef(estimate.acceptance, truth)[0, 1] > 0.6, name
        assert estimate.strength is None
        assert estimate.latent is None
    with pytest.raises(ConfigError, match="variational learns who votes how, but annotators are unknown here"):
        next(estimate_texts(features, [hiding], [folds], names=["variational"], seeds=[0], settings=SETTINGS))


def test_what_cannot_be_fitted_is_refused() -> None:
    features, hiding, folds = toy(0)
    with pytest.raises(ConfigError, match="text estimator is 'vote'; expected one of dpm_qr"):
        next(estimate_texts(features, [hiding], [folds], names=["vote"], seeds=[0], settings=SETTINGS))
    with pytest.raises(ConfigError, match="2 of 2 folds have visible votes; expected all of at least 3"):
        next(estimate_texts(features, [hiding], [folds % 2], names=["votes"], seeds=[0], settings=SETTINGS))
