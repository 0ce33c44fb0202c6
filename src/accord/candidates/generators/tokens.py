"""What every kind of generator asks of its tokenizer: turns, templates, ends."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from accord.candidates.generators.packed import unwrapped
from accord.errors import ConfigError
from accord.records import Message, Prompt


def turns(prompt: Prompt, system_prompt: str | None) -> list[Message]:
    """The prompt's messages; `system_prompt` comes first where they bring no system message of their own."""
    messages = [Message("user", prompt)] if isinstance(prompt, str) else list(prompt)
    if system_prompt is not None and not any(message.role == "system" for message in messages):
        messages.insert(0, Message("system", system_prompt))
    return messages


def rendered(tokenizer: Any, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
    """The chat template's text."""
    rows = [{"role": message.role, "content": message.content} for message in messages]
    text: str = tokenizer.apply_chat_template(rows, tokenize=False, add_generation_prompt=add_generation_prompt)
    return text


def uses_template(tokenizer: Any, chat: bool | None, *, name: str) -> bool:
    """Whether prompts go through the chat template; None: where there is one.

    Raises:
        ConfigError: `chat` without a chat template.
    """
    if chat and not tokenizer.chat_template:
        raise ConfigError(
            f"generator {name!r}: its tokenizer has no chat template, but chat is on. "
            "Set chat to no, or choose a model with a chat template."
        )
    return bool(tokenizer.chat_template) if chat is None else chat


def add_tokens(model: Any, tokenizer: Any, tokens: Mapping[str, str]) -> list[int]:
    """Make `tokens` special tokens (in place, where they are not yet); their ids, in the same order.

    A new row of the embeddings is the mean of those of the words that a token stands for (its value), so that it is the
    same on every machine and after every reload: an adapter's folder holds the tokenizer, but no embeddings.
    """
    tokenizer.add_special_tokens({"extra_special_tokens": list(tokens)}, replace_extra_special_tokens=False)
    ids = [int(number) for number in tokenizer.convert_tokens_to_ids(list(tokens))]
    whole = unwrapped(model)
    n_before = whole.get_input_embeddings().num_embeddings
    if max(ids) >= n_before:
        _resize(whole, max(ids) + 1)
        start_as_words(whole, tokenizer, dict(zip(ids, tokens.values(), strict=True)))
    return ids


@torch.no_grad()
def start_as_words(model: Any, tokenizer: Any, words_of: Mapping[int, str]) -> None:
    """Give the row of each token id, of the input and the output embeddings, the mean of the rows of its words."""
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        for number, words in words_of.items():
            word_ids = tokenizer(words, add_special_tokens=False)["input_ids"]
            layer.weight[number] = layer.weight[word_ids].mean(dim=0)


def _resize(whole: Any, n_tokens: int) -> None:
    """More rows of embeddings; an output layer of its own stays one (transformers 5 would tie that of every T5)."""
    declared = whole.config.tie_word_embeddings
    whole.config.tie_word_embeddings = whole.get_output_embeddings().weight is whole.get_input_embeddings().weight
    try:
        whole.resize_token_embeddings(n_tokens, mean_resizing=False)
    finally:
        whole.config.tie_word_embeddings = declared


def end_of_sequence(tokenizer: Any, *, name: str) -> int:
    """The tokenizer's end-of-sequence token.

    Raises:
        ConfigError: it has none.
    """
    if tokenizer.eos_token_id is None:
        raise ConfigError(
            f"generator {name!r}: its tokenizer has no end-of-sequence token. "
            "Set eos_token in its tokenizer_config.json."
        )
    return int(tokenizer.eos_token_id)


def all_ends(model: Any, tokenizer: Any, *, first: int) -> tuple[int, ...]:
    """`first`, then whatever else tokenizer and generation config call an end."""
    declared = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    more = declared if isinstance(declared, list) else [declared]
    return tuple(dict.fromkeys(int(number) for number in [first, tokenizer.eos_token_id, *more] if number is not None))


def ended(ids: Sequence[int], end_id: int) -> list[int]:
    """`ids` with `end_id` once at the end, however many of it stood there."""
    kept = list(ids)
    while kept and kept[-1] == end_id:
        kept.pop()
    return [*kept, end_id]
