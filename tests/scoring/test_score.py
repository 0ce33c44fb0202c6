"""Scored candidates keep every column and score the same whatever their neighbours."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from accord.json_files import read_jsonl, write_jsonl
from accord.preference.model import PreferenceConfig, PreferenceModel
from accord.preference.predict import load_preference_model
from accord.records import CandidateSet
from accord.scoring.score import score_pairs, score_stage
from accord.scoring.settings import ScoreSettings
from toys import save_tiny_encoder, word_tokenizer

ROWS = [
    CandidateSet("1", "i feel sad .", ("sorry to hear that .", "stop !"), (-3.0, -2.0), (5, 2), (-0.6, -1.0)),
    CandidateSet("2", "my job .", ("tell me more ?",), (-1.0,), (4,), (-0.25,), references=("yes",), split="dev"),
]


@pytest.fixture
def preference(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    encoder = save_tiny_encoder(tmp_path / "encoder")
    config_path = Path(encoder) / "config.json"
    config = PreferenceConfig(
        encoder_config=msgspec.json.decode(config_path.read_bytes()),
        id2label={0: "unacceptable", 1: "acceptable"},
        n_views=3,
        max_input_tokens=64,
    )
    PreferenceModel(config).save_pretrained(tmp_path / "preference")
    word_tokenizer(pair_template=True).save_pretrained(tmp_path / "preference")
    return tmp_path / "preference"


def test_scoring_adds_scores_and_keeps_the_rest(tmp_path: Path, preference: Path) -> None:
    source = tmp_path / "candidates.jsonl"
    write_jsonl(source, ROWS)
    folder = score_stage(source, preference, output_dir=tmp_path / "scored", settings=ScoreSettings(), seed=0)
    scored = list(read_jsonl(folder / "candidates.jsonl", CandidateSet))
    assert [msgspec.structs.replace(row, scores=None) for row in scored] == ROWS
    assert [len(row.scores or ()) for row in scored] == [2, 1]
    assert all(0 < score < 1 for row in scored for score in row.scores or ())


def test_a_score_does_not_depend_on_its_neighbours(preference: Path) -> None:
    loaded = load_preference_model(preference)
    pairs = [(row.prompt, text) for row in ROWS for text in row.completions]
    together = score_pairs(loaded, pairs, utility="logit").values
    alone = [score_pairs(loaded, [pair], utility="logit").values[0] for pair in pairs]
    assert np.allclose(together, alone, atol=1e-5)
