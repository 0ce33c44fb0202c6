"""MultiESC's response generator (Cheng et al. 2022): it writes a supporter's turn for a strategy that it is given.

What it reads, in BART's own marks and lower-cased: <s>, then one item after the other, each ended by the separator:

1. each line of a system message (emotion, problem, situation, as the caller likes them);
2. each turn of the seeker as it is, each turn of the supporter as `@[Strategy]`, separator, text (text alone where the
   strategy is not known);
3. the strategy of the reply to be written: the last message, an assistant's without content.

Its target is the text in lower case. The strategies are eight special tokens, which it never writes.
"""

from collections.abc import Iterator
from typing import Any

import torch

from accord.candidates.generators.emotions import Emotion, token_emotions
from accord.candidates.generators.seq2seq import Seq2SeqGenerator
from accord.candidates.generators.tokens import add_tokens, start_as_words, turns
from accord.candidates.generators.two_encoder import MultiEscConfig, MultiEscForConditionalGeneration
from accord.errors import ConfigError, DataError
from accord.records import Message, Prompt

STRATEGIES = (
    "Question",
    "Greeting",
    "Restatement or Paraphrasing",
    "Reflection of feelings",
    "Self-disclosure",
    "Affirmation and Reassurance",
    "Providing Suggestions or Information",
    "Others",
)
MERGED = {"providing suggestions": STRATEGIES[6], "information": STRATEGIES[6]}
"""Two strategies of ESConv that MultiESC does not tell apart."""


def strategy_token(strategy: str) -> str:
    """The special token of one of `STRATEGIES`: `@[Reflection-of-feelings]`."""
    return f"@[{strategy.replace(' ', '-')}]"


_BY_KEY = {**{name.lower().replace("-", " "): name for name in STRATEGIES}, **MERGED}


def known_strategy(name: str) -> str:
    """One of `STRATEGIES`, spelled with blanks or hyphens, in upper or lower case; ESConv's names are known too.

    Raises:
        DataError: another name.
    """
    key = name.lower().replace("-", " ").strip()
    if key not in _BY_KEY:
        raise DataError(f"strategy {name!r} is none of MultiESC's. Expected one of {', '.join(STRATEGIES)}.")
    return _BY_KEY[key]


def multiesc_from_bart(
    bart: Any, tokenizer: Any, *, lexicon: dict[str, Emotion] | None, name: str = ""
) -> MultiEscForConditionalGeneration:
    """A MultiESC generator that starts from a BART; the tokenizer gets the strategies (both are changed in place).

    The second cross-attention starts as a copy of the first one, because both read vectors of the same encoder; a
    strategy's embedding as the mean of its words'; the emotions without effect. The gates are drawn from torch's random
    state and start half open.

    Args:
        lexicon: see `read_vad`; None: every token's emotion is unknown.

    Raises:
        ConfigError: another architecture, or a tokenizer without its marks.
    """
    if bart.config.model_type != "bart":
        raise ConfigError(f"model {name!r} is a {bart.config.model_type}. Expected a BART to start MultiESC from.")
    if tokenizer.bos_token_id is None or tokenizer.sep_token_id is None:
        raise ConfigError(f"model {name!r}: its tokenizer has no <s> or no separator. Expected BART's own tokenizer.")
    words = [strategy.lower() for strategy in STRATEGIES]
    strategy_ids = add_tokens(bart, tokenizer, dict(zip(map(strategy_token, STRATEGIES), words, strict=True)))
    start_as_words(bart, tokenizer, dict(zip(strategy_ids, words, strict=True)))  # spare rows of the BART too
    given = {key: value for key, value in bart.config.to_dict().items() if key not in ("model_type", "architectures")}
    config = MultiEscConfig(**given, separator_token_id=int(tokenizer.sep_token_id), strategy_token_ids=strategy_ids)
    model = MultiEscForConditionalGeneration(config)
    model.load_state_dict(bart.state_dict(), strict=False)
    model.generation_config = bart.generation_config
    encoder = model.model.encoder
    with torch.no_grad():
        encoder.emotions.weight.zero_()
        if lexicon is not None:
            encoder.token_emotions.copy_(torch.tensor(token_emotions(tokenizer, lexicon, n_tokens=config.vocab_size)))
        for layer in model.model.decoder.layers:
            attention = layer.encoder_attn
            attention.turn_attn.load_state_dict(attention.state_dict(), strict=False)
    return model.eval()


class MultiEscGenerator(Seq2SeqGenerator):
    """A MultiESC model behind the Generator protocol: the strategy comes with the prompt.

    Raises:
        ConfigError: a tokenizer without the strategies; see `Seq2SeqGenerator`.
    """

    takes_strategy = True

    def __init__(
        self, model: Any, tokenizer: Any, *, name: str = "", system_prompt: str | None = None, chat: bool | None = None
    ) -> None:
        super().__init__(model, tokenizer, name=name, system_prompt=system_prompt, chat=chat)
        tokens = [strategy_token(strategy) for strategy in STRATEGIES]
        self._strategy_ids = dict(zip(STRATEGIES, tokenizer.convert_tokens_to_ids(tokens), strict=True))
        if list(self._strategy_ids.values()) != model.config.strategy_token_ids:
            raise ConfigError(
                f"generator {self.name!r}: its tokenizer has not the strategies of its config. Expected the folder as "
                "it was saved."
            )
        self.forbidden_tokens = tuple(self._strategy_ids.values())

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """The layout above, from <s> to the separator after the reply's strategy.

        Raises:
            DataError: the reply's strategy is missing or unknown.
        """
        messages = turns(prompt, self.system_prompt)
        last = messages[-1] if messages else None
        if last is None or last.role != "assistant" or last.content or last.strategy is None:
            found = "is empty" if last is None else f"ends with a message of {last.role!r}"
            raise DataError(
                f"the prompt {found}, without the strategy of the reply, which generator {self.name!r} needs. Give its "
                "row a `strategy`, annotated or planned."
            )
        separator = self.model.config.separator_token_id
        items = [item for message in messages[:-1] for item in self._items(message)]
        items.append([self._strategy_ids[known_strategy(last.strategy)]])
        return [self.tokenizer.bos_token_id, *(token for item in items for token in [*item, separator])]

    def completion_ids(self, text: str) -> list[int]:
        """See `Seq2SeqGenerator.completion_ids`; in lower case."""
        return super().completion_ids(text.lower())

    def _items(self, message: Message) -> Iterator[list[int]]:
        if message.role == "system":
            yield from (self._words(line) for line in message.content.splitlines() if line.strip())
        elif message.strategy is None:
            yield self._words(message.content)
        else:
            strategy = self._strategy_ids[known_strategy(message.strategy)]
            yield [strategy, self.model.config.separator_token_id, *self._words(message.content)]

    def _words(self, text: str) -> list[int]:
        return self._ids(text.lower().strip(), special=False)
