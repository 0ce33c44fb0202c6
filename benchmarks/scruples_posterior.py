"""Whether text helps five votes to predict five fresh ones, on Scruples dilemmas (docs/results.md).

    ACCORD_DATA_DIR=DATA python -m benchmarks.scruples_posterior --folds   # within the dev file alone: choose here
    ACCORD_DATA_DIR=DATA python -m benchmarks.scruples_posterior           # fitted on one file, judged on the other

DATA/scruples-dilemmas holds {dev,test}.scruples-dilemmas.jsonl. Two panels of five judged each pair of actions. What is
predicted are the votes of panel 2; what is known of a pair is its text, or the votes of panel 1, or both.

1. q, the share by the text: heads on the frozen encoder, fitted on all ten votes of one file, in five folds (each head
   is selected on another fold than it predicts). "Which of two actions is less ethical" asks the same in both orders:
   heads learn from both, and q is that of the mean log-odds of the two orders. The question, the same for all, is left
   out. The other file is predicted by the mean log-odds of the five heads.
2. m, how many votes q is worth: `fit_prior_strength` on q out of fold and panel 1's votes of the file that was fitted.
3. The posterior share is (n_acceptable + m q) / (n + m), n the votes of panel 1 of the pair that is judged.

Binary cross-entropy per vote of panel 2, in nats. Means over seeds; intervals by pair and seed; differences paired.
The files share no action (nine are worded alike), but within a file each action stands in two pairs, so that pairs
hang together in long chains: folds and intervals are by pair. Below each table stands by how much the standard error
grows when pairs with a common action are allowed to go together.
"""

import argparse
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from scipy.special import expit, logit

from accord.data.prepare import prepare_stage
from accord.data.prepared import Prepared, load_prepared
from accord.data.settings import PrepareSettings
from accord.data.sources.scruples import QUESTION
from accord.preference.head import HeadObjective, HeadWeights, fit_heads, head_training, predict_heads
from accord.preference.labelled import count_items
from accord.preference.objectives import votes_loss
from accord.preference.posterior import fit_prior_strength, group_folds, posterior_shares
from accord.preference.settings import FitSettings
from accord.randomness import keyed_rng
from accord.records import Item
from accord.statistics.proper_scores import vote_log_loss
from accord.statistics.resampling import bootstrap_interval_over_seeds
from accord.statistics.significance import paired_bootstrap_over_seeds
from benchmarks.convabuse_head import encoded

SEEDS = (0, 1, 2, 3, 4)
FILES = ("dev", "test")
N_RESAMPLES = 10_000


class Panel(NamedTuple):
    """One panel's votes on n pairs: how many accept the completion (find it the more ethical action), of how many."""

    n_acceptable: np.ndarray
    n_votes: np.ndarray


class Pairs(NamedTuple):
    """One file. `features` [2n, F]: the n pairs as they stand, then the n pairs with their actions swapped."""

    items: list[Item]
    features: torch.Tensor
    first: Panel
    second: Panel


class Text(NamedTuple):
    """What text alone says: the heads of all seeds and folds; q out of fold [K, n], and m [K] by panel 1's votes."""

    heads: HeadWeights
    out_of_fold: np.ndarray
    strength: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", action="store_true", help="judge out of fold within the dev file; test is not read")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of `accord fit`")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if "ACCORD_DATA_DIR" not in os.environ:
        sys.exit("ACCORD_DATA_DIR is unset; expected the folder that holds scruples-dilemmas/.")
    torch.set_num_threads(options.threads)
    changes = dict(change.split("=", 1) for change in options.set)
    settings = msgspec.convert(asdict(FitSettings()) | changes, FitSettings, strict=False)
    if settings.tuning != "head" or settings.objective != "votes":
        sys.exit(
            f"tuning is {settings.tuning!r}, objective {settings.objective!r}; here both are fixed, head and votes."
        )
    found = {name: read_pairs(name, settings) for name in FILES[: 1 if options.folds else 2]}
    texts = {name: fit_text(pairs, settings) for name, pairs in found.items()}
    if options.folds:
        text = texts["dev"]
        print_table("dev, out of fold", "dev", found["dev"], text.out_of_fold, text.strength, add_s(found["dev"]))
        return
    for judged, fitted in zip(FILES, reversed(FILES), strict=True):
        q = read_by_text(texts[fitted].heads, found[judged].features)
        print_table(judged, fitted, found[judged], q, texts[fitted].strength, add_s(found[fitted]))


