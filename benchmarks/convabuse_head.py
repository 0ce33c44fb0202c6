"""How well a head on the frozen builtin encoder predicts the vote shares of ConvAbuse (docs/method-preference.md).

    ACCORD_DATA_DIR=DATA python benchmarks/convabuse_head.py            # settings as shipped, test read once
    ACCORD_DATA_DIR=DATA python benchmarks/convabuse_head.py --dev      # every objective, dev only

DATA/convabuse holds ConvAbuse_{train,dev,test}.json. Two splits: the published one, whose sides share conversations
and texts, and one where no conversation and no judged text stands on two sides. Five seeds, each selected on the dev
split's vote log-loss; the interval is a bootstrap by conversation of the mean over seeds. Cross-entropy is
−Σ_c l_c log(q_c + 1e-9) in nats, l the vote shares, as in LeWiDi 2023.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import expit

from accord.data.prepare import prepare_stage
from accord.data.prepared import load_prepared
from accord.data.settings import PrepareSettings
from accord.preference.fit import held_out_log_loss, objective_with
from accord.preference.head import FittedHeads, HeadObjective, fit_heads, head_training, predict_heads
from accord.preference.labelled import LabelledItems, label_items
from accord.preference.model import PreferenceConfig, PreferenceModel
from accord.preference.objectives import N_CONSTANTS, OBJECTIVES, chunk_log_normaliser, n_outputs_of
from accord.preference.predict import encode_features
from accord.preference.reading import read_outputs
from accord.preference.settings import FitSettings
from accord.pretrained import load_encoder, load_tokenizer
from accord.randomness import keyed_rng
from accord.records import Prompt
from accord.statistics.proper_scores import soft_cross_entropy
from accord.statistics.resampling import Interval, bootstrap_interval

SEEDS = (0, 1, 2, 3, 4)
SPLITS = {
    "published": PrepareSettings(source="convabuse", n_resamples=2),
    "disjoint": PrepareSettings(
        source="convabuse", n_resamples=2, resplit=True, disjoint_text="completion", fractions=(0.6, 0.2, 0.2)
    ),
}


class Figure(NamedTuple):
    """Cross-entropy of one split: mean over seeds with its interval by conversation, and each seed's own."""

    interval: Interval
    by_seed: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dev", action="store_true", help="compare objectives and class layouts on dev, read no test")
    only_dev = parser.parse_args().dev
    if "ACCORD_DATA_DIR" not in os.environ:
        sys.exit("ACCORD_DATA_DIR is unset; expected the folder that holds convabuse/.")
    torch.set_num_threads(2)
    print("| split | objective | classes | items train/dev/test | dev | test | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    vectors: dict[str, torch.Tensor] = {}
    for name, prepare_settings in SPLITS.items():
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            source = Path(os.environ["ACCORD_DATA_DIR"]) / "convabuse"
            prepared = prepare_stage(source, output_dir=Path(folder) / "items", settings=prepare_settings, seed=0)
            items = label_items(load_prepared(prepared), annotators=(), by_label=False, objective="votes")
            graded = label_items(load_prepared(prepared), annotators=(), by_label=True, objective="votes")
        if not vectors:  # the same items in both splits
            vectors = dict(zip(items.ids, encoded(items.pairs, FitSettings()), strict=True))
        features = torch.stack([vectors[item_id] for item_id in items.ids])
        prepared_at = time.perf_counter()
        runs = [(FitSettings(), items)]
        if only_dev:
            runs = [(FitSettings(objective=objective), items) for objective in OBJECTIVES]  # type: ignore[arg-type]
            runs.append((FitSettings(classes="labels"), graded))
        for settings, labelled in runs:
            fitting_from = time.perf_counter()
            fitted = fitted_heads(features, labelled, settings)
            figures = [figure(fitted, features, labelled, settings, split) for split in ("dev", "test")[: 2 - only_dev]]
            seconds = time.perf_counter() - fitting_from + (prepared_at - started)
            print(table_row(name, settings, labelled, figures, seconds), flush=True)


def encoded(pairs: Sequence[tuple[Prompt, str]], settings: FitSettings) -> torch.Tensor:
    """The encoder's three vectors of every prompt and completion, [N, 3·D]."""
    config = PreferenceConfig(
        n_views=3,
        pooling=settings.pooling,
        max_input_tokens=settings.max_length,
    )
    model = PreferenceModel.from_encoder(load_encoder(settings.model, n_layers=settings.encoder_layers), config, seed=0)
    return encode_features(model, load_tokenizer(settings.model), pairs).values


def fitted_heads(
    features: torch.Tensor, items: LabelledItems, settings: FitSettings, seeds: Sequence[int] = SEEDS
) -> FittedHeads:
    """One head per seed, by `accord fit`'s own settings and selection."""
    dev_rows = items.rows("dev")
    loss = held_out_log_loss(items, dev_rows, settings)
    return fit_heads(
        features,
        torch.tensor(items.votes, dtype=torch.float32),
        train_rows=[items.rows("train")] * len(seeds),
        held_out_rows=[dev_rows] * len(seeds),
        held_out_loss=lambda _, outputs: loss(outputs),
        seeds=seeds,
        objective=HeadObjective(
            objective_with(partial(chunk_log_normaliser, size=8), items, settings),
            n_outputs_of(settings.objective, len(items.classes)),
            N_CONSTANTS.get(settings.objective, 0),
        ),
        training=head_training(
            settings,
            learning_rate=settings.resolved_learning_rate,
            weight_decay=settings.resolved_weight_decay,
        ),
    )


def figure(
    fitted: FittedHeads, features: torch.Tensor, items: LabelledItems, settings: FitSettings, split: str
) -> Figure:
    """Cross-entropy against the vote shares of one split."""
    rows = items.rows(split)
    shares = items.n_acceptable[rows] / items.n_votes[rows]
    per_seed = []
    for outputs in predict_heads(fitted.weights, features[rows]).double().numpy():
        reading = read_outputs(
            outputs, objective=settings.objective, acceptable=items.acceptable, smoothing=settings.smoothing
        )
        q = expit(reading.vote_logits)
        per_seed.append(soft_cross_entropy(np.stack([1 - shares, shares], 1), np.stack([1 - q, q], 1)))
    losses = np.stack(per_seed)
    rng = keyed_rng(0, "convabuse", split)
    return Figure(bootstrap_interval(losses.mean(0), clusters=items.clusters[rows], rng=rng), losses.mean(1))


def table_row(name: str, settings: FitSettings, items: LabelledItems, figures: list[Figure], seconds: float) -> str:
    sizes = "/".join(str(len(items.rows(split))) for split in ("train", "dev", "test"))
    shown = [
        f"{f.interval.value:.4f} [{f.interval.low:.4f}, {f.interval.high:.4f}] (seeds {f.by_seed.min():.4f} to "
        f"{f.by_seed.max():.4f})"
        for f in figures
    ]
    shown += ["not read"] * (2 - len(shown))
    return f"| {name} | {settings.objective} | {settings.classes} | {sizes} | {' | '.join(shown)} | {seconds:.0f} |"


if __name__ == "__main__":
    main()
