"""What the page of a paper file is made from."""

from pathlib import Path

import pytest

from accord.evaluation.settings import EvaluateSettings
from accord.json_files import write_json, write_jsonl
from accord.report.paper import read_paper_folder, training_section
from accord.sweep.paper_stage import PaperGenerator, PaperRow, curve_rows

CURVE = [{"step": step, "loss": 2.0 - 0.1 * step, "samples": 8.0 * step} for step in (0, 4, 8)]
TIMING = [{"step": step, "seconds": 0.5 * step, "samples_per_second": 16.0} for step in (0, 4, 8)]


def generator(trained: Path) -> PaperGenerator:
    row = PaperRow("sample", "Ours", {}, (0,), None, trained=trained)
    return PaperGenerator("BART", "", 0, (row,), trained, EvaluateSettings())


@pytest.mark.parametrize("own_file", [True, False])
def test_figure_5_draws_its_curve_over_seconds(tmp_path: Path, own_file: bool) -> None:
    """The seconds of a calibration's timing.jsonl, or of the curve itself in a folder of an earlier version."""
    trained = tmp_path / "calibrated"
    rows = CURVE if own_file else [row | took for row, took in zip(CURVE, TIMING, strict=True)]
    write_jsonl(trained / "curve.jsonl", rows)
    if own_file:
        write_jsonl(trained / "timing.jsonl", TIMING)
    found = list(curve_rows(generator(trained)))
    assert [row["seconds"] for row in found] == [0, 2, 4]

    page = tmp_path / "page"
    write_json(page / "paper.json", {"layout": "figure5", "scale": "tiny", "failed": [], "generators": []})
    for name in ("results", "comparisons", "premise"):
        write_json(page / f"{name}.json", [])
    for name in ("seeds", "candidates", "cases"):
        write_jsonl(page / f"{name}.jsonl", [])
    write_jsonl(page / "curves.jsonl", found)
    section = training_section(read_paper_folder(page))
    assert section is not None
    assert [figure.title for figure in section.figures] == ["Loss by step", "Loss by seconds"]
    assert section.tables[0].rows == (("BART: Ours", 8, 4, 64, 16),)


def test_a_folder_without_seconds_has_its_curve_by_step(tmp_path: Path) -> None:
    """Supervised tuning keeps none."""
    write_jsonl(tmp_path / "curve.jsonl", CURVE)
    assert list(curve_rows(generator(tmp_path))) == [{"generator": "BART", "row": "Ours"} | row for row in CURVE]
