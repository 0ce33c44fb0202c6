"""What the one training loop promises: same steps however a batch is cut, and stopping equals not stopping."""

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accord.training.batches import step_indices
from accord.training.checkpoint import read_newest_checkpoint
from accord.training.loop import LossSum, TrainingResult, train

X = torch.linspace(-1, 1, 48).reshape(24, 2)
Y = (X[:, 0] * 2 - X[:, 1]).tanh()


def _run(
    folder: Path | None,
    *,
    micro: int = 8,
    die_at: int | None = None,
    n_steps: int = 12,
    dropout: float = 0.0,
    patience: int | None = None,
    **options: Any,
) -> tuple[nn.Module, TrainingResult]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))

    def micro_batches_at(step: int) -> Sequence[Tensor]:
        if step == die_at:
            raise KeyboardInterrupt
        return torch.split(torch.from_numpy(step_indices(24, 8, step, seed=1)), micro)

    def loss_of(rows: Tensor) -> LossSum:
        weight = 1.0 + rows.double() % 3
        return LossSum((weight.float() * (model(X[rows])[:, 0] - Y[rows]) ** 2).sum(), weight.sum())

    def evaluate() -> Mapping[str, float]:
        return {"dev_loss": float(((model(X)[:, 0] - Y) ** 2).mean())}

    result = train(
        model,
        loss_of=loss_of,
        micro_batches_at=micro_batches_at,
        n_steps=n_steps,
        evaluate=evaluate,
        select_on="dev_loss",
        eval_every=2,
        patience=patience,
        learning_rate=0.03,
        warmup_steps=2,
        seed=3,
        checkpoint_dir=folder,
        label="Toy",
        **options,
    )
    return model, result


def _weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_training_improves_and_returns_the_best_step() -> None:
    _, result = _run(None)
    values = [row["dev_loss"] for row in result.curve]
    assert [row["step"] for row in result.curve] == [0, 2, 4, 6, 8, 10, 12]
    assert result.best_value == min(values) < values[0]
    assert result.curve[values.index(min(values))]["step"] == result.best_step


@pytest.mark.parametrize("micro", [1, 3, 5])
def test_eight_by_one_equals_one_by_eight(micro: int) -> None:
    """Weights differ between examples, so a mean of micro-batch means would not pass."""
    assert torch.allclose(_weights(_run(None)[0]), _weights(_run(None, micro=micro)[0]), atol=1e-5)


@pytest.mark.parametrize("die_at", [1, 5, 9])
def test_stopping_equals_not_stopping_bit_for_bit_with_dropout(tmp_path: Path, die_at: int) -> None:
    undisturbed, expected = _run(tmp_path / "a", dropout=0.3)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "b", dropout=0.3, die_at=die_at)
    resumed, result = _run(tmp_path / "b", dropout=0.3)
    assert torch.equal(_weights(undisturbed), _weights(resumed))
    assert _without_seconds(result) == _without_seconds(expected)


def _without_seconds(result: TrainingResult) -> str:
    return str(result._replace(paces=[pace._replace(seconds=0.0) for pace in result.paces]))


@pytest.mark.parametrize("die_at", [None, 5])
def test_paces_count_the_seconds_of_steps_alone_and_go_on_when_resumed(
    tmp_path: Path, die_at: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that ticks when it is looked at: before and after each step, so that a step takes one second.

    Every third step ends an epoch of 24 rows, whose weights are 1, 2, 3, 1, …: 48 an epoch. Step 4, which a run that
    dies at step 5 has done and lost, counts once.
    """
    monkeypatch.setattr("accord.training.loop.time", SimpleNamespace(monotonic=count().__next__))
    if die_at is not None:
        with pytest.raises(KeyboardInterrupt):
            _run(tmp_path, die_at=die_at)
    paces = _run(tmp_path)[1].paces
    assert [pace.seconds for pace in paces] == [0, 2, 4, 6, 8, 10, 12]
    assert (paces[0].weight, paces[3].weight, paces[6].weight) == (0, 96, 192)


def test_a_torn_newest_checkpoint_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    undisturbed, _ = _run(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "b", die_at=9)
    torn = tmp_path / "b" / "step-00000008" / "model.safetensors"
    torn.write_bytes(torn.read_bytes()[:20])
    found = read_newest_checkpoint(tmp_path / "b")
    assert found is not None
    assert found.state["step"] == 6
    assert "step-00000008 is torn" in caplog.text
    assert torch.equal(_weights(undisturbed), _weights(_run(tmp_path / "b")[0]))


def test_patience_stops_and_a_finished_run_resumes_to_the_same_end(tmp_path: Path) -> None:
    model, result = _run(tmp_path, n_steps=400, patience=2)
    assert result.stopped_early
    again, same = _run(tmp_path, n_steps=400, patience=2)
    assert torch.equal(_weights(model), _weights(again))
    assert str(same) == str(result)


def test_a_parameter_may_have_its_own_learning_rate() -> None:
    """Rate 0 for the first layer: it stays, the last one moves; the same rate for all is the plain run."""
    start, _ = _run(None, n_steps=0)
    frozen, _ = _run(None, learning_rate_of=lambda name: 0.0 if name.startswith("0.") else 0.03)
    for old, new in zip(start.parameters(), frozen.parameters(), strict=True):
        assert torch.equal(old, new) == (old is start[0].weight or old is start[0].bias)  # type: ignore[index]
    same, _ = _run(None, learning_rate_of=lambda _: 0.03)
    assert torch.equal(_weights(same), _weights(_run(None)[0]))


def test_after_step_is_called_once_a_step_whatever_the_micro_batches() -> None:
    calls: list[int] = []
    _run(None, micro=2, n_steps=5, after_step=lambda: calls.append(1))
    assert len(calls) == 5


def test_micro_batches_of_a_step_drop_different_units() -> None:
    """One seed for the whole step would drop the same units of both halves when each is drawn anew."""
    masks: list[Tensor] = []
    model = nn.Linear(1, 1)

    def loss_of(_: int) -> LossSum:
        masks.append(nn.functional.dropout(torch.ones(64)))
        return LossSum(model(torch.ones(1, 1)).sum(), 1.0)

    train(
        model,
        loss_of=loss_of,
        micro_batches_at=lambda _: [0, 1],
        n_steps=2,
        evaluate=lambda: {"loss": 0.0},
        select_on="loss",
        eval_every=9,
        patience=None,
        learning_rate=0.1,
        seed=0,
        checkpoint_dir=None,
        label="Toy",
    )
    assert len({tuple(mask.tolist()) for mask in masks}) == 4
