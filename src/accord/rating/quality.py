"""What speaks for or against an annotator's care: hurried pages, known answers, repeated pages."""

import json
import sqlite3
from collections import Counter
from typing import Any, NamedTuple


class TaskTime(NamedTuple):
    """How long an annotator had a page, from when it was first shown to when all of it was answered."""

    id: int
    annotator: int
    number: int
    kind: str
    prompt: str
    state: str
    skip_reason: str | None
    seconds: float | None
    is_too_fast: bool


class CheckResult(NamedTuple):
    """An answer to a question whose answer is known."""

    annotator: int
    number: int
    prompt: str
    completion: str
    question: str
    label: str
    expected: tuple[str, ...]
    has_passed: bool


class RepeatResult(NamedTuple):
    """The two answers an annotator gave to the same question about the same text."""

    annotator: int
    text: int
    question: str
    first: str
    second: str


def task_times(connection: sqlite3.Connection, min_seconds: float) -> list[TaskTime]:
    """Every page given, by annotator and number. A page is too fast below `min_seconds` for each of its texts."""
    rows = connection.execute(
        """
        SELECT tasks.id, tasks.annotator, tasks.number, tasks.kind, prompts.name, tasks.state, tasks.skip_reason,
            tasks.finished_at - tasks.assigned_at AS seconds,
            tasks.state = 'done' AND tasks.finished_at - tasks.assigned_at
                < :min_seconds * (SELECT count(*) FROM placements WHERE placements.task = tasks.id)
        FROM tasks JOIN sheets ON sheets.id = tasks.sheet JOIN prompts ON prompts.id = sheets.prompt
        ORDER BY tasks.annotator, tasks.number
        """,
        {"min_seconds": min_seconds},
    )
    return [TaskTime._make((*row[:-1], bool(row[-1]))) for row in rows]


def check_results(connection: sqlite3.Connection) -> list[CheckResult]:
    """Every answer to a question whose answer is known."""
    rows = connection.execute(
        """
        SELECT tasks.annotator, tasks.number, prompts.name, texts.completion, texts.expected, answers.question,
            answers.label
        FROM answers JOIN placements ON placements.id = answers.placement JOIN tasks ON tasks.id = placements.task
        JOIN texts ON texts.id = placements.text JOIN sheets ON sheets.id = tasks.sheet
        JOIN prompts ON prompts.id = sheets.prompt
        WHERE tasks.kind = 'check' AND tasks.state <> 'skipped' ORDER BY tasks.annotator, tasks.number, answers.question
        """
    )
    results = []
    for row in rows:
        expected = json.loads(row["expected"]).get(row["question"])
        if expected is not None:
            known = (row["annotator"], row["number"], row["name"], row["completion"], row["question"], row["label"])
            results.append(CheckResult(*known, expected=tuple(expected), has_passed=row["label"] in expected))
    return results


def repeat_results(connection: sqlite3.Connection) -> list[RepeatResult]:
    """Every question that was answered both at the first meeting and at the second."""
    rows = connection.execute(
        """
        SELECT again.annotator, later.text, second.question, first.label AS first, second.label AS second
        FROM tasks AS again
        JOIN placements AS later ON later.task = again.id
        JOIN answers AS second ON second.placement = later.id
        JOIN tasks AS before ON before.annotator = again.annotator AND before.sheet = again.sheet
            AND before.kind = 'rate'
        JOIN placements AS earlier ON earlier.task = before.id AND earlier.text = later.text
        JOIN answers AS first ON first.placement = earlier.id AND first.question = second.question
        WHERE again.kind = 'repeat' AND again.state <> 'skipped' AND before.state <> 'skipped'
        ORDER BY again.annotator, again.number, later.text, second.question
        """
    )
    return [RepeatResult(*row) for row in rows]


def flags_of(connection: sqlite3.Connection, min_seconds: float) -> dict[int, dict[str, Any]]:
    """Per annotator: hurried pages, failed and answered checks, the share of repeated answers that stayed the same."""
    too_fast = Counter(task.annotator for task in task_times(connection, min_seconds) if task.is_too_fast)
    checks = check_results(connection)
    n_checks = Counter(check.annotator for check in checks)
    failed = Counter(check.annotator for check in checks if not check.has_passed)
    repeats = repeat_results(connection)
    n_repeats = Counter(repeat.annotator for repeat in repeats)
    same = Counter(repeat.annotator for repeat in repeats if repeat.first == repeat.second)
    ids = [row["id"] for row in connection.execute("SELECT id FROM annotators")]
    return {
        number: {
            "too_fast": too_fast[number],
            "failed_checks": failed[number],
            "n_checks": n_checks[number],
            "self_consistency": same[number] / n_repeats[number] if n_repeats[number] else None,
        }
        for number in ids
    }
