"""What each of the processes does that tests/training/test_processes.py starts: `python two_processes.py INPUTS OUT`.

Every case fits, calibrates or tunes a toy with dropout; alone it must leave what several processes leave. The last one
is interrupted at a step and taken up again. At the end all of them must hear of an error that only the main one meets.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from accord.calibration.calibrate import calibrate_stage
from accord.calibration.settings import CalibrateSettings, TuneSettings
from accord.calibration.tune import tune_stage
from accord.errors import ArtifactError
from accord.preference.fit import fit_stage
from accord.preference.settings import FitSettings
from accord.training import loop

FIT = FitSettings(
    epochs=2, batch_size=8, micro_batch_size=2, normaliser="chunk:2", eval_every=2, head_size=8, n_resamples=5,
    max_length=64, n_folds=3,
)  # fmt: skip
FITS: dict[str, dict[str, Any]] = {
    "head": {},
    "prefix": {"tuning": "prefix", "objective": "dpm_rq"},
    "lora": {"tuning": "lora", "objective": "dpm_em", "normaliser": "ema"},
    "full": {"tuning": "full", "objective": "dpm_qr"},
    "noise": {"tuning": "full", "objective": "votes_noise"},
    "uneven": {"tuning": "full", "objective": "dpm_free_energy", "batch_size": 6, "micro_batch_size": 4},
}
CALIBRATE = CalibrateSettings(learning_rate=1e-3, epochs=2, batch_size=4, micro_batch_size=1, eval_every=2)
CALIBRATIONS: dict[str, dict[str, Any]] = {
    "adapter": {"lora_dropout": 0.1},
    "all_weights": {"tuning": "full"},
    "fresh_samples": {"objective": "rloo", "preference_model": "preference", "num_samples": 2, "max_new_tokens": 4},
}
TUNED = "tuned"
TUNE = TuneSettings(
    model="scratch:t5", scratch_width=32, scratch_layers=1, scratch_vocabulary=280, max_prompt_tokens=40,
    max_reference_tokens=30, learning_rate=1e-3, epochs=2, batch_size=3, micro_batch_size=1, eval_every=2,
    label_smoothing=0.1,
)  # fmt: skip
RESUMED = "resumed"
CASES = (*FITS, *CALIBRATIONS, TUNED, RESUMED)


def run_all(inputs: Path, output_dir: Path) -> None:
    """Every case, from what is in `inputs` to a stage folder each in `output_dir`."""
    for name, options in FITS.items():
        _fit(inputs, output_dir / name, options)
    for name, options in CALIBRATIONS.items():
        paths = {key: str(inputs / options[key]) for key in ("preference_model",) if key in options}
        settings = replace(CALIBRATE, model=str(inputs / "generator"), **(options | paths))
        calibrate_stage(inputs / "candidates.jsonl", output_dir=output_dir / name, settings=settings, seed=1)
    tune_stage(inputs / "candidates.jsonl", output_dir=output_dir / TUNED, settings=TUNE, seed=1)
    with suppress(KeyboardInterrupt), _interrupted_at(step=3):
        _fit(inputs, output_dir / RESUMED, FITS["full"])
    assert (output_dir / RESUMED / "scratch").is_dir(), "the run was not interrupted"
    _fit(inputs, output_dir / RESUMED, FITS["full"])
    with suppress(ArtifactError):
        fit_stage(inputs / "nothing", output_dir=output_dir / "refused", settings=FIT, seed=1)
        raise AssertionError("missing items were not refused")


def _fit(inputs: Path, output_dir: Path, options: dict[str, Any]) -> None:
    settings = replace(FIT, model=str(inputs / "encoder"), **options)
    fit_stage(inputs / "items", output_dir=output_dir, settings=settings, seed=1)


@contextmanager
def _interrupted_at(step: int) -> Iterator[None]:
    take_step, n_steps = loop._take_step, 0

    def dying(*args: Any) -> Any:
        nonlocal n_steps
        n_steps += 1
        if n_steps > step:
            raise KeyboardInterrupt
        return take_step(*args)

    with patch.object(loop, "_take_step", dying):
        yield


if __name__ == "__main__":
    run_all(Path(sys.argv[1]), Path(sys.argv[2]))
