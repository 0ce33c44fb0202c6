"""Finished stage folders of a small made-up run, in the formats of the stages, for tests of the report.

Where a stage needs no model (prepare, the evaluation's statistics) its own code writes the files; the others are
written here by hand.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from accord.artifacts import open_stage
from accord.calibration.settings import CalibrateSettings
from accord.data.prepare import prepare_stage
from accord.data.settings import PrepareSettings
from accord.evaluation.measure import (
    Measured,
    Resampling,
    compare_systems,
    difference_measurements,
    measure_levels,
    prompt_numbers,
)
from accord.json_files import write_json, write_jsonl
from accord.randomness import keyed_rng
from accord.records import CandidateSet, Measurement, Message, Output
from accord.report.document import ReportInputs
from toys import write_rows

SYSTEMS = ("base", "best_of_k", "reference_only", "shuffled", "calibrated")
COMPARISONS = (
    ("calibrated", "base"),
    ("calibrated", "reference_only"),
    ("calibrated", "shuffled"),
    ("reference_only", "base"),
)
LEVELS = {"base": 0.40, "best_of_k": 0.50, "reference_only": 0.45, "shuffled": 0.44, "calibrated": 0.55}
METRICS = ("bleu", "acceptance", "length", "true_acceptance")
HOSTILE = "<script>alert('x')</script> & <b>bold</b>"
SITUATIONS = (
    "My manager keeps adding shifts to my week without asking and I just nod every time. I haven't had a free "
    "Saturday since March.",
    "failed anatomy for the 2nd time. everyone from my year is moving on to placements and im here with the same "
    "flashcards again lol",
    "We moved here for his job, and in four months I have spoken to nobody but the postman.",
)
REPLIES = (
    "You nodded so many times that even the anger has worn off, and what's left is this emptiness.",
    "Careful, a third fail usually means you're out of the programme for good.",
    "What goes through your head in that second just before you nod?",
    "Have you tried writing a list? You should write a list, then go for a walk, then call your mother.",
    "That sounds lonely, and you are still the one who keeps looking for people.",
    "I hear you. I hear you. I hear you.",
)

NOTES = """**This panel is simulated. No person took part.** It is a set of declared rules.

## Rules

An annotator accepts a reply with probability sigmoid(starting point + sum of weight × `feature`).

- warm replies are welcome
- orders are not

| feature | listener | problem-solver |
| --- | --- | --- |
| reflection | +1.4 | +0.5 |
| a \\| b | 0 | -0.1 |
"""


def toy_run(folder: Path, *, n_items: int = 40, n_prompts: int = 24) -> ReportInputs:
    """Everything a report can show."""
    notes = folder / "notes.md"
    folder.mkdir(parents=True, exist_ok=True)
    notes.write_text(NOTES, encoding="utf-8")
    calibration = {
        "calibrated": toy_calibration(folder / "calibrated", gain=0.3, ranking_weight=1.0),
        "reference_only": toy_calibration(folder / "reference_only", gain=0.02, ranking_weight=0.0),
        "shuffled": toy_calibration(folder / "shuffled", gain=0.05, ranking_weight=0.5),
    }
    return ReportInputs(
        prepared=toy_prepared(folder / "prepared", n_items=n_items),
        preference=toy_preference(folder / "preference", seed=0),
        independent=toy_preference(folder / "independent", seed=1),
        candidates=toy_candidates(folder / "candidates", n_prompts=n_prompts),
        calibration=calibration,
        outputs=[toy_outputs(folder / "outputs" / system, system, n_prompts=n_prompts) for system in SYSTEMS],
        evaluation=toy_evaluation(folder / "evaluation", n_prompts=n_prompts),
        notes=notes,
    )


def toy_prepared(folder: Path, *, n_items: int = 40) -> Path:
    """`accord prepare` on made-up votes of twelve annotators; one item's text is hostile."""
    rng = np.random.default_rng(0)
    items = []
    for number in range(n_items):
        share = rng.beta(0.8, 0.8)
        judges = rng.choice(12, size=6, replace=False)
        labels = ["acceptable" if rng.random() < share else "unacceptable" for _ in judges]
        items.append(
            {
                "id": f"i{number}",
                "prompt": [{"role": "user", "content": f"{SITUATIONS[number % 3]} ({number})"}],
                "completion": HOSTILE if number == 0 else f"{REPLIES[number % 6]} ({number})",
                "annotations": [
                    {"annotator": f"A{judge:02d}", "label": label} for judge, label in zip(judges, labels, strict=True)
                ],
            }
        )
    items[0]["annotations"] = [
        {"annotator": f"A{judge:02d}", "label": ("acceptable", "unacceptable")[judge % 2]} for judge in range(6)
    ]
    source = write_rows(folder.parent / "corpus.jsonl", items)
    return prepare_stage(source, output_dir=folder, settings=PrepareSettings(n_resamples=50), seed=0)


