"""The MI dataset (Welivita & Pu 2022): replies in peer-support forums, coded by experts; what the paper learns from.

Read from "MI Dataset.csv" or its folder (CC BY-NC-SA 3.0). A row is something said in a dialogue. A listener's row is
a completion; its prompt is the conversation up to the speaker's last post, which all rows of one reply share.

1. Four columns hold codes: ann1, ann2, judge 1 annotation, judge 2 annotation; "-" or nothing means no code. Who sat
   there is not published, so an annotator is a seat with the column's name, and no name stands for a person.
2. The 15 codes in lower case are the labels of scheme `mi-codes`: two classes, as in the paper's Table 5. With
   `--scheme mi-classes` each code becomes its coarse class (adherent, relational, non-adherent): the three classes of
   the paper's released code.
3. A listener's row without any code is no item; it is counted (`n_without_annotation`).
4. `group` is the dialogue. There is no published split.

Where we differ from the released code: `--history-turns 1` gives its context (one post), but a reply never answers a
post of another dialogue, and the last post of the file keeps its replies, which the released code loses.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from accord.data.checks import build_rules, check_text
from accord.data.dialogues import History, Role, Turn, history_prompt, join_turns
from accord.data.formats import RawRow
from accord.data.problems import Problem, printable, problem, shown
from accord.data.published import Published, published_file, published_rows
from accord.data.reader import ItemReader, Reading, read_all
from accord.data.schemes import MI_CLASSES, LabelScheme, quoted
from accord.data.settings import OnBadRow
from accord.records import Item

SCHEME = "mi-codes"
SEATS = ("ann1", "ann2", "judge 1 annotation", "judge 2 annotation")
NO_CODE = ("-", "")
PUBLISHED = Published(
    file="MI Dataset.csv",
    columns=("dialog_id", "turn", "author", "text", *SEATS),
    origin=(
        "Welivita and Pu (COLING 2022) publish it in the GitHub repository "
        "anuradha1992/Motivational-Interviewing-Dataset under CC BY-NC-SA 3.0."
    ),
)
_ROLES: dict[str, Role] = {"speaker": "user", "listener": "assistant"}
_KEPT = {"turn": "turn", "final agreed label": "final_agreed_label"}
"""Columns -> fields of metadata.jsonl; the second is what the annotators agreed on later."""


class _Row(NamedTuple):
    """Something said, its place in the dialogue from 1, and what was said before."""

    turn: Turn
    dialogue: str
    position: int
    before: list[Turn]
    cells: Mapping[str, str]

    @property
    def id(self) -> str:
        return f"{self.dialogue}-{self.position}"


def read_mi(source: Path, *, scheme: LabelScheme, on_bad_row: OnBadRow, history: History) -> Reading:
    """Every listener's row with a code, in the order of the file.

    Raises:
        DataError: the file is missing, lacks a column, holds bad rows, or no row with a code.
    """
    path = published_file(source, PUBLISHED)
    reader = ItemReader(path.name, build_rules(scheme, "optional"), on_bad_row)
    metadata: list[dict[str, str]] = []
    reading = read_all(reader.over(_items(reader, published_rows(path, PUBLISHED), scheme, history, metadata)))
    return reading._replace(metadata=metadata)


def _items(
    reader: ItemReader,
    rows: Iterator[RawRow],
    scheme: LabelScheme,
    history: History,
    metadata: list[dict[str, str]],
) -> Iterator[Item]:
    """One item for each listener's row with a code; rows that cannot be read count as theirs."""
    reader.counts["n_without_annotation"] = 0
    for raw, row in _said(rows):
        if row is None or row.turn.role == "assistant":
            reader.n_rows += 1
        if row is None:
            reader.reject(raw.line, raw.text, raw.problems)
        elif row.turn.role == "assistant":
            annotations = _annotations(row.cells, scheme)
            reader.counts["n_without_annotation"] += not annotations
            if not annotations:
                continue
            record = {
                "id": row.id,
                "prompt": history_prompt(_answered(row.before), history),
                "completion": row.turn.text,
                "annotations": annotations,
                "group": row.dialogue,
            }
            typed, problems = reader.read(record)
            item = reader.accept(raw.line, raw.text, typed, problems, {})
            if item is not None:
                metadata.append({"id": item.id, **_kept(row.cells)})
                yield item


def _said(rows: Iterator[RawRow]) -> Iterator[tuple[RawRow, _Row | None]]:
    """Each row with what its dialogue said before; None, and a raw row that says why, where it cannot be read."""
    before: defaultdict[str, list[Turn]] = defaultdict(list)
    positions: defaultdict[str, int] = defaultdict(int)
    for raw in rows:
        cells = raw.value
        if cells is None:
            yield raw, None
            continue
        dialogue, author, text = cells["dialog_id"].strip(), cells["author"].strip(), cells["text"].strip()
        positions[dialogue] += 1
        problems = _problems(dialogue, author, text)
        if problems:
            yield msgspec.structs.replace(raw, value=None, problems=tuple(problems)), None
            continue
        turn = Turn(_ROLES[author], text)
        yield raw, _Row(turn, dialogue, positions[dialogue], before[dialogue], cells)
        before[dialogue].append(turn)


def _problems(dialogue: str, author: str, text: str) -> list[Problem]:
    problems: list[Problem] = []
    check_text("dialog_id", dialogue, problems)
    check_text("text", text, problems)
    if author not in _ROLES:
        problems.append(problem("author", shown(author), f"one of {quoted(_ROLES)}"))
    return problems


def _answered(before: list[Turn]) -> list[Turn]:
    """The turns up to the speaker's last post; the listener's own rows since then belong to the same reply."""
    turns = join_turns(before)
    return turns[:-1] if turns and turns[-1].role == "assistant" else turns


def _annotations(cells: Mapping[str, str], scheme: LabelScheme) -> list[dict[str, str]]:
    """The codes of a row as labels of the scheme: codes, or their classes where the scheme has those."""
    codes = {seat: cells[seat].strip().lower() for seat in SEATS}
    return [
        {"annotator": seat, "label": code if code in scheme.labels else _class_of(code, scheme)}
        for seat, code in codes.items()
        if code not in NO_CODE
    ]


def _class_of(code: str, scheme: LabelScheme) -> str:
    name = MI_CLASSES.get(code, code)
    return name if name in scheme.labels else code


def _kept(cells: Mapping[str, str]) -> dict[str, str]:
    return {name: printable(cells[column]) for column, name in _KEPT.items() if cells.get(column)}
