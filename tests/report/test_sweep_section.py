"""The sweep's section: a metric against the number that varies, or a row per point; by hand on made-up measurements."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

from accord.artifacts import open_stage
from accord.json_files import write_json
from accord.records import Measurement
from accord.report.document import ReportInputs
from accord.report.settings import ReportSettings
from accord.report.sweep import numeric_axis, sweep_figures, sweep_section


def point(name: str, **values: Any) -> dict[str, Any]:
    return {"name": name, "values": {key.replace("__", "."): value for key, value in values.items()}, "seeds": [0, 1]}


def level(metric: str, system: str, value: float) -> Measurement:
    return Measurement(metric, system, value, value - 1, value + 1, 9, f"{metric}|ci:bootstrap-50@0.95/group*seed:2")


def test_the_one_number_that_varies_is_the_axis_and_the_rest_are_series() -> None:
    points = [
        point("a10", generate__num_candidates=10, fit__objective="votes"),
        point("a5", generate__num_candidates=5, fit__objective="votes"),
        point("b5", generate__num_candidates=5, fit__objective="majority"),
    ]
    axis = numeric_axis(points)
    assert axis is not None
    assert axis.key == "num candidates"
    assert axis.series == {"votes": [(5.0, "a5"), (10.0, "a10")], "majority": [(5.0, "b5")]}


@pytest.mark.parametrize(
    "points",
    [
        [point("a", fit__objective="votes"), point("b", fit__objective="majority")],
        [point("a", x__k=1, x__m=2), point("b", x__k=2, x__m=3)],
        [point("a", x__k=1), point("b", x__other=2)],
        [point("a", x__k=1)],
        [point("a", x__k=True), point("b", x__k=False)],
    ],
)
def test_without_exactly_one_number_there_is_no_axis(points: list[dict[str, Any]]) -> None:
    assert numeric_axis(points) is None


def test_every_metric_is_drawn_acceptance_first_and_undefined_ones_are_left_out() -> None:
    points = [point("k=5", generate__k=5), point("k=10", generate__k=10)]
    levels = [level("bleu", name, 20.0) for name in ("base", "k=5", "k=10")]
    levels += [level("acceptance", name, 0.5) for name in ("base", "k=5", "k=10")]
    levels += [level("meteor15", name, math.nan) for name in ("base", "k=5", "k=10")]
    found = sweep_figures(points, levels)
    assert [figure.title for figure in found] == ["Acceptance", "Bleu"]
    assert found[0].caption == (
        "n = 9. Lines: 95 % bootstrap intervals over groups and 2 seeds (50 resamples). "
        "Dashed: the generator before calibration. With 2 seeds they are too narrow."
    )
    assert found[1].caption == "n = 9."
    assert re.findall(r"<text[^>]*>(5|10)</text>", found[0].svg) == ["5", "10"]


def test_named_points_are_rows_below_the_base() -> None:
    points = [point("votes", fit__objective="votes"), point("majority", fit__objective="majority")]
    levels = [level("acceptance", name, 0.5) for name in ("votes", "majority", "base")]
    (figure,) = sweep_figures(points, levels)
    assert re.findall(r"<text[^>]*>(base|votes|majority)</text>", figure.svg) == ["majority", "votes", "base"]


def stage(folder: Path, name: str, files: dict[str, Any]) -> Path:
    opened = open_stage(folder, stage=name, version=1, settings={}, seed=0, inputs={})
    for file, value in files.items():
        write_json(opened.path(file), value)
    opened.finish()
    return folder


def test_votes_are_compared_by_item_and_failures_are_named(tmp_path: Path) -> None:
    points = [point("votes", fit__objective="votes"), point("majority", fit__objective="majority")]
    description = {"points": points, "failed": ["majority, seed 1"], "seeds": [0, 1], "data_seed": 7, "system": "x"}
    signature = "log_loss|per vote|split:test|ci:bootstrap-50@0.95/group*seed:2"
    pair = "majority - votes"
    results = [Measurement("log_loss", name, 0.6, 0.5, 0.7, 30, signature) for name in ("votes", "majority", pair)]
    row = {"name": "log_loss", "system": pair, "difference": 0.1, "low": 0.0, "high": 0.2, "p": 0.2, "p_holm": 0.2}
    comparisons = [{**row, "effect": 0.1, "test": "bootstrap-50"}]
    inputs = ReportInputs(
        sweep=stage(tmp_path / "sweep", "sweep", {"sweep.json": description}),
        votes=stage(tmp_path / "votes", "sweep_votes", {"results.json": results, "comparisons.json": comparisons}),
    )
    section = sweep_section(inputs, ReportSettings())
    assert section is not None
    assert "2 points under the seeds 0, 1." in section.lead
    assert "those of seed 7 for all" in section.lead
    assert [table.name for table in section.tables] == ["sweep_points", "votes", "votes_differences_other"]
    assert section.tables[1].caption.startswith("Per vote on the test items, lower is better")
    assert section.tables[2].caption.startswith("Paired by item.")
    assert section.tables[2].title == "Paired differences in all metrics (1)"
    assert [block.texts for block in section.blocks] == [
        ("Runs that failed and are not in the comparison",),
        ("majority, seed 1",),
    ]
    assert sweep_section(ReportInputs(), ReportSettings()) is None
