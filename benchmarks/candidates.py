"""K = 10 candidates per prompt by diverse beam search, against transformers 4.56, the last one that has it.

    python -m benchmarks.candidates                                         # three shapes
    python -m benchmarks.candidates --shapes t5-small --rounds 5
    python -m benchmarks.candidates --ours --scale 4 --grow candidates      # accord alone on four times the work

16 prompts of 20 to 200 tokens, ten groups of one beam, 40 new tokens, the same random weights in float32 on both sides.
transformers takes all prompts as one padded batch; accord fills batches as `accord generate` does. The first tokens of
all sequences are compared before, the whole sequences after the rounds; no ratio is told unless they agree. The peer
lives in an environment of its own.
"""

import argparse
import gc
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accord.candidates.decode import completions
from accord.candidates.generators.protocol import Generator
from accord.candidates.prompts import build_plan
from accord.candidates.settings import GenerateSettings
from accord.records import PromptRow
from benchmarks.claims import Claim, Timed, alternate, build_parser, finish, peak_of, seconds_of, timed, versions_of
from benchmarks.operations import FORWARD, weights_of
from benchmarks.peers import Peer, give_back_freed, peak_bytes, peer_python, reset_peak
from benchmarks.shapes import PAD, as_generator, build_model, random_ids, save_model

PEER = "transformers 4.56.2 generate(num_beam_groups=10)"
FLOORS = {"smollm2-135m": 3.0, "t5-small": 1.6, "bart-base": 1.6}
GROWS = {"prompts": ("n_prompts",), "candidates": ("n_candidates",), "prompt_length": ("shortest", "longest")}
DIVERSITY_PENALTY = 4.0
LEAST_SAME = 0.99
FIRST_TOKENS = 4

Completions = list[list[list[int]]]


def main() -> None:
    parser = build_parser(__doc__, rounds=2, size="prompts")
    parser.add_argument("--shapes", nargs="+", choices=FLOORS, default=list(FLOORS))
    parser.add_argument("--grow", choices=GROWS, default="prompts", help="what --scale multiplies")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    finish((compared(shape, arguments) for shape in arguments.shapes), arguments)


def compared(shape: str, arguments: argparse.Namespace) -> Claim:
    """One shape: load both sides, compare their sequences, time them in turn."""
    work = work_of(arguments)
    ours = Ours(build_model(shape, smoke=arguments.smoke), work)
    if arguments.ours:
        runs = alternate({"ours": ours.run}, rounds=arguments.rounds)
        memory: dict[str, float] = {"ours": peak_of(runs["ours"]) - ours.resident_bytes}
        measured = operations_told(ours, seconds_of(runs["ours"]))
        return described(shape, arguments, runs, agree={}, memory=memory, measured=measured)
    python = peer_python("transformers-4.56", ["transformers==4.56.2"])
    with Peer(python, "benchmarks.candidates_peer", threads=arguments.threads) as process:
        theirs = Theirs(process, ours)
        first = [side.completions(FIRST_TOKENS) for side in (ours, theirs)]
        agreement(*first)
        runs = alternate({"ours": ours.run, "peer": theirs.run}, rounds=arguments.rounds)
    memory = {
        "ours": peak_of(runs["ours"]) - ours.resident_bytes,
        "peer": peak_of(runs["peer"]) - theirs.resident_bytes,
    }
    agree = agreement(ours.latest, theirs.latest)
    measured = operations_told(ours, seconds_of(runs["ours"]))
    return described(
        shape, arguments, runs, agree=agree, memory=memory, measured=measured, peer_versions=theirs.versions
    )


def work_of(arguments: argparse.Namespace) -> dict[str, int]:
    """How much of what."""
    work = {"n_prompts": 16, "n_candidates": 10, "shortest": 20, "longest": 200, "max_new_tokens": 40}
    if arguments.smoke:
        work |= {"n_prompts": 4, "shortest": 5, "longest": 20, "max_new_tokens": 6}
    elif arguments.size is not None:
        work["n_prompts"] = arguments.size
    return work | {key: work[key] * arguments.scale for key in GROWS[arguments.grow]}


