"""Pairs of a chosen and a rejected completion, by hand and through the stage."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from accord.artifacts import require_complete
from accord.calibration.pairs import (
    ScoredText,
    best_and_worst,
    conversational,
    every_pair,
    export_pairs_stage,
    standard,
)
from accord.calibration.settings import PairsSettings
from accord.candidates.generators.causal import CausalGenerator
from accord.errors import ArtifactError, ConfigError, DataError
from accord.json_files import read_json, write_jsonl
from accord.preference.model import PreferenceConfig, PreferenceModel, save_preference_model
from accord.preference.predict import load_preference_model
from accord.records import CandidateSet, Message, Prompt
from accord.scoring.score import score_pairs, score_stage
from accord.scoring.settings import ScoreSettings
from toys import tiny_bert, tiny_llama, word_tokenizer

SETTINGS = PairsSettings()
CHAT = (Message("user", "i lost my job ."), Message("assistant", "tell me more ?"), Message("user", "i feel sad ."))


def scored(*scores: float) -> list[ScoredText]:
    """Texts a, b, c, … with these scores."""
    return [ScoredText(chr(ord("a") + number), score) for number, score in enumerate(scores)]


def candidates(
    id_: str, prompt: Prompt, texts: dict[str, float], *, split: Any = None, references: tuple[str, ...] = ()
) -> CandidateSet:
    n = len(texts)
    return CandidateSet(
        id_, prompt, tuple(texts), (-1.0,) * n, (3,) * n, (-1.0,) * n, scores=tuple(texts.values()), split=split,
        references=references,
    )  # fmt: skip


ROWS = [
    candidates("1", "i feel sad .", {"yes": 0.25, "sorry .": 0.75, "stop !": 0.125}, references=("okay",)),
    candidates("2", CHAT, {"no": 0.5, "go home": 0.5}, split="dev"),
    candidates("3", "my job .", {"tell me more ?": 0.5}, split="dev"),
    candidates("4", "my home .", {"bad": 0.25, "good": 0.375}, split="test"),
]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def export(folder: Path, found: list[CandidateSet] = ROWS, **changed: Any) -> Path:
    source = folder / "candidates.jsonl"
    write_jsonl(source, found)
    return export_pairs_stage(source, output_dir=folder / "out", settings=replace(SETTINGS, **changed))


def test_best_against_worst_by_hand() -> None:
    """a 2, b 5, c 1, d 5: b (the earlier of the best) over c, margin 4."""
    texts = scored(2.0, 5.0, 1.0, 5.0)
    (pair,) = best_and_worst(texts, min_margin=0.0).pairs
    assert (pair.chosen.text, pair.rejected.text) == ("b", "c")
    assert best_and_worst(texts, min_margin=4.0).pairs == [pair]
    assert best_and_worst(texts, min_margin=4.5) == ([], 0, 1)
    assert best_and_worst(scored(1.0, 1.0), min_margin=0.0) == ([], 1, 0)
    assert best_and_worst(scored(1.0), min_margin=0.0) == ([], 0, 0)
    assert best_and_worst([], min_margin=0.0) == ([], 0, 0)


def test_every_pair_by_hand() -> None:
    """a 2, b 5, c 1, d 5: bc, dc 4; ba, da 3; ac 1; bd tie."""
    found = every_pair(scored(2.0, 5.0, 1.0, 5.0), min_margin=0.0)
    assert [pair.chosen.text + pair.rejected.text for pair in found.pairs] == ["bc", "dc", "ba", "da", "ac"]
    assert (found.n_ties, found.n_below_margin) == (1, 0)
    found = every_pair(scored(2.0, 5.0, 1.0, 5.0), min_margin=2.0)
    assert [pair.chosen.text + pair.rejected.text for pair in found.pairs] == ["bc", "dc", "ba", "da"]
    assert (found.n_ties, found.n_below_margin) == (1, 1)


def test_every_pair_is_counted_once_and_only_once() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        texts = scored(*rng.integers(0, 4, size=rng.integers(0, 7)).tolist())
        found = every_pair(texts, min_margin=2.0)
        assert len(found.pairs) + found.n_ties + found.n_below_margin == len(texts) * (len(texts) - 1) // 2
        assert all(pair.chosen.score - pair.rejected.score >= 2 for pair in found.pairs)


def test_the_files_hold_trls_columns_and_keep_the_split(tmp_path: Path) -> None:
    folder = require_complete(export(tmp_path), "export pairs")
    assert sorted(path.name for path in folder.glob("*.jsonl")) == ["test.jsonl", "train.jsonl"]
    assert rows(folder / "train.jsonl") == [
        {
            "prompt": [{"role": "user", "content": "i feel sad ."}],
            "chosen": [{"role": "assistant", "content": "sorry ."}],
            "rejected": [{"role": "assistant", "content": "stop !"}],
            "chosen_score": 0.75,
            "rejected_score": 0.125,
            "margin": 0.625,
            "id": "1",
            "split": "train",
        }
    ]
    assert [row["chosen"][0]["content"] for row in rows(folder / "test.jsonl")] == ["good"]
    assert read_json(folder / "summary.json") == {
        "n_prompts": 4,
        "n_references": 0,
        "n_pairs": 2,
        "n_ties": 1,
        "n_below_margin": 0,
        "n_prompts_with_one_text": 1,
        "n_prompts_without_pairs": 2,
        "n_pairs_per_split": {"train": 1, "dev": 0, "test": 1},
    }


def test_plain_texts_and_all_pairs(tmp_path: Path) -> None:
    folder = export(tmp_path, format="standard", pairing="all", min_margin=0.125)
    found = [(row["prompt"], row["chosen"], row["rejected"], row["margin"]) for row in rows(folder / "train.jsonl")]
    assert found == [
        ("i feel sad .", "sorry .", "stop !", 0.625),
        ("i feel sad .", "sorry .", "yes", 0.5),
        ("i feel sad .", "yes", "stop !", 0.125),
    ]
    assert read_json(folder / "summary.json")["n_pairs_per_split"] == {"train": 3, "dev": 0, "test": 1}


TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"


@pytest.mark.parametrize("system_prompt", [None, "be kind ."])
@pytest.mark.parametrize("prompt", ["i feel sad .", CHAT, (Message("system", "be fine ."), *CHAT)])
def test_prompts_are_what_the_generator_was_given(prompt: Prompt, system_prompt: str | None) -> None:
    """Each format against the generator's own reading of the same record."""
    tokenizer = word_tokenizer()
    plain = CausalGenerator(tiny_llama(), tokenizer, system_prompt=system_prompt, chat=False)
    assert plain.prompt_ids(prompt) == tokenizer(standard(prompt, system_prompt))["input_ids"]
    tokenizer.chat_template = TEMPLATE
    chat = CausalGenerator(tiny_llama(), tokenizer, system_prompt=system_prompt, chat=True)
    messages = conversational(prompt, system_prompt)
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert chat.prompt_ids(prompt) == tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert sum(message["role"] == "system" for message in messages) == (
        (isinstance(prompt, tuple) and prompt[0].role == "system") or system_prompt is not None
    )


