"""Many heads at once: each is the head that the training loop would have trained alone."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from accord.errors import ConfigError
from accord.preference.head import (
    FittedHeads,
    HeadObjective,
    HeadTraining,
    fit_heads,
    fit_objectives,
    predict_heads,
    standardisation,
)
from accord.preference.model import PreferenceConfig, PreferenceHead, PreferenceModel, base_rate_logits
from accord.preference.objectives import (
    N_CONSTANTS,
    Objective,
    build_objective,
    chunk_log_normaliser,
    n_outputs_of,
    no_log_normaliser,
)
from accord.preference.reading import read_outputs
from accord.preference.tune import (
    FitPlan,
    LearnedConstants,
    MeanPrediction,
    Schedule,
    check_chunks,
    log_normaliser,
    train_head,
)
from accord.statistics.proper_scores import vote_log_loss
from accord.training.loop import TrainingResult
from toys import tiny_bert

N_ITEMS = 60
SCHEDULE = Schedule(
    epochs=6, batch_size=16, micro_batch_size=16, eval_every=3, patience=4, learning_rate=0.01, weight_decay=0.1
)


def toy_votes() -> tuple[Tensor, Tensor]:
    """Features of which the first decides the share of acceptance."""
    generator = torch.Generator().manual_seed(0)
    features = 3.0 + torch.randn(N_ITEMS, 32, generator=generator)
    share = torch.sigmoid(2.0 * (features[:, 0] - 3.0))
    n_acceptable = torch.binomial(torch.full((N_ITEMS,), 3.0), share, generator=generator)
    return features, torch.stack([3.0 - n_acceptable, n_acceptable], dim=1)


FEATURES, VOTES = toy_votes()
TRAIN_ROWS, DEV_ROWS = np.arange(0, 40), np.arange(40, 60)


def dev_loss(outputs: np.ndarray, rows: np.ndarray = DEV_ROWS) -> float:
    n_acceptable = VOTES[rows, 1].numpy()
    return float(vote_log_loss(outputs[:, 1] - outputs[:, 0], n_acceptable, np.full(len(rows), 3.0)).mean() / 3)


def objective(name: str, normaliser: Callable[[Tensor], Tensor] = no_log_normaliser) -> Objective:
    return build_objective(name, smoothing=0.1, log_normaliser=normaliser, acceptable=torch.tensor([False, True]))


def read_loss(outputs: np.ndarray, rows: np.ndarray, name: str) -> float:
    reading = read_outputs(outputs, objective=name, acceptable=np.array([False, True]), smoothing=0.1)
    n_acceptable = VOTES[rows, 1].numpy()
    return float(vote_log_loss(reading.vote_logits, n_acceptable, np.full(len(rows), 3.0)).mean() / 3)


def head_objective(name: str) -> HeadObjective:
    loss = objective(name, partial(chunk_log_normaliser, size=8))
    return HeadObjective(loss, n_outputs_of(name, 2), N_CONSTANTS.get(name, 0))


def stacked(name: str, seeds: list[int], *, patience: int | None = 4, dropout: float = 0.3) -> FittedHeads:
    return fit_heads(
        FEATURES,
        VOTES,
        train_rows=[TRAIN_ROWS] * len(seeds),
        held_out_rows=[DEV_ROWS] * len(seeds),
        held_out_loss=lambda _, outputs: dev_loss(outputs),
        seeds=seeds,
        objective=HeadObjective(objective(name, partial(chunk_log_normaliser, size=8)), n_outputs=2),
        training=HeadTraining(8, dropout, 0.01, 0.1, 6, 16, 3, patience),
    )


def alone(
    name: str,
    seed: int,
    *,
    normaliser: str = "chunk:8",
    schedule: Schedule = SCHEDULE,
    dropout: float = 0.3,
    constants: LearnedConstants | None = None,
    loss: Callable[[np.ndarray], float] = dev_loss,
) -> tuple[PreferenceModel, TrainingResult]:
    model = PreferenceModel.from_encoder(tiny_bert(), PreferenceConfig(head_size=8, dropout=dropout), seed=seed)
    mean, scale = standardisation(FEATURES[TRAIN_ROWS])
    model.head.feature_mean.copy_(mean)
    model.head.feature_scale.copy_(scale)
    plan = FitPlan(
        votes=VOTES,
        train_rows=TRAIN_ROWS,
        held_out_rows=DEV_ROWS,
        held_out_loss=loss,
        objective_of=lambda found: objective(name, found),
        normaliser=normaliser,
        schedule=schedule,
        seed=seed,
        checkpoint_dir=None,
        constants=constants,
    )
    return model.eval(), train_head(model, FEATURES, plan)


def test_standardisation_by_hand() -> None:
    """Column (1, 3): mean 2, deviation 1. A constant column is centred and kept at scale 1."""
    mean, scale = standardisation(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    assert mean.tolist() == [2.0, 5.0]
    assert scale.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", ["votes", "dpm_rq"])
def test_each_stacked_head_is_the_one_the_loop_trains_alone(name: str) -> None:
    """Dropout, random sets, decay, clipping and early stopping included."""
    fitted = stacked(name, [0, 1, 5])
    outputs = predict_heads(fitted.weights, FEATURES)
    for number, seed in enumerate([0, 1, 5]):
        model, result = alone(name, seed)
        with torch.no_grad():
            expected = model.head(FEATURES)
        torch.testing.assert_close(outputs[number], expected, atol=1e-4, rtol=1e-4)
        assert fitted.best_step[number] == result.best_step
        assert fitted.best_value[number] == pytest.approx(result.best_value, abs=1e-5)


ALL = ["votes", "beta_binomial", "votes_noise", "dpm_rq", "majority"]


def test_objectives_side_by_side_are_the_heads_that_are_trained_alone() -> None:
    """Two runs of unequal size, patience so short that some objectives stop early and leave the others."""
    rows, selection, seeds = [np.arange(0, 37), np.arange(11, 60)], [np.arange(37, 60), np.arange(0, 11)], [3, 4]
    training = HeadTraining(8, 0.3, 0.01, 0.1, 6, 16, 3, 2)

    def fitted(names: list[str]) -> dict[str, FittedHeads]:
        return fit_objectives(
            FEATURES,
            VOTES,
            train_rows=rows,
            held_out_rows=selection,
            held_out_loss={
                name: lambda run, outputs, name=name: read_loss(outputs, selection[run], name)  # type: ignore[misc]
                for name in names
            },
            seeds=seeds,
            objectives={name: head_objective(name) for name in names},
            training=training,
        )

    together = fitted(ALL)
    assert len({step for heads in together.values() for step in heads.best_step}) > 1
    for name in ALL:
        alone = fitted([name])[name]
        assert together[name].best_step == alone.best_step
        np.testing.assert_allclose(together[name].best_value, alone.best_value, atol=1e-5)
        for found, expected in zip(
            [*together[name].weights, *together[name].last_weights],
            [*alone.weights, *alone.last_weights],
            strict=True,
        ):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_learned_constant_is_the_one_the_loop_learns() -> None:
    """The flip rate moves, and is the same for every item. Selected on the loss of the dev rows, which falls."""

    def noise_loss(outputs: np.ndarray) -> float:
        return float(objective("votes_noise")(torch.tensor(outputs), VOTES[DEV_ROWS].double()).loss.mean())

    heads = fit_objectives(
        FEATURES,
        VOTES,
        train_rows=[TRAIN_ROWS],
        held_out_rows=[DEV_ROWS],
        held_out_loss={"votes_noise": lambda _, outputs: noise_loss(outputs)},
        seeds=[2],
        objectives={"votes_noise": head_objective("votes_noise")},
        training=HeadTraining(8, 0.3, 0.002, 0.1, 20, 16, 3, 40),
    )["votes_noise"]
    outputs = predict_heads(heads.weights, FEATURES)[0]
    constants = LearnedConstants(1)
    model, result = alone(
        "votes_noise",
        2,
        schedule=SCHEDULE._replace(learning_rate=0.002, epochs=20, patience=40),
        constants=constants,
        loss=noise_loss,
    )
    with torch.no_grad():
        expected = constants.beside(model.head(FEATURES))
    assert heads.best_step == [result.best_step]
    torch.testing.assert_close(outputs, expected, atol=1e-4, rtol=1e-4)
    assert bool((outputs[:, 2] == outputs[0, 2]).all())
    assert abs(float(outputs[0, 2])) > 0.1


def test_heads_do_not_influence_each_other() -> None:
    together, single = stacked("votes", [3, 4]), stacked("votes", [4])
    torch.testing.assert_close(
        predict_heads(together.weights, FEATURES)[1], predict_heads(single.weights, FEATURES)[0], atol=1e-5, rtol=1e-5
    )


def test_heads_may_learn_from_different_rows() -> None:
    """Folds of unequal size: a head equals itself trained beside any other."""
    rows = [np.arange(0, 37), np.arange(11, 60)]
    selection = [np.arange(37, 60), np.arange(0, 11)]

    def fitted(numbers: list[int]) -> Tensor:
        heads = fit_heads(
            FEATURES,
            VOTES,
            train_rows=[rows[number] for number in numbers],
            held_out_rows=[selection[number] for number in numbers],
            held_out_loss=lambda head, outputs: dev_loss(outputs, selection[numbers[head]]),
            seeds=[0] * len(numbers),
            objective=HeadObjective(objective("votes"), n_outputs=2),
            training=HeadTraining(8, 0.2, epochs=3, batch_size=8, eval_every=2),
        )
        return predict_heads(heads.weights, FEATURES)

    torch.testing.assert_close(fitted([0, 1])[1], fitted([1, 1])[0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(fitted([0, 1])[0], fitted([0, 1])[1])


def test_a_head_is_kept_at_its_lowest_held_out_loss() -> None:
    fitted = stacked("votes", [0], patience=None)
    outputs = predict_heads(fitted.weights, FEATURES[DEV_ROWS])[0].double().numpy()
    assert dev_loss(outputs) == pytest.approx(float(fitted.best_value[0]), abs=1e-9)


def test_last_weights_are_those_after_the_last_step() -> None:
    """Without patience nothing is selected: 6 epochs of 3 steps end at step 18, and selection changes neither end."""
    fitted = stacked("votes", [0], patience=None)
    _, unselected = alone("votes", 0, schedule=SCHEDULE._replace(patience=1000))
    last = dev_loss(predict_heads(fitted.last_weights, FEATURES[DEV_ROWS])[0].double().numpy())
    assert unselected.curve[-1]["step"] == 18
    assert last == pytest.approx(unselected.curve[-1]["log_loss"], abs=1e-5)
    assert last > float(fitted.best_value[0])


def test_last_weights_of_a_head_that_ran_out_of_patience_are_those_where_it_stopped() -> None:
    """Beside a head that goes on: the loop alone stops there."""
    fitted = stacked("dpm_qr", [0, 1, 5], patience=1)
    for number, seed in enumerate([0, 1, 5]):
        _, result = alone("dpm_qr", seed, schedule=SCHEDULE._replace(patience=1))
        last = dev_loss(predict_heads(fitted.last_weights, FEATURES[DEV_ROWS])[number].double().numpy())
        assert last == pytest.approx(result.curve[-1]["log_loss"], abs=1e-5)


def test_chunks_must_fit_into_the_micro_batch() -> None:
    check_chunks("chunk:8", 64)
    check_chunks("ema", 3)
    with pytest.raises(
        ConfigError, match=r"normaliser is 'chunk:8', but a micro-batch has 12 items; expected a multiple of 8"
    ):
        check_chunks("chunk:8", 12)


def test_ema_moves_once_a_step_whatever_the_micro_batches() -> None:
    """Start (0.5, 0.5); a step whose mean prediction is (0.2, 0.8): 0.95 · 0.5 + 0.05 · 0.2 = 0.485."""
    rows = torch.tensor([[0.1, 0.9], [0.3, 0.7]]).log()
    means = []
    for parts in ([rows], [rows[:1], rows[1:]]):
        mean = MeanPrediction("ema", 2)
        mean.refresh(lambda: torch.tensor([[0.5, 0.5]]).log())
        for part in parts:
            mean.observe(part)
        mean.end_step()
        means.append(mean.log_probs.detach().exp())
    torch.testing.assert_close(means[0], torch.tensor([0.485, 0.515]))
    torch.testing.assert_close(means[0], means[1])


def test_dataset_mean_is_taken_anew_at_every_evaluation_and_has_no_gradient() -> None:
    mean = MeanPrediction("dataset", 2)
    for share in (0.5, 0.2):
        mean.refresh(lambda share=share: torch.tensor([[share, 1 - share]]).log())  # type: ignore[misc]
        mean.observe(torch.tensor([[0.9, 0.1]]).log())
        mean.end_step()
    logps = torch.zeros(3, 2).requires_grad_()
    found = log_normaliser("dataset", mean)(logps)
    torch.testing.assert_close(found.exp(), torch.tensor([[0.2, 0.8]] * 3))
    assert not found.requires_grad


@pytest.mark.parametrize("normaliser", ["ema", "dataset", "none", "chunk:4"])
def test_every_normaliser_trains_and_selects(normaliser: str) -> None:
    _, result = alone("dpm_em", 0, normaliser=normaliser)
    assert result.best_value <= result.curve[0]["log_loss"]
    assert all(np.isfinite(row["log_loss"]) for row in result.curve)


def test_a_head_starts_at_the_base_rate() -> None:
    """30 of 40 votes accept: half a vote more each, the log-odds are log(30.5 / 10.5), and their mean is 0."""
    votes = torch.tensor([[1.0, 3.0]] * 10)
    logits = base_rate_logits(votes)
    assert float(logits[1] - logits[0]) == pytest.approx(math.log(30.5 / 10.5))
    assert float(logits.sum()) == pytest.approx(0.0, abs=1e-6)
    torch.testing.assert_close(base_rate_logits(votes.flip(1)), logits.flip(0))
    assert bool(base_rate_logits(torch.tensor([[4.0, 0.0, 0.0]])).isfinite().all())


def test_few_lopsided_items_are_not_predicted_as_even() -> None:
    """Nine in ten accept whatever the text: a few small steps must not leave the prediction near one half."""
    features = torch.randn(60, 32, generator=torch.Generator().manual_seed(1))
    votes = torch.tensor([[0.0, 3.0], [1.0, 2.0], [0.0, 4.0]]).repeat(20, 1)
    fitted = fit_heads(
        features,
        votes,
        train_rows=[TRAIN_ROWS],
        held_out_rows=[DEV_ROWS],
        held_out_loss=lambda _, outputs: float(-outputs[:, 1].mean()),
        seeds=[0],
        objective=HeadObjective(objective("votes"), n_outputs=2),
        training=HeadTraining(epochs=2, batch_size=16, eval_every=3),
    )
    share = predict_heads(fitted.last_weights, features)[0].softmax(-1)[:, 1]
    assert 0.85 < float(share.mean()) < 0.95


def test_a_constant_rate_is_that_of_a_plain_loop() -> None:
    """Six steps of AdamW on the head alone, all rows a step; no dropout, no clipping, no decay of weights."""
    training = HeadTraining(
        head_size=8, dropout=0.0, learning_rate=0.01, weight_decay=0.0, epochs=6, batch_size=40, patience=None,
        max_grad_norm=1e9, final_rate=1.0,
    )  # fmt: skip
    fitted = fit_objectives(
        FEATURES,
        VOTES,
        train_rows=[TRAIN_ROWS],
        held_out_rows=[DEV_ROWS],
        held_out_loss={"votes": lambda _, outputs: dev_loss(outputs)},
        seeds=[7],
        objectives={"votes": head_objective("votes")},
        training=training,
    )["votes"]
    head = PreferenceHead(32, 8, 2, dropout=0.0)
    head.initialise(7)
    head.start_at_base_rate(VOTES[TRAIN_ROWS])
    mean, scale = standardisation(FEATURES[TRAIN_ROWS])
    head.feature_mean.copy_(mean)
    head.feature_scale.copy_(scale)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.01, weight_decay=0.0)
    for _ in range(6):
        optimizer.zero_grad()
        loss, weight = objective("votes")(head(FEATURES[TRAIN_ROWS]), VOTES[TRAIN_ROWS])
        (loss.sum() / weight.sum()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    torch.testing.assert_close(fitted.last_weights.hidden_weight[0], head.hidden.weight.detach(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(fitted.last_weights.output_bias[0], head.output.bias.detach(), atol=1e-5, rtol=1e-4)
