"""The stage on a toy corpus: what it writes, what it refuses, and that it can be interrupted."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoConfig, AutoModel, DistilBertConfig, DistilBertModel

from accord.artifacts import require_complete
from accord.data.prepare import prepare_stage
from accord.data.prepared import load_prepared
from accord.data.settings import PrepareSettings
from accord.errors import ArtifactError, ConfigError
from accord.json_files import read_json
from accord.preference import fit
from accord.preference.fit import fit_stage
from accord.preference.labelled import in_groups, label_items
from accord.preference.lexical import LEXICAL_MODEL
from accord.preference.measure import calibration_warnings
from accord.preference.predict import acceptance_logits, load_acceptance_model, load_preference_model, predict_logits
from accord.preference.reading import flip_rate
from accord.preference.settings import FitSettings
from accord.training import loop
from toys import SPECIALS, WORDS, save_tiny_encoder, toy_items, word_tokenizer, write_rows

SETTINGS = FitSettings(
    epochs=4, batch_size=8, micro_batch_size=4, normaliser="chunk:4", eval_every=2, head_size=8, n_resamples=50,
    max_length=64, n_folds=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_encoder(tmp_path_factory.mktemp("encoder") / "model")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    source = write_rows(folder / "items.jsonl", toy_items(24))
    return prepare_stage(source, output_dir=folder / "prepared", settings=PrepareSettings(n_resamples=20), seed=0)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"tuning": "prefix", "prefix_length": 3},
        {"tuning": "lora"},
        {"tuning": "full"},
        {"tuning": "full", "dtype": "bfloat16"},
        {"objective": "beta_binomial"},
        {"objective": "dpm_em", "normaliser": "ema"},
        {"objective": "votes_noise"},
        {"objective": "votes_noise", "tuning": "prefix", "prefix_length": 3},
        {"objective": "votes_noise", "tuning": "lora"},
    ],
    ids=[
        "head",
        "prefix",
        "lora",
        "full",
        "bfloat16",
        "beta_binomial",
        "dpm_em",
        "noise",
        "noise_prefix",
        "noise_lora",
    ],
)
def test_fit_writes_a_complete_folder(
    tmp_path: Path, prepared: Path, encoder: str, changed: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    settings = replace(SETTINGS, model=encoder, **changed)
    with caplog.at_level(logging.WARNING, logger="accord"):
        folder = fit_stage(prepared, output_dir=tmp_path / "fit", settings=settings, seed=1)
    require_complete(folder, "fit")
    items = load_prepared(prepared).items
    predictions, posterior = rows(folder / "predictions.jsonl"), rows(folder / "posterior.jsonl")
    assert [row["id"] for row in predictions] == [row["id"] for row in posterior] == [item.id for item in items]
    assert all(row["low"] <= row["share"] <= row["high"] for row in posterior)
    assert all(row["n_votes"] == 3 for row in posterior)
    assert ("latent_acceptance" in predictions[0]) == (settings.objective in ("dpm_em", "votes_noise"))
    loaded = load_preference_model(folder)
    logits = predict_logits(loaded.model, loaded.tokenizer, [(item.prompt, item.completion) for item in items])
    config = loaded.model.config
    again = acceptance_logits(logits, config.acceptable_label_ids, flip_rate=config.flip_rate)
    np.testing.assert_array_equal(again, [row["acceptance_logit"] for row in predictions])
    measured = {(m["name"], m["system"], m["signature"].split("|")[1]): m for m in read_json(folder / "results.json")}
    for split in ("dev", "test"):
        for name in ("log_loss", "brier", "cross_entropy", "manhattan", "ece", "spearman"):
            assert (name, settings.objective, f"split:{split}") in measured
            assert (name, "constant", f"split:{split}") in measured
        floor = measured["cross_entropy", "vote_shares", f"split:{split}"]["value"]
        assert floor <= measured["cross_entropy", settings.objective, f"split:{split}"]["value"]
    assert measured["spearman", "constant", "split:dev"]["value"] is None
    curve = rows(folder / "curve.jsonl")
    best = measured["log_loss", settings.objective, "split:dev"]["value"]
    assert best == pytest.approx(min(row["log_loss"] for row in curve), abs=1e-5)
    assert sum(point["n"] for point in read_json(folder / "reliability.json")["dev"]) == 36
    summary = read_json(folder / "summary.json")
    assert summary["n_items_without_votes"] == 0
    assert summary["flip_rate"] == config.flip_rate
    learned = flip_rate(settings.objective, smoothing=settings.smoothing, n_classes=2)
    assert (config.flip_rate == learned) == (settings.objective != "votes_noise")
    said = [record.message for record in caplog.records if not record.message.startswith("bfloat16 on a CPU is slower")]
    assert summary["warnings"] == said
    assert (len(said) < len(caplog.records)) == (settings.dtype == "bfloat16")
    card = (folder / "model" / "README.md").read_text()
    assert "| log_loss | dev |" in card
    assert str(tmp_path) not in card


def test_two_runs_are_byte_for_byte_alike_and_a_finished_one_is_reused(
    tmp_path: Path, prepared: Path, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SETTINGS, model=encoder)
    first = fit_stage(prepared, output_dir=tmp_path / "a", settings=settings, seed=1)
    second = fit_stage(prepared, output_dir=tmp_path / "b", settings=settings, seed=1)
    for name in ("manifest.json", "stage.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    monkeypatch.setattr(fit, "_load", None)
    assert fit_stage(prepared, output_dir=tmp_path / "a", settings=settings, seed=1) == first


@pytest.mark.parametrize("tuning", ["head", "prefix", "lora", "full"])
def test_an_interrupted_fit_resumes_to_the_same_bytes(
    tmp_path: Path, prepared: Path, encoder: str, tuning: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SETTINGS, model=encoder, tuning=tuning, objective="dpm_rq", normaliser="ema")
    whole = fit_stage(prepared, output_dir=tmp_path / "whole", settings=settings, seed=1)
    take_step = loop._take_step
    n_steps = 0

    def dies_at_the_sixth(*args: Any) -> Any:
        nonlocal n_steps
        n_steps += 1
        if n_steps == 6:
            raise KeyboardInterrupt
        return take_step(*args)

    monkeypatch.setattr(loop, "_take_step", dies_at_the_sixth)
    with pytest.raises(KeyboardInterrupt):
        fit_stage(prepared, output_dir=tmp_path / "cut", settings=settings, seed=1)
    resumed = fit_stage(prepared, output_dir=tmp_path / "cut", settings=settings, seed=1)
    assert (resumed / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()


def test_annotators_choose_whose_votes_count(prepared: Path) -> None:
    everyone = label_items(load_prepared(prepared), annotators=(), by_label=False, objective="votes")
    half = label_items(load_prepared(prepared), annotators=("a*",), by_label=False, objective="votes")
    assert everyone.n_votes.sum() == 2 * half.n_votes.sum()
    assert set(half.n_votes) == {0.0, 3.0}
    assert len(half.rows("train")) == len(everyone.rows("train")) // 2


def test_groups_choose_whose_items_count(prepared: Path) -> None:
    everything = load_prepared(prepared)
    groups = [str(item.group or item.id) for item in everything.items]
    left_out = label_items(
        everything, annotators=(), groups=(f"!{groups[0]}",), by_label=False, objective="votes"
    )  # fmt: skip
    whole = label_items(everything, annotators=(), by_label=False, objective="votes")
    is_first = np.array([name == groups[0] for name in groups])
    assert is_first.any()
    assert (left_out.votes[is_first] == 0).all()
    np.testing.assert_array_equal(left_out.votes[~is_first], whole.votes[~is_first])
    assert left_out.annotations is not None
    assert not is_first[left_out.annotations.item_index].any()
    assert in_groups(["7", "27", "8"], ("*7", "!27")).tolist() == [True, False, False]
    assert in_groups(["7", "27", "8"], ("!7",)).tolist() == [False, True, True]


def test_a_lexical_model_fills_the_same_folder_and_scores_like_any(prepared: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, model=LEXICAL_MODEL)
    folder = fit_stage(prepared, output_dir=tmp_path / "fit", settings=settings, seed=0)
    again = fit_stage(prepared, output_dir=tmp_path / "again", settings=settings, seed=0)
    files = read_json(folder / "manifest.json")["files"]
    assert files == read_json(again / "manifest.json")["files"]
    assert {"model/config.json", "predictions.jsonl", "posterior.jsonl", "results.json", "reliability.json"} <= set(
        files
    )
    judge = load_acceptance_model(folder)
    items = load_prepared(prepared).items
    logits = judge.acceptance([(item.prompt, item.completion) for item in items]).logits
    np.testing.assert_allclose(logits, [row["acceptance_logit"] for row in rows(folder / "predictions.jsonl")])
    assert not judge.has_concentration
    with pytest.raises(ArtifactError, match="holds a preference model of another family"):
        load_preference_model(folder)
    with pytest.raises(ConfigError, match="learns from votes for two classes; found objective 'soft_kl'"):
        fit_stage(prepared, output_dir=tmp_path / "no", settings=replace(settings, objective="soft_kl"), seed=0)
    assert not (tmp_path / "no").exists()


def test_items_whose_annotators_are_left_out_are_predicted_and_counted(
    tmp_path: Path, prepared: Path, encoder: str
) -> None:
    settings = replace(SETTINGS, model=encoder, annotators=("a*",))
    folder = fit_stage(prepared, output_dir=tmp_path / "fit", settings=settings, seed=1)
    assert len(rows(folder / "predictions.jsonl")) == 48
    assert read_json(folder / "summary.json")["n_items_without_votes"] == 24


def test_settings_that_contradict_each_other_are_refused(tmp_path: Path, prepared: Path, encoder: str) -> None:
    settings = replace(SETTINGS, model=encoder, tuning="lora", normaliser="chunk:3")
    with pytest.raises(ConfigError, match="a micro-batch has 4 items; expected a multiple of 3"):
        fit_stage(prepared, output_dir=tmp_path / "fit", settings=settings, seed=1)


def test_bfloat16_without_an_encoder_to_run_is_refused(tmp_path: Path, prepared: Path, encoder: str) -> None:
    settings = replace(SETTINGS, model=encoder, dtype="bfloat16")
    with pytest.raises(ConfigError, match="dtype is 'bfloat16', but tuning head trains on cached vectors"):
        fit_stage(prepared, output_dir=tmp_path / "fit", settings=settings, seed=1)


def test_a_prefix_on_an_architecture_that_takes_none_is_refused_before_training(
    tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DistilBertConfig(vocab_size=len(SPECIALS) + len(WORDS), dim=16, n_layers=2, n_heads=2, hidden_dim=16)
    DistilBertModel(config).save_pretrained(tmp_path / "model")
    word_tokenizer(pair_template=True).save_pretrained(tmp_path / "model")
    monkeypatch.setattr(fit, "_train", None)
    settings = replace(SETTINGS, model=str(tmp_path / "model"), tuning="prefix")
    with pytest.raises(ConfigError, match=r"\(architecture distilbert\) cannot take one: .* Use tuning: lora"):
        fit_stage(prepared, output_dir=tmp_path / "fit", settings=settings, seed=1)
    assert not (tmp_path / "fit").exists()  # so that other settings can have it


@pytest.mark.parametrize("architecture", ["distilbert", "modernbert", "deberta-v2", "roberta"])
def test_lora_serves_the_architectures_that_take_no_prefix(tmp_path: Path, prepared: Path, architecture: str) -> None:
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    ids = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    config = AutoConfig.for_model(architecture, vocab_size=len(SPECIALS) + len(WORDS), **shape, **ids)
    AutoModel.from_config(config).save_pretrained(tmp_path / "model")
    tokenizer = word_tokenizer(pair_template=True)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.save_pretrained(tmp_path / "model")
    settings = replace(SETTINGS, model=str(tmp_path / "model"), tuning="lora", epochs=1)
    folder = fit_stage(prepared, output_dir=tmp_path / "fit", settings=settings, seed=1)
    loaded = load_preference_model(folder)
    items = load_prepared(prepared).items
    logits = predict_logits(loaded.model, loaded.tokenizer, [(item.prompt, item.completion) for item in items])
    found = [row["acceptance_logit"] for row in rows(folder / "predictions.jsonl")]
    np.testing.assert_allclose(acceptance_logits(logits, [1]), found, atol=1e-5)


@pytest.mark.parametrize(("objective", "what"), [("beta_binomial", "κ"), ("votes_noise", "the flip rate")])
def test_single_votes_are_refused_where_pairs_are_needed(tmp_path: Path, objective: str, what: str) -> None:
    items = [{**item, "annotations": item["annotations"][:1]} for item in toy_items(12)]
    folder = prepare_stage(
        write_rows(tmp_path / "items.jsonl", items),
        output_dir=tmp_path / "prepared",
        settings=PrepareSettings(n_resamples=20),
        seed=0,
    )
    with pytest.raises(
        ConfigError,
        match=f"0% of the training items have two votes or more; {objective} needs at least 10%, since single votes "
        f"say nothing about {what}. Use objective votes.",
    ):
        label_items(load_prepared(folder), annotators=(), by_label=False, objective=objective)


def test_missing_dev_votes_are_refused(tmp_path: Path) -> None:
    items = [{**item, "split": "train"} for item in toy_items(12)]
    folder = prepare_stage(
        write_rows(tmp_path / "items.jsonl", items),
        output_dir=tmp_path / "prepared",
        settings=PrepareSettings(n_resamples=20),
        seed=0,
    )
    with pytest.raises(ConfigError, match="No item of split 'dev' has votes; expected some to select checkpoints on"):
        label_items(load_prepared(folder), annotators=(), by_label=False, objective="votes")


def test_warnings_name_slope_and_bias() -> None:
    assert calibration_warnings({"slope": 1.0, "mean_predicted": 0.5, "base_rate": 0.52}) == []
    found = calibration_warnings({"slope": 0.5, "mean_predicted": 0.6, "base_rate": 0.75})
    assert found[0].startswith("Held-out calibration slope is 0.50; expected 0.8 to 1.25.")
    assert found[1].startswith("Mean predicted acceptance is 0.600, but 0.750 of the held-out votes accept.")
    assert len(calibration_warnings({"slope": float("nan"), "mean_predicted": 0.5, "base_rate": 0.5})) == 1
