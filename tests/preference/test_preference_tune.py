"""However a step is cut into micro-batches, each way of tuning takes the same path with each objective."""

from functools import partial
from typing import Any, cast

import numpy as np
import pytest
import torch
from transformers import BertModel

from accord.errors import ConfigError
from accord.preference.inputs import PairEncoder
from accord.preference.model import PreferenceConfig, PreferenceModel
from accord.preference.objectives import N_CONSTANTS, OBJECTIVES, build_objective
from accord.preference.tune import (
    EncoderText,
    FitPlan,
    LearnedConstants,
    Schedule,
    add_adapters,
    add_prefix,
    check_precision,
    train_encoder,
    train_head,
)
from accord.training.loop import TrainingResult
from toys import tiny_bert, toy_items, word_tokenizer

ITEMS = toy_items(8)
ROWS = np.arange(16)
VOTES = torch.tensor([[3.0, 0.0], [1.0, 2.0], [0.0, 3.0], [2.0, 3.0], [1.0, 1.0]] * 4)[:16]
TUNINGS = ("head", "prefix", "lora", "full")


def encoder_without_dropout() -> BertModel:
    encoder = tiny_bert()
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return encoder


def fitted(
    tuning: str, name: str, micro_batch_size: int, *, normaliser: str = "chunk:2", **options: Any
) -> tuple[PreferenceModel, TrainingResult]:
    """Four steps of eight items on the real loop, over two epochs."""
    config = PreferenceConfig(head_size=8, dropout=0.0, has_concentration=name == "beta_binomial", max_input_tokens=64)
    encoder = encoder_without_dropout()
    model = PreferenceModel.from_encoder(encoder, config, seed=1)
    for ours, theirs in zip(model.encoder.modules(), encoder.modules(), strict=True):
        if isinstance(ours, torch.nn.Dropout):
            ours.p = cast(torch.nn.Dropout, theirs).p
    tokenizer = word_tokenizer(pair_template=True)
    encode = PairEncoder(tokenizer, max_length=64, pooling="completion_mean", n_views=1).encode
    text = EncoderText(tokenizer, [encode(item["prompt"], item["completion"]).views[0] for item in ITEMS], 4096)
    plan = FitPlan(
        votes=VOTES,
        train_rows=ROWS,
        held_out_rows=ROWS,
        held_out_loss=lambda outputs: float(-outputs[:, :2].sum()),  # falls or rises: only its equality counts
        objective_of=lambda found: build_objective(
            name, smoothing=0.1, log_normaliser=found, acceptable=torch.tensor([False, True])
        ),
        normaliser=normaliser,
        schedule=Schedule(
            epochs=2,
            batch_size=8,
            micro_batch_size=micro_batch_size,
            eval_every=2,
            patience=99,
            learning_rate=1e-3,
            weight_decay=0.1,
        ),
        seed=5,
        checkpoint_dir=None,
        constants=LearnedConstants(N_CONSTANTS[name]) if name in N_CONSTANTS else None,
    )
    if tuning == "head":
        with torch.no_grad():
            features = model.vectors(**text.batch(ROWS, model.device))
        return model, train_head(model, features, plan)
    make_trainable = {
        "prefix": partial(add_prefix, model, text, ROWS, length=3, seed=0),
        "lora": partial(add_adapters, model, rank=2, seed=0),
        "full": partial(model.encoder.requires_grad_, requires_grad=True),
    }
    make_trainable[tuning]()
    return model, train_encoder(model, text, plan, head_learning_rate=1e-3, **options)


def assert_same(one: tuple[PreferenceModel, TrainingResult], other: tuple[PreferenceModel, TrainingResult]) -> None:
    weights = dict(other[0].named_parameters())
    for name, value in one[0].named_parameters():
        torch.testing.assert_close(value, weights[name], atol=1e-5, rtol=1e-5, msg=name)
    assert len(one[1].curve) == len(other[1].curve) == 3
    for row, same in zip(one[1].curve, other[1].curve, strict=True):
        assert row == pytest.approx(same, abs=1e-4, nan_ok=True)


@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_eight_by_one_equals_one_by_eight(tuning: str, name: str) -> None:
    """Chunks of G = 2 ask for micro-batches of 2; what has no chunks is cut into single items."""
    assert_same(fitted(tuning, name, 8), fitted(tuning, name, 2 if name.startswith("dpm_") else 1))


@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("normaliser", ["chunk:1", "ema", "dataset", "none"])
def test_single_items_equal_a_whole_step_with_every_other_normaliser(tuning: str, normaliser: str) -> None:
    assert_same(fitted(tuning, "dpm_rq", 8, normaliser=normaliser), fitted(tuning, "dpm_rq", 1, normaliser=normaliser))


@pytest.mark.parametrize("tuning", TUNINGS)
def test_only_what_the_tuning_names_is_trained(tuning: str) -> None:
    start = PreferenceModel.from_encoder(tiny_bert(), PreferenceConfig(head_size=8), seed=1)
    model, _ = fitted(tuning, "votes", 8)
    before, after = dict(start.encoder.named_parameters()), dict(model.encoder.named_parameters())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    trained = {name for name in before if "pooler" not in name}
    if tuning == "lora":
        trained = {name for name in trained if name.endswith("weight") and after[name].ndim == 2}
        trained = {name for name in trained if "embeddings" not in name}
    elif tuning in ("head", "prefix"):
        trained = set()
    assert changed == trained
    assert not torch.equal(start.head.hidden.weight, model.head.hidden.weight)
    assert (model.prefix is not None) == (tuning == "prefix")


def test_bfloat16_passes_train_float32_weights_nearly_alike() -> None:
    exact, rounded = fitted("full", "votes", 8)[0], fitted("full", "votes", 8, dtype="bfloat16")[0]
    name = "encoder.layer.0.output.dense.weight"
    one, other = exact.encoder.get_parameter(name), rounded.encoder.get_parameter(name)
    assert other.dtype == torch.float32
    assert 0 < (one - other).abs().max() < 0.01


def test_bfloat16_where_it_is_not_known_is_refused() -> None:
    check_precision("float32", tuning="head", device=torch.device("meta"))
    with pytest.raises(ConfigError, match=r"the device meta cannot compute in it\. Use dtype: float32"):
        check_precision("bfloat16", tuning="full", device=torch.device("meta"))


@pytest.mark.parametrize(("normaliser", "is_sorted"), [("none", True), ("ema", True), ("chunk:2", False)])
def test_a_step_stands_in_order_of_length_unless_it_has_chunks(
    normaliser: str, is_sorted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Items of alike length are padded little; chunks of alike length would be another objective."""
    widths: list[int] = []
    vectors = PreferenceModel.vectors

    def observed(self: PreferenceModel, **batch: torch.Tensor) -> torch.Tensor:
        if self.training:
            widths.append(int(batch["attention_mask"].sum(1).max()))
        return vectors(self, **batch)

    monkeypatch.setattr(PreferenceModel, "vectors", observed)
    fitted("full", "dpm_rq", 2, normaliser=normaliser)
    steps = [widths[start : start + 4] for start in range(0, len(widths), 4)]
    assert len(steps) == 4
    assert all(step == sorted(step, reverse=True) for step in steps) == is_sorted