def read_pairs(name: str, settings: FitSettings) -> Pairs:
    """The pairs of one file, both panels' votes, and the frozen encoder's vectors of both orders."""
    source = Path(os.environ["ACCORD_DATA_DIR"]) / "scruples-dilemmas" / f"{name}.scruples-dilemmas.jsonl"
    with tempfile.TemporaryDirectory() as folder:
        prepare = PrepareSettings(source="scruples-dilemmas", n_resamples=2)
        prepared = load_prepared(prepare_stage(source, output_dir=Path(folder) / "items", settings=prepare, seed=0))
    items = prepared.items
    orders = [actions(item) for item in items]
    swapped = [(second, first) for first, second in orders]
    features = encoded([*orders, *swapped], settings)
    return Pairs(items, features, panel(prepared, "first/*"), panel(prepared, "second/*"))


def actions(item: Item) -> tuple[str, str]:
    """The two actions of a pair, without the question, which is the same for all."""
    return str(item.prompt).removeprefix(f"{QUESTION}\n"), item.completion


def panel(prepared: Prepared, annotators: str) -> Panel:
    counted = count_items(prepared, annotators=(annotators,))
    return Panel(counted.n_acceptable, counted.n_votes)


def fit_text(pairs: Pairs, settings: FitSettings) -> Text:
    """Five heads per seed on all votes of the file, and how far to trust them, by panel 1."""
    n, n_folds = len(pairs.items), settings.n_folds
    n_acceptable = pairs.first.n_acceptable + pairs.second.n_acceptable
    against = pairs.first.n_votes + pairs.second.n_votes - n_acceptable
    votes = np.concatenate([np.stack([against, n_acceptable], 1), np.stack([n_acceptable, against], 1)])
    folds = [group_folds([item.id for item in pairs.items], n_folds=n_folds, seed=seed) for seed in SEEDS]
    training, selection = [], []
    for fold_of in folds:
        for fold in range(n_folds):
            chosen = (fold + 1) % n_folds
            training.append(both_orders(np.flatnonzero((fold_of != fold) & (fold_of != chosen)), n))
            selection.append(both_orders(np.flatnonzero(fold_of == chosen), n))

    def held_out_loss(head: int, outputs: np.ndarray) -> float:
        chosen = votes[selection[head]]
        total = chosen.sum(1)
        return float(vote_log_loss(outputs[:, 1] - outputs[:, 0], chosen[:, 1], total).sum() / total.sum())

    fitted = fit_heads(
        pairs.features,
        torch.tensor(votes, dtype=torch.float32),
        train_rows=training,
        held_out_rows=selection,
        held_out_loss=held_out_loss,
        seeds=[seed for seed in SEEDS for _ in range(n_folds)],
        objective=HeadObjective(votes_loss, n_outputs=2),
        training=head_training(
            settings,
            learning_rate=settings.resolved_learning_rate,
            weight_decay=settings.resolved_weight_decay,
        ),
    )
    by_head = log_odds(fitted.weights, pairs.features).reshape(len(SEEDS), n_folds, n)
    out_of_fold = expit(
        np.stack([of_seed[fold_of, np.arange(n)] for of_seed, fold_of in zip(by_head, folds, strict=True)])
    )
    return Text(fitted.weights, out_of_fold, [fit_prior_strength(q, *pairs.first) for q in out_of_fold])


def both_orders(rows: np.ndarray, n: int) -> np.ndarray:
    """The rows of these pairs in `Pairs.features`, as they stand and swapped."""
    return np.concatenate([rows, rows + n])


