"""Every configuration of `accord run` that ships is read without complaint at each of its scales."""

from pathlib import Path

import pytest
import yaml

from accord.demo.run import demo_settings
from accord.pipeline import check_pipeline, read_pipeline
from accord.report.layouts import LAYOUTS
from accord.sweep.paper_plan import read_paper
from accord.sweep.plan import point_settings, read_sweep

FOLDER = Path(__file__).parent.parent / "configs"
CONFIGS = sorted(set(FOLDER.glob("*.yaml")) - {FOLDER / "simulation.yaml"})  # see tests/recovery/test_simulation.py
SWEEPS = sorted((FOLDER / "sweeps").glob("*.yaml"))
PAPER = sorted((FOLDER / "paper").glob("*.yaml"))
PUBLIC = ("builtin:", "scratch:")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_is_read_at_every_scale(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_DATA_DIR", "/data")
    scales = yaml.safe_load(path.read_text())["scales"]
    assert list(scales) == ["tiny", "small", "full"]
    for scale in scales:
        settings, _ = read_pipeline(path, scale=scale)
        check_pipeline(settings)
        assert str(settings.source).startswith("/data/")


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_point_of_a_sweep_is_read_at_every_scale_of_its_base(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_DATA_DIR", "/data")
    own = yaml.safe_load(path.read_text())
    is_demo = own["base"] == "demo"
    for scale in (None,) if is_demo else ("tiny", "small", "full"):
        plan = read_sweep(path, scale=scale)
        assert plan.seeds == (0, 1, 13, 42, 1024)
        assert len(plan.points) > 2
        settings = point_settings(plan, plan.base or demo_settings(Path("data")))
        assert len({repr(found) for found in settings}) == len(plan.points)


@pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)
def test_a_table_of_the_paper_is_read_at_every_scale(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is its layout, and only full asks for models that no registry has."""
    monkeypatch.setenv("ACCORD_DATA_DIR", "/data")
    for scale in ("tiny", "small", "full"):
        plan = read_paper(path, scale=scale)
        assert plan.layout == path.stem
        for generator in plan.generators:
            models = {settings.generate.model for settings in generator.settings}
            assert scale == "full" or all(model.startswith(PUBLIC) for model in models)
            assert all(str(settings.source).startswith("/data/") for settings in generator.settings)


def test_every_table_and_figure_of_the_paper_has_its_file() -> None:
    assert {path.stem for path in PAPER} == set(LAYOUTS)


def test_table_1_at_its_tiny_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small BART from scratch under five seeds with every row and control, SmolLM2 under one with fewer."""
    monkeypatch.setenv("ACCORD_DATA_DIR", "/data")
    bart, smollm = read_paper(FOLDER / "paper" / "table1.yaml", scale="tiny").generators
    assert (bart.sweep.seeds, smollm.sweep.seeds) == ((0, 1, 13, 42, 1024), (0,))
    assert [(row.row, settings.fit.objective) for row, settings in zip(bart.rows, bart.settings, strict=True)] == [
        ("Aligned_major", "majority"),
        ("Aligned_soft", "soft_mse"),
        ("Aligned_w/oA", "votes"),
        ("Aligned_d-PM", "dpm_qr"),
        ("d-PM as released", "dpm_rq"),
        ("reference only", "dpm_qr"),
        ("shuffled scores", "dpm_qr"),
        ("best of K", "dpm_qr"),
        ("DPO", "dpm_qr"),
    ]
    assert [point.system for point in bart.sweep.points][5:] == [
        "reference_only",
        "shuffled",
        "best_of_k",
        "calibrated",
    ]
    assert {settings.tune.model for settings in bart.settings if settings.tune is not None} == {"scratch:bart"}
    assert {settings.tune for settings in smollm.settings} == {None}
