"""Scoring prompt/completion pairs against sentence-transformers' CrossEncoder and transformers' pipeline.

    python -m benchmarks.scoring                   # 2,000 pairs, 2 rounds
    python -m benchmarks.scoring --smoke           # 24 pairs

The model is `builtin:minilm` with a seeded head. The peers load what `accord export reward` makes of it, a one-logit
classifier with the same weights, and each runs at the batch size that is its fastest on a part of the texts; accord
runs with its defaults. Pairs longer than the model takes are left out beforehand, since the three cut them differently.

The encoder's own rate is its forward passes alone, on batches that were tokenised, sorted and padded beforehand, at the
fastest of several token budgets: what no scoring can beat. Operations are counted on paper for the tokens that are no
padding: 24·D² + 4·T·D per token and layer (D wide, T tokens in the row).
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from accord.preference.export import as_classifier
from accord.preference.inputs import Sequence1d, collate
from accord.preference.model import PreferenceConfig, PreferenceModel, save_preference_model
from accord.preference.predict import LoadedPreferenceModel, collate_options, encode_pairs, load_preference_model
from accord.pretrained import load_encoder, load_tokenizer
from accord.scoring.score import score_pairs
from accord.training.batches import padding_share, token_budget_batches
from benchmarks.claims import Claim, Timed, alternate, finish, peak_of, read_arguments, seconds_of, timed, versions_of
from benchmarks.machine import matmul_gflops
from benchmarks.peers import Peer, peer_python
from benchmarks.texts import conversation_pairs

N_PAIRS = 2000
FLOOR = 1.0
ENCODER_FLOOR = 0.9
MAX_TOKENS = 512
TOLERANCE = 1e-3
BATCH_SIZES = (8, 16, 32, 64)
TOKEN_BUDGETS = (1024, 2048, 4096, 8192)
SENTENCE_TRANSFORMERS = ("transformers==5.23.0", "sentence-transformers==6.2.0")
Pairs = list[tuple[str, str]]


class RunningPeer(NamedTuple):
    """A peer with its model loaded, its versions, and its fastest batch size."""

    process: Peer
    versions: dict[str, str]
    batch_size: int

    def run(self, pairs: Pairs) -> tuple[np.ndarray, Timed]:
        answer = self.process.ask("predict", pairs=pairs, batch_size=self.batch_size)
        return np.array(answer["result"]), Timed(answer["seconds"], answer["peak_bytes"])


def main() -> None:
    arguments = read_arguments(__doc__, rounds=2)
    torch.set_num_threads(arguments.threads)
    n_pairs = 24 if arguments.smoke else N_PAIRS * arguments.scale
    with tempfile.TemporaryDirectory() as folder:
        write_models(Path(folder))
        judge = load_preference_model(Path(folder) / "accord")
        texts, pairs = fitting_pairs(judge, n_pairs)
        peers = {} if arguments.ours else start_peers(Path(folder), pairs, arguments)
        try:
            claims = measure(judge, texts, pairs, peers, arguments)
        finally:
            for peer in peers.values():
                peer.process.close()
    finish(claims, arguments)


def measure(
    judge: LoadedPreferenceModel, texts: str, pairs: Pairs, peers: dict[str, RunningPeer], arguments: Any
) -> list[Claim]:
    """Check that all scores agree, then time all sides in turn."""
    score = partial(score_pairs, judge, pairs, utility="logit")
    own = score().values
    agree = {name: largest_difference(own, peer.run(pairs)[0], name) for name, peer in peers.items()}
    lengths = [len(pair.views[0].ids) for pair in encode_pairs(judge.model, judge.tokenizer, pairs)]
    encoder_seconds, budget = best_encoder_seconds(judge, pairs)
    sides: dict[str, Callable[[], Timed]] = {"accord": partial(timed, score)}
    sides |= {name: partial(_timing, peer, pairs) for name, peer in peers.items()}
    runs = alternate(sides, rounds=arguments.rounds)
    ours = runs.pop("accord")
    median = float(np.median(seconds_of(ours)))
    operations = forward_operations(judge.model.encoder.config, lengths)
    measured = {
        "share of the encoder's own rate": encoder_seconds / median,
        "encoder seconds": encoder_seconds,
        "encoder token budget": float(budget),
        "GFLOP/s": operations / median / 1e9,
        "share of the matrix-multiply rate": operations / median / 1e9 / matmul_gflops(),
        "padding share": padding_share(lengths, token_budget_batches(lengths, max_tokens=8192)),
    }
    settings = {"texts": texts, "pairs": len(pairs), "tokens": sum(lengths), "threads": arguments.threads}
    base = Claim(
        claim="scoring",
        peer="none",
        versions=versions_of("torch", "transformers"),
        ours_seconds=seconds_of(ours),
        peer_seconds=[],
        agree={},
        settings=settings,
        floor=FLOOR,
        memory={"accord": peak_of(ours)},
        measured=measured,
    )
    if not peers:
        return [base]
    return [
        Claim(
            claim="scoring",
            peer=name,
            versions=peer.versions,
            ours_seconds=seconds_of(ours),
            peer_seconds=seconds_of(runs[name]),
            agree={"largest difference of a logit": agree[name]},
            settings={**settings, "peer's batch size": peer.batch_size},
            floor=FLOOR,
            memory={"accord": peak_of(ours), "peer": peak_of(runs[name])},
            measured=measured,
        )
        for name, peer in peers.items()
    ]


def write_models(folder: Path) -> None:
    """The preference model as accord loads it, and as a one-logit classifier."""
    tokenizer = load_tokenizer("builtin:minilm")
    config = PreferenceConfig(
        base_model="builtin:minilm",
        id2label={0: "unacceptable", 1: "acceptable"},
        pooling="first_token",
        head_size=64,
        max_input_tokens=MAX_TOKENS,
    )
    model = PreferenceModel.from_encoder(load_encoder("builtin:minilm"), config, seed=0)
    save_preference_model(model, tokenizer, folder / "accord", card="")
    tokenizer.truncation_side, tokenizer.model_max_length = "left", MAX_TOKENS
    as_classifier(model).save_pretrained(folder / "classifier")
    tokenizer.save_pretrained(folder / "classifier")


def fitting_pairs(judge: LoadedPreferenceModel, n_pairs: int) -> tuple[str, Pairs]:
    """Where the texts are from, and as many pairs as asked for that nobody needs to cut."""
    texts, drawn = conversation_pairs(2 * n_pairs)
    found = encode_pairs(judge.model, judge.tokenizer, drawn)
    kept = [pair for pair, encoded in zip(drawn, found, strict=True) if not encoded.prompt_is_cut]
    return texts, kept[:n_pairs]


def start_peers(folder: Path, pairs: Pairs, arguments: Any) -> dict[str, RunningPeer]:
    """Every peer with the exported classifier, at its fastest batch size on the first eighth of the texts."""
    own_environment = Path(sys.executable)
    pythons = {"transformers pipeline": own_environment}
    if not arguments.smoke:
        pythons["sentence-transformers CrossEncoder"] = peer_python("sentence-transformers", SENTENCE_TRANSFORMERS)
    return {name: start_peer(name, python, folder / "classifier", pairs, arguments) for name, python in pythons.items()}


def start_peer(name: str, python: Path, folder: Path, pairs: Pairs, arguments: Any) -> RunningPeer:
    """A peer that has loaded the classifier."""
    process = Peer(python, "benchmarks.scoring_peer", threads=arguments.threads)
    versions = process.ask("load", peer=name, folder=str(folder), threads=arguments.threads)["result"]
    part = pairs[: max(8, len(pairs) // 8)]
    sizes = BATCH_SIZES[:1] if arguments.smoke else BATCH_SIZES
    taken = {size: process.ask("predict", pairs=part, batch_size=size)["seconds"] for size in sizes}
    print(f"{name}: seconds by batch size {taken}", file=sys.stderr, flush=True)
    return RunningPeer(process, versions, min(taken, key=lambda size: taken[size]))


def largest_difference(own: np.ndarray, theirs: np.ndarray, name: str) -> float:
    """The largest difference of two scores of one text; stops where it is no rounding."""
    difference = float(np.abs(own - theirs).max())
    if not difference < TOLERANCE:
        raise SystemExit(f"{name}: scores differ by {difference:.3g}, so times mean nothing")
    return difference


def best_encoder_seconds(judge: LoadedPreferenceModel, pairs: Pairs) -> tuple[float, int]:
    """The encoder's forward passes alone over all texts: seconds at the fastest token budget, and that budget."""
    rows = [pair.views[0] for pair in encode_pairs(judge.model, judge.tokenizer, pairs)]
    part = rows[: max(8, len(rows) // 8)]
    budget = min(TOKEN_BUDGETS, key=lambda tokens: encoder_seconds(judge, part, tokens))
    return encoder_seconds(judge, rows, budget), budget


def encoder_seconds(judge: LoadedPreferenceModel, rows: Sequence[Sequence1d], budget: int) -> float:
    """Seconds of the forward passes over batches that are made beforehand."""
    batches = token_budget_batches([len(row.ids) for row in rows], max_tokens=budget)
    inputs = [collate([rows[number] for number in batch], **collate_options(judge.tokenizer)) for batch in batches]

    def forward() -> None:
        with torch.inference_mode():
            for batch in inputs:
                judge.model.vectors(**batch)

    return timed(forward).seconds


def forward_operations(config: Any, lengths: Sequence[int]) -> float:
    """Floating-point operations of the encoder's layers on tokens that are no padding, counted on paper."""
    width, layers = config.hidden_size, config.num_hidden_layers
    per_row = [
        length * (8 * width**2 + 4 * width * config.intermediate_size + 4 * length * width) for length in lengths
    ]
    return float(layers * sum(per_row))


def _timing(peer: RunningPeer, pairs: Pairs) -> Timed:
    return peer.run(pairs)[1]


if __name__ == "__main__":
    main()
