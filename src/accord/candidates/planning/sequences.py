"""Sequences of strategies: what a supporter did from a reply on, as texts that any generator can learn.

A generator that `accord tune` makes of these prompts writes the strategies to come; its beams (`accord generate
--method beam`) are what the planner looks ahead with.

1. A strategy is written as `@[Reflection-of-feelings]`, in the turns of the prompt before what was said under it, and
   in the sequence one after the other with blanks between.
2. What is to come is told by the later prompts of the same group (dialogue), in the order of the file.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec

from accord.artifacts import open_stage
from accord.candidates.generators.multiesc import STRATEGIES, known_strategy, strategy_token
from accord.candidates.planning.settings import SequenceSettings
from accord.candidates.prompts import read_prompts
from accord.data.prepared import PROMPTS_FILE
from accord.errors import DataError
from accord.json_files import write_jsonl
from accord.records import Message, Prompt, PromptRow

VERSION = 1
_TOKEN = re.compile(r"@\[([^\[\]]*)\]")
_BY_TOKEN = {strategy_token(name): name for name in STRATEGIES}


def sequences_stage(prompts: Path, *, output_dir: Path, settings: SequenceSettings, seed: int) -> Path:
    """Write prompts.jsonl, whose references are sequences of strategies: the input of `accord tune`.

    Args:
        prompts: JSONL of PromptRow with strategies, or a prepared folder of such.

    Raises:
        DataError: a row without a strategy, or with an unknown one.
    """
    inputs: dict[str, Path | str] = {"prompts": prompts}
    stage = open_stage(output_dir, stage="sequences", version=VERSION, settings=settings, seed=seed, inputs=inputs)
    if not stage.is_complete:
        write_jsonl(stage.path(PROMPTS_FILE), sequence_rows(read_prompts(prompts), horizon=settings.horizon))
        stage.finish()
    return stage.folder


def sequence_rows(rows: Sequence[PromptRow], *, horizon: int) -> list[PromptRow]:
    """The rows with the strategies written into their prompts, and as reference the next `horizon` ones."""
    future: dict[str, list[str]] = defaultdict(list)
    found = []
    for row in reversed(rows):
        if row.strategy is None:
            raise DataError(f"prompt {row.id!r} has no strategy. Expected rows of `accord prepare --source esconv`.")
        ahead = future[row.group or row.id]
        ahead.insert(0, known_strategy(row.strategy))
        prompt = with_strategies_written(row.prompt)
        found.append(msgspec.structs.replace(row, prompt=prompt, references=(sequence_text(ahead[:horizon]),)))
    return found[::-1]


def with_strategies_written(prompt: Prompt) -> Prompt:
    """Each turn of known strategy begins with it."""
    if isinstance(prompt, str):
        return prompt
    return tuple(
        Message(one.role, one.content if one.strategy is None else f"{_written(one.strategy)} {one.content}")
        for one in prompt
    )


def sequence_text(strategies: Sequence[str]) -> str:
    return " ".join(strategy_token(name) for name in strategies)


def sequence_of(text: str) -> tuple[str, ...]:
    """The strategies of a text that a generator wrote, up to the first that is none."""
    found: list[str] = []
    for name in _TOKEN.findall(text):
        token = f"@[{name}]"
        if token not in _BY_TOKEN:
            break
        found.append(_BY_TOKEN[token])
    return tuple(found)


def _written(strategy: str) -> str:
    return strategy_token(known_strategy(strategy))
