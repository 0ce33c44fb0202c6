"""The admin page: progress, agreement as ratings arrive, disagreement; means per system once the study is closed."""

import json
import math
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from accord.randomness import keyed_rng
from accord.rating.annotators import Annotator, annotator_name, delete_annotator, invite, read_annotators, revoke
from accord.rating.answers import progress_of
from accord.rating.forms import Question
from accord.rating.quality import flags_of
from accord.rating.refusals import closed, not_found
from accord.rating.store import Store
from accord.rating.study import Study, study_state
from accord.rating.votes import Text, Vote, question_votes, read_texts, read_votes
from accord.statistics.agreement import alpha_interval, label_entropy

N_RESAMPLES = 400
"""Behind the intervals of the page, which are made again as ratings arrive."""
FRESH_SECONDS = 2.0
"""How old the numbers may be that refresh a page that is already open, …"""
FRESH_SHARE = 20.0
"""… and how often the time it takes to make them, so that looking on never holds up those who rate."""
EXCERPT = 120
"""Characters of a prompt."""


class Overview:
    """What the admin page shows, kept for a moment, so that many open pages cost no more than one."""

    def __init__(self, store: Store, study: Study) -> None:
        self._store, self._study = store, study
        self._lock = threading.Lock()
        self._found: dict[str, Any] = {}
        self._fresh_until = -math.inf

    def read(self, *, is_refresh: bool = False) -> dict[str, Any]:
        """The page's context; rows of annotators carry the `token` of their link in place of the link.

        Args:
            is_refresh: it is for a page that is open already, so that numbers of a moment ago will do.
        """
        with self._lock:
            began = time.monotonic()
            if not is_refresh or began > self._fresh_until:
                with self._store.snapshot() as connection:
                    self._found = overview(connection, self._study)
                ended = time.monotonic()
                self._fresh_until = ended + max(FRESH_SECONDS, FRESH_SHARE * (ended - began))
            return self._found


def overview(connection: sqlite3.Connection, study: Study) -> dict[str, Any]:
    """The context of the admin page; undefined numbers are None."""
    votes, texts = read_votes(connection), read_texts(connection)
    state = study_state(connection)
    items = item_rows(connection, study, votes, texts)
    return {
        "study": {
            "title": study.title,
            "state": state,
            "n_items": len(items),
            "n_annotators_per_item": study.settings.annotators_per_item,
        },
        "annotators": annotator_rows(connection, study),
        "items": items,
        "agreement": agreement_rows(study, votes, texts),
        "means": mean_rows(study, votes, texts) if state == "closed" else None,
    }


def admin_urls(start: str) -> dict[str, str]:
    """The addresses of the admin page, by name."""
    names = {
        **{action: action for action in ACTIONS},
        "jsonl": "export.jsonl",
        "csv": "export.csv",
    }
    return {"start": start, **{name: f"{start}/{end}" for name, end in names.items()}}


# -- what it shows ----------------------------------------------------------------------------------------------


def annotator_rows(connection: sqlite3.Connection, study: Study) -> list[dict[str, Any]]:
    """One row an annotator: how far they are, and what speaks for or against their care."""
    flags = flags_of(connection, study.settings.min_seconds)
    rows = []
    for annotator in read_annotators(connection):
        answered, of = progress_of(connection, annotator.id)
        rows.append(
            {
                "name": annotator.name,
                "token": annotator.token,
                "n_answered": answered,
                "of": of,
                "flags": flags[annotator.id],
                "state": _annotator_state(annotator, answered, of),
            }
        )
    return rows


def _annotator_state(annotator: Annotator, answered: int, of: int) -> str:
    if annotator.is_revoked:
        return "revoked"
    if not annotator.has_consented:
        return "invited"
    return "finished" if answered == of > 0 else "active"


def item_rows(
    connection: sqlite3.Connection, study: Study, votes: Sequence[Vote], texts: Sequence[Text]
) -> list[dict[str, Any]]:
    """One row a page: by how many it is rated, and how far they differ (0 to 1), the texts taken together."""
    rows = connection.execute(
        """
        SELECT sheets.id, prompts.name, prompts.prompt,
            (SELECT count(*) FROM tasks WHERE tasks.sheet = sheets.id AND tasks.kind = 'rate' AND tasks.state = 'done')
            AS n_ratings
        FROM sheets JOIN prompts ON prompts.id = sheets.prompt WHERE sheets.kind = 'rate' ORDER BY sheets.id
        """
    ).fetchall()
    disagreement = sheet_disagreement(study, votes, texts)
    n_pages = Counter(row["name"] for row in rows)
    seen: Counter[str] = Counter()
    found = []
    for row in rows:
        seen[row["name"]] += 1
        page = f" ({seen[row['name']]})" if n_pages[row["name"]] > 1 else ""
        found.append(
            {
                "id": row["name"] + page,
                "prompt_excerpt": _excerpt(json.loads(row["prompt"])),
                "n_ratings": row["n_ratings"],
                "wanted": study.settings.annotators_per_item,
                "disagreement": disagreement.get(row["id"]),
            }
        )
    return found


