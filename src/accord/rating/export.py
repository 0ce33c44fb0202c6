"""What goes back into accord: the ratings with their systems named again, and all that was noted beside them.

A repeat is no second vote and a known answer no rating: both are in checks.jsonl alone, as are skips, times and the
whole history of every answer.
"""

import csv
import io
import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from accord.json_files import write_json, write_jsonl
from accord.rating.annotators import annotator_name, read_annotators
from accord.rating.draft import text_name
from accord.rating.forms import question_scheme, write_form
from accord.rating.quality import check_results, repeat_results, task_times
from accord.rating.store import Store
from accord.rating.study import Study, load_study
from accord.rating.votes import read_votes, votes_by_text

RATINGS_FILE = "ratings.jsonl"
FORM_FILE = "form.yaml"
ANNOTATORS_FILE = "annotators.jsonl"
CHECKS_FILE = "checks.jsonl"
CSV_FIELDS = ("id", "prompt", "completion", "annotator", "label", "question", "system", "group")
FIELDS_OF_OUTPUTS = ("id", "prompt", "completion", "system", "group")
"""What a model or its files wrote; labels and questions are the form's."""
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_TEXTS = (
    "SELECT texts.*, prompts.name, prompts.prompt, prompts.cluster FROM texts "
    "JOIN sheets ON sheets.id = texts.sheet JOIN prompts ON prompts.id = sheets.prompt ORDER BY texts.id"
)


class Exported(NamedTuple):
    """What an export holds: texts with ratings, texts without any (left out), annotators, single ratings."""

    n_rated: int
    n_unrated: int
    n_annotators: int
    n_ratings: int


def export_study(store: Store, output_dir: Path) -> Exported:
    """Write the folder that `accord prepare` and `accord evaluate --ratings` read; one moment of the study.

    Files: ratings.jsonl, form.yaml, annotators.jsonl, checks.jsonl and a scheme QUESTION.json for each question whose
    labels say how acceptable a text is. Each is replaced whole.
    """
    study = load_study(store)
    with store.snapshot() as connection:
        rows = list(rating_rows(connection))
        n_texts = connection.execute(
            "SELECT count(*) FROM texts JOIN sheets ON sheets.id = texts.sheet WHERE sheets.kind = 'rate'"
        ).fetchone()[0]
        n_annotators = write_jsonl(output_dir / ANNOTATORS_FILE, trait_rows(connection))
        write_jsonl(output_dir / CHECKS_FILE, check_rows(connection, study))
    write_form(study.form, output_dir / FORM_FILE)
    for question in study.form.questions:
        scheme = question_scheme(question)
        if scheme is not None:
            write_json(output_dir / f"{question.name}.json", scheme)
    write_jsonl(output_dir / RATINGS_FILE, rows)
    n_ratings = sum(len(row["annotations"]) for row in rows)
    return Exported(len(rows), n_texts - len(rows), n_annotators, n_ratings)


def export_jsonl(store: Store) -> bytes:
    """ratings.jsonl as it is now."""
    with store.snapshot() as connection:
        return b"".join(msgspec.json.encode(row) + b"\n" for row in rating_rows(connection))


def export_csv(store: Store) -> bytes:
    """The same as a long table, one rating a row; a chat prompt is a cell of JSON.

    Where what the outputs hold begins like a formula, an apostrophe goes before it: spreadsheets run it otherwise.
    """
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(CSV_FIELDS)
    with store.snapshot() as connection:
        for row in rating_rows(connection):
            prompt = row["prompt"] if isinstance(row["prompt"], str) else json.dumps(row["prompt"], ensure_ascii=False)
            for rating in row["annotations"]:
                cells = {**row, "prompt": prompt}
                guarded = {field: _no_formula(cells[field]) for field in FIELDS_OF_OUTPUTS}
                writer.writerow([{**guarded, **rating}[field] for field in CSV_FIELDS])
    return table.getvalue().encode()


def _no_formula(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell


def rating_rows(connection: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    """Every text that was rated, in the order of the outputs, with all its ratings."""
    texts = {row["id"]: row for row in connection.execute(_TEXTS)}
    for number, votes in votes_by_text(read_votes(connection)):
        text = texts[number]
        yield {
            "id": text_id(text),
            "prompt": json.loads(text["prompt"]),
            "completion": text["completion"],
            "system": text["system"],
            "seed": text["seed"],
            "sample": text["sample"],
            "prompt_id": text["name"],
            "group": text["cluster"],
            "annotations": [
                {"annotator": annotator_name(vote.annotator), "label": vote.label, "question": vote.question}
                for vote in votes
            ],
        }


def text_id(text: sqlite3.Row) -> str:
    """`text_name` of a row of texts; a known answer has no system: `PROMPT##0#0`."""
    return text_name(text["name"], text["system"], text["seed"], text["sample"])


def trait_rows(connection: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    """Every annotator who has consented, with what they said of themselves."""
    for annotator in read_annotators(connection):
        if annotator.has_consented:
            yield {"annotator": annotator.name, "traits": annotator.traits}


def check_rows(connection: sqlite3.Connection, study: Study) -> Iterator[dict[str, Any]]:
    """All that is no rating; `kind` says what a row is.

    "page": a page given, the order of its texts, how long it took, whether it was too fast or skipped, and why.
    "check": an answer whose right answer is known. "repeat": both answers to a question that was asked twice.
    "history": one confirmed answer, in the server's order; a null label withdraws the one before.
    """
    names = {row["id"]: text_id(row) for row in connection.execute(_TEXTS)}
    orders: dict[int, list[str]] = {}
    for row in connection.execute("SELECT task, text FROM placements ORDER BY task, position"):
        orders.setdefault(row["task"], []).append(names[row["text"]])
    for task in task_times(connection, study.settings.min_seconds):
        yield {
            "kind": "page",
            "annotator": annotator_name(task.annotator),
            "number": task.number,
            "prompt_id": task.prompt,
            "reason": task.kind,
            "order": orders[task.id],
            "state": task.state,
            "skip_reason": task.skip_reason,
            "seconds": task.seconds,
            "is_too_fast": task.is_too_fast,
        }
    for check in check_results(connection):
        yield {"kind": "check", **check._asdict(), "annotator": annotator_name(check.annotator)}
    for repeat in repeat_results(connection):
        yield {
            "kind": "repeat",
            **repeat._asdict(),
            "annotator": annotator_name(repeat.annotator),
            "text": names[repeat.text],
        }
    yield from _history_rows(connection, names)


def _history_rows(connection: sqlite3.Connection, names: dict[int, str]) -> Iterator[dict[str, Any]]:
    rows = connection.execute(
        "SELECT history.*, placements.text, tasks.annotator, tasks.number FROM history "
        "JOIN placements ON placements.id = history.placement JOIN tasks ON tasks.id = placements.task "
        "ORDER BY history.id"
    )
    for row in rows:
        yield {
            "kind": "history",
            "annotator": annotator_name(row["annotator"]),
            "number": row["number"],
            "text": names[row["text"]],
            "question": row["question"],
            "label": row["label"],
            "saved_at": datetime.fromtimestamp(row["saved_at"], UTC).isoformat(timespec="milliseconds"),
        }
