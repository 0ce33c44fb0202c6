"""One step of calibration, forward and backward, against one row per candidate in plain transformers.

    python -m benchmarks.calibration_step                          # three shapes, all weights; SmolLM2's adapter too
    python -m benchmarks.calibration_step --tuning lora            # an adapter on the upper third, accord's default
    python -m benchmarks.calibration_step --ours --scale 4 --grow candidates

8 prompts of 256 tokens, each with K = 10 candidates and a reference of 32 tokens; the ranking and the reference loss;
random weights in float32. The usual way reads prompt and completion as one row per completion, one prompt's rows at a
time. It computes logits of the completions alone, as we do: of the whole rows, as is common, it would be slower still.
The same weights are trained on both sides, and the gradients of one prompt are compared first. With `lora` accord has
read the layers below the adapter in the first step and kept what they gave; that step is not timed, on either side.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from accord.calibration.adapter import adapted_layers, add_adapter
from accord.calibration.frozen import FrozenTrunk, with_frozen_layers_kept
from accord.calibration.objectives import ranking_margin_loss, reference_loss
from accord.candidates.generators.packed import unwrapped
from accord.candidates.logps import StateReader, completion_logps
from benchmarks.claims import Claim, Timed, alternate, build_parser, finish, peak_of, seconds_of, timed, versions_of
from benchmarks.operations import TRAINED, weights_of
from benchmarks.shapes import as_generator, build_model, random_ids

PEER = "one row per candidate, transformers"
FLOORS = {"smollm2-135m": 4.0, "t5-small": 2.0, "bart-base": 2.0}
TUNINGS = ("full", "lora")
TUNINGS_OF = {"smollm2-135m": TUNINGS, "t5-small": ("full",), "bart-base": ("full",)}
"""All weights as in the paper; where it spares reading the frozen layers, the default adapter too."""
GROWS = {"prompts": "n_prompts", "candidates": "n_candidates", "prompt_length": "prompt_tokens"}
MICRO_BATCH = 4
RELATIVE_DIFFERENCE = 1e-4


class Batch(NamedTuple):
    """Prompts [B], their candidates and references [B][K + 1] as tokens, the reference last; scores [B, K]."""

    prompts: list[list[int]]
    completions: list[list[list[int]]]
    scores: Tensor

    def part(self, start: int, end: int) -> "Batch":
        return Batch(self.prompts[start:end], self.completions[start:end], self.scores[start:end])


LogpsOf = Callable[[Batch], tuple[Tensor, Tensor]]


def main() -> None:
    parser = build_parser(__doc__, rounds=1, size="prompts")
    parser.add_argument("--shapes", nargs="+", choices=FLOORS, default=list(FLOORS))
    parser.add_argument("--tuning", nargs="+", choices=TUNINGS, default=None, help="instead of each shape's own")
    parser.add_argument("--grow", choices=GROWS, default="prompts", help="what --scale multiplies")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pairs = [(shape, tuning) for shape in arguments.shapes for tuning in arguments.tuning or TUNINGS_OF[shape]]
    finish((compared(shape, tuning, arguments) for shape, tuning in pairs), arguments)


def compared(shape: str, tuning: str, arguments: argparse.Namespace) -> Claim:
    """One shape and tuning: compare gradients, then time steps in turn."""
    work = work_of(arguments)
    model = build_model(shape, smoke=arguments.smoke)
    batch = build_batch(work, vocab_size=model.config.vocab_size)
    trained, reader = trained_part(model, tuning, batch)
    ours, theirs = packed(reader), row_by_row(trained)
    keeps = isinstance(reader, FrozenTrunk)
    agree = {} if arguments.ours else compared_gradients(trained, keeps, ours, theirs, batch.part(0, 1))
    sides = {"ours": lambda: timed(lambda: step(trained, ours, batch, MICRO_BATCH))}
    if not arguments.ours:
        sides["peer"] = lambda: timed(lambda: step(trained, theirs, batch, 1))
    if tuning == "lora":
        step(trained, ours, batch, MICRO_BATCH)
    trained.zero_grad(set_to_none=True)
    runs = alternate(sides, rounds=arguments.rounds)
    measured = operations_told(model, work, seconds_of(runs["ours"])) if tuning == "full" else {}
    return described(shape, tuning, arguments, runs, agree, measured)


def operations_told(model: Any, work: Mapping[str, int], seconds: Sequence[float]) -> dict[str, float]:
    """Operations of a step on paper: accord reads a prompt once, the usual way once for each completion."""
    weights, each = weights_of(model), work["n_candidates"] + 1
    ours, theirs = (
        weights.tera(
            prompt_tokens=work["n_prompts"] * work["prompt_tokens"] * times,
            n_completions=work["n_prompts"] * each,
            tokens_each=work["completion_tokens"],
            operations=TRAINED,
        )
        for times in (1, each)
    )
    rate = 1000 * ours / statistics.median(seconds)
    return {"TFLOP on paper": ours, "the peer's": theirs, "ratio on paper": theirs / ours, "accord's GFLOP/s": rate}


def work_of(arguments: argparse.Namespace) -> dict[str, int]:
    """How much of what."""
    work = {"n_prompts": 8, "prompt_tokens": 256, "n_candidates": 10, "completion_tokens": 32}
    if arguments.smoke:
        work |= {"n_prompts": 2, "prompt_tokens": 24, "completion_tokens": 5}
    elif arguments.size is not None:
        work["n_prompts"] = arguments.size
    grown = GROWS[arguments.grow]
    return work | {grown: work[grown] * arguments.scale}


def build_batch(work: Mapping[str, int], *, vocab_size: int) -> Batch:
    """The same tokens and scores for the same sizes."""
    n_prompts, n_completions = work["n_prompts"], work["n_candidates"] + 1
    prompts = random_ids([work["prompt_tokens"]] * n_prompts, vocab_size=vocab_size, seed=1)
    lengths = [work["completion_tokens"]] * n_completions
    completions = [random_ids(lengths, vocab_size=vocab_size, seed=2 + number) for number in range(n_prompts)]
    scores = np.random.default_rng(0).random((n_prompts, work["n_candidates"]))
    return Batch(prompts, completions, torch.from_numpy(scores).float())


def trained_part(model: Any, tuning: str, batch: Batch) -> tuple[Any, StateReader]:
    """The model with what is trained in it, and accord's reader of it, as `accord calibrate` makes them."""
    generator: Any = as_generator(model)
    if tuning == "full":
        return model.requires_grad_(True), generator
    *_, layers = adapted_layers(generator.layer_stacks, "upper_third").values()
    adapted = add_adapter(
        generator, lora_layers="upper_third", r=16, alpha=32.0, dropout=0.0, base_name="shape", seed=0
    )
    generator.model = adapted
    with torch.no_grad():  # the adapter starts as the identity, where half of its gradients are 0
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.01)
    reader = with_frozen_layers_kept(
        generator, layers.start, prompt_ids=batch.prompts[0], completion_ids=batch.completions[0]
    )
    return adapted, reader


