"""Samples per second of calibration and of TRL's RLOO, generation and scoring included (Figure 5 of the paper).

    python -m benchmarks.calibration_rl
    python -m benchmarks.calibration_rl --beta 0          # RLOO without its reference model, accord without references
    python -m benchmarks.calibration_rl --ours --scale 4

A sample is a prompt that was trained on once, with K = 10 completions of its own. Both sides pass once over the same
prompts (4 of 20 to 200 tokens), with the same random weights of SmolLM2-135M's shape in float32, all of them trained,
the same scorer (a mean-pooled encoder of MiniLM's shape), 40 new tokens a completion, and one step of AdamW. RLOO draws
and scores its completions anew whenever it comes to a prompt again; calibration does so once for all its passes, so
one pass is the comparison that is kindest to RLOO.

First both sides' log-probabilities of the same completions are compared. Differences that stay: RLOO samples, accord
searches diverse beams; RLOO computes the log-probabilities of its policy before the step and of a reference model (as
TRL does by default; --beta 0 leaves that model out), accord those of a human reference besides the candidates.
"""

import argparse
import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from trl import RLOOConfig, RLOOTrainer

from accord.candidates.decode import completions
from benchmarks.calibration_step import MICRO_BATCH, Batch, packed, step
from benchmarks.claims import Claim, Timed, alternate, build_parser, finish, peak_of, seconds_of, timed, versions_of
from benchmarks.peers import peak_bytes, reset_peak
from benchmarks.shapes import as_generator, build_model, minilm_l6, random_ids, save_model, word_tokenizer

PEER = "TRL RLOOTrainer"
FLOOR = 3.0
TRL_BETA = 0.05
TOLERANCE = 1e-3
LEARNING_RATE = 1e-6
DIVERSITY_PENALTY = 4.0


def main() -> None:
    parser = build_parser(__doc__, rounds=1)
    parser.add_argument("--beta", type=float, default=TRL_BETA, help="RLOO's weight of its reference model")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        finish([compared(arguments, Path(folder))], arguments)


def compared(arguments: argparse.Namespace, folder: Path) -> Claim:
    """Compare log-probabilities, then time a pass over the prompts of either side in turn."""
    work = work_of(arguments)
    model = build_model("smollm2-135m", smoke=arguments.smoke)
    lengths = np.linspace(work["shortest"], work["longest"], work["n_prompts"]).astype(int).tolist()
    prompts = random_ids(lengths, vocab_size=model.config.vocab_size, seed=1)
    scorer = Scorer(model.config.vocab_size)
    save_model(model, folder)
    ours = Calibration(model, prompts, scorer, work, with_references=arguments.beta > 0)
    sides = {"ours": ours.run}
    agree: dict[str, Any] = {}
    if not arguments.ours:
        theirs = Rloo(folder, prompts, scorer, work, arguments.beta)
        agree = logps_agree(ours, theirs)
        sides["peer"] = theirs.run
    reset_peak()
    base = peak_bytes()
    runs = alternate(sides, rounds=arguments.rounds)
    agree |= {"texts_scored": scorer.n_texts}
    return described(arguments, work, runs, base, agree)


def work_of(arguments: argparse.Namespace) -> dict[str, int]:
    """How much of what."""
    work = {"n_prompts": 4, "n_candidates": 10, "shortest": 20, "longest": 200, "max_new_tokens": 40}
    if arguments.smoke:
        work |= {"n_prompts": 2, "shortest": 5, "longest": 20, "max_new_tokens": 6}
    return work | {"n_prompts": work["n_prompts"] * arguments.scale}


class Scorer:
    """A number for every text: its mean-pooled states on a random direction. A reward function of TRL."""

    def __init__(self, vocab_size: int) -> None:
        torch.manual_seed(5)
        self.__name__ = "scorer"
        self.encoder = minilm_l6(vocab_size=vocab_size).eval()
        self.tokenizer = word_tokenizer(vocab_size)
        self.direction = torch.randn(self.encoder.config.hidden_size)
        self.n_texts = 0

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **_: Any) -> list[float]:
        self.n_texts += len(prompts)
        texts = [f"{prompt} {completion}" for prompt, completion in zip(prompts, completions, strict=True)]
        inputs = self.tokenizer(texts, return_tensors="pt", padding=True, return_token_type_ids=False)
        states = self.encoder(**inputs).last_hidden_state
        mask = inputs["attention_mask"][..., None]
        means: Tensor = (states * mask).sum(dim=1) / mask.sum(dim=1)
        return [float(value) for value in means @ self.direction]


