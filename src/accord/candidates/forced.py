"""What a generator does not choose: the tokens before its text, and those that no text of it holds.

The decoders and the log-probabilities take both from here, so that what is written and what is counted agree.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from accord.candidates.generators.protocol import Encoded, FreelyWritten, Generator
from accord.candidates.logps import StateReader


def encoded_after(
    generator: Generator, prompt_ids: Sequence[Sequence[int]], prefixes: Sequence[Sequence[int]] | None
) -> Encoded:
    """The prompts and their forced prefixes, read once each; the next token is the first that is chosen.

    Args:
        prefixes: `Generator.forced_prefix` of each prompt, as many tokens for every one; None: nothing is forced.
    """
    encoded = generator.encode(prompt_ids)
    for tokens in zip(*(prefixes or ()), strict=True):
        encoded.step(torch.tensor(tokens, device=generator.device))
    return WithoutTokens(encoded, generator.forbidden_tokens) if generator.forbidden_tokens else encoded


class WithoutTokens:
    """Rows of `Encoded` that never go on with some tokens: their logits are −inf."""

    def __init__(self, encoded: Encoded, forbidden: Sequence[int]) -> None:
        self._encoded = encoded
        self._forbidden = torch.tensor(list(forbidden), device=encoded.logits.device)

    @property
    def logits(self) -> Tensor:
        return self._encoded.logits.index_fill(-1, self._forbidden, -torch.inf)

    def expand(self, copies: int) -> None:
        self._encoded.expand(copies)

    def reorder(self, rows: Tensor) -> None:
        self._encoded.reorder(rows)

    def step(self, tokens: Tensor) -> Tensor:
        self._encoded.step(tokens)
        return self.logits


class WholeCompletions(FreelyWritten):
    """`reader` with every token counted and none forbidden: what supervised tuning learns from, prefixes included."""

    def __init__(self, reader: StateReader) -> None:
        self.completion_states: Callable[..., Tensor] = reader.completion_states
        self.output_logits: Callable[[Tensor], Tensor] = reader.output_logits
