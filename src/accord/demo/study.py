"""`make demo-study`: does calibration raise the true acceptance? Five seeds of the demo, declared before they are run.

Per seed everything varies that a seed can vary: the split into train and test messages, the votes, both preference
models, the candidates, calibration and decoding. The settings are those of `demo_settings`; calibration's were chosen
beforehand on the validation messages, which are the same for all seeds and never tested (docs/results.md).
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from accord.artifacts import open_stage
from accord.demo.run import run_demo
from accord.json_files import write_json
from accord.pipeline import COMPARISONS, SYSTEMS, Run
from accord.randomness import keyed_rng
from accord.records import Measurement
from accord.report.tables import Table, to_markdown
from accord.statistics.resampling import two_way_bootstrap_interval

VERSION = 1
SEEDS = (0, 1, 13, 42, 1024)
METRICS = ("true_acceptance", "acceptance", "length", "distinct_2")
N_RESAMPLES = 2000


class PromptMeans(NamedTuple):
    """Per-prompt means of every seed, parallel: the prompt, the seed, and one value per (system, metric)."""

    prompts: np.ndarray
    seeds: np.ndarray
    values: dict[tuple[str, str], np.ndarray]


def run_study(
    output_dir: Path, *, seeds: Sequence[int] = SEEDS, run_seed: Callable[[Path, int], Run] | None = None
) -> Path:
    """Run the demo for every seed (finished ones are reused); write results.json and study.md, return the folder."""
    run_seed = run_seed or (lambda folder, seed: run_demo(folder, seed=seed))
    runs = {seed: run_seed(output_dir / f"seed-{seed}", seed) for seed in seeds}
    evaluations = {seed: run.evaluation for seed, run in runs.items() if run.evaluation is not None}
    inputs = {f"seed-{seed}": folder for seed, folder in evaluations.items()}
    stage = open_stage(
        output_dir / "study" / "{fingerprint}",
        stage="demo_study",
        version=VERSION,
        settings={"seeds": list(seeds), "n_resamples": N_RESAMPLES},
        seed=0,
        inputs=inputs,
    )
    if not stage.is_complete:
        means = read_prompt_means(evaluations)
        results = study_results(means)
        write_json(stage.path("results.json"), results)
        stage.path("study.md").write_text("\n".join(to_markdown(table) for table in study_tables(results)))
        stage.finish()
    return stage.folder


def read_prompt_means(evaluations: dict[int, Path]) -> PromptMeans:
    """The per-prompt means of every seed's evaluation, for the metrics of the study."""
    prompts: list[str] = []
    seeds: list[int] = []
    values: dict[tuple[str, str], list[float]] = {(system, metric): [] for system in SYSTEMS for metric in METRICS}
    for seed, folder in evaluations.items():
        rows = [msgspec.json.decode(line) for line in (folder / "per_item.jsonl").read_bytes().splitlines()]
        found = {(row["id"], row["system"]): row for row in rows}
        ids = sorted({row["id"] for row in rows})
        prompts += ids
        seeds += [seed] * len(ids)
        for (system, metric), column in values.items():
            column += [np.nan if (value := found[name, system].get(metric)) is None else value for name in ids]
    return PromptMeans(np.array(prompts), np.array(seeds), {key: np.array(column) for key, column in values.items()})


def study_results(means: PromptMeans) -> list[Measurement]:
    """Levels and paired differences, with intervals for new prompts and new seeds (both are resampled)."""
    differences = {
        (pair, metric): means.values[pair.split(" - ")[0], metric] - means.values[pair.split(" - ")[1], metric]
        for pair in COMPARISONS
        for metric in METRICS
    }
    return [
        _measurement(system, metric, values, means)
        for (system, metric), values in [*means.values.items(), *differences.items()]
    ]


def _measurement(system: str, metric: str, values: np.ndarray, means: PromptMeans) -> Measurement:
    interval = two_way_bootstrap_interval(
        values,
        groups=means.prompts,
        annotators=means.seeds,
        n_resamples=N_RESAMPLES,
        rng=keyed_rng(0, "study", system, metric),
    )
    signature = f"{metric}|mean over prompts and seeds|ci:two-way-bootstrap-{N_RESAMPLES}@0.95/prompt x seed"
    return Measurement(metric, system, *interval, n=len(values), signature=signature)


def study_tables(results: Sequence[Measurement]) -> list[Table]:
    """Levels per system, then paired differences."""
    found = {(m.system, m.name): m for m in results}
    n_rows = results[0].n

    def rows(systems: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        def cell(system: str, metric: str) -> str:
            m = found[system, metric]
            return f"{m.value:.3f} [{m.low:.3f}, {m.high:.3f}]"

        return tuple((system, *(cell(system, metric) for metric in METRICS)) for system in systems)

    caption = f"{n_rows} prompt × seed means; 95 % intervals, two-way bootstrap over prompts and seeds."
    return [
        Table("study_systems", "Systems", ("system", *METRICS), rows(SYSTEMS), caption),
        Table("study_differences", "Paired differences", ("difference", *METRICS), rows(COMPARISONS), caption),
    ]


def main() -> None:
    """Run the study in runs/demo-study and print its tables."""
    folder = run_study(Path("runs/demo-study"))
    sys.stdout.write((folder / "study.md").read_text())
    sys.stdout.write(f"\n{folder / 'results.json'}\n")


if __name__ == "__main__":
    main()
