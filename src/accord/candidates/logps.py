"""Sequence log-probabilities of many completions per prompt, the prompt read once, no vocabulary-wide table kept."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK_TOKENS = 256
KEPT_BYTES = 256 << 20
"""Of a trained head's logits, in float32, that are kept for the way back; the others are computed a second time."""

OutputLogits = Callable[[Tensor], Tensor]


@runtime_checkable
class StateReader(Protocol):
    """The part of a generator that log-probabilities need; see `accord.candidates.generators.protocol.Generator`."""

    def completion_states(
        self, prompt_ids: Sequence[Sequence[int]], completion_ids: Sequence[Sequence[Sequence[int]]]
    ) -> Float[Tensor, " T_total D"]: ...

    def output_logits(self, states: Float[Tensor, " T D"]) -> Float[Tensor, " T V"]: ...

    @property
    def forbidden_tokens(self) -> tuple[int, ...]: ...

    def loss_positions(self, completion_ids: Sequence[int]) -> Sequence[int]: ...


class SequenceLogps(NamedTuple):
    """`sum_logps`: Σ_t log p(y_t | x, y_<t) in nats over the tokens that count, `sum_probs`: Σ_t p(y_t | x, y_<t) over
    the same; `n_tokens`: how many these are, end of sequence counted; `mask`: 1 = present.
    """

    sum_logps: Float[Tensor, " B K"]
    sum_probs: Float[Tensor, " B K"]
    n_tokens: Int[Tensor, " B K"]
    mask: Bool[Tensor, " B K"]


def completion_logps(
    reader: StateReader,
    prompt_ids: Sequence[Sequence[int]],
    completion_ids: Sequence[Sequence[Sequence[int]]],
    *,
    label_smoothing: float = 0.0,
    chunk_tokens: int = CHUNK_TOKENS,
) -> SequenceLogps:
    """Log-probabilities of each prompt's completions under the generator; K is the largest number of them.

    All tokens are read; those at the reader's `loss_positions` count. `forbidden_tokens` have probability 0.

    Args:
        completion_ids: token ids with the forced prefix and the end of sequence; prompts may have different numbers of
            completions.
        label_smoothing: ε of `target_logps`; 0 gives log-probabilities, more is for training alone.
        chunk_tokens: tokens whose vocabulary logits exist at one time, beside the `KEPT_BYTES` of `target_logps`.
    """
    states = reader.completion_states(prompt_ids, completion_ids)
    positions = [[reader.loss_positions(completion) for completion in group] for group in completion_ids]
    counts = [[len(places) for places in group] for group in positions]
    completions = [
        pair
        for group, of_group in zip(completion_ids, positions, strict=True)
        for pair in zip(group, of_group, strict=True)
    ]
    targets = [completion[place] for completion, places in completions for place in places]
    states = _counted(states, completions)
    token_logps = target_logps(
        states,
        torch.tensor(targets, dtype=torch.long, device=states.device),
        _without(reader.output_logits, reader.forbidden_tokens),
        label_smoothing=label_smoothing,
        chunk_tokens=chunk_tokens,
    )
    width = max(map(len, counts), default=0)
    n_tokens = torch.tensor([[*row, *[0] * (width - len(row))] for row in counts], dtype=torch.long)
    n_tokens = n_tokens.reshape(len(counts), width).to(states.device)
    present = torch.tensor([[k < len(row) for k in range(width)] for row in counts], dtype=torch.bool)
    owner = torch.repeat_interleave(torch.arange(n_tokens.numel(), device=states.device), n_tokens.flatten())

    def summed(values: Tensor) -> Tensor:
        return values.new_zeros(n_tokens.numel()).index_add(0, owner, values).view_as(n_tokens)

    mask = present.reshape(len(counts), width).to(states.device)
    return SequenceLogps(summed(token_logps), summed(token_logps.exp()), n_tokens, mask)