def test_without_a_pair_nothing_is_left_behind(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        export(tmp_path, min_margin=0.75)
    assert str(error.value) == (
        "no pair is left of 4 prompts: 1 pairs tie, 2 differ by less than 0.75, and 1 prompts have fewer than two "
        "texts. Lower --min-margin, or generate more candidates."
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("min_margin", [-0.5, float("nan")])
def test_a_margin_that_is_none_is_refused(tmp_path: Path, min_margin: float) -> None:
    with pytest.raises(ConfigError, match=r"min_margin is (-0.5|nan). Expected a difference between scores, 0 or more"):
        export(tmp_path, min_margin=min_margin)


def test_candidates_without_scores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'1' has no scores\. Run `accord score` on it first\."):
        export(tmp_path, [msgspec.structs.replace(ROWS[0], scores=None)])
    assert not (tmp_path / "out").exists()


# -- references -------------------------------------------------------------------------------------------------


def save_preference(folder: Path, seed: int) -> Path:
    config = PreferenceConfig(id2label={0: "unacceptable", 1: "acceptable"}, max_input_tokens=64)
    model = PreferenceModel.from_encoder(tiny_bert(), config, seed=seed)
    save_preference_model(model, word_tokenizer(pair_template=True), folder, card="")
    return folder


@pytest.fixture
def scored_folder(tmp_path: Path) -> Path:
    """Scored with the preference model of seed 0, as logits; prompt 1 has a reference that is also a candidate."""
    source = tmp_path / "candidates.jsonl"
    unscored = [msgspec.structs.replace(row, scores=None) for row in ROWS]
    unscored[0] = msgspec.structs.replace(unscored[0], references=("okay", "yes", "okay"))
    write_jsonl(source, unscored)
    preference = save_preference(tmp_path / "preference", 0)
    settings = ScoreSettings(utility="logit")
    return score_stage(source, preference, output_dir=tmp_path / "scored", settings=settings, seed=0)


def test_references_take_part_when_their_model_is_given(tmp_path: Path, scored_folder: Path) -> None:
    settings = PairsSettings(pairing="all", format="standard")
    without = export_pairs_stage(scored_folder, output_dir=tmp_path / "without", settings=settings)
    preference = tmp_path / "preference"
    folder = export_pairs_stage(scored_folder, output_dir=tmp_path / "with", settings=settings, preference=preference)
    texts = {text for row in rows(without / "train.jsonl") for text in (row["chosen"], row["rejected"])}
    assert texts == {"yes", "sorry .", "stop !"}
    found = rows(folder / "train.jsonl")
    assert len(found) == 6
    scores = {row[side]: row[f"{side}_score"] for row in found for side in ("chosen", "rejected")}
    expected = score_pairs(load_preference_model(preference), [("i feel sad .", "okay")], utility="logit").values
    assert scores["okay"] == pytest.approx(float(expected[0]), abs=1e-5)
    assert read_json(folder / "summary.json")["n_references"] == 1


def test_scores_of_two_models_are_never_compared(tmp_path: Path, scored_folder: Path) -> None:
    other = save_preference(tmp_path / "other", 1)
    with pytest.raises(ArtifactError, match=r"was not scored with .*other; scores of two models cannot be compared"):
        export_pairs_stage(scored_folder, output_dir=tmp_path / "out", settings=SETTINGS, preference=other)
    with pytest.raises(ArtifactError, match="does not say which preference model scored it"):
        export_pairs_stage(
            scored_folder / "candidates.jsonl", output_dir=tmp_path / "out", settings=SETTINGS, preference=other
        )
    assert not (tmp_path / "out").exists()