def packed(reader: StateReader) -> LogpsOf:
    """accord: a prompt is read once for all its completions."""

    def logps_of(batch: Batch) -> tuple[Tensor, Tensor]:
        found = completion_logps(reader, batch.prompts, batch.completions)
        return found.sum_logps, found.n_tokens

    return logps_of


def row_by_row(trained: Any) -> LogpsOf:
    """The usual way: one row per completion, all of equal length here, so nothing is padded."""
    model = unwrapped(trained)

    def logps_of(batch: Batch) -> tuple[Tensor, Tensor]:
        targets = torch.tensor(batch.completions)  # [B, K + 1, C]
        n_prompts, n_rows, n_tokens = targets.shape
        labels = targets.flatten(0, 1)
        prompts = torch.tensor(batch.prompts).repeat_interleave(n_rows, dim=0)
        if model.config.is_encoder_decoder:
            start = torch.full_like(labels[:, :1], model.config.decoder_start_token_id)
            inputs = torch.cat([start, labels[:, :-1]], dim=1)
            logits = model(input_ids=prompts, decoder_input_ids=inputs, use_cache=False).logits
        else:
            rows = torch.cat([prompts, labels[:, :-1]], dim=1)
            logits = model(input_ids=rows, logits_to_keep=n_tokens, use_cache=False).logits
        logps = logits.float().log_softmax(dim=-1).gather(2, labels[..., None])[..., 0]
        counts = torch.full((n_prompts, n_rows), n_tokens)
        return logps.sum(dim=1).view(n_prompts, n_rows), counts

    return logps_of


