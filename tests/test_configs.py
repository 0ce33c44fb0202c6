"""Every configuration of `accord run` that ships is read without complaint at each of its scales."""

from pathlib import Path

import pytest
import yaml

from accord.demo.run import demo_settings
from accord.pipeline import check_pipeline, read_pipeline
from accord.sweep.plan import point_settings, read_sweep

FOLDER = Path(__file__).parent.parent / "configs"
CONFIGS = sorted(set(FOLDER.glob("*.yaml")) - {FOLDER / "simulation.yaml"})  # see tests/recovery/test_simulation.py
SWEEPS = sorted((FOLDER / "sweeps").glob("*.yaml"))


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
