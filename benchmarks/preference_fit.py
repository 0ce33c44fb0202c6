"""Fitting a preference model against Hugging Face's Trainer with the same model and length grouping.

    ACCORD_DATA_DIR=DATA python -m benchmarks.preference_fit       # ConvAbuse: one epoch of prefix, one of LoRA, a head
    python -m benchmarks.preference_fit --smoke                    # 64 made items

Prefix and LoRA: one epoch over all training items in steps of 64, tokenising included on both sides. accord's
micro-batches are of 16; Trainer takes 16 with accumulation or 64 at once, whichever was faster on a part of the items.
Head: the frozen encoder under a head for 20 epochs (the default) over some of the items; accord encodes each text once,
Trainer reads every text in every epoch. "features cached" leaves the encoding out, as in every further objective or
seed. Before anything is timed, both sides take the same steps on the same items without dropout, and the loss of every
step is compared. accord also evaluates a few held-out items before and after, which its loop cannot leave out.
"""

import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from accord.preference.objectives import build_objective, no_log_normaliser
from accord.preference.predict import encode_features, encode_pairs
from accord.preference.tune import EncoderText, FitPlan, Schedule, train_encoder, train_head
from accord.training.batches import step_indices, steps_per_epoch
from accord.training.loop import TrainingResult
from benchmarks.claims import Claim, Timed, alternate, finish, peak_of, read_arguments, seconds_of, timed, versions_of
from benchmarks.fit_work import BATCH_SIZE, RATES, TUNINGS, WEIGHT_DECAY, build_model, training_items
from benchmarks.peers import Peer

MICRO_BATCH_SIZE = 16
PEER_MICRO_BATCH_SIZES = (16, 64)
HEAD_EPOCHS = 20
HEAD_ITEMS = 128
CHECK_STEPS = 3
CHECK_TOLERANCE = 1e-3
N_HELD_OUT = 16
FLOORS = {"prefix": 1.1, "lora": 1.1, "head": 5.0}
CACHED_FLOOR = 100.0
SEED = 20230
NEVER = 10**9


class Work(NamedTuple):
    """How much is trained: items, epochs."""

    n_items: int
    epochs: int


def main() -> None:
    arguments = read_arguments(__doc__, rounds=1, size="items")
    torch.set_num_threads(arguments.threads)
    finish((claim for one in TUNINGS for claim in compared(one, work_of(one, arguments), arguments)), arguments)


def work_of(tuning: str, arguments: Any) -> Work:
    """The work of the claim, or of the size asked for, times the scale."""
    if arguments.smoke:
        return Work(64 * arguments.scale, 2 if tuning == "head" else 1)
    if tuning == "head":
        return Work((arguments.size or HEAD_ITEMS) * arguments.scale, HEAD_EPOCHS)
    return Work((arguments.size or len(training_items(None).pairs)) * arguments.scale, 1)


def compared(tuning: str, work: Work, arguments: Any) -> list[Claim]:
    """One tuning: the losses of the first steps, then both sides in turn."""
    ours = Ours(tuning, work)
    if arguments.ours:
        runs = alternate({"accord": ours.fit}, rounds=arguments.rounds)
        return described(ours, arguments, runs, {}, 0)
    with Peer(Path(sys.executable), "benchmarks.preference_fit_peer", threads=arguments.threads) as peer:
        theirs = Theirs(peer, ours, arguments.threads)
        agree = {"largest relative difference of a step's loss": largest_difference(ours, theirs)}
        theirs.choose_micro_batch(smoke=arguments.smoke)
        sides: dict[str, Callable[[], Timed]] = {"accord": ours.fit, "peer": theirs.fit}
        if tuning == "head":
            sides["cached"] = ours.fit_cached
        runs = alternate(sides, rounds=arguments.rounds)
        return described(ours, arguments, runs, agree, theirs.micro_batch_size)


def described(
    ours: "Ours", arguments: Any, runs: dict[str, list[Timed]], agree: dict[str, Any], micro_batch_size: int
) -> list[Claim]:
    """The claim of a tuning; of a head also that of cached features."""
    own, peers = runs["accord"], runs.get("peer", [])
    name = {"head": "head, features included"}.get(ours.tuning, ours.tuning)
    claim = partial(
        Claim,
        peer="transformers Trainer",
        versions=versions_of("torch", "transformers", "peft", "accelerate"),
        peer_seconds=seconds_of(peers),
        agree=agree,
        settings={
            "texts": ours.items.source,
            "items": ours.work.n_items,
            "epochs": ours.work.epochs,
            "threads": arguments.threads,
            "peer's micro-batch": micro_batch_size,
        },
        memory={"ours": peak_of(own)} | ({"peer": peak_of(peers)} if peers else {}),
    )
    claims = [claim(claim=f"preference fit: {name}", ours_seconds=seconds_of(own), floor=FLOORS[ours.tuning])]
    if "cached" in runs:
        cached = seconds_of(runs["cached"])
        claims.append(claim(claim="preference fit: head, features cached", ours_seconds=cached, floor=CACHED_FLOOR))
    return claims


