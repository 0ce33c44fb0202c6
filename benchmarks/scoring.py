"""Scoring prompt/completion pairs against sentence-transformers' CrossEncoder and transformers' pipeline.

    python -m benchmarks.scoring                   # 2,000 pairs, 2 rounds
    python -m benchmarks.scoring --smoke           # 24 pairs

The model is `builtin:minilm` with a seeded head. The peers load what `accord export reward` makes of it, a one-logit
classifier with the same weights, and each runs at the batch size that is its fastest on a part of the texts; accord
runs with its defaults. Pairs longer than the model takes are left out beforehand, since the three cut them differently.

The encoder's own rate is that of transformers' forward passes alone, on batches that were tokenised, sorted and padded
beforehand, at the fastest of several token budgets: what no scoring that reads every token in every layer can beat.
accord does not compute padding, nor in the last layer what the head does not read; its own passes alone are told too.
Operations are counted on paper for what accord computes: 24·D² + 4·T·D per token and layer (D wide, T tokens in the
row), in the last layer 4·D² per token and the rest for one token.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from accord.preference.export import as_classifier
from accord.preference.inputs import Sequence1d, collate
from accord.preference.model import PreferenceConfig, PreferenceModel, save_preference_model
from accord.preference.predict import (
    LoadedPreferenceModel,
    collate_options,
    encode_pairs,
    load_preference_model,
)
from accord.pretrained import load_encoder, load_tokenizer
from accord.scoring.score import score_pairs
from accord.training.batches import token_budget_batches
from benchmarks.claims import Claim, Timed, alternate, finish, peak_of, read_arguments, seconds_of, timed, versions_of
from benchmarks.machine import matmul_gflops
from benchmarks.peers import Peer, peer_python
from benchmarks.texts import conversation_pairs

N_PAIRS = 2000
FLOOR = 1.0
MAX_TOKENS = 512
TOLERANCE = 1e-3
BATCH_SIZES = (8, 16, 32, 64)
TOKEN_BUDGETS = (1024, 2048, 4096, 8192)
SENTENCE_TRANSFORMERS = ("transformers==5.23.0", "sentence-transformers==6.2.0")
Pairs = list[tuple[str, str]]
Forward = Callable[[PreferenceModel, dict[str, torch.Tensor]], Any]


class RunningPeer(NamedTuple):
    """A peer with its model loaded, its versions, and its fastest batch size."""

    process: Peer
    versions: dict[str, str]
    batch_size: int


def main() -> None:
    arguments = read_arguments(__doc__, rounds=2, size="pairs")
    torch.set_num_threads(arguments.threads)
    n_pairs = (24 if arguments.smoke else arguments.size or N_PAIRS) * arguments.scale
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
    """Time all sides in turn; the claims only if all scores of all rounds agree."""
    scores: dict[str, list[np.ndarray]] = {name: [] for name in ("accord", *peers)}

    def score() -> None:
        scores["accord"].append(score_pairs(judge, pairs, utility="logit").values)

    def score_by(name: str) -> Timed:
        answer = peers[name].process.ask("predict", pairs=pairs, batch_size=peers[name].batch_size)
        scores[name].append(np.array(answer["result"]))
        return Timed(answer["seconds"], answer["peak_bytes"])

    score_pairs(judge, pairs[:8], utility="logit")  # the peers are warm from the search of their batch size
    sides: dict[str, Callable[[], Timed]] = {"accord": partial(timed, score)}
    runs = alternate(sides | {name: partial(score_by, name) for name in peers}, rounds=arguments.rounds)
    ours = runs.pop("accord")
    claim = Claim(
        claim="scoring",
        peer="none",
        versions=versions_of("torch", "transformers"),
        ours_seconds=seconds_of(ours),
        peer_seconds=[],
        agree={},
        settings={"texts": texts, "pairs": len(pairs), "threads": arguments.threads},
        floor=FLOOR,
        memory={"ours": peak_of(ours)},
        measured=against_the_encoder(judge, pairs, float(np.median(seconds_of(ours)))) if peers else {},
    )
    if not peers:
        return [claim]
    return [
        replace(
            claim,
            peer=name,
            versions=peer.versions,
            peer_seconds=seconds_of(runs[name]),
            agree={"largest difference of a logit": largest_difference(scores["accord"], scores[name], name)},
            settings={**claim.settings, "peer's batch size": peer.batch_size},
            memory={**claim.memory, "peer": peak_of(runs[name])},
        )
        for name, peer in peers.items()
    ]


def against_the_encoder(judge: LoadedPreferenceModel, pairs: Pairs, seconds: float) -> dict[str, float]:
    """What of the encoder's and of the machine's own rate `seconds` for all pairs are."""
    rows = [pair.views[0] for pair in encode_pairs(judge.model, judge.tokenizer, pairs)]
    lengths = [len(row.ids) for row in rows]
    own_seconds, budget = best_seconds(judge, rows, plain_states)
    passes, _ = best_seconds(judge, rows, lambda model, batch: model.vectors(**batch))
    rate = forward_operations(judge.model.encoder.config, lengths) / seconds / 1e9
    return {
        "share of the encoder's own rate": own_seconds / seconds,
        "encoder's own seconds": own_seconds,
        "encoder's token budget": float(budget),
        "accord's passes alone": passes,
        "GFLOP/s": rate,
        "share of the matrix-multiply rate": rate / matmul_gflops(),
        "tokens": float(sum(lengths)),
    }


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
    """Every peer with the exported classifier, at its fastest batch size on the first sixteenth of the texts."""
    own_environment = Path(sys.executable)
    pythons = {"transformers pipeline": own_environment}
    if not arguments.smoke:
        pythons["sentence-transformers CrossEncoder"] = peer_python("sentence-transformers", SENTENCE_TRANSFORMERS)
    return {name: start_peer(name, python, folder / "classifier", pairs, arguments) for name, python in pythons.items()}


def start_peer(name: str, python: Path, folder: Path, pairs: Pairs, arguments: Any) -> RunningPeer:
    """A peer that has loaded the classifier."""
    process = Peer(python, "benchmarks.scoring_peer", threads=arguments.threads)
    versions = process.ask("load", peer=name, folder=str(folder), threads=arguments.threads)["result"]
    part = pairs[: max(8, len(pairs) // 16)]
    sizes = BATCH_SIZES[:1] if arguments.smoke else BATCH_SIZES
    taken = {size: process.ask("predict", pairs=part, batch_size=size)["seconds"] for size in sizes}
    print(f"{name}: seconds by batch size {taken}", file=sys.stderr, flush=True)
    return RunningPeer(process, versions, min(taken, key=lambda size: taken[size]))


def largest_difference(own: list[np.ndarray], theirs: list[np.ndarray], name: str) -> float:
    """The largest difference of two scores of one text in any round; stops where it is no rounding."""
    difference = max(float(np.abs(ours - peers).max()) for ours, peers in zip(own, theirs, strict=True))
    if not difference < TOLERANCE:
        raise SystemExit(f"{name}: scores differ by {difference:.3g}, so times mean nothing")
    return difference


def plain_states(model: PreferenceModel, batch: dict[str, torch.Tensor]) -> Any:
    """transformers' own encoder on a padded batch."""
    inputs = {name: value for name, value in batch.items() if name != "pooling_mask"}
    encoder: Any = model.encoder
    return encoder(**inputs).last_hidden_state


