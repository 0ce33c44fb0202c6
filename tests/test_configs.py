"""Every configuration of `accord run` that ships is read without complaint at each of its scales."""

from pathlib import Path

import pytest
import yaml

from accord.pipeline import check_pipeline, read_pipeline

FOLDER = Path(__file__).parent.parent / "configs"
CONFIGS = sorted(set(FOLDER.glob("*.yaml")) - {FOLDER / "simulation.yaml"})  # see tests/recovery/test_simulation.py


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_is_read_at_every_scale(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_DATA_DIR", "/data")
    scales = yaml.safe_load(path.read_text())["scales"]
    assert list(scales) == ["tiny", "small", "full"]
    for scale in scales:
        settings, _ = read_pipeline(path, scale=scale)
        check_pipeline(settings)
        assert str(settings.source).startswith("/data/")
