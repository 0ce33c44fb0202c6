"""`accord suggest` on toy items: whose predictions it takes, what it writes, what it says of the replay."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from accord.artifacts import open_stage
from accord.cli.main import main
from accord.data.prepare import prepare_stage
from accord.data.prepared import load_prepared
from accord.data.settings import PrepareSettings
from accord.errors import ArtifactError, ConfigError
from accord.json_files import read_json, write_json, write_jsonl
from accord.preference.labelled import count_items
from accord.preference.model import PreferenceConfig, PreferenceModel, save_preference_model
from accord.preference.posterior import fit_prior_strength, posterior_shares
from accord.preference.predict import load_acceptance_model
from accord.recovery.settings import SuggestSettings
from accord.recovery.suggest import read_prior, suggest_stage
from toys import tiny_bert, toy_items, word_tokenizer, write_rows

SETTINGS = SuggestSettings(n=5, replay=True, seeds=3, points=4, n_resamples=50)


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    source = write_rows(tmp_path / "items.jsonl", toy_items())
    return prepare_stage(source, output_dir=tmp_path / "p", settings=PrepareSettings(n_resamples=20), seed=0)


def save_model(folder: Path, **options: Any) -> Path:
    torch.manual_seed(0)
    config = PreferenceConfig(
        **{"id2label": {0: "unacceptable", 1: "acceptable"}, "n_views": 3, "max_input_tokens": 64, **options}
    )
    save_preference_model(
        PreferenceModel.from_encoder(tiny_bert(), config, seed=3), word_tokenizer(pair_template=True), folder, card=""
    )
    return folder


def fitted_on(items: Path, folder: Path, *, strength: float, **changes: Any) -> tuple[Path, np.ndarray]:
    """A folder like that of `accord fit`, and the predictions behind its posterior."""
    labelled = count_items(load_prepared(items))
    q = np.random.default_rng(0).uniform(0.1, 0.9, len(labelled.ids))
    shares = posterior_shares(q, labelled.n_acceptable, labelled.n_votes, strength=strength)
    stage = open_stage(folder, stage="fit", version=5, settings={}, seed=0, inputs={"items": items})
    save_model(stage.path("model"))
    rows = zip(labelled.ids, shares.share, shares.n_effective, labelled.n_acceptable, labelled.n_votes, strict=True)
    table = [
        {"id": i, "share": float(s), "n_effective": float(m), "n_acceptable": float(k), "n_votes": float(n), **changes}
        for i, s, m, k, n in rows
    ]
    write_jsonl(stage.path("posterior.jsonl"), table)
    write_jsonl(stage.path("predictions.jsonl"), table)
    stage.finish()
    return folder, q


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_suggestions_are_the_items_worth_most_no_item_twice(tmp_path: Path, prepared: Path) -> None:
    folder = suggest_stage(prepared, output_dir=tmp_path / "s", settings=SETTINGS, seed=0)
    rows = lines_of(folder / "suggestions.jsonl")
    assert len({row["id"] for row in rows}) == 5
    worth = [row["expected_reduction"] for row in rows]
    assert worth == sorted(worth, reverse=True)
    assert all(0 <= row["low"] <= row["share"] <= row["high"] <= 1 and row["n_votes"] == 3 for row in rows)
    assert set(rows[0]) == {"id", "expected_reduction", "share", "low", "high", "n_votes"}
    assert all(0.3 < row["share"] < 0.7 for row in rows), "2 of 3 votes, or 1 of 3: with one prior the most contested"
    results = {(m["name"], m["system"]): m["value"] for m in read_json(folder / "results.json")}
    assert results["expected_reduction", "suggested"] > results["expected_reduction", "random"] > 0
    summary = read_json(folder / "summary.json")
    assert (summary["prior"], summary["prior_is_common"]) == ("one prior for all items", True)


def test_out_of_fold_predictions_come_back_from_a_fit_on_the_same_items(tmp_path: Path, prepared: Path) -> None:
    """The prior is m q, m (1 − q) again, whatever the votes that the posterior had added."""
    model, q = fitted_on(prepared, tmp_path / "fit", strength=4.0)
    items = count_items(load_prepared(prepared))
    prior = read_prior(items, prepared, model)
    np.testing.assert_allclose(prior.known, (4 * q, 4 * (1 - q)), atol=1e-8)
    assert prior.source == "out-of-fold predictions of the model fitted on these items"
    assert not prior.is_common


def test_a_model_of_other_items_predicts_and_known_ids_are_told(
    tmp_path: Path, prepared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, _ = fitted_on(prepared, tmp_path / "fit", strength=4.0)
    other = prepare_stage(
        write_rows(tmp_path / "other.jsonl", toy_items(8)),
        output_dir=tmp_path / "o",
        settings=PrepareSettings(n_resamples=20),
        seed=0,
    )
    items = count_items(load_prepared(other))
    with caplog.at_level(logging.WARNING, logger="accord"):
        prior = read_prior(items, other, model)
    q = 1 / (1 + np.exp(-load_acceptance_model(model).acceptance(items.pairs).logits))
    strength = fit_prior_strength(q, items.n_acceptable, items.n_votes)
    np.testing.assert_allclose(prior.known, (strength * q, strength * (1 - q)))
    assert prior.source == f"predictions of the model, worth {strength:.1f} votes (by the votes of these items)"
    assert "16 of the 16 items have ids of items" in caplog.text


def test_items_without_votes_take_the_strength_of_the_fit(tmp_path: Path, prepared: Path) -> None:
    model, _ = fitted_on(prepared, tmp_path / "fit", strength=4.0)
    bare = [{**row, "id": f"new-{row['id']}", "annotations": row["annotations"][:1]} for row in toy_items()]
    other = prepare_stage(
        write_rows(tmp_path / "other.jsonl", bare),
        output_dir=tmp_path / "o",
        settings=PrepareSettings(n_resamples=20),
        seed=0,
    )
    items = count_items(load_prepared(other))
    prior = read_prior(items, other, model)
    np.testing.assert_allclose(prior.known.a + prior.known.b, 4.0)
    assert prior.source.endswith("worth 4.0 votes (by the votes it was fitted on)")
    with pytest.raises(ConfigError, match=r"No item has two votes or more, .* Pass the folder of `accord fit`"):
        read_prior(items, other, model / "model")
    with pytest.raises(ConfigError, match="Pass --preference MODEL, or collect two votes"):
        read_prior(items, other, None)


def test_a_concentration_is_taken_as_the_worth_of_a_prediction(tmp_path: Path, prepared: Path) -> None:
    model = save_model(tmp_path / "model", has_concentration=True)
    items = count_items(load_prepared(prepared))
    prior = read_prior(items, prepared, model)
    found = load_acceptance_model(model).acceptance(items.pairs).concentration
    assert found is not None
    np.testing.assert_allclose(prior.known.a + prior.known.b, found)


def test_the_replay_is_told_in_numbers_and_words(tmp_path: Path, prepared: Path) -> None:
    folder = suggest_stage(prepared, output_dir=tmp_path / "s", settings=SETTINGS, seed=0)
    rows = lines_of(folder / "replay.jsonl")
    assert {row["order"] for row in rows} == {"suggested", "fewest_votes", "random"}
    assert [row["n_revealed"] for row in rows if row["order"] == "random"] == [0, 12, 24, 36, 48]
    assert all(row["low"] <= row["brier"] <= row["high"] for row in rows)
    measured = [m["system"] for m in read_json(folder / "results.json") if m["name"] == "replay_brier"]
    assert measured == ["suggested", "fewest_votes", "random", "suggested - fewest_votes", "suggested - random"]
    verdict = read_json(folder / "summary.json")["verdict"]
    assert len(verdict) == 3
    assert verdict[0].startswith("The suggested order ")
    assert verdict[2] == "All items have the same prior, so the first votes go to items with the fewest."


def test_a_handful_of_groups_allows_no_claim(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "items.jsonl", toy_items(6))
    few = prepare_stage(source, output_dir=tmp_path / "few", settings=PrepareSettings(n_resamples=20), seed=0)
    folder = suggest_stage(few, output_dir=tmp_path / "s", settings=SETTINGS, seed=0)
    verdict = read_json(folder / "summary.json")["verdict"]
    assert all(line.endswith("over the whole replay. Of 6 groups no claim is made.") for line in verdict[:2])


def test_by_the_command_line(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = prepared.parent / "s"
    assert main(f"suggest {prepared} --n 100 --output-dir {folder}".split()) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1] == "  24 of 24 items suggested, by one prior for all items"
    assert out[-1] == f"next: have the items of {folder / 'suggestions.jsonl'} annotated, one more vote each"
    assert not (folder / "replay.jsonl").exists()


def test_what_cannot_be_suggested_is_refused_in_one_line(tmp_path: Path, prepared: Path) -> None:
    (tmp_path / "shares").mkdir()
    rows = [{"id": "a", "prompt": "p", "completion": "t", "annotations": [{"annotator": "x", "label": "3"}]}]
    source = write_rows(tmp_path / "shares" / "items.jsonl", rows)
    write_json(tmp_path / "shares" / "scheme.json", {**read_json(prepared / "scheme.json"), **SHARE_SCHEME})
    with pytest.raises(ConfigError, match="estimates shares, so another label is no vote"):
        suggest_stage(source, output_dir=tmp_path / "s", settings=SETTINGS, seed=0)
    assert not (tmp_path / "s").exists()
    undefined, _ = fitted_on(prepared, tmp_path / "undefined", strength=4.0, share=None)
    with pytest.raises(ConfigError, match="has no posterior shares"):
        suggest_stage(prepared, preference=undefined, output_dir=tmp_path / "s", settings=SETTINGS, seed=0)
    old, _ = fitted_on(prepared, tmp_path / "old", strength=4.0, n_effective=None)
    with pytest.raises(ArtifactError, match="Fit it again"):
        suggest_stage(prepared, preference=old, output_dir=tmp_path / "s", settings=SETTINGS, seed=0)


SHARE_SCHEME = {
    "name": "levels",
    "labels": ["1", "2", "3"],
    "acceptable": [],
    "level": "ordinal",
    "kind": "share",
    "intervals": {"1": [0, 0.3], "2": [0.3, 0.6], "3": [0.6, 1]},
}