class Calibration:
    """accord: candidates, scores, one step."""

    def __init__(
        self, model: Any, prompts: list[list[int]], scorer: Scorer, work: Mapping[str, int], *, with_references: bool
    ) -> None:
        self.generator: Any = as_generator(model)
        self.model, self.prompts, self.scorer, self.work = model, prompts, scorer, work
        lengths = [work["max_new_tokens"]] * len(prompts)
        vocab_size = model.config.vocab_size
        self.references = random_ids(lengths, vocab_size=vocab_size, seed=3) if with_references else None

    def run(self) -> Timed:
        return timed(self.pass_over_prompts)

    def pass_over_prompts(self) -> None:
        candidates = self.candidates()
        texts = [[self.generator.text(ids) for ids in group] for group in candidates]
        prompts = [self.generator.tokenizer.decode(ids) for ids in self.prompts]
        n_each = self.work["n_candidates"]
        scores = self.scorer(
            [prompt for prompt in prompts for _ in range(n_each)], [text for group in texts for text in group]
        )
        if self.references is not None:
            candidates = [[*group, reference] for group, reference in zip(candidates, self.references, strict=True)]
        batch = Batch(self.prompts, candidates, torch.tensor(scores).view(-1, n_each))
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=LEARNING_RATE)
        step(self.model, packed(self.generator), batch, MICRO_BATCH)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        optimizer.step()
        self.model.zero_grad(set_to_none=True)

    def candidates(self) -> list[list[list[int]]]:
        """K completions of every prompt, as `accord generate` finds them."""
        found = completions(
            self.generator,
            self.prompts,
            [str(number) for number in range(len(self.prompts))],
            method="diverse_beam",
            n=self.work["n_candidates"],
            diversity_penalty=DIVERSITY_PENALTY,
            max_new_tokens=self.work["max_new_tokens"],
        )
        return [[list(one.ids) for one in group] for group in found]


class Rloo:
    """TRL: one step of the trainer over all prompts, one prompt's completions in a micro-batch."""

    def __init__(
        self, folder: Path, prompts: list[list[int]], scorer: Scorer, work: Mapping[str, int], beta: float
    ) -> None:
        self.folder, self.scorer, self.work, self.beta = folder, scorer, work, beta
        self.tokenizer = word_tokenizer(scorer.encoder.config.vocab_size)
        self.rows = Dataset.from_list([{"prompt": self.tokenizer.decode(ids)} for ids in prompts])
        self.trainer = self._trainer()

    def run(self) -> Timed:
        """A pass by a trainer that is made outside the time it takes."""
        if self.trainer.state.global_step:
            self.trainer = self._trainer()

        def train() -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                self.trainer.train()

        return timed(train)

    def _trainer(self) -> Any:
        n_candidates = self.work["n_candidates"]
        config = RLOOConfig(
            output_dir=str(self.folder / "rloo"),
            per_device_train_batch_size=n_candidates,
            gradient_accumulation_steps=self.work["n_prompts"],
            num_generations=n_candidates,
            max_completion_length=self.work["max_new_tokens"],
            max_steps=1,
            beta=self.beta,
            learning_rate=LEARNING_RATE,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            model_init_kwargs={"dtype": "float32"},
            shuffle_dataset=False,
        )
        return RLOOTrainer(
            model=str(self.folder),
            reward_funcs=self.scorer,
            args=config,
            train_dataset=self.rows,
            processing_class=self.tokenizer,
        )


@torch.no_grad()
def logps_agree(ours: Calibration, theirs: Rloo) -> dict[str, Any]:
    """Both sides' log-probabilities of the first and shortest prompt's completions, which accord finds.

    Raises:
        SystemExit: they differ by more than rounding.
    """
    (prompt, *_), n_tokens = ours.prompts, 5
    group = random_ids([n_tokens] * 3, vocab_size=ours.model.config.vocab_size, seed=4)
    own, _ = packed(ours.generator)(Batch([prompt], [group], torch.zeros(1, 3)))
    rows = torch.tensor([[*prompt, *ids] for ids in group])
    their_model = theirs.trainer.model.eval()
    logps, *_ = theirs.trainer._get_per_token_logps_and_entropies(their_model, rows, torch.ones_like(rows), n_tokens)
    difference = float((own[0] - logps.sum(dim=1)).abs().max())
    if difference > TOLERANCE * float(own.abs().max()):
        raise SystemExit(f"log-probabilities differ by {difference:.3g} nats of {float(own.abs().max()):.4g}.")
    return {"largest_difference_nats": difference, "of_nats": float(own.abs().max())}


def described(
    arguments: argparse.Namespace,
    work: Mapping[str, int],
    runs: Mapping[str, Sequence[Timed]],
    base: int,
    agree: Mapping[str, Any],
) -> Claim:
    """The claim, with the samples per second of either side."""
    seconds = {name: seconds_of(taken) for name, taken in runs.items()}
    return Claim(
        claim="calibration against RL, smollm2-135m",
        peer=PEER,
        floor=FLOOR,
        versions=versions_of("torch", "transformers", "trl"),
        ours_seconds=seconds["ours"],
        peer_seconds=seconds.get("peer", []),
        agree=agree,
        settings={**work, "beta": arguments.beta, "threads": arguments.threads, "dtype": "float32"},
        memory={name: peak_of(taken[:1]) - base for name, taken in runs.items()},
        measured={f"{name}_samples_per_second": work["n_prompts"] / min(taken) for name, taken in seconds.items()},
    )


if __name__ == "__main__":
    main()