class Ours:
    """accord with one model and its prompts; `latest` are the completions of the last run."""

    def __init__(self, model: Any, work: Mapping[str, int]) -> None:
        lengths = np.linspace(work["shortest"], work["longest"], work["n_prompts"]).astype(int).tolist()
        self.work = work
        self.prompts = random_ids(lengths, vocab_size=model.config.vocab_size, seed=1)
        self.generator: Generator = as_generator(model)
        self.latest: Completions = []
        gc.collect()
        give_back_freed()
        reset_peak()
        self.resident_bytes = peak_bytes()

    def run(self) -> Timed:
        return timed(lambda: self.completions(self.work["max_new_tokens"]))

    def completions(self, max_new_tokens: int) -> Completions:
        """As `accord generate` does it, with its batches."""
        texts = [" ".join(f"t{one}" for one in ids) for ids in self.prompts]
        rows = [PromptRow(id=str(number), prompt=text) for number, text in enumerate(texts)]
        plan = build_plan(
            rows,
            self.generator,
            max_prompt_tokens=max(map(len, self.prompts)),
            max_new_tokens=max_new_tokens,
            copies=self.work["n_candidates"],
            batch_tokens=GenerateSettings().batch_tokens,
        )
        assert plan.prompt_ids == self.prompts
        self.latest = [[] for _ in rows]
        for batch in plan.batches:
            found = completions(
                self.generator,
                [plan.prompt_ids[row] for row in batch],
                [rows[row].id for row in batch],
                method="diverse_beam",
                n=self.work["n_candidates"],
                diversity_penalty=DIVERSITY_PENALTY,
                max_new_tokens=max_new_tokens,
            )
            for row, group in zip(batch, found, strict=True):
                self.latest[row] = [list(one.ids) for one in group]
        return self.latest


class Theirs:
    """The peer with the same weights and prompts."""

    def __init__(self, process: Peer, ours: Ours) -> None:
        self.process, self.prompts, self.work = process, ours.prompts, ours.work
        self.latest: Completions = []
        with tempfile.TemporaryDirectory() as folder:
            save_model(ours.generator.model, Path(folder))
            loaded = process.ask("load", folder=folder)["result"]
        self.resident_bytes, self.versions = loaded["resident_bytes"], loaded["versions"]

    def run(self) -> Timed:
        answer = self._ask(self.work["max_new_tokens"])
        self.latest = answer["result"]
        return Timed(answer["seconds"], answer["peak_bytes"])

    def completions(self, max_new_tokens: int) -> Completions:
        found: Completions = self._ask(max_new_tokens)["result"]
        return found

    def _ask(self, max_new_tokens: int) -> dict[str, Any]:
        return self.process.ask(
            "generate",
            prompts=self.prompts,
            pad_id=PAD,
            n_groups=self.work["n_candidates"],
            diversity_penalty=DIVERSITY_PENALTY,
            max_new_tokens=max_new_tokens,
        )


def operations_told(ours: Ours, seconds: Sequence[float]) -> dict[str, float]:
    """Operations on paper: each prompt read once without padding, and K completions of it."""
    own = weights_of(ours.generator.model).tera(
        prompt_tokens=sum(map(len, ours.prompts)),
        n_completions=ours.work["n_prompts"] * ours.work["n_candidates"],
        tokens_each=ours.work["max_new_tokens"],
        operations=FORWARD,
    )
    rate = 1000 * own / statistics.median(seconds)
    return {"TFLOP on paper": own, "accord's GFLOP/s": rate}


def agreement(own: Completions, theirs: Completions) -> dict[str, Any]:
    """How many sequences are the same, in the same order.

    Raises:
        SystemExit: too few. A near-tie within rounding may fall to either side, and the search then goes another way
            for good; more than a few of those is an error.
    """
    pairs = [pair for group in zip(own, theirs, strict=True) for pair in zip(*group, strict=True)]
    n_same = sum(ours == other for ours, other in pairs)
    if n_same < LEAST_SAME * len(pairs):
        raise SystemExit(f"{n_same} of {len(pairs)} sequences agree. Expected all but near-ties.")
    n_tokens = sorted({len(one) for group in own for one in group})
    return {"same_sequences": n_same, "sequences": len(pairs), "tokens_each": n_tokens}


def described(
    shape: str,
    arguments: argparse.Namespace,
    runs: Mapping[str, Sequence[Timed]],
    *,
    agree: Mapping[str, Any],
    memory: dict[str, float],
    measured: Mapping[str, float],
    peer_versions: Mapping[str, str] | None = None,
) -> Claim:
    """The claim of one shape."""
    if "peer" in memory:
        measured = {"memory_over_peer": memory["ours"] / memory["peer"], **measured}
    return Claim(
        claim=f"candidates, {shape}",
        peer=PEER,
        floor=FLOORS[shape],
        versions=versions_of("torch", "transformers") | {f"peer {k}": v for k, v in (peer_versions or {}).items()},
        ours_seconds=seconds_of(runs["ours"]),
        peer_seconds=seconds_of(runs.get("peer", [])),
        agree=agree,
        settings={**work_of(arguments), "threads": arguments.threads, "dtype": "float32", "shape": shape},
        memory=memory,
        measured=measured,
    )


if __name__ == "__main__":
    main()