def log_odds(heads: HeadWeights, features: torch.Tensor) -> np.ndarray:
    """[H, n] log-odds that the completion is the more ethical action: the mean of what both orders say."""
    outputs = predict_heads(heads, features).double().numpy()
    as_it_stands, swapped = np.split(outputs[:, :, 1] - outputs[:, :, 0], 2, axis=1)
    return (as_it_stands - swapped) / 2


def read_by_text(heads: HeadWeights, features: torch.Tensor) -> np.ndarray:
    """q [K, n] of pairs that no head has seen: the mean log-odds of each seed's heads."""
    found = log_odds(heads, features)
    return expit(found.reshape(len(SEEDS), -1, found.shape[1]).mean(1))


def add_s(pairs: Pairs) -> float:
    """s in (n_acceptable + s) / (n + 2 s), by panel 1: half the votes that the share ½ is worth."""
    return fit_prior_strength(np.full(len(pairs.items), 0.5), *pairs.first) / 2


def print_table(judged: str, fitted: str, pairs: Pairs, q: np.ndarray, strength: list[float], s: float) -> None:
    """What each way to the share says of panel 2's votes."""
    n_acceptable, n_votes = pairs.first
    known: dict[str, Any] = {"n_acceptable": n_acceptable, "n_votes": n_votes}
    estimates = {
        "add-1": np.tile((n_acceptable + 1) / (n_votes + 2), (len(SEEDS), 1)),
        f"add-s, s = {s:.2f}": np.tile((n_acceptable + s) / (n_votes + 2 * s), (len(SEEDS), 1)),
        "text": q,
        "text and votes": np.stack(
            [posterior_shares(of_seed, strength=m, **known).share for of_seed, m in zip(q, strength, strict=True)]
        ),
    }
    losses = {name: statistics(share, pairs.second) for name, share in estimates.items()}
    print(f"\n{judged}: {len(pairs.items)} pairs; fitted on {fitted}; m = {' '.join(f'{m:.2f}' for m in strength)}")
    print("| what is known | cross-entropy | minus add-1 | seeds |")
    print("| --- | --- | --- | --- |")
    for name, of_seeds in losses.items():
        rng = keyed_rng(0, "scruples", judged)
        value, low, high = bootstrap_interval_over_seeds(of_seeds, n_resamples=N_RESAMPLES, rng=rng)
        d = paired_bootstrap_over_seeds(of_seeds, losses["add-1"], n_resamples=N_RESAMPLES, rng=rng)
        minus = "" if name == "add-1" else f"{d.difference:.4f} [{d.low:.4f}, {d.high:.4f}]"
        ratios = of_seeds.sum(1)
        seeds = " ".join(f"{value:.4f}" for value in ratios[:, 0] / ratios[:, 1])
        print(f"| {name} | {value:.4f} [{low:.4f}, {high:.4f}] | {minus} | {seeds} |", flush=True)
    gained = (losses["text and votes"] - losses["add-1"])[:, :, 0].mean(0)
    print(f"linked pairs together: standard error of the last difference × {linked_error(pairs.items, gained):.2f}")


def statistics(share: np.ndarray, panel: Panel) -> np.ndarray:
    """[K, n] shares -> [K, n, 2]: the summed log-loss of each pair's votes, and how many votes there are."""
    losses = np.stack([vote_log_loss(logit(of_seed), *panel) for of_seed in share])
    return np.stack([losses, np.broadcast_to(panel.n_votes, losses.shape)], -1)


def linked_error(items: list[Item], values: np.ndarray) -> float:
    """Standard error of a mean when pairs with a common action may go together, over the one when each is on its own.

    Σ_i Σ_j d_i d_j over i = j and over pairs that share an action, d the centred values, against Σ_i d_i².
    """
    pairs_of: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        for action in actions(item):
            pairs_of.setdefault(action, []).append(number)
    centred = values - values.mean()
    links = {(a, b) for linked in pairs_of.values() for a in linked for b in linked if a < b}
    together = sum(centred[a] * centred[b] for a, b in links)
    return float(np.sqrt(max(0.0, 1 + 2 * together / (centred**2).sum())))


if __name__ == "__main__":
    main()
