"""Conversations as prompts: one layout for every corpus, so that what is fitted on one corpus can read another."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from accord.data.settings import HistoryLayout
from accord.errors import ConfigError
from accord.records import Message, Prompt

Role = Literal["user", "assistant"]
"""Who seeks help, and who gives it."""


class Turn(NamedTuple):
    """What one side says before the other speaks; `strategy` names the kind of support, where it is known."""

    role: Role
    text: str
    strategy: str | None = None


class History(NamedTuple):
    """How much of a conversation becomes the prompt of its next turn, and in which form.

    `n_turns`: only the last so many turns; 0 keeps all. `layout`: "chat" = a list of messages, "text" = one text
    with a line for each turn, `User: ...` or `Assistant: ...`.
    """

    layout: HistoryLayout = "chat"
    n_turns: int = 0


def build_history(layout: HistoryLayout, n_turns: int) -> History:
    """Raises ConfigError: a negative number of turns."""
    if n_turns < 0:
        raise ConfigError(f"history_turns is {n_turns}; expected a number of turns, or 0 for all.")
    return History(layout, n_turns)


def join_turns(utterances: Iterable[Turn]) -> list[Turn]:
    """Utterances of one side in a row become one turn, joined by a space, of the first one's strategy."""
    runs = [list(run) for _, run in groupby(utterances, key=lambda utterance: utterance.role)]
    return [Turn(run[0].role, " ".join(utterance.text for utterance in run), run[0].strategy) for run in runs]


def history_prompt(turns: Sequence[Turn], history: History) -> Prompt:
    """The turns before a reply as its prompt; "" where nothing was said before."""
    kept = turns[-history.n_turns :] if history.n_turns else turns
    if not kept:
        return ""
    if history.layout == "text":
        return "\n".join(f"{turn.role.capitalize()}: {turn.text}" for turn in kept)
    return tuple(Message(turn.role, turn.text, turn.strategy) for turn in kept)
