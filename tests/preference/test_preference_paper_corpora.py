"""Every objective on the paper's two corpora, ten hand-made rows each in their published form."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from accord.artifacts import require_complete
from accord.data.prepare import prepare_stage
from accord.data.prepared import load_prepared
from accord.data.settings import PrepareSettings
from accord.errors import ConfigError
from accord.json_files import read_json
from accord.preference.fit import fit_stage
from accord.preference.labelled import label_items
from accord.preference.objectives import prior_logps
from accord.preference.settings import FitSettings, ObjectiveName
from toys import save_tiny_encoder

CASES = Path(__file__).parents[1] / "cases"
SETTINGS = FitSettings(
    epochs=1, batch_size=4, micro_batch_size=4, normaliser="chunk:2", eval_every=1, head_size=4, n_resamples=10,
    max_length=32, n_folds=2,
)  # fmt: skip
OBJECTIVES: tuple[ObjectiveName, ...] = get_args(ObjectiveName)
COUNTS: tuple[ObjectiveName, ...] = ("majority", "votes_noise", "beta_binomial")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_encoder(tmp_path_factory.mktemp("encoder") / "model")


@pytest.fixture(scope="module")
def mi(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Class mode -> the MI rows, codes or coarse classes; half the dialogues train."""
    folder = tmp_path_factory.mktemp("mi")

    def prepared(scheme: str) -> Path:
        settings = PrepareSettings(source="mi", scheme=scheme, fractions=(0.5, 0.5, 0.0), n_resamples=5)
        return prepare_stage(CASES / "mi", output_dir=folder / scheme, settings=settings, seed=0)

    return {"acceptance": prepared("mi-codes"), "labels": prepared("mi-classes")}


@pytest.fixture(scope="module")
def mic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = PrepareSettings(source="mic", n_resamples=5)
    return prepare_stage(CASES / "mic", output_dir=tmp_path_factory.mktemp("mic") / "out", settings=settings, seed=0)


@pytest.mark.parametrize("classes", ["acceptance", "labels"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_mi_votes_of_two_and_three_classes(
    tmp_path: Path, mi: dict[str, Path], encoder: str, objective: ObjectiveName, classes: Any
) -> None:
    settings = replace(SETTINGS, model=encoder, objective=objective, classes=classes)
    folder = fit_stage(mi[classes], output_dir=tmp_path / "fit", settings=settings, seed=0)
    require_complete(folder, "fit")
    labels = read_json(folder / "model" / "config.json")["id2label"]
    assert len(labels) == {"acceptance": 2, "labels": 3}[classes]
    losses = [row["value"] for row in read_json(folder / "results.json") if row["name"] == "log_loss"]
    assert losses
    assert np.isfinite(losses).all()


def test_priors_of_the_released_code(mi: dict[str, Path]) -> None:
    """0.1 for each of three classes: two votes that agree are 2.1/2.3 = 0.913, four 4.1/4.3 = 0.953; one relational and
    one non-adherent are (1.1, 0.1, 1.1)/2.3.
    """
    prepared = load_prepared(mi["labels"])
    found = label_items(prepared, annotators=(), by_label=True, objective="dpm_rq")
    votes = torch.tensor(found.votes, dtype=torch.float64)
    priors = dict(zip(found.ids, prior_logps(votes, smoothing=0.1).exp().tolist(), strict=True))
    assert found.classes == ("relational", "adherent", "non-adherent")
    assert priors["103-3"] == pytest.approx([2.1 / 2.3, 0.1 / 2.3, 0.1 / 2.3])
    assert priors["102-2"] == pytest.approx([0.1 / 4.3, 0.1 / 4.3, 4.1 / 4.3])
    assert priors["101-3"] == pytest.approx([1.1 / 2.3, 0.1 / 2.3, 1.1 / 2.3])


@pytest.mark.parametrize("objective", ["soft_kl", "dpm_rq"])
def test_mic_grades(tmp_path: Path, mic: Path, encoder: str, objective: ObjectiveName) -> None:
    settings = replace(SETTINGS, model=encoder, objective=objective, consensus="uniform")
    require_complete(fit_stage(mic, output_dir=tmp_path / "fit", settings=settings, seed=0), "fit")


@pytest.mark.parametrize("objective", COUNTS)
def test_mic_grades_are_no_counts(tmp_path: Path, mic: Path, encoder: str, objective: ObjectiveName) -> None:
    settings = replace(SETTINGS, model=encoder, objective=objective)
    with pytest.raises(ConfigError, match=f"objective '{objective}' needs counts of votes, but label scheme 'global-"):
        fit_stage(mic, output_dir=tmp_path / "fit", settings=settings, seed=0)
    assert not (tmp_path / "fit" / "manifest.json").exists()
