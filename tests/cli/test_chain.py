"""The chain walked verb by verb on toy data, as a user would, and `accord run` (src/accord/cli/)."""

import json
from pathlib import Path
from typing import Any

import pytest

from accord.cli.main import main
from accord.json_files import read_json
from toys import write_toy_run


@pytest.fixture
def toy_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with items.jsonl, prompts.jsonl, test_prompts.jsonl, tiny models and toy.yaml, made the current one."""
    write_toy_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_chain_verb_by_verb(toy_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def accord(line: str) -> str:
        assert main(line.split()) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    assert "24 items, 6 annotators, 72 annotations" in accord("prepare items.jsonl --output-dir p --n-resamples 50")
    assert "most contested:" in accord("describe p")

    fit = "--model encoder --max-length 64 --epochs 2 --n-folds 2 --n-resamples 50"
    out = accord(f"fit p --output-dir f {fit} --annotators a*")
    assert out.startswith("f\n")
    assert "log_loss" in out
    assert "next: accord score CANDIDATES --preference f --output-dir FOLDER" in out
    assert accord(f"fit p --output-dir f {fit} --annotators a*").startswith("f (was finished already: reused)\n")
    accord(f"fit p --output-dir i {fit} --annotators b* --seed 1")

    decoding = "--model generator --max-new-tokens 6 --batch-tokens 100"
    assert "9 prompts with candidates" in accord(f"generate prompts.jsonl --output-dir c {decoding} --num-candidates 3")
    assert "9 prompts with scored candidates" in accord("score c --preference f --output-dir s")
    training = "--model generator --epochs 1 --batch-size 3 --micro-batch-size 2 --lora-r 2"
    assert "next: accord decode PROMPTS --model k/generator" in accord(f"calibrate s --output-dir k {training}")

    decoding = "--max-new-tokens 6 --samples 2"
    assert "6 outputs of base" in accord(
        f"decode test_prompts.jsonl --system base --output-dir ob --model generator {decoding}"
    )
    accord(f"decode test_prompts.jsonl --system calibrated --output-dir ok --model k/generator {decoding}")
    fast = "--n-resamples 50 --n-randomisations 100"
    assert "length" in accord(f"evaluate ob ok --output-dir e --preference-model i --baseline base {fast}")
    assert "length: " in accord("compare calibrated base --evaluation e")
    verdicts = json.loads(accord(f"compare ok ob --metrics length --json {fast}"))["results"]
    assert [(row["name"], row["first"], row["second"]) for row in verdicts] == [("length", "calibrated", "base")]
    folders = "--prepared p --preference f --independent i --candidates s --calibration calibrated=k --evaluation e"
    assert accord(f"report {folders} --output-dir r") == "r\nnext: open r/report.html\n"
    assert (toy_folder / "r" / "report.html").is_file()


def test_a_foreign_folder_is_refused_naming_the_key(toy_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("prepare items.jsonl --output-dir p --n-resamples 50".split()) == 0
    assert main("prepare items.jsonl --output-dir p --n-resamples 60".split()) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "accord: p was made with other settings; these differ: settings.n_resamples (50 there, 60 now)"
    )


def test_run_reports_and_reuses(toy_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*flags: str) -> dict[str, Any]:
        assert main(["run", "toy.yaml", "--json", *flags]) == 0
        return dict(json.loads(capsys.readouterr().out))

    first = run()
    assert first["output_dir"] == "runs/toy"
    assert Path(first["report"]).is_file()
    assert {"length", "acceptance"} <= {row["name"] for row in first["results"]}
    assert run()["results"] == first["results"]
    assert main(["run", "toy.yaml"]) == 0
    captured = capsys.readouterr()
    assert "\nlength\n  base" in captured.out
    assert captured.out.endswith(f"report: {first['report']}\n")
    assert "reused" in captured.err


def test_a_run_file_with_a_wrong_section_is_one_line(toy_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = toy_folder / "toy.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("calibrate:", "calibrat:"), encoding="utf-8")
    assert main(["run", "toy.yaml"]) == 2
    assert capsys.readouterr().err == 'accord: toy.yaml: unknown key "calibrat". Did you mean "calibrate"?\n'


def test_the_stage_of_a_run_can_be_read_on_its_own(toy_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("prepare items.jsonl --output-dir p --json --n-resamples 50".split()) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["output_dir"], result["reused"], result["results"]) == ("p", False, [])
    assert result["agreement"] == read_json(toy_folder / "p" / "agreement.json")