def toy_preference(folder: Path, *, seed: int) -> Path:
    """A folder of `accord fit` without its model."""

    def write(path: Callable[[str], Path]) -> None:
        rng = np.random.default_rng(seed)
        names = {"log_loss": 0.6, "brier": 0.21, "cross_entropy": 0.6, "ece": 0.04, "spearman": 0.5}
        rows = []
        for split in ("dev", "test"):
            for system, worse in (("votes", 0.0), ("constant", 0.09), ("vote_shares", -0.1)):
                for name, value in names.items():
                    if system == "vote_shares" and name in ("ece", "spearman"):
                        continue
                    undefined = name == "spearman" and system == "constant"
                    level = float("nan") if undefined else value + worse + 0.01 * rng.random()
                    clusters = "group*annotator" if name in ("log_loss", "brier") else "group"
                    signature = f"{name}|split:{split}|ci:bootstrap-1000@0.95/{clusters}"
                    rows.append(Measurement(name, system, level, level - 0.02, level + 0.02, 120, signature))
        write_json(path("results.json"), rows)
        calibration = {"slope": 0.7 + 0.3 * seed, "mean_predicted": 0.52, "base_rate": 0.5}
        warnings = ["Held-out calibration slope is 0.70; expected 0.8 to 1.25."] if seed == 0 else []
        summary = {"n_items": 150, "n_train_items": 120, "n_prompts_cut": 0, "best_step": 60}
        write_json(path("summary.json"), {**summary, "dev_calibration": calibration, "warnings": warnings})
        write_json(path("reliability.json"), {split: _reliability(rng) for split in ("dev", "test")})
        steps = range(0, 101, 10)
        curve = [
            {"step": s, "loss": float("nan") if s == 0 else 0.7 - s / 400, "log_loss": 0.69 - 0.1 * (1 - 0.97**s)}
            for s in steps
        ]
        write_jsonl(path("curve.jsonl"), curve)

    return _stage(folder, "fit", {"model": "builtin:minilm", "annotators": ["AB"[seed] + "*"]}, write, seed=seed)


def toy_candidates(folder: Path, *, n_prompts: int = 24) -> Path:
    """A folder of `accord score`: six candidates a prompt, some merged."""

    def write(path: Callable[[str], Path]) -> None:
        rng = np.random.default_rng(2)
        rows = []
        for number in range(n_prompts):
            n = 6 - number % 2
            scores = np.clip(0.5 + 0.2 * rng.standard_normal() + 0.12 * rng.standard_normal(n), 0.02, 0.98)
            rows.append(
                CandidateSet(
                    id=f"p{number}",
                    prompt=(Message("user", SITUATIONS[number % 3]),),
                    completions=tuple(f"{REPLIES[k]} ({number})" for k in range(n)),
                    sum_logps=tuple((-20 - 5 * rng.random(n)).tolist()),
                    n_tokens=tuple(int(k) for k in rng.integers(8, 20, n)),
                    search_scores=tuple(rng.random(n).tolist()),
                    copies=(2,) * (6 - n) + (1,) * (2 * n - 6),
                    scores=tuple(scores.tolist()),
                )
            )
        write_jsonl(path("candidates.jsonl"), rows)

    return _stage(folder, "score", {"utility": "acceptance"}, write)


def toy_calibration(folder: Path, *, gain: float, ranking_weight: float) -> Path:
    """A folder of `accord calibrate` without its generator."""

    def write(path: Callable[[str], Path]) -> None:
        curve = []
        for step in range(0, 49, 8):
            ranking = 0.5 - gain * (1 - 0.95**step) + (step / 400) ** 2
            reference = 2.9 - 0.3 * (1 - 0.95**step)
            figures = {"validation_loss": ranking + reference, "ranking_loss": ranking, "reference_loss": reference}
            curve.append({"step": step, "loss": float("nan"), **figures, "pairwise_accuracy": 0.5 + gain * step / 60})
        write_jsonl(path("curve.jsonl"), curve)
        write_json(path("training.json"), {"n_train": 52, "n_dev": 12, "best_step": 40, "stopped_early": False})
        rows = []
        levels = {"ranking_loss": 0.5, "reference_loss": 2.9, "kendall_tau": 0.05, "pairwise_accuracy": 0.5}
        for name, before in levels.items():
            change = -gain if name.endswith("loss") else gain
            signature = f"{name}|split:dev|scores:true|ci:bootstrap-1000@0.95/group"
            for system, value in (("base", before), ("calibrated", before + change), ("calibrated - base", change)):
                rows.append(Measurement(name, system, value, value - 0.04, value + 0.05, 12, signature))
        write_json(path("results.json"), rows)

    return _stage(folder, "calibrate", CalibrateSettings(ranking_weight=ranking_weight), write)


