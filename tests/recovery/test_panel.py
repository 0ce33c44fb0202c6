"""How many annotators and who is left out, as `accord recover` tells them: files, page and terminal."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accord.cli.main import main
from accord.errors import ArtifactError, ConfigError
from accord.json_files import read_json
from accord.recovery.recover import recover_stage
from accord.recovery.settings import RecoverSettings
from toys import write_rows

SETTINGS = RecoverSettings(objectives=("none",), estimators=("beta_prior",), keep=(1, 2), seeds=2, n_resamples=40)


def corpus(*, gap: float = 0.4, n_items: int = 60) -> list[dict[str, Any]]:
    """Two people of the north, four of the south; the north accepts each text so much less often."""
    rng = np.random.default_rng(3)
    rows = []
    for number in range(n_items):
        share = rng.uniform(gap, 1)
        accepts = {name: rng.random() < share - gap * (name[0] == "n") for name in ("n1", "n2", "s1", "s2", "s3", "s4")}
        annotations = [
            {"annotator": name, "label": "acceptable" if vote else "unacceptable"} for name, vote in accepts.items()
        ]
        rows.append({"id": f"i{number}", "prompt": "p", "completion": f"t{number}", "annotations": annotations})
    return rows


def people(path: Path) -> Path:
    names = ["n1", "n2", "s1", "s2", "s3", "s4"]
    regions = {"n": "north", "s": "south"}
    return write_rows(path, [{"annotator": name, "traits": {"region": regions[name[0]]}} for name in names])


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_who_is_left_out_and_how_many_are_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = write_rows(tmp_path / "items.jsonl", corpus())
    flags = "--objectives none --estimators beta_prior --estimators share --keep 1 2 --seeds 2 --n-resamples 40"
    traits = f"--traits {people(tmp_path / 'people.jsonl')} --budget 300 --target 0.7"
    assert main(f"recover {items} {flags} {traits} --output-dir {tmp_path / 'out'}".split()) == 0
    printed = capsys.readouterr().out
    page = (tmp_path / "out" / "recover.md").read_text()
    lines = read_json(tmp_path / "out" / "summary.json")["panel"]
    assert all(line in printed and line in page for line in lines)
    assert "explain 70% of what the items' shares differ by; 300 votes pay for" in lines[1]
    assert lines[3].startswith("Largest gap: region north accepts −0.") or "north accepts -0." in lines[3]
    assert lines[4].startswith("Smallest group of region: north (2 people). beta_prior is +0.")
    assert "## How many annotators" in page
    assert "## Who is left out" in page
    assert "| region | north (smallest) | 2 | 120 |" in page

    budget = table(tmp_path / "out" / "budget.csv")
    curve = [row for row in budget if row["number"] == "error"]
    assert [row["n_votes"] for row in curve] == [str(n) for n in range(1, 11)]
    assert [row["n_items"] for row in curve][:3] == ["300", "150", "100"]
    errors = [float(row["value"]) for row in curve]
    assert errors == sorted(errors, reverse=True)
    checked = [row for row in budget if row["number"].startswith("brier ") and row["n_votes"] == "2"]
    assert [row["number"] for row in checked] == ["brier expected", "brier measured"]
    assert float(checked[0]["value"]) == pytest.approx(float(checked[1]["value"]), abs=0.05)

    left_out = table(tmp_path / "out" / "left_out.csv")
    gap = next(row for row in left_out if row["number"] == "gap")
    assert (gap["group"], gap["other"], gap["n"]) == ("north", "south", "60")
    assert float(gap["low"]) < -0.4 < float(gap["high"]) < 0
    assert {row["other"] for row in left_out if row["number"] == "bias"} == {"beta_prior", "share", "constant"}


def test_traits_beside_the_items_are_found_and_are_an_input(tmp_path: Path) -> None:
    items = write_rows(tmp_path / "items.jsonl", corpus())
    folder = recover_stage(items, output_dir=tmp_path / "without", settings=SETTINGS, seed=0)
    assert not (folder / "left_out.csv").exists()
    people(tmp_path / "annotators.jsonl")
    folder = recover_stage(items, output_dir=tmp_path / "with", settings=SETTINGS, seed=0)
    assert (folder / "left_out.csv").is_file()
    with pytest.raises(ArtifactError, match="these differ: inputs"):
        recover_stage(items, output_dir=tmp_path / "without", settings=SETTINGS, seed=0)


def test_a_target_beyond_all_votes_is_refused(tmp_path: Path) -> None:
    items = write_rows(tmp_path / "items.jsonl", corpus())
    settings = RecoverSettings(objectives=("none",), target=1.0)
    with pytest.raises(ConfigError, match=r"target is 1\.0"):
        recover_stage(items, output_dir=tmp_path / "out", settings=settings, seed=0)
