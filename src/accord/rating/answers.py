"""Saving answers: the key is annotator, item and question; the last one that arrives holds, all are kept as history."""

import sqlite3
import time
from typing import NamedTuple

from accord.rating.forms import Form
from accord.rating.refusals import closed, invalid, not_found, paused, revoked
from accord.rating.study import study_state

MAX_REASON = 1000
"""Characters of a reason to skip."""
STATE_REFUSALS = {"paused": paused, "closed": closed}


class Saved(NamedTuple):
    """How far the annotator is: pages that are finished (answered or skipped), pages in all."""

    answered: int
    of: int


def save_answer(
    connection: sqlite3.Connection,
    form: Form,
    annotator: int,
    *,
    item: str,
    question: str,
    label: str | None,
    sent: str | None,
    now: float | None = None,
) -> Saved:
    """Save one answer; `label` None withdraws it. The same answer sent again changes nothing.

    Raises:
        RefusalError: the annotator's link or the study takes no answers, or there is no such item, question or label.
    """
    now = time.time() if now is None else now
    _check_label(form, question, label)
    require_open(connection, annotator)
    row = connection.execute(
        "SELECT placements.id, placements.task FROM placements JOIN tasks ON tasks.id = placements.task "
        "WHERE placements.item = ? AND tasks.annotator = ?",
        (item, annotator),
    ).fetchone()
    if row is None:
        raise not_found("There is no such text among yours.")
    placement, task = row["id"], row["task"]
    if not _is_known(connection, placement, question, label, sent):
        connection.execute(
            "INSERT INTO history (placement, question, label, saved_at, sent) VALUES (?, ?, ?, ?, ?)",
            (placement, question, label, now, sent),
        )
    if label is None:
        connection.execute("DELETE FROM answers WHERE placement = ? AND question = ?", (placement, question))
    else:
        connection.execute(
            "INSERT INTO answers VALUES (?, ?, ?) "
            "ON CONFLICT (placement, question) DO UPDATE SET label = excluded.label",
            (placement, question, label),
        )
    _settle(connection, form, task, now)
    return progress_of(connection, annotator)


def skip_task(connection: sqlite3.Connection, annotator: int, number: int, reason: str) -> Saved:
    """Leave a page out, and say why. What was answered on it stays in the history and counts no more.

    Raises:
        RefusalError: see `save_answer`; no reason, or a very long one.
    """
    reason = reason.strip()
    if not 0 < len(reason) <= MAX_REASON:
        raise invalid(f"Say in 1 to {MAX_REASON} characters why you skip this page.")
    require_open(connection, annotator)
    changed = connection.execute(
        "UPDATE tasks SET state = 'skipped', skip_reason = ?, finished_at = coalesce(finished_at, ?) "
        "WHERE annotator = ? AND number = ?",
        (reason, time.time(), annotator, number),
    ).rowcount
    if not changed:
        raise not_found("There is no such page among yours.")
    return progress_of(connection, annotator)


def progress_of(connection: sqlite3.Connection, annotator: int) -> Saved:
    """How far an annotator is."""
    answered, of = connection.execute(
        "SELECT (SELECT count(*) FROM tasks WHERE annotator = annotators.id AND state <> 'open'), "
        "max(n_expected, (SELECT count(*) FROM tasks WHERE annotator = annotators.id)) FROM annotators WHERE id = ?",
        (annotator,),
    ).fetchone()
    return Saved(answered, of)


def require_open(connection: sqlite3.Connection, annotator: int) -> None:
    """Within the transaction of a change: whether this annotator may still answer.

    Raises:
        RefusalError: the study is paused or closed, the link was revoked, or the annotator deleted.
    """
    row = connection.execute("SELECT is_revoked FROM annotators WHERE id = ?", (annotator,)).fetchone()
    if row is None:
        raise not_found()
    if row["is_revoked"]:
        raise revoked()
    refusal = STATE_REFUSALS.get(study_state(connection))
    if refusal is not None:
        raise refusal()


def _check_label(form: Form, question: str, label: str | None) -> None:
    asked = next((known for known in form.questions if known.name == question), None)
    if asked is None:
        raise invalid(f"There is no question {question[:100]!r}. Expected one of: {_listed(form)}.")
    if label is not None and label not in (known.value for known in asked.labels):
        raise invalid(f"Question {question!r} has no label {label[:100]!r}.")


def _listed(form: Form) -> str:
    return ", ".join(question.name for question in form.questions)


def _is_known(
    connection: sqlite3.Connection, placement: int, question: str, label: str | None, sent: str | None
) -> bool:
    """Whether the newest entry of the history is this very answer: its confirmation was lost, and it came again."""
    last = connection.execute(
        "SELECT label, sent FROM history WHERE placement = ? AND question = ? ORDER BY id DESC LIMIT 1",
        (placement, question),
    ).fetchone()
    return last is not None and (last["label"], last["sent"]) == (label, sent)


def _settle(connection: sqlite3.Connection, form: Form, task: int, now: float) -> None:
    """A page is done when every required question is answered for every text; a skipped one is judged after all."""
    required = [question.name for question in form.questions if not question.optional]
    holes = ", ".join("?" for _ in required)
    n_texts, n_answered = connection.execute(
        f"SELECT count(DISTINCT placements.id), count(answers.label) FROM placements LEFT JOIN answers "
        f"ON answers.placement = placements.id AND answers.question IN ({holes}) WHERE placements.task = ?",
        (*required, task),
    ).fetchone()
    is_done = n_answered == n_texts * len(required)
    connection.execute(
        "UPDATE tasks SET state = ?, skip_reason = NULL, finished_at = CASE WHEN ? THEN coalesce(finished_at, ?) END "
        "WHERE id = ?",
        ("done" if is_done else "open", is_done, now, task),
    )