def target_logps(
    states: Float[Tensor, " T D"],
    target_ids: Int[Tensor, " T"],
    output_logits: OutputLogits,
    *,
    label_smoothing: float = 0.0,
    chunk_tokens: int = CHUNK_TOKENS,
    kept_bytes: int = KEPT_BYTES,
) -> Float[Tensor, " T"]:
    """log softmax(output_logits(state))[target] in float32, chunk by chunk: [chunk, V] exists, [T, V] never does
    beyond `kept_bytes`.

    With label smoothing ε (Szegedy et al. 2016, sec. 7) (1 − ε) · log p(target) + ε/V · Σ_v log p(v) instead, the
    target's own share included, as transformers has it.

    With a frozen head each chunk's gradient ∂ log p / ∂ state [chunk, D] is taken while its logits are there, and only
    that is kept for the way back. With a head that is trained the logits of the first chunks are kept, `kept_bytes` of
    them, and those of the others are computed a second time.
    """
    one = output_logits(states[:1].detach())
    kept = kept_bytes // (4 * one.shape[1])
    logps_of = partial(_chunk_logps, output_logits=output_logits, label_smoothing=label_smoothing)
    chunks: list[Tensor] = []
    for start in range(0, len(states), chunk_tokens):
        end = min(start + chunk_tokens, len(states))
        chunk, targets = states[start:end], target_ids[start:end]
        if not one.requires_grad:
            chunks.append(_frozen_head_logps(chunk, targets, logps_of))
        elif end <= kept:
            chunks.append(logps_of(chunk, targets))
        else:
            chunks.append(checkpoint(logps_of, chunk, targets, use_reentrant=False, preserve_rng_state=False))
    return torch.cat(chunks) if chunks else states.new_zeros(0, dtype=torch.float32)


def _counted(states: Tensor, completions: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Tensor:
    """The states of the tokens that count, of (completion, its places that count) pairs; the same tensor if all do."""
    if all(len(completion) == len(places) for completion, places in completions):
        return states
    starts = accumulate((len(completion) for completion, _ in completions), initial=0)
    rows = [start + place for start, (_, places) in zip(starts, completions, strict=False) for place in places]
    return states[torch.tensor(rows, dtype=torch.long, device=states.device)]


def _without(output_logits: OutputLogits, forbidden: Sequence[int]) -> OutputLogits:
    """Logits that are −inf for tokens which no text holds."""
    if not forbidden:
        return output_logits

    def allowed_logits(states: Tensor) -> Tensor:
        return output_logits(states).index_fill(1, torch.tensor(list(forbidden), device=states.device), -torch.inf)

    return allowed_logits


def _chunk_logps(
    states: Float[Tensor, " T D"], target_ids: Int[Tensor, " T"], *, output_logits: OutputLogits, label_smoothing: float
) -> Float[Tensor, " T"]:
    """The weights 1 − ε and ε sum to one, so the log-normaliser is taken off once."""
    logits = output_logits(states).float()
    wanted = logits.gather(1, target_ids[:, None])[:, 0]
    if label_smoothing:
        wanted = torch.lerp(wanted, logits.mean(dim=1), label_smoothing)
    return wanted - logits.logsumexp(dim=1)


def _frozen_head_logps(
    states: Float[Tensor, " T D"], target_ids: Int[Tensor, " T"], logps_of: Callable[[Tensor, Tensor], Tensor]
) -> Float[Tensor, " T"]:
    """What `logps_of` gives, its gradient at hand: a token's log-probability depends on its own state alone, so the
    gradient of their sum holds every token's own gradient in its row.
    """
    if not (torch.is_grad_enabled() and states.requires_grad):
        return logps_of(states, target_ids)
    leaf = states.detach().requires_grad_()
    logps = logps_of(leaf, target_ids)
    (gradients,) = torch.autograd.grad(logps.sum(), leaf)
    attached: Tensor = _WithGradient.apply(states, logps.detach(), gradients)  # type: ignore[no-untyped-call]
    return attached


class _WithGradient(torch.autograd.Function):
    """Values [T] of states [T, D] together with their known per-row gradient [T, D]."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, values: Tensor, gradients: Tensor) -> Tensor:  # noqa: ARG004 -- backward's
        ctx.save_for_backward(gradients)
        return values

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (gradients,) = ctx.saved_tensors
        return grad_outputs[0][:, None].to(gradients.dtype) * gradients, None, None
