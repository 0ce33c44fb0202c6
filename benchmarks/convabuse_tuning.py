"""How much tuning the encoder adds to a head on the frozen one, on ConvAbuse (docs/results.md).

    ACCORD_DATA_DIR=DATA python -m benchmarks.convabuse_tuning                           # head, lora, full; dev
    ACCORD_DATA_DIR=DATA python -m benchmarks.convabuse_tuning --tuning full --set encoder_layers=6 learning_rate=1e-4
    ACCORD_DATA_DIR=DATA python -m benchmarks.convabuse_tuning --tuning head head_grades full --seeds 0 1 2 3 4 \\
        --split published disjoint --test --output-dir runs/convabuse                    # reads the test split

DATA/convabuse holds ConvAbuse_{train,dev,test}.json; the splits are those of convabuse_head.py. Every model is fitted
by `accord fit` and selected on the dev split's vote log-loss. Unless --test is given the test items are taken out
before anything is fitted; figures on dev are then those the checkpoint was selected on. With --output-dir an
interrupted run goes on where it stopped.

Cross-entropy is −Σ_c l_c log(q_c + 1e-9) in nats, l the vote shares, as in LeWiDi 2023. Each tuning has two figures:
the mean over its seeds (interval by conversation and seed), and the ensemble, whose log-odds are the mean of the seeds'
(interval by conversation). The first --tuning is subtracted from the others, paired by item and seed, mean from mean
and ensemble from ensemble.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from scipy.special import expit, logit

from accord.data.prepare import prepare_stage
from accord.data.prepared import load_prepared
from accord.json_files import read_json, write_jsonl
from accord.preference.fit import fit_stage
from accord.preference.head import predict_heads
from accord.preference.labelled import LabelledItems, label_items
from accord.preference.predict import acceptance_logits
from accord.preference.settings import FitSettings
from accord.randomness import keyed_rng
from accord.statistics.proper_scores import soft_cross_entropy
from accord.statistics.resampling import bootstrap_interval, bootstrap_interval_over_seeds
from accord.statistics.significance import paired_bootstrap, paired_bootstrap_over_seeds
from benchmarks.convabuse_head import SPLITS, encoded, fitted_heads

ENCODER = FitSettings(
    batch_size=32,
    micro_batch_size=8,  # alike in length, so that little is padded
    max_length=128,
    eval_every=38,  # half an epoch
    patience=99,
    n_resamples=2,
)
HEADS = {"head": FitSettings(), "head_grades": FitSettings(classes="labels")}
SETTINGS = {
    "lora": replace(ENCODER, tuning="lora", epochs=4, learning_rate=1e-3),
    "full": replace(
        ENCODER,
        tuning="full",
        classes="labels",
        encoder_layers=4,
        epochs=3,
        learning_rate=2e-4,
        max_length=64,
        eval_every=75,  # an epoch
        dtype="bfloat16",  # slower than float32 on a processor without instructions for it
    ),
    "prefix": replace(ENCODER, tuning="prefix", epochs=4),
}
SMOKE_ITEMS = 48
"""Items of each split in a --smoke run: does it work at all?"""
N_RESAMPLES = 10_000


class Losses(NamedTuple):
    """Cross-entropies of one tuning on the items of a split: of each seed [K, N], and of their ensemble [N]."""

    by_seed: np.ndarray
    ensemble: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tuning", nargs="+", choices=[*HEADS, *SETTINGS], default=["head", "lora", "full"])
    parser.add_argument("--split", nargs="+", choices=SPLITS, default=["published"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of `accord fit`; not head's"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--test", action="store_true", help="report the test split too")
    parser.add_argument("--smoke", action="store_true", help=f"only {SMOKE_ITEMS} items of each split")
    parser.add_argument(
        "--output-dir", type=Path, help="keep the fitted models there; finished ones are not fitted again"
    )
    options = parser.parse_args()
    if "ACCORD_DATA_DIR" not in os.environ:
        sys.exit("ACCORD_DATA_DIR is unset; expected the folder that holds convabuse/.")
    torch.set_num_threads(options.threads)
    changes = dict(change.split("=", 1) for change in options.set)
    shown = ("dev", "test") if options.test else ("dev",)
    with tempfile.TemporaryDirectory() as scratch:
        for split in options.split:
            folder = (options.output_dir or Path(scratch)) / split
            items_path = selected_items(folder, split, parts=("train", *shown), smoke=options.smoke)
            items = labelled(items_path, FitSettings())
            features = encoded(items.pairs, FitSettings()) if HEADS.keys() & options.tuning else torch.empty(0)
            log_odds = {
                tuning: head_log_odds(features, labelled(items_path, HEADS[tuning]), HEADS[tuning], options.seeds)
                if tuning in HEADS
                else np.stack([read_log_odds(fit(items_path, folder, tuning, seed, changes)) for seed in options.seeds])
                for tuning in options.tuning
            }
            for part in shown:
                rows = items.rows(part)
                found = {tuning: cross_entropies(items, rows, of_all[:, rows]) for tuning, of_all in log_odds.items()}
                print_table(split, part, found, items.clusters[rows])


def selected_items(folder: Path, split: str, *, parts: tuple[str, ...], smoke: bool) -> Path:
    """The prepared items of `parts` alone, as a file with its scheme beside it."""
    source = Path(os.environ["ACCORD_DATA_DIR"]) / "convabuse"
    prepared = prepare_stage(source, output_dir=folder / "prepared", settings=SPLITS[split], seed=0)
    items = load_prepared(prepared).items
    kept: list[Any] = []
    for part in parts:
        rows = [item for item in items if item.split == part]
        kept += rows[:SMOKE_ITEMS] if smoke else rows
    selected = folder / "-".join(["smoke" if smoke else "items", *parts])
    selected.mkdir(exist_ok=True)
    (selected / "scheme.json").write_bytes((prepared / "scheme.json").read_bytes())
    write_jsonl(selected / "items.jsonl", kept)
    return selected / "items.jsonl"


def fit(items_path: Path, folder: Path, tuning: str, seed: int, changes: dict[str, str]) -> Path:
    """`accord fit` with the tuning's settings and these changes; says how long it took."""
    settings = msgspec.convert(asdict(SETTINGS[tuning]) | changes, FitSettings, strict=False)
    started = time.perf_counter()
    name = "_".join([items_path.parent.name, tuning, *sorted(f"{key}-{value}" for key, value in changes.items())])
    fitted = fit_stage(items_path, output_dir=folder / f"{name}_{seed}", settings=settings, seed=seed)
    best_step = read_json(fitted / "summary.json")["best_step"]
    print(f"{name}, seed {seed}: best step {best_step}, {time.perf_counter() - started:.0f} s", flush=True)
    return fitted


