"""How likely a generator finds what people wrote: teacher-forced log-probabilities of a prompt's references."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from accord.candidates.generators.packed import unwrapped
from accord.candidates.generators.protocol import Generator
from accord.candidates.logps import completion_logps
from accord.training.batches import token_budget_batches


class ReferenceLogp(NamedTuple):
    """Of one prompt: Σ log p(y_t | x, y_<t) over all tokens of all its references, in nats, and their number.

    The end of sequence counts as a token, where it was read; a forced prefix does not.
    """

    sum_logps: float
    n_tokens: int


class ReferenceIds(NamedTuple):
    """`ids[row]`: the tokens of each of a prompt's references; `n_cut`: how many references lost their end."""

    ids: list[list[list[int]]]
    n_cut: int


def reference_ids(
    generator: Generator,
    prompt_ids: Sequence[Sequence[int]],
    references: Sequence[Sequence[str]],
    *,
    max_tokens: int,
    prefixes: Sequence[Sequence[int]] | None = None,
) -> ReferenceIds:
    """What is read after each prompt: at most `max_tokens` of a reference, and no more than the model has room for.

    Args:
        prefixes: tokens that stand before every reference of a prompt (`Generator.forced_prefix`); None: none do.
    """
    before = prefixes or [()] * len(prompt_ids)
    rooms = [
        max(0, min(max_tokens, _room(generator, len(prompt)) - len(prefix)))
        for prompt, prefix in zip(prompt_ids, before, strict=True)
    ]
    whole = [[generator.completion_ids(text) for text in texts] for texts in references]
    cut = [
        [[*prefix, *ids[:room]] if room else [] for ids in group]
        for group, room, prefix in zip(whole, rooms, before, strict=True)
    ]
    n_cut = sum(len(ids) > room for group, room in zip(whole, rooms, strict=True) for ids in group)
    return ReferenceIds(cut, n_cut)


@torch.no_grad()
def reference_logps(
    generator: Generator,
    prompt_ids: Sequence[Sequence[int]],
    reference_ids: Sequence[Sequence[Sequence[int]]],
    *,
    batch_tokens: int,
) -> list[ReferenceLogp | None]:
    """One per prompt; None for a prompt without references, or so long that there is no room for any.

    Args:
        prompt_ids, reference_ids: [B] the tokens the generator reads, and what people wrote to each prompt.
        batch_tokens: prompts are read together up to so many tokens, references and padding counted.

    Raises:
        ConfigError: a model whose answer would differ in packed rows (see `require_packable`).
    """
    found: list[ReferenceLogp | None] = [None] * len(prompt_ids)
    rows = [row for row, group in enumerate(reference_ids) if any(group)]
    lengths = [len(prompt_ids[row]) + sum(map(len, reference_ids[row])) for row in rows]
    for batch in token_budget_batches(lengths, max_tokens=batch_tokens):
        chosen = [rows[number] for number in batch]
        logps = completion_logps(generator, [prompt_ids[row] for row in chosen], [reference_ids[row] for row in chosen])
        sums, counts = logps.sum_logps.double().sum(dim=1).tolist(), logps.n_tokens.sum(dim=1).tolist()
        for row, sum_logps, n_tokens in zip(chosen, sums, counts, strict=True):
            found[row] = ReferenceLogp(sum_logps, n_tokens)
    return found


def _room(generator: Generator, n_prompt_tokens: int) -> int:
    """How many tokens the model has positions for after a prompt; an encoder's prompt takes none of the decoder's."""
    config = unwrapped(generator.model).config
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None:
        return 1 << 30
    return int(limit) - (0 if getattr(config, "is_encoder_decoder", False) else n_prompt_tokens)