class Ours:
    """accord's side: a fresh model for every run, made before the clock starts."""

    def __init__(self, tuning: str, work: Work) -> None:
        self.tuning, self.work = tuning, work
        self.items = training_items(work.n_items)
        self.features: torch.Tensor | None = None

    def fit(self) -> Timed:
        """Tokenise (for a head: encode) and train."""
        model, text = build_model(self.tuning, self.items.pairs, dropout=True)
        return timed(lambda: self.train(model, text.tokenizer, self.plan(self.work)))

    def fit_cached(self) -> Timed:
        """Train another head on the features of the last run."""
        model, _ = build_model(self.tuning, self.items.pairs, dropout=True)
        features = self.features
        assert features is not None
        return timed(lambda: train_head(model, features, self.plan(self.work)))

    def losses(self) -> list[float]:
        """The loss of each of the first steps, without dropout."""
        work = self.checked()
        model, text = build_model(self.tuning, self.items.pairs, dropout=False)
        curve = self.train(model, text.tokenizer, self.plan(work, eval_every=1)).curve
        return [row["loss"] for row in curve if not math.isnan(row["loss"])]

    def checked(self) -> Work:
        """As many items as the steps that are compared take."""
        return Work(min(self.work.n_items, CHECK_STEPS * BATCH_SIZE), 1)

    def train(self, model: Any, tokenizer: Any, plan: FitPlan) -> TrainingResult:
        pairs = self.items.pairs
        if self.tuning == "head":
            self.features = encode_features(model, tokenizer, pairs).values
            return train_head(model, self.features, plan)
        rows = [pair.views[0] for pair in encode_pairs(model, tokenizer, pairs)]
        text = EncoderText(tokenizer, rows, 8192)
        return train_encoder(model, text, plan, head_learning_rate=RATES[self.tuning])

    def plan(self, work: Work, *, eval_every: int = NEVER) -> FitPlan:
        """The settings that both sides share."""
        micro = BATCH_SIZE if self.tuning == "head" else MICRO_BATCH_SIZE
        rate, decay = RATES[self.tuning], WEIGHT_DECAY[self.tuning]
        objective = build_objective(
            "soft_kl", smoothing=0.1, log_normaliser=no_log_normaliser, acceptable=torch.tensor([False, True])
        )
        return FitPlan(
            votes=torch.tensor(self.items.votes, dtype=torch.float32),
            train_rows=np.arange(work.n_items),
            held_out_rows=np.arange(N_HELD_OUT),
            held_out_loss=lambda _: 0.0,
            objective_of=lambda _: objective,
            normaliser="none",
            schedule=Schedule(work.epochs, BATCH_SIZE, micro, eval_every, NEVER, rate, decay),
            seed=SEED,
            checkpoint_dir=None,
        )


class Theirs:
    """Trainer's side, in its own process."""

    def __init__(self, peer: Peer, ours: Ours, threads: int) -> None:
        self.peer, self.ours, self.threads = peer, ours, threads
        self.micro_batch_size = PEER_MICRO_BATCH_SIZES[0]

    def fit(self) -> Timed:
        """One whole run, grouped by length."""
        self.build(dropout=True)
        answer = self.peer.ask(
            "train",
            order=list(range(self.ours.work.n_items)),
            epochs=self.ours.work.epochs,
            micro_batch_size=self.micro_batch_size,
            grouped=True,
        )
        return Timed(answer["seconds"], answer["peak_bytes"])

    def losses(self) -> list[float]:
        """The loss of each of the first steps on accord's own batches, without dropout."""
        n_items = self.ours.checked().n_items
        steps = range(steps_per_epoch(n_items, BATCH_SIZE))
        order = [int(row) for step in steps for row in step_indices(n_items, BATCH_SIZE, step, seed=SEED)]
        return self.run_part(order, grouped=False, dropout=False)["result"]

    def choose_micro_batch(self, *, smoke: bool) -> None:
        """The faster of the sizes on a few steps."""
        if smoke:
            return
        taken = {}
        order = list(range(min(3 * BATCH_SIZE, self.ours.work.n_items)))
        for self.micro_batch_size in PEER_MICRO_BATCH_SIZES:
            taken[self.micro_batch_size] = self.run_part(order, grouped=True)["seconds"]
        print(f"Trainer: seconds by micro-batch {taken}", file=sys.stderr, flush=True)
        self.micro_batch_size = min(taken, key=lambda size: taken[size])

    def run_part(self, order: list[int], *, grouped: bool, dropout: bool = True) -> dict[str, Any]:
        self.build(dropout=dropout)
        return self.peer.ask("train", order=order, epochs=1, micro_batch_size=self.micro_batch_size, grouped=grouped)

    def build(self, *, dropout: bool) -> None:
        self.peer.ask(
            "build", tuning=self.ours.tuning, n_items=self.ours.work.n_items, dropout=dropout, threads=self.threads
        )


def largest_difference(ours: Ours, theirs: Theirs) -> float:
    """Of the losses of the first steps, relative; stops where it is no rounding."""
    own, peers = np.array(ours.losses()), np.array(theirs.losses())
    difference = float(np.abs(own / peers - 1).max())
    if not difference < CHECK_TOLERANCE:
        raise SystemExit(f"{ours.tuning}: the losses are {own} and {peers}, so times mean nothing")
    return difference


if __name__ == "__main__":
    main()
