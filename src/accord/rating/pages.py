"""What the templates of an annotator's pages are given."""

import json
import sqlite3
from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any

from accord.rating.annotators import Annotator
from accord.rating.answers import progress_of
from accord.rating.forms import Form
from accord.rating.refusals import not_found

MAX_TRAIT = 100
"""Characters of what somebody says about themselves."""


def annotator_urls(annotator: Annotator) -> dict[str, str]:
    start = f"/a/{annotator.token}"
    return {"start": start, "welcome": f"{start}/welcome", "answers": f"{start}/answers", "done": f"{start}/done"}


def task_url(annotator: Annotator, number: int) -> str:
    return f"/a/{annotator.token}/tasks/{number}"


def task_context(connection: sqlite3.Connection, form: Form, annotator: Annotator, number: int) -> dict[str, Any]:
    """The page `number` of an annotator.

    Raises:
        RefusalError: there is no such page yet.
    """
    task = connection.execute(
        "SELECT tasks.id, tasks.state, tasks.skip_reason, prompts.prompt FROM tasks "
        "JOIN sheets ON sheets.id = tasks.sheet JOIN prompts ON prompts.id = sheets.prompt "
        "WHERE tasks.annotator = ? AND tasks.number = ?",
        (annotator.id, number),
    ).fetchone()
    if task is None:
        raise not_found("There is no such page among yours.")
    answered, of = progress_of(connection, annotator.id)
    urls = annotator_urls(annotator)
    return {
        "form": form,
        "task": {
            "number": number,
            "n_tasks": of,
            "prompt": _messages(json.loads(task["prompt"])),
            "texts": _texts(connection, form, task["id"]),
            "is_skipped": task["state"] == "skipped",
            "skip_reason": task["skip_reason"],
        },
        "progress": {"answered": answered, "of": of},
        "urls": {
            **urls,
            "skip": f"{task_url(annotator, number)}/skip",
            "previous": task_url(annotator, number - 1) if number > 1 else None,
            "next": task_url(annotator, number + 1),
        },
    }


def read_traits(form: Form, given: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """What somebody says about themselves, and what is wrong with it, both by field; blanks are left out."""
    traits = {trait.name: given.get(trait.name, "").strip() for trait in form.traits}
    errors = {}
    for trait in form.traits:
        said = traits[trait.name]
        if trait.choices and said and said not in trait.choices:
            errors[trait.name] = f"{trait.text} Choose one of the answers given, or leave it out."
        elif len(said) > MAX_TRAIT:
            errors[trait.name] = f"{trait.text} Use at most {MAX_TRAIT} characters."
    return {name: said for name, said in traits.items() if said}, errors


def _messages(prompt: Any) -> list[dict[str, str]]:
    """A plain prompt is a chat of one message."""
    return [{"role": "prompt", "content": prompt}] if isinstance(prompt, str) else list(prompt)


def _texts(connection: sqlite3.Connection, form: Form, task: int) -> list[dict[str, Any]]:
    placements = connection.execute(
        "SELECT placements.id, placements.item, texts.completion FROM placements "
        "JOIN texts ON texts.id = placements.text WHERE placements.task = ? ORDER BY placements.position",
        (task,),
    ).fetchall()
    saved = {
        (row["placement"], row["question"]): row["label"]
        for row in connection.execute(
            "SELECT answers.* FROM answers JOIN placements ON placements.id = answers.placement "
            "WHERE placements.task = ?",
            (task,),
        )
    }
    return [
        {
            "item": row["item"],
            "name": "The text" if len(placements) == 1 else f"Text {_letters(position)}",
            "completion": row["completion"],
            "questions": [
                {
                    "name": question.name,
                    "id": f"{row['item']}-{question.name}",
                    "saved_label": saved.get((row["id"], question.name)),
                }
                for question in form.questions
            ],
        }
        for position, row in enumerate(placements)
    ]


def _letters(position: int) -> str:
    """A, B, …, Z, AA, AB, …"""
    rest, last = divmod(position, len(ascii_uppercase))
    return (_letters(rest - 1) if rest else "") + ascii_uppercase[last]
