"""`accord tune` on the command line: what it prints, and what comes next."""

import json
from pathlib import Path

import pytest

from accord.cli.main import main
from accord.json_files import write_jsonl
from accord.records import PromptRow, Split

SCRATCH = (
    "--scratch-width 32 --scratch-layers 1 --scratch-vocabulary 280 --max-prompt-tokens 32 --max-reference-tokens 24"
)


def test_tune_says_what_was_learnt_and_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    splits: tuple[Split, ...] = ("train", "train", "dev", "test")
    write_jsonl(
        Path("prompts.jsonl"),
        [
            PromptRow(f"p{number}", "I feel sad.", references=("Sorry to hear that.",), split=split)
            for number, split in enumerate(splits)
        ],
    )
    command = f"tune prompts.jsonl --model scratch:bart --output-dir tuned --epochs 2 --eval-every 1 {SCRATCH}".split()
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("tuned\n  validation_loss  base ")
    assert "\n  perplexity       tuned - base  -" in printed
    assert printed.endswith("next: accord generate PROMPTS --model tuned --output-dir FOLDER\n")
    assert main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["reused"]
    assert [(row["name"], row["system"]) for row in result["results"]][3] == ("perplexity", "base")
    assert main(["generate", "prompts.jsonl", "--model", "scratch:bart", "--output-dir", "found"]) == 2
    assert capsys.readouterr().err == (
        "accord: model scratch:bart has no weights yet. Expected a trained model: make one with `accord tune PROMPTS "
        "--model scratch:bart` and pass its folder.\n"
    )
