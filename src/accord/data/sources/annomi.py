"""AnnoMI (Wu et al. 2022, 2023): 133 transcribed demonstrations of good and poor counselling, coded by ten experts.

Read from AnnoMI-full.csv or its folder. A therapist's utterance is the completion, the conversation before it the
prompt; an utterance that opens a conversation has the prompt "".

1. Seven transcripts were coded by all ten annotators, the other 126 by one each.
2. Every annotation answers two questions. `advice`: "advice" if the annotator marked the utterance as therapist
   input of the subtype advice, whatever its main behaviour, else "no advice" (scheme `no-advice`). `behaviour`: the
   main behaviour with its subtype (scheme `annomi-behaviours`), in the words of `mi-codes` where that has the code.
3. There are no codes for advice with or without permission, confronting, directing or warning: `mi-codes` cannot
   take "advice", and the acceptance of `no-advice` is the share of annotators who see no advice, nothing more.
4. Several transcripts can be parts of one video; `group` is the video, named by its first transcript.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from accord.data.checks import build_rules
from accord.data.dialogues import History, Role, Turn, history_prompt, join_turns
from accord.data.formats import RawRow
from accord.data.problems import Problem, problem, shown
from accord.data.published import Published, published_file, published_rows
from accord.data.reader import ItemReader, Reading, read_all
from accord.data.schemes import LabelScheme, quoted
from accord.data.settings import OnBadRow
from accord.data.tables import merged
from accord.records import Item

SCHEME = "no-advice"
PUBLISHED = Published(
    file="AnnoMI-full.csv",
    columns=(
        "mi_quality",
        "transcript_id",
        "video_url",
        "topic",
        "utterance_id",
        "interlocutor",
        "utterance_text",
        "annotator_id",
        "therapist_input_subtype",
        "reflection_subtype",
        "question_subtype",
        "main_therapist_behaviour",
    ),
    origin="Wu et al. (2022, 2023) publish it in the GitHub repository uccollab/AnnoMI, which states no licence.",
)
_BEHAVIOURS = {
    ("reflection", "simple"): "simple reflection",
    ("reflection", "complex"): "complex reflection",
    ("reflection", "n/a"): "reflection",
    ("question", "open"): "open question",
    ("question", "closed"): "closed question",
    ("question", "n/a"): "question",
    ("therapist_input", "information"): "give information",
    ("therapist_input", "advice"): "advice",
    ("therapist_input", "negotiation"): "negotiation",
    ("therapist_input", "options"): "options",
    ("therapist_input", "n/a"): "therapist input",
}
_INPUT_SUBTYPES = ("n/a", "information", "advice", "negotiation", "options")


class _Utterance(NamedTuple):
    transcript: str
    number: int
    interlocutor: str
    text: str
    cells: Mapping[str, str]


def read_annomi(source: Path, *, scheme: LabelScheme, on_bad_row: OnBadRow, history: History) -> Reading:
    """Every therapist utterance with the annotations it has, in the order of the file.

    Raises:
        DataError: the file is missing, lacks a column, or holds bad rows.
    """
    path = published_file(source, PUBLISHED)
    reader = ItemReader(path.name, build_rules(scheme, "optional"), on_bad_row)
    read = [_read_utterance(raw) for raw in published_rows(path, PUBLISHED)]
    utterances = [utterance for _, utterance in read if utterance is not None]
    turns = _by_transcript(utterances)
    groups = _video_groups(utterances)
    reading = read_all(reader.over(merged(reader, _annotated(reader, read, turns, groups, history))))
    return reading._replace(metadata=_metadata(reading.items, utterances))


def _annotated(
    reader: ItemReader,
    read: Sequence[tuple[RawRow, _Utterance | None]],
    turns: Mapping[str, Mapping[int, Turn]],
    groups: Mapping[str, str],
    history: History,
) -> Iterator[tuple[RawRow, Item]]:
    """One item with one annotator for each row of a therapist; rows that cannot be read count as theirs."""
    for raw, utterance in read:
        if utterance is None or utterance.interlocutor == "therapist":
            reader.n_rows += 1
        if utterance is None:
            reader.reject(raw.line, raw.text, raw.problems)
        elif utterance.interlocutor == "therapist":
            annotations, problems = _annotations(utterance.cells)
            before = [turn for number, turn in turns[utterance.transcript].items() if number < utterance.number]
            record = {
                "id": _item_id(utterance),
                "prompt": history_prompt(join_turns(before), history),
                "completion": utterance.text,
                "annotations": annotations,
                "group": groups[utterance.transcript],
            }
            row, more = reader.read(record) if not problems else (None, problems)
            item = reader.accept(raw.line, raw.text, row, more, {})
            if item is not None:
                yield raw, item


def _annotations(cells: Mapping[str, str]) -> tuple[list[dict[str, Any]], list[Problem]]:
    """The two answers of a row, and what is wrong with its codes."""
    main, given = cells["main_therapist_behaviour"], cells["therapist_input_subtype"]
    subtype = cells.get(f"{main}_subtype", "n/a")
    behaviour = "other" if main == "other" else _BEHAVIOURS.get((main, subtype))
    problems = []
    if behaviour is None:
        found = f"{shown(main)} of subtype {shown(subtype)}"
        problems.append(problem("main_therapist_behaviour", found, "a behaviour of AnnoMI with a subtype of its own"))
    if given not in _INPUT_SUBTYPES:
        problems.append(problem("therapist_input_subtype", shown(given), f"one of {quoted(_INPUT_SUBTYPES)}"))
    annotator = cells["annotator_id"]
    return [
        {"annotator": annotator, "label": "advice" if given == "advice" else "no advice", "question": "advice"},
        {"annotator": annotator, "label": behaviour, "question": "behaviour"},
    ], problems


def _read_utterance(raw: RawRow) -> tuple[RawRow, _Utterance | None]:
    """A row as an utterance; None, and a raw row that says why, where it is none."""
    cells = raw.value
    if cells is None:
        return raw, None
    problems = []
    if cells["interlocutor"] not in ("therapist", "client"):
        problems.append(problem("interlocutor", shown(cells["interlocutor"]), 'one of ["therapist", "client"]'))
    if not re.fullmatch(r"[0-9]{1,9}", cells["utterance_id"]):
        problems.append(problem("utterance_id", shown(cells["utterance_id"]), "a whole number"))
    if problems:
        return msgspec.structs.replace(raw, value=None, problems=tuple(problems)), None
    number = int(cells["utterance_id"])
    return raw, _Utterance(cells["transcript_id"], number, cells["interlocutor"], cells["utterance_text"], cells)


def _by_transcript(utterances: Sequence[_Utterance]) -> dict[str, dict[int, Turn]]:
    """Transcript -> number -> who said what, in the order of the conversation."""
    found: dict[str, dict[int, Turn]] = {}
    for utterance in utterances:
        role: Role = "assistant" if utterance.interlocutor == "therapist" else "user"
        found.setdefault(utterance.transcript, {}).setdefault(utterance.number, Turn(role, utterance.text.strip()))
    return {transcript: dict(sorted(turns.items())) for transcript, turns in found.items()}


def _video_groups(utterances: Sequence[_Utterance]) -> dict[str, str]:
    """Transcript -> the first transcript of its video."""
    first: dict[str, str] = {}
    return {u.transcript: first.setdefault(u.cells["video_url"] or u.transcript, u.transcript) for u in utterances}


def _metadata(items: Sequence[Item], utterances: Sequence[_Utterance]) -> list[dict[str, Any]]:
    by_id = {_item_id(utterance): utterance for utterance in utterances}
    return [
        {
            "id": item.id,
            "transcript": by_id[item.id].transcript,
            **{name: by_id[item.id].cells[name] for name in ("mi_quality", "topic", "video_url")},
        }
        for item in items
    ]


def _item_id(utterance: _Utterance) -> str:
    return f"{utterance.transcript}-{utterance.number}"
