"""ESConv (Liu et al. 2021): emotional-support conversations, as prompts with the human supporter's reply.

Read from the published `ESConv.json` or `FailedESConv.json` (one list of dialogues), from JSONL with one dialogue a
line (`train.jsonl`, `valid.jsonl`, `test.jsonl`, whose names are their splits), or from the folder that holds them.

1. Utterances of one side in a row are one turn, joined by a space. Each supporter turn after a seeker turn is the
   reference of a prompt; one that opens a conversation answers nothing and is counted (`n_without_history`).
2. The seeker's `situation` was written before the conversation and is not part of the prompt; it goes to
   metadata.jsonl with the emotion, the problem and the strategies of the reply, spelled as found.
3. A supporter turn, and the prompt that asks for it, carries the strategy of its first utterance, the one that a
   generator chooses before it writes. All of them stand in metadata.jsonl.
4. `FailedESConv.json` holds dialogues that were rejected; it is read only when it is named.
"""

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from accord.data.checks import SPLIT_NAMES, check_text
from accord.data.dialogues import History, Role, Turn, history_prompt, join_turns
from accord.data.formats import RawRow, json_rows, jsonl_rows
from accord.data.problems import MISSING, BadRow, Problem, bad_rows_error, printable, problem, shown
from accord.data.prompts import PromptReading
from accord.data.schemes import quoted
from accord.data.settings import OnBadRow
from accord.errors import DataError
from accord.records import PromptRow, Split

JSONL_FILES = ("train.jsonl", "valid.jsonl", "test.jsonl")
JSON_FILE = "ESConv.json"
SPEAKERS: dict[str, Role] = {
    "usr": "user",
    "seeker": "user",
    "speaker": "user",
    "sys": "assistant",
    "supporter": "assistant",
    "listener": "assistant",
}
_KEPT = ("emotion_type", "problem_type", "experience_type", "situation")


class _Reply(NamedTuple):
    """A supporter turn, what was said before it, and the strategies of its utterances."""

    position: int
    history: list[Turn]
    turn: Turn
    strategies: list[str]


def read_esconv(source: Path, *, on_bad_row: OnBadRow, history: History) -> PromptReading:
    """Every supporter turn that answers a seeker turn, in the order of the files.

    Raises:
        DataError: no such file, or dialogues that cannot be read.
    """
    prompts: list[PromptRow] = []
    metadata: list[dict[str, Any]] = []
    bad_rows: list[BadRow] = []
    n_rows = n_openings = 0
    for path in _paths(source):
        for number, raw in enumerate(_dialogues(path), start=1):
            n_rows += 1
            utterances, problems = _utterances(raw)
            if problems or raw.value is None:
                bad_rows.append(BadRow(path.name, raw.line, problems, raw.text))
                continue
            name = f"{path.stem}-{number}"
            n_openings += bool(utterances) and utterances[0].role == "assistant"
            for reply in _replies(utterances):
                prompts.append(_prompt(name, reply, history, SPLIT_NAMES.get(path.stem)))
                metadata.append(_metadata(name, reply, raw.value))
    if bad_rows and (on_bad_row == "raise" or not prompts):
        raise bad_rows_error(bad_rows[0].file, bad_rows)
    if not prompts:
        raise DataError(f"{source.name} has no reply of a supporter to a seeker. Expected dialogues of ESConv.")
    return PromptReading(prompts, metadata, bad_rows, n_rows, n_openings)


def _paths(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    split_paths = [source / name for name in JSONL_FILES]
    if all(path.is_file() for path in split_paths):
        return split_paths
    if (source / JSON_FILE).is_file():
        return [source / JSON_FILE]
    raise DataError(f"{source} holds neither {JSON_FILE} nor {', '.join(JSONL_FILES)}. Expected one of the two forms.")


def _dialogues(path: Path) -> Iterator[RawRow]:
    return jsonl_rows(path) if path.suffix.lower() in (".jsonl", ".ndjson", ".txt") else json_rows(path)


def _utterances(raw: RawRow) -> tuple[list[Turn], list[Problem]]:
    """What was said in a dialogue, in either spelling, and what is wrong with it."""
    if raw.value is None:
        return [], list(raw.problems)
    found = raw.value.get("dialog")
    if not isinstance(found, list):
        value = MISSING if found is None else shown(found)
        return [], [problem("dialog", value, "a list of utterances")]
    problems: list[Problem] = []
    read = [_utterance(entry, f"utterance {position}", problems) for position, entry in enumerate(found, start=1)]
    return [utterance for utterance in read if utterance is not None], problems


def _utterance(found: Any, name: str, problems: list[Problem]) -> Turn | None:
    if not isinstance(found, dict):
        problems.append(problem(name, shown(found), "an object"))
        return None
    before = len(problems)
    speaker, text = found.get("speaker"), found.get("text", found.get("content"))
    role = SPEAKERS.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        problems.append(problem(f"{name} speaker", shown(speaker), f"one of {quoted(SPEAKERS)}"))
    if not isinstance(text, str):
        problems.append(problem(f"{name} text", MISSING if text is None else shown(text), "text"))
    else:
        check_text(f"{name} text", text, problems)
    if role is None or not isinstance(text, str) or len(problems) > before:
        return None
    notes = found.get("annotation", found)
    strategy = notes.get("strategy") if isinstance(notes, dict) and role == "assistant" else None
    return Turn(role, text.strip(), printable(strategy) if isinstance(strategy, str) else None)


def _replies(utterances: list[Turn]) -> Iterator[_Reply]:
    """Every supporter turn after a seeker turn; `position` counts the turns of the dialogue from 1."""
    runs = [list(run) for _, run in groupby(utterances, key=lambda utterance: utterance.role)]
    turns = join_turns(utterances)
    for before, (turn, run) in enumerate(zip(turns, runs, strict=True)):
        if turn.role == "assistant" and before:
            strategies = [utterance.strategy for utterance in run if utterance.strategy is not None]
            yield _Reply(before + 1, turns[:before], turn, strategies)


def _prompt(dialogue: str, reply: _Reply, history: History, split: Split | None) -> PromptRow:
    return PromptRow(
        id=f"{dialogue}-{reply.position}",
        prompt=history_prompt(reply.history, history),
        references=(reply.turn.text,),
        group=dialogue,
        split=split,
        strategy=reply.turn.strategy,
    )


def _metadata(dialogue: str, reply: _Reply, record: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: printable(str(record[name])) for name in _KEPT if name in record}
    return {"id": f"{dialogue}-{reply.position}", "strategies": reply.strategies, **kept}