def best_seconds(judge: LoadedPreferenceModel, rows: Sequence[Sequence1d], forward: Forward) -> tuple[float, int]:
    """Forward passes alone over all texts: seconds at the fastest token budget, and that budget."""
    part = rows[: max(8, len(rows) // 8)]
    budget = min(TOKEN_BUDGETS, key=lambda tokens: forward_seconds(judge, part, tokens, forward))
    return forward_seconds(judge, rows, budget, forward), budget


def forward_seconds(judge: LoadedPreferenceModel, rows: Sequence[Sequence1d], budget: int, forward: Forward) -> float:
    """Seconds of the forward passes over batches that are made beforehand."""
    batches = token_budget_batches([len(row.ids) for row in rows], max_tokens=budget)
    inputs = [collate([rows[number] for number in batch], **collate_options(judge.tokenizer)) for batch in batches]

    def run() -> None:
        with torch.inference_mode():
            for batch in inputs:
                forward(judge.model, batch)

    return timed(run).seconds


def forward_operations(config: Any, lengths: Sequence[int]) -> float:
    """Floating-point operations for texts whose first token alone is pooled, counted on paper."""
    width, layers = config.hidden_size, config.num_hidden_layers
    rest = 4 * width**2 + 4 * width * config.intermediate_size  # query, output and feed-forward of one token
    per_row = [
        (layers - 1) * length * (4 * width**2 + rest + 4 * length * width)
        + length * 4 * width**2
        + rest
        + 4 * length * width
        for length in lengths
    ]
    return float(sum(per_row))


if __name__ == "__main__":
    main()
