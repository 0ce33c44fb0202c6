"""PRISM columns (Kirk et al. 2024): model responses in live conversations, each rated by the person who asked.

The rows of `utterances`: one response a row, with `utterance_id`, `conversation_id`, `turn`, `user_id`, `user_prompt`,
`model_response`, `model_name`, `score` and `if_chosen`.

1. Each row answers two questions: `score`, 1 (terrible) to 100 (perfect), scheme `prism-score`; and `chosen`, whether
   the person went on with this response, scheme `prism-chosen`.
2. The prompt of a later turn is the conversation before it: the person's prompts and the responses they chose. It
   stands in other rows, so the table is held in memory.
3. One person judges each response. Agreement between people cannot be measured on these rows; the `group` is the
   conversation, the `system` the model.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from accord.data.formats import RawRow
from accord.data.problems import MISSING, UNREADABLE, Problem, problem, shown

COLUMNS = ("utterance_id", "conversation_id", "turn", "user_id", "user_prompt", "model_response", "score", "if_chosen")
_CHOSEN = {"true": True, "1": True, "false": False, "0": False}


class _Exchange(NamedTuple):
    prompt: str
    response: str


def prism_rows(rows: Iterable[RawRow]) -> Iterator[RawRow]:
    """The rows in the fields of `Item`; what is wrong with a row is told beside it."""
    raws = list(rows)
    read = [_read(raw) for raw in raws]
    chosen = {
        (values["conversation_id"], values["turn"]): _Exchange(values["user_prompt"], values["model_response"])
        for values, problems in read
        if not problems and values["if_chosen"]
    }
    for raw, (values, problems) in zip(raws, read, strict=True):
        fields, more = ({}, problems) if problems else _fields(raw.value or {}, values, chosen)
        yield msgspec.structs.replace(raw, value=None if more else fields, problems=tuple(more))


def _read(raw: RawRow) -> tuple[dict[str, Any], list[Problem]]:
    """The columns that are needed, with their types."""
    if raw.value is None:
        return {}, list(raw.problems)
    problems: list[Problem] = []
    values = {name: raw.value.get(name) for name in COLUMNS}
    for name, value in values.items():
        if value is None or value == "":
            problems.append(problem(name, MISSING, "a column of PRISM's utterances"))
    if problems:
        return {}, problems
    values["turn"] = _number(values["turn"], "turn", problems)
    values["score"] = _number(values["score"], "score", problems)
    values["if_chosen"] = _CHOSEN.get(str(values["if_chosen"]).lower())
    if values["if_chosen"] is None:
        problems.append(problem("if_chosen", shown(raw.value["if_chosen"]), "true or false"))
    texts = ("conversation_id", "user_id", "user_prompt", "model_response")
    wrong = [name for name in texts if not isinstance(values[name], str)]
    return values, problems + [problem(name, shown(values[name]), "text") for name in wrong]


def _number(found: Any, name: str, problems: list[Problem]) -> int | None:
    try:
        return int(msgspec.convert(found, int, strict=False))
    except UNREADABLE:
        problems.append(problem(name, shown(found), "a whole number"))
        return None


def _fields(
    row: Mapping[str, Any], values: Mapping[str, Any], chosen: Mapping[tuple[str, int], _Exchange]
) -> tuple[dict[str, Any], list[Problem]]:
    conversation, person = values["conversation_id"], values["user_id"]
    messages = []
    for turn in range(values["turn"]):
        exchange = chosen.get((conversation, turn))
        if exchange is None:
            found = f"{values['turn']} of conversation {shown(conversation)}"
            return {}, [problem("turn", found, f"preceded by the response that was chosen in turn {turn}")]
        messages += [{"role": "user", "content": exchange.prompt}, {"role": "assistant", "content": exchange.response}]
    answers = {"score": str(values["score"]), "chosen": "chosen" if values["if_chosen"] else "not chosen"}
    return {
        "id": values["utterance_id"],
        "prompt": [*messages, {"role": "user", "content": values["user_prompt"]}],
        "completion": values["model_response"],
        "annotations": [{"annotator": person, "label": label, "question": name} for name, label in answers.items()],
        "group": conversation,
        **{name: row[key] for name, key in (("system", "model_name"), ("split", "split")) if row.get(key)},
    }, []