def step(trained: Any, logps_of: LogpsOf, batch: Batch, size: int) -> None:
    """Gradients of the whole batch, `size` prompts at a time."""
    trained.zero_grad(set_to_none=True)
    for start in range(0, len(batch.prompts), size):
        torch.autograd.backward(loss_of(logps_of, batch.part(start, start + size)))


def loss_of(logps_of: LogpsOf, batch: Batch) -> Tensor:
    """The ranking loss of the candidates and the reference loss, summed over prompts."""
    sum_logps, n_tokens = logps_of(batch)
    n_candidates = batch.scores.shape[1]
    per_token = sum_logps[:, :n_candidates] / n_tokens[:, :n_candidates]
    ranking = ranking_margin_loss(per_token, batch.scores, torch.ones_like(batch.scores, dtype=torch.bool))
    rest = sum_logps[:, n_candidates:]
    reference = reference_loss(rest, n_tokens[:, n_candidates:], torch.ones_like(rest, dtype=torch.bool))
    return (ranking + reference).sum()


def compared_gradients(trained: Any, keeps: bool, ours: LogpsOf, theirs: LogpsOf, batch: Batch) -> dict[str, Any]:
    """`gradients_agree` in float64 where it can be: at the kinks of T5's ReLU float32 rounds either way.

    Args:
        keeps: whether accord keeps states of frozen layers, which are float32, as they were read.
    """
    if keeps:
        return gradients_agree(trained, ours, theirs, batch)
    trained.double()
    agree = gradients_agree(trained, ours, theirs, batch)
    trained.float().zero_grad(set_to_none=True)
    return agree | {"compared_in": "float64"}


def gradients_agree(trained: Any, ours: LogpsOf, theirs: LogpsOf, batch: Batch) -> dict[str, Any]:
    """The largest difference between the two sides' gradients of a weight, as a share of that gradient's length.

    Gradients that are next to nothing (a key's bias moves no attention) are held against a thousandth of the longest.

    Raises:
        SystemExit: it is over one in ten thousand.
    """
    found = []
    for logps_of in (ours, theirs):
        step(trained, logps_of, batch, 1)
        found.append({name: p.grad.clone() for name, p in trained.named_parameters() if p.grad is not None})
    own, others = found
    assert own.keys() == others.keys()
    lengths = {name: float(gradient.norm()) for name, gradient in others.items()}
    least = 1e-3 * max(lengths.values())
    worst = max(float((own[name] - others[name]).norm()) / max(lengths[name], least) for name in own)
    if worst > RELATIVE_DIFFERENCE:
        raise SystemExit(f"the gradients differ by {worst:.2g} of their length. Expected {RELATIVE_DIFFERENCE:g}.")
    return {"gradients_compared": len(own), "largest_relative_difference": worst}


def described(
    shape: str,
    tuning: str,
    arguments: argparse.Namespace,
    runs: Mapping[str, Sequence[Timed]],
    agree: Mapping[str, Any],
    measured: Mapping[str, float],
) -> Claim:
    """The claim of one shape and tuning. Both sides share a process, so memory is told of accord alone."""
    return Claim(
        claim=f"calibration step, {shape}, {tuning}",
        peer=PEER,
        floor=FLOORS[shape],
        versions=versions_of("torch", "transformers", "peft"),
        ours_seconds=seconds_of(runs["ours"]),
        peer_seconds=seconds_of(runs.get("peer", [])),
        agree=agree,
        settings={**work_of(arguments), "shape": shape, "tuning": tuning, "micro_batch": MICRO_BATCH}
        | {"threads": arguments.threads, "dtype": "float32"},
        memory={"ours": peak_of(runs["ours"])} if arguments.ours else {},
        measured=measured,
    )


if __name__ == "__main__":
    main()