def toy_outputs(folder: Path, system: str, *, n_prompts: int = 24, samples: int = 2) -> Path:
    """A folder of `accord decode`; the first prompt's text of `base` is hostile, the second's empty."""

    def write(path: Callable[[str], Path]) -> None:
        rows = []
        for number in range(n_prompts):
            for sample in range(samples):
                text = f"{REPLIES[(number + SYSTEMS.index(system)) % 6]} ({system}, sample {sample})"
                if system == "base" and number < 2:
                    text = (HOSTILE, "")[number]
                prompt = (Message("user", SITUATIONS[number % 3]),)
                rows.append(Output(f"p{number}", prompt, text, system, sample=sample, references=(REPLIES[0],)))
        write_jsonl(path("outputs.jsonl"), rows)

    return _stage(folder, "decode", {"method": "sample", "samples": samples, "system": system}, write)


def toy_evaluation(
    folder: Path,
    *,
    n_prompts: int = 24,
    metrics: Sequence[str] = METRICS,
    comparisons: Sequence[tuple[str, str]] = COMPARISONS,
) -> Path:
    """A folder of `accord evaluate`, its statistics by the evaluation's own code; BLEU is undefined throughout."""

    def write(path: Callable[[str], Path]) -> None:
        rng = np.random.default_rng(3)
        measured = [_measured(name, n_prompts, rng) for name in metrics]
        how = Resampling(np.array([f"prompt:p{n}" for n in range(n_prompts)]), 200, 500, 0.95, 0)
        levels = measure_levels(measured, how=how)
        found = compare_systems(measured, comparisons, how=how)
        write_json(path("results.json"), [*levels, *difference_measurements(found, measured, how=how)])
        write_json(path("comparisons.json"), found)
        counts = {"n_outputs": 2 * n_prompts, "n_empty": 0, "n_seeds": 1, "n_prompts": n_prompts}
        write_json(path("outputs.json"), dict.fromkeys(SYSTEMS, counts))
        write_jsonl(path("per_item.jsonl"), _per_item_rows(measured, n_prompts))

    return _stage(folder, "evaluate", {"level": 0.95, "metrics": list(metrics)}, write)


def _measured(name: str, n_prompts: int, rng: np.random.Generator) -> Measured:
    def of(system: str) -> np.ndarray:
        difficulty = keyed_rng(0, "difficulty").normal(0, 0.12, n_prompts)
        level = LEVELS[system] + difficulty
        values = {
            "true_acceptance": level + rng.normal(0, 0.05, n_prompts),
            "acceptance": 0.25 + 0.6 * level + rng.normal(0, 0.06, n_prompts),
            "length": 20 + 6 * rng.random(n_prompts),
        }.get(name, np.full(n_prompts, np.nan))
        clipped = values if name == "length" else np.clip(values, 0, 1)
        return np.stack([clipped, np.ones(n_prompts)], axis=1)

    return Measured(name, f"{name}|toy:1", {system: of(system) for system in SYSTEMS})


def _per_item_rows(measured: Sequence[Measured], n_prompts: int) -> list[dict[str, Any]]:
    numbers = {row.name: prompt_numbers(row) for row in measured}
    return [
        {"id": f"p{n}", "system": system} | {name: float(found[system][n]) for name, found in numbers.items()}
        for n in range(n_prompts)
        for system in SYSTEMS
    ]


def _reliability(rng: np.random.Generator) -> list[dict[str, float]]:
    predicted = np.linspace(0.08, 0.92, 8)
    observed = np.clip(predicted + rng.normal(0, 0.05, 8), 0, 1)
    return [
        {"predicted": float(p), "observed": float(o), "n": float(n)}
        for p, o, n in zip(predicted, observed, rng.integers(30, 60, 8), strict=True)
    ]


def _stage(
    folder: Path, stage: str, settings: Any, write: Callable[[Callable[[str], Path]], None], *, seed: int = 0
) -> Path:
    """Open a stage's folder, let `write` fill it, finish it."""
    opened = open_stage(folder, stage=stage, version=1, settings=settings, seed=seed, inputs={})
    write(opened.path)
    opened.finish()
    return opened.folder


def read_json_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON list."""
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return rows
