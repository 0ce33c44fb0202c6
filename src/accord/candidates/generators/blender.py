"""BlenderBot as the emotional-support generators of ESConv (Liu et al. 2021): Vanilla, and Joint, which first writes a
strategy and then a reply that follows it.

Both read the utterances one after the other, the end of sequence between them, and write the reply and the end of
sequence. In Joint each supporter turn of the history opens with its strategy, one of eight tokens of its own, and so
does what it writes: the first token is the strategy, given or chosen, and the text after it holds no such token.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from accord.candidates.generators.seq2seq import Seq2SeqGenerator
from accord.candidates.generators.tokens import add_tokens, turns
from accord.errors import DataError
from accord.records import Message, Prompt

STRATEGIES = (
    "Question",
    "Restatement or Paraphrasing",
    "Reflection of feelings",
    "Self-disclosure",
    "Affirmation and Reassurance",
    "Providing Suggestions",
    "Information",
    "Others",
)
"""ESConv's own names."""


def strategy_token(strategy: str) -> str:
    """The special token of a strategy, `[Self-disclosure]`."""
    return f"[{strategy}]"


def add_strategy_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Make the strategies special tokens; their ids, in the order of `STRATEGIES`. See `add_tokens`."""
    return add_tokens(model, tokenizer, {strategy_token(strategy): strategy for strategy in STRATEGIES})


class BlenderGenerator(Seq2SeqGenerator):
    """BlenderBot-Vanilla: a dialogue in, the next utterance out. See `Seq2SeqGenerator` for the arguments.

    A chat template plays no part. A system message is an utterance like the others.
    """

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """The utterances with the end of sequence between them; it alone where nothing was said."""
        ids = [token for message in turns(prompt, self.system_prompt) for token in [*self._said(message), self.end_id]]
        return ids[:-1] or [self.end_id]

    def _said(self, message: Message) -> list[int]:
        """One utterance, its white space made single blanks."""
        return self._ids(" ".join(message.content.split()), special=False)


class BlenderJointGenerator(BlenderGenerator):
    """BlenderBot-Joint: a strategy token, then a reply that follows it.

    The strategy is the forced prefix. It counts neither as a token nor in log-probabilities and perplexity, and at all
    other positions the strategy tokens have probability 0: the other tokens' probabilities sum to one, as if the
    output layer were cropped to the vocabulary without them.
    """

    takes_strategy = True
    strategies = STRATEGIES

    def __init__(
        self, model: Any, tokenizer: Any, *, name: str = "", system_prompt: str | None = None, chat: bool | None = None
    ) -> None:
        self._strategy_ids = add_strategy_tokens(model, tokenizer)
        self.forbidden_tokens = tuple(self._strategy_ids)
        super().__init__(model, tokenizer, name=name, system_prompt=system_prompt, chat=chat)

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """As Vanilla's, each supporter turn after its strategy where that is known; the asked-for strategy left out."""
        messages = prompt if isinstance(prompt, str) else tuple(one for one in prompt if not _asks(one))
        return super().prompt_ids(messages)

    def forced_prefix(self, prompt: Prompt) -> list[int]:
        """The token of the strategy that the prompt asks for.

        Raises:
            DataError: it asks for none, or for an unknown one.
        """
        last = Message("user", prompt) if isinstance(prompt, str) else prompt[-1]
        if not _asks(last):
            raise DataError(f"a prompt names no strategy, but generator {self.name!r} writes after one. Give it one.")
        return [self._strategy_id(last.strategy)]

    def loss_positions(self, completion_ids: Sequence[int]) -> range:
        """All but the strategy's."""
        return range(int(completion_ids[:1] != [] and completion_ids[0] in self._strategy_ids), len(completion_ids))

    def completion_ids(self, text: str) -> list[int]:
        """See `Seq2SeqGenerator.completion_ids`; what reads like a strategy token is left out."""
        return [token for token in super().completion_ids(text) if token not in self._strategy_ids]

    def strategy_logits(self, prompt_ids: Sequence[Sequence[int]]) -> Tensor:
        """Logits of the first token, those of the strategies alone, [B, 8]."""
        return self.encode(prompt_ids).logits[:, self._strategy_ids]

    def _said(self, message: Message) -> list[int]:
        said = super()._said(message)
        return said if message.strategy is None else [self._strategy_id(message.strategy), *said]

    def _strategy_id(self, strategy: str | None) -> int:
        if strategy not in STRATEGIES:
            raise DataError(
                f"strategy {strategy!r} is unknown to generator {self.name!r}. Expected one of {', '.join(STRATEGIES)}."
            )
        return self._strategy_ids[STRATEGIES.index(strategy)]


def _asks(message: Message) -> bool:
    """The message stands for the reply to be written; see `accord.candidates.strategies.with_strategy`."""
    return message.role == "assistant" and not message.content and message.strategy is not None
