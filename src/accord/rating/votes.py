"""The votes of a study as they count: first meetings only, no known answers, no skipped pages."""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from accord.rating.forms import Question


class Vote(NamedTuple):
    """What an annotator said of a text in answer to a question."""

    text: int
    annotator: int
    question: str
    label: str


class Text(NamedTuple):
    """A text that is rated, and what it belongs to."""

    id: int
    sheet: int
    cluster: str
    system: str


class QuestionVotes(NamedTuple):
    """The votes on one question as parallel arrays: places of texts, of annotators, of labels among the question's."""

    item_index: Int[np.ndarray, " V"]
    annotator_index: Int[np.ndarray, " V"]
    label_index: Int[np.ndarray, " V"]


def read_votes(connection: sqlite3.Connection) -> list[Vote]:
    """Every vote that counts, by text, annotator and question."""
    rows = connection.execute(
        """
        SELECT placements.text, tasks.annotator, answers.question, answers.label FROM answers
        JOIN placements ON placements.id = answers.placement JOIN tasks ON tasks.id = placements.task
        WHERE tasks.kind = 'rate' AND tasks.state <> 'skipped'
        ORDER BY placements.text, tasks.annotator, answers.question
        """
    )
    return [Vote(*row) for row in rows]


def read_texts(connection: sqlite3.Connection) -> list[Text]:
    """Every text that is to be rated, in the order of the outputs."""
    rows = connection.execute(
        "SELECT texts.id, texts.sheet, prompts.cluster, texts.system FROM texts "
        "JOIN sheets ON sheets.id = texts.sheet JOIN prompts ON prompts.id = sheets.prompt "
        "WHERE sheets.kind = 'rate' ORDER BY texts.id"
    )
    return [Text(*row) for row in rows]


def question_votes(votes: Sequence[Vote], texts: Sequence[Text], question: Question) -> QuestionVotes:
    """The votes on one question."""
    place_of_text = {text.id: place for place, text in enumerate(texts)}
    place_of_label = {label.value: place for place, label in enumerate(question.labels)}
    found = [
        (place_of_text[vote.text], vote.annotator, place_of_label[vote.label])
        for vote in votes
        if vote.question == question.name
    ]
    columns = np.array(found, dtype=np.int64).reshape(-1, 3)
    return QuestionVotes(columns[:, 0], columns[:, 1], columns[:, 2])


def votes_by_text(votes: Sequence[Vote]) -> Iterator[tuple[int, list[Vote]]]:
    """Of each text that has votes: its number, and they."""
    found: dict[int, list[Vote]] = {}
    for vote in votes:
        found.setdefault(vote.text, []).append(vote)
    yield from found.items()
