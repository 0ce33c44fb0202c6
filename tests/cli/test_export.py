"""`accord export`: two commands under one verb, from the command line to the files."""

import json
from pathlib import Path

import pytest

from accord.cli.main import build_app, main
from accord.json_files import write_jsonl
from accord.preference.inputs import Pooling
from accord.preference.model import PreferenceConfig, PreferenceModel, save_preference_model
from accord.records import CandidateSet
from toys import tiny_bert, word_tokenizer


def save_preference(folder: Path, *, pooling: Pooling) -> Path:
    config = PreferenceConfig(
        id2label={0: "unacceptable", 1: "acceptable"}, max_input_tokens=64, pooling=pooling, head_size=8
    )
    model = PreferenceModel.from_encoder(tiny_bert(), config, seed=0)
    save_preference_model(model, word_tokenizer(pair_template=True), folder, card="")
    return folder


def test_export_reward_for_people_and_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preference, out = save_preference(tmp_path / "preference", pooling="first_token"), tmp_path / "out"
    assert main(["export", "reward", str(preference), "--output-dir", str(out)]) == 0
    first, difference, then = capsys.readouterr().out.splitlines()
    assert first == str(out)
    assert difference.startswith("  largest difference to accord's logits, over 5 texts: ")
    assert then == f'next: AutoModelForSequenceClassification.from_pretrained("{out}")'
    assert main(["export", "reward", str(preference), "--output-dir", str(out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["reused"], result["summary"]["n_texts_compared"]) == (True, 5)


def test_what_cannot_be_exported_takes_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preference = save_preference(tmp_path / "preference", pooling="completion_mean")
    assert main(["export", "reward", str(preference), "--output-dir", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"accord: {preference} cannot be exported as a one-logit classifier without loss: ")
    assert error.count("\n") == 1


def test_export_pairs_takes_settings_from_flags_and_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts, scores = ("yes", "no", "okay"), (0.75, 0.25, 0.5)
    row = CandidateSet("1", "i feel sad .", texts, (-1.0,) * 3, (2,) * 3, (-1.0,) * 3, scores=scores)
    write_jsonl(tmp_path / "scored.jsonl", [row])
    (tmp_path / "pairs.yaml").write_text("pairing: all\nmin-margin: 0.5\nformat: standard\n", encoding="utf-8")
    arguments = ["export", "pairs", str(tmp_path / "scored.jsonl"), "--output-dir", str(tmp_path / "out")]
    assert main([*arguments, "--config", str(tmp_path / "pairs.yaml"), "--min_margin", "0.25"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path / "out"),
        "  3 pairs of 1 prompts; left out: 0 ties, 0 below the margin; 0 prompts without a pair",
        f'next: datasets.load_dataset("json", data_dir="{tmp_path / "out"}")',
    ]


def test_unknown_commands_and_flags_are_named_with_the_help_that_lists_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["export", "pair"]) == 2
    assert 'Did you mean "pairs"?' in capsys.readouterr().err
    assert main(["export", "pairs", "x", "--output-dir", "o", "--min-margn", "1"]) == 2
    assert capsys.readouterr().err.endswith("See `accord export pairs --help`.\n")
    assert set(build_app()["export"]) >= {"reward", "pairs"}
