"""Answers against a model that remembers them in a dictionary (src/accord/rating/answers.py)."""

import random
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from accord.rating.annotators import annotator_name
from accord.rating.answers import save_answer, skip_task
from accord.rating.assignment import assign_next
from accord.rating.export import check_rows, rating_rows
from accord.rating.forms import Form
from accord.rating.store import Store
from accord.rating.study import Study, load_study
from rating_clients import make_study

N_STEPS = 250


@pytest.mark.parametrize("seed", range(3))
def test_any_mix_of_answers_withdrawals_skips_and_retries(tmp_path: Path, seed: int) -> None:
    """The export is the last label of each key on pages that are not skipped; the history is every change, in order.

    An answer on a skipped page brings back all that had been answered on it.
    """
    rng = random.Random(seed)
    with closing(make_study(tmp_path, n_prompts=3)) as store:
        study = load_study(store)
        for annotator in (1, 2):
            _open_all_pages(store, study, annotator)
        places = store.read(
            "SELECT tasks.annotator, tasks.number, item, completion FROM placements "
            "JOIN tasks ON tasks.id = task JOIN texts ON texts.id = text"
        )
        answers: dict[tuple[int, int, str, str], str] = {}
        skipped: set[tuple[int, int]] = set()
        history: list[tuple[str, str, str, str | None]] = []
        for step in range(N_STEPS):
            place = rng.choice(places)
            page = (place["annotator"], place["number"])
            if rng.random() < 0.05:
                _skip(store, *page)
                skipped.add(page)
                continue
            question = rng.choice(study.form.questions)
            label = rng.choice([None, *(label.value for label in question.labels)])
            fields: dict[str, Any] = {
                "item": place["item"],
                "question": question.name,
                "label": label,
                "sent": str(step),
            }
            for _ in range(rng.choice([1, 1, 2])):  # the confirmation was lost: sent again
                _save(store, study.form, page[0], fields)
            skipped.discard(page)
            key = (*page, place["completion"], question.name)
            answers.pop(key, None)
            if label is not None:
                answers[key] = label
            history.append((annotator_name(page[0]), place["completion"], question.name, label))
        with store.snapshot() as connection:
            exported = {
                (rating["annotator"], row["completion"], rating["question"]): rating["label"]
                for row in rating_rows(connection)
                for rating in row["annotations"]
            }
            kept = [row for row in check_rows(connection, study) if row["kind"] == "history"]
            completion_of = {row["id"]: row["completion"] for row in rating_rows(connection)}
    assert exported == {
        (annotator_name(annotator), completion, question): label
        for (annotator, number, completion, question), label in answers.items()
        if (annotator, number) not in skipped
    }
    assert [(row["annotator"], row["question"], row["label"]) for row in kept] == [
        (annotator, question, label) for annotator, _, question, label in history
    ]
    assert all(completion_of.get(row["text"], told[1]) == told[1] for row, told in zip(kept, history, strict=True))


def _open_all_pages(store: Store, study: Study, annotator: int) -> None:
    """Give an annotator every page, and leave all of them unanswered."""
    while store.write_now(lambda connection: assign_next(connection, study, annotator)) is not None:
        store.write_now(lambda connection: connection.execute("UPDATE tasks SET state = 'done'"))
    store.write_now(lambda connection: connection.execute("UPDATE tasks SET state = 'open'"))


def _skip(store: Store, annotator: int, number: int) -> None:
    store.write_now(lambda connection: skip_task(connection, annotator, number, "why not"))


def _save(store: Store, form: Form, annotator: int, fields: dict[str, Any]) -> None:
    store.write_now(lambda connection: save_answer(connection, form, annotator, **fields))