def sheet_disagreement(study: Study, votes: Sequence[Vote], texts: Sequence[Text]) -> dict[int, float]:
    """Per page: the mean entropy of the votes in units of log L, over texts and questions with two votes or more."""
    found: dict[int, list[float]] = {}
    for question in study.form.questions:
        columns = question_votes(votes, texts, question)
        n_labels = len(question.labels)
        flat = columns.item_index * n_labels + columns.label_index
        counts = np.bincount(flat, minlength=len(texts) * n_labels).reshape(len(texts), n_labels)
        entropies = label_entropy(counts) / math.log(n_labels)
        for place in np.flatnonzero(counts.sum(axis=1) >= 2).tolist():
            found.setdefault(texts[place].sheet, []).append(float(entropies[place]))
    return {sheet: float(np.mean(values)) for sheet, values in found.items()}


def agreement_rows(study: Study, votes: Sequence[Vote], texts: Sequence[Text]) -> list[dict[str, Any]]:
    """Krippendorff's alpha of each question with its interval (bootstrap over prompts) and the texts behind it.

    Only questions that two annotators have answered about some text; None where alpha is undefined (all the same).
    """
    clusters = np.array([text.cluster for text in texts])
    rows = []
    for question in study.form.questions:
        columns = question_votes(votes, texts, question)
        n_pairable = int((np.bincount(columns.item_index, minlength=1) >= 2).sum())
        if not n_pairable:
            continue
        found = alpha_interval(
            *columns,
            level="ordinal" if question.order == "ordered" else "nominal",
            clusters=clusters,
            n_resamples=N_RESAMPLES,
            rng=keyed_rng(study.seed, "agreement", question.name),
        )
        numbers = {"alpha": found.value, "low": found.low, "high": found.high}
        finite = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        rows.append({"question": question.name, **finite, "n": n_pairable})
    return rows


def mean_rows(study: Study, votes: Sequence[Vote], texts: Sequence[Text]) -> list[dict[str, Any]]:
    """Per question and system: the mean label, or where labels are no numbers the share of acceptable ones."""
    system_of = {text.id: text.system for text in texts}
    rows = []
    for question in study.form.questions:
        numbers = label_numbers(question)
        for system in dict.fromkeys(system_of.values()):
            values = [
                numbers[vote.label]
                for vote in votes
                if vote.question == question.name and system_of[vote.text] == system
            ]
            mean = float(np.mean(values)) if values and numbers else None
            rows.append({"question": question.name, "system": system, "mean": mean, "n": len(values)})
    return rows


def label_numbers(question: Question) -> dict[str, float]:
    """What each label counts in a mean: its number; 1 and 0 for acceptable or not; nothing where it is neither."""
    values = [label.value for label in question.labels]
    if all(value.isdecimal() for value in values):
        return {value: float(value) for value in values}
    return {value: float(value in question.acceptable) for value in values} if question.acceptable else {}


def _excerpt(prompt: Any) -> str:
    """The end of a prompt, which is what the texts answer."""
    text = prompt if isinstance(prompt, str) else prompt[-1]["content"] if prompt else ""
    text = " ".join(text.split())
    return text if len(text) <= EXCERPT else f"{text[: EXCERPT - 1]}…"


# -- what it does -----------------------------------------------------------------------------------------------


class Action(NamedTuple):
    """A button of the page: what it changes, given the name of an annotator where it is about one."""

    change: Callable[[sqlite3.Connection, str], None]
    is_forgetting: bool = False


def _invite(connection: sqlite3.Connection, _: str) -> None:
    invite(connection)


def _about(change: Callable[[sqlite3.Connection, int], bool]) -> Callable[[sqlite3.Connection, str], None]:
    """An action on one annotator, by name."""

    def act(connection: sqlite3.Connection, name: str) -> None:
        number = name.removeprefix("r")
        is_name = number.isascii() and number.isdecimal() and len(number) < 10 and annotator_name(int(number)) == name
        if not (is_name and change(connection, int(number))):
            raise not_found(f'There is no annotator "{name}".')

    return act


def _to_state(state: str) -> Callable[[sqlite3.Connection, str], None]:
    def act(connection: sqlite3.Connection, _: str) -> None:
        if study_state(connection) == "closed":
            raise closed()
        connection.execute("UPDATE study SET state = ?", (state,))

    return act


ACTIONS: Mapping[str, Action] = {
    "invite": Action(_invite),
    "revoke": Action(_about(revoke)),
    "delete": Action(_about(delete_annotator), is_forgetting=True),
    "pause": Action(_to_state("paused")),
    "resume": Action(_to_state("open")),
    "close": Action(_to_state("closed")),  # for good: the means are shown, so nobody rates blind any more
}