def read_log_odds(fitted: Path) -> np.ndarray:
    """log-odds [N] that a fresh annotator accepts, of all items, from a folder of `accord fit`."""
    rows = map(msgspec.json.decode, (fitted / "predictions.jsonl").read_bytes().splitlines())
    return logit(np.array([row["acceptance"] for row in rows]))


def labelled(items_path: Path, settings: FitSettings) -> LabelledItems:
    """The items with votes in the classes of the settings."""
    by_label = settings.classes == "labels"
    return label_items(load_prepared(items_path), annotators=(), by_label=by_label, objective=settings.objective)


def head_log_odds(
    features: torch.Tensor, items: LabelledItems, settings: FitSettings, seeds: Sequence[int]
) -> np.ndarray:
    """The same [K, N] of heads on the frozen encoder, all seeds fitted at once."""
    outputs = predict_heads(fitted_heads(features, items, settings, seeds).weights, features)
    return np.stack([acceptance_logits(of_seed, items.acceptable) for of_seed in outputs.double().numpy()])


def cross_entropies(items: LabelledItems, rows: np.ndarray, log_odds: np.ndarray) -> Losses:
    """Of the vote shares of these items, given the log-odds [K, n] of K seeds."""
    shares = items.n_acceptable[rows] / items.n_votes[rows]

    def losses(values: np.ndarray) -> np.ndarray:
        q = expit(values)
        return soft_cross_entropy(np.stack([1 - shares, shares], 1), np.stack([1 - q, q], 1))

    return Losses(np.stack([losses(of_seed) for of_seed in log_odds]), losses(log_odds.mean(0)))


def print_table(split: str, part: str, found: dict[str, Losses], groups: np.ndarray) -> None:
    """One row per tuning; differences to the first."""
    first = next(iter(found.values()))
    print(f"\n{split} split, {part}, {len(groups)} items")
    print("| tuning | mean of seeds | minus the first | ensemble | minus the first | seeds |")
    print("| --- | --- | --- | --- | --- | --- |")
    options: dict[str, Any] = {"clusters": groups, "n_resamples": N_RESAMPLES}
    for name, losses in found.items():
        rng = keyed_rng(0, "convabuse", split, part)
        cells = [
            bootstrap_interval_over_seeds(with_weights(losses.by_seed), rng=rng, **options),
            paired_bootstrap_over_seeds(with_weights(losses.by_seed), with_weights(first.by_seed), rng=rng, **options),
            bootstrap_interval(losses.ensemble, rng=rng, **options),
            paired_bootstrap(losses.ensemble, first.ensemble, rng=rng, **options),
        ]
        shown = [f"{value:.4f} [{low:.4f}, {high:.4f}]" for value, low, high, *_ in cells]
        if losses is first:
            shown[1] = shown[3] = ""
        seeds = " ".join(f"{value:.4f}" for value in losses.by_seed.mean(1))
        print(f"| {name} | {' | '.join(shown)} | {seeds} |", flush=True)


def with_weights(losses: np.ndarray) -> np.ndarray:
    """[K, N] -> the statistics [K, N, 2] whose ratio of sums is the mean."""
    return np.stack([losses, np.ones_like(losses)], -1)


if __name__ == "__main__":
    main()
