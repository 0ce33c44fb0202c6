"""Which support strategy a reply is written after: the row's own, or the one that the generator finds likely.

Only generators that say so (`takes_strategy`) are given one. It reaches them in one way: as a last message of the
prompt, an assistant's with a strategy and no text yet.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
import torch
from torch import Tensor

from accord.candidates.generators.protocol import Generator, StrategyChooser
from accord.candidates.sampling import inverse_cdf, truncated_probs
from accord.errors import ConfigError, DataError
from accord.randomness import keyed_rng
from accord.records import CandidateSet, Message, Prompt, PromptRow
from accord.training.batches import token_budget_batches

NUCLEUS = 0.9

StrategyChoice = Literal["gold", "predicted", "argmax"]


def with_strategy(prompt: Prompt, strategy: str) -> Prompt:
    """The prompt that asks for a reply of this strategy."""
    messages = (Message("user", prompt),) if isinstance(prompt, str) else prompt
    return (*messages, Message("assistant", "", strategy))


def prompt_for(row: PromptRow | CandidateSet, generator: Generator) -> Prompt:
    """What `generator` reads of a row: its prompt, and its strategy where the generator takes one.

    Raises:
        DataError: it takes one and the row has none.
    """
    if not generator.takes_strategy:
        return row.prompt
    if row.strategy is None:
        raise DataError(
            f"prompt {row.id!r} has no strategy, but generator {generator.name!r} writes after one. Expected rows with "
            "a strategy, as of `accord prepare --source esconv`; or let the generator choose, by --strategy predicted "
            "of `accord generate` and `accord decode`."
        )
    return with_strategy(row.prompt, row.strategy)


def chosen_strategies(
    rows: Sequence[PromptRow],
    generator: Generator,
    *,
    choice: StrategyChoice,
    max_prompt_tokens: int,
    batch_tokens: int,
    seed: int,
) -> list[PromptRow]:
    """The rows, each with the strategy that its reply is written after; without any for generators that take none.

    Args:
        choice: "gold" keeps the rows' own. "predicted" draws from the nucleus (p = 0.9, temperature 1) of the
            generator's probabilities over the strategies alone, keyed by `seed` and the row's id, so that neighbours
            change nothing; "argmax" takes the likeliest, the first of equals. One strategy serves all samples.

    Raises:
        ConfigError: a generator that cannot choose.
    """
    if not generator.takes_strategy:
        return [msgspec.structs.replace(row, strategy=None) for row in rows]
    if choice == "gold":
        return list(rows)
    if not isinstance(generator, StrategyChooser):
        raise ConfigError(
            f"strategy is {choice!r}, but generator {generator.name!r} cannot choose one. Set strategy to gold, and "
            "give the rows the strategy of their reply."
        )
    prompt_ids = [generator.prompt_ids(row.prompt)[-max_prompt_tokens:] for row in rows]
    chosen = list(rows)
    for batch in token_budget_batches([len(ids) for ids in prompt_ids], max_tokens=batch_tokens):
        logits = generator.strategy_logits([prompt_ids[number] for number in batch])
        places = (
            _drawn(logits, [rows[number].id for number in batch], seed) if choice == "predicted" else logits.argmax(1)
        )
        for number, place in zip(batch, places.tolist(), strict=True):
            chosen[number] = msgspec.structs.replace(rows[number], strategy=generator.strategies[place])
    return chosen


def _drawn(logits: Tensor, names: Sequence[str], seed: int) -> Tensor:
    """One strategy of each row's nucleus, int64 [B]."""
    uniforms = [keyed_rng(seed, "strategy", name).random() for name in names]
    draws = torch.tensor(uniforms, dtype=torch.float64, device=logits.device)
    return inverse_cdf(truncated_probs(logits, top_p=NUCLEUS), draws)
