"""What the search, the decoders and calibration ask of a generator; nothing else knows its architecture.

Adding a kind of generator means adding a file beside this one whose class has these members.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from accord.records import Prompt


class Encoded(Protocol):
    """A batch of sequences under way: everything the model keeps between two tokens. R rows, V vocabulary."""

    @property
    def logits(self) -> Tensor:
        """Float32 logits of the next token, [R, V]: after the prompt at first, then after each `step`."""

    def expand(self, copies: int) -> None:
        """Repeat every row `copies` times, copies side by side: R becomes R · copies."""

    def reorder(self, rows: Tensor) -> None:
        """Keep `rows` (int64, repeated or fewer as needed), in that order: R becomes len(rows)."""

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token (int64 [R]) to every row; returns the new `logits`."""


class FreelyWritten:
    """What a generator says that chooses every token itself: the defaults of the members of the same names."""

    takes_strategy: bool = False
    forbidden_tokens: tuple[int, ...] = ()

    def forced_prefix(self, prompt: Prompt) -> list[int]:  # noqa: ARG002 -- for those who read it
        return []

    def loss_positions(self, completion_ids: Sequence[int]) -> range:
        return range(len(completion_ids))


class Generator(Protocol):
    """A text generator: token ids in and out, one prefill per prompt, states for training.

    A completion is the forced prefix, then tokens that the generator chooses. Search and draws begin after the prefix,
    and what they return holds neither its tokens nor their log-probabilities.
    """

    @property
    def name(self) -> str:
        """What the user called it: a path, a Hub id, or builtin:NAME."""

    @property
    def model(self) -> Any:
        """The transformers model, bare or under PEFT: what calibration trains and saves."""

    @property
    def tokenizer(self) -> Any: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def layer_stacks(self) -> dict[str, nn.ModuleList]:
        """Lists of layers by their path in the bare model, in the order they are read; the last one writes."""

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Tokens that end a completion; the first is the one that `completion_ids` appends."""

    @property
    def pad_id(self) -> int: ...

    @property
    def takes_strategy(self) -> bool:
        """Whether it writes after a support strategy, which its prompts then name (see `with_strategy`)."""

    @property
    def forbidden_tokens(self) -> tuple[int, ...]:
        """Tokens that no text holds: their logits count as −inf at every position that is chosen or counted."""

    def forced_prefix(self, prompt: Prompt) -> list[int]:
        """The tokens that stand before the chosen ones, as many for every prompt; they are given, not scored."""

    def loss_positions(self, completion_ids: Sequence[int]) -> Sequence[int]:
        """Which tokens of a completion, its forced prefix included, count in log-probabilities and losses.

        Supervised tuning counts all, or a prefix that the model itself shall choose one day would never be learnt
        (see `WholeCompletions`).
        """

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """The tokens the model reads before it writes, templates and system prompt included."""

    def completion_ids(self, text: str) -> list[int]:
        """The tokens of a completion, the end of sequence once at the end."""

    def text(self, ids: Sequence[int]) -> str:
        """The text of generated tokens, special tokens left out."""

    def encode(self, prompt_ids: Sequence[Sequence[int]]) -> Encoded:
        """Read a batch of prompts, each once; without gradient. Padding does not change a row's logits."""

    def completion_states(
        self, prompt_ids: Sequence[Sequence[int]], completion_ids: Sequence[Sequence[Sequence[int]]]
    ) -> Tensor:
        """Hidden states that predict each completion token, with gradient, [T, D].

        Flattened prompt by prompt, completion by completion, token by token; a prompt is shared by its completions.
        """

    def output_logits(self, states: Tensor) -> Tensor:
        """Logits of the next token for hidden states [T, D] of `completion_states`: [T, V]."""


@runtime_checkable
class StrategyChooser(Protocol):
    """A generator that can choose the strategy it writes after."""

    @property
    def strategies(self) -> tuple[str, ...]:
        """The names it knows, as prompts spell them."""

    def strategy_logits(self, prompt_ids: Sequence[Sequence[int]]) -> Tensor:
        """Float32 logits of the strategies for a batch of prompts that name none, [B, S]."""
