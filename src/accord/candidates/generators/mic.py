"""The generators of MIC (Ziems et al. 2022): a question and a chatbot's answer in, a rule of thumb out."""

from typing import Any

from accord.candidates.generators.seq2seq import Seq2SeqGenerator
from accord.candidates.generators.tokens import add_tokens, turns
from accord.errors import DataError
from accord.records import Prompt

TAGS = {"[answ]": "answer", "[rot]": "rule of thumb"}
"""The tokens between and after the two texts, and the words whose mean their embeddings begin as."""


class MicGenerator(Seq2SeqGenerator):
    """T5, BART or another sequence-to-sequence model that reads `Q [answ] A [rot]`, with one token for each tag.

    The target is the rule and the model's own end of sequence; the released code writes an `<eos>` of its own before
    that, and has tokens for tasks that are not reproduced. See `Seq2SeqGenerator` for the arguments.
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, name: str = "", system_prompt: str | None = None, chat: bool | None = None
    ) -> None:
        add_tokens(model, tokenizer, TAGS)
        super().__init__(model, tokenizer, name=name, system_prompt=system_prompt, chat=chat)

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """A text that ends with [rot] as it is; a question and an answer (two messages) with the tags put in.

        Raises:
            DataError: anything else.
        """
        messages = turns(prompt, self.system_prompt)
        if [message.role for message in messages] == ["user", "assistant"]:
            return self._ids(f"{messages[0].content} [answ] {messages[1].content} [rot]", special=True)
        if len(messages) == 1 and messages[0].content.rstrip().endswith("[rot]"):
            return self._ids(messages[0].content, special=True)
        raise DataError(
            f"generator {self.name!r} cannot read the prompt {str(prompt)[:60]!r}. Expected 'Q [answ] A [rot]', as "
            "`accord prepare --source mic-prompts --context tagged` writes it, or a user's question and an assistant's "
            "answer, without a system prompt."
        )
