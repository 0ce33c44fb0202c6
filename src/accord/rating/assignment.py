"""Who rates what next, and in which order a page shows its texts.

1. Of the prompts an annotator has not met, the fewest rated comes next; ties fall by a seeded shuffle of their own.
2. Positions are balanced: a page's order is the row of a Latin square that repeats the fewest positions, first among
   the pages of the same texts (so that over n annotators each text stands once in each of n positions), then among
   the annotator's own.
3. Known-answer pages are spread over the whole of an annotator's pages, repeats over the second half.
"""

import math
import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from accord.randomness import keyed_rng, keyed_seed
from accord.rating.study import Study

HELD_SECONDS = 3600.0
"""A page that was opened and not finished keeps others from its prompt this long, and no longer."""
Order = tuple[int, ...]


def latin_rows(n: int) -> tuple[Order, ...]:
    """Orders of n texts in which each text stands equally often in each position and after each other one.

    The rows of a Williams design (E. J. Williams 1949, Australian Journal of Scientific Research 2): the first is 0, 1,
    n-1, 2, n-2, …, the others add 1, 2, … to it modulo n; for odd n the mirrored rows as well.
    """
    first = [0] + [(place + 1) // 2 if place % 2 else n - place // 2 for place in range(1, n)]
    rows = [tuple((text + shift) % n for text in first) for shift in range(n)]
    return tuple(rows if n % 2 == 0 or n == 1 else [*rows, *(row[::-1] for row in rows)])


def choose_order(
    n_texts: int,
    *,
    of_sheet: Mapping[tuple[int, int], int],
    of_annotator: Mapping[tuple[int, int], int],
    ties: Sequence[float],
) -> Order:
    """The order that repeats the fewest positions; `order[position]` is a text.

    Args:
        of_sheet, of_annotator: (text, position) -> how often that was shown, for these texts and to this annotator.
        ties: one random number for each row of `latin_rows`.
    """

    def repeated(order: Order, shown: Mapping[tuple[int, int], int]) -> int:
        return sum(shown.get((text, position), 0) for position, text in enumerate(order))

    rows = latin_rows(n_texts)
    best = min(
        range(len(rows)), key=lambda row: (repeated(rows[row], of_sheet), repeated(rows[row], of_annotator), ties[row])
    )
    return rows[best]


class Progress(NamedTuple):
    """An annotator's pages so far, by kind, and how many prompts there are still for them."""

    n_rated: int
    n_repeats: int
    n_checks: int
    n_open: int

    @property
    def n_given(self) -> int:
        return self.n_rated + self.n_repeats + self.n_checks

    @property
    def n_rated_in_all(self) -> int:
        return self.n_rated + self.n_open


def is_check_due(progress: Progress, n_checks: int) -> bool:
    """The j-th of C checks (j from 1) is due after j / (C + 1) of the rated pages."""
    after = round((progress.n_checks + 1) * progress.n_rated_in_all / (n_checks + 1))
    return progress.n_checks < n_checks and progress.n_rated >= after


def is_repeat_due(progress: Progress, n_repeats: int) -> bool:
    """The j-th of R repeats is due when half the rated pages and j / R of the other half are over."""
    half = progress.n_rated_in_all / 2
    after = math.ceil(half + (progress.n_repeats + 1) * half / max(n_repeats, 1))
    return progress.n_repeats < min(n_repeats, progress.n_rated) and progress.n_rated >= after


# -- in the study -----------------------------------------------------------------------------------------------


def assign_next(connection: sqlite3.Connection, study: Study, annotator: int, now: float | None = None) -> int | None:
    """Give an annotator whose pages are all finished the next one; the number of the page to go on with.

    None when there is nothing for them: every prompt is met, or rated or held by enough others.
    """
    unfinished = connection.execute(
        "SELECT min(number) FROM tasks WHERE annotator = ? AND state = 'open'", (annotator,)
    ).fetchone()[0]
    if unfinished is not None:
        return int(unfinished)
    now = time.time() if now is None else now
    open_sheets = _open_sheets(connection, study, annotator, now)
    progress = _progress(connection, study, annotator, len({sheet["prompt"] for sheet in open_sheets}))
    checks = _unseen_checks(connection, annotator)
    n_checks = progress.n_checks + len(checks)
    repeat = _repeatable(connection, study, annotator) if is_repeat_due(progress, study.settings.repeats) else None
    if is_check_due(progress, n_checks):
        sheet, kind = checks[0], "check"
    elif repeat is not None:
        sheet, kind = repeat, "repeat"
    elif progress.n_open:
        sheet, kind = _next_sheet(open_sheets, study, annotator), "rate"
    else:
        _expect(connection, annotator, progress.n_given)
        return None
    n_repeats = min(study.settings.repeats, progress.n_rated_in_all) if progress.n_rated_in_all > 1 else 0
    _expect(connection, annotator, progress.n_rated_in_all + n_checks + n_repeats)
    return _add_task(connection, study, annotator, sheet, kind, now)


def _expect(connection: sqlite3.Connection, annotator: int, n_tasks: int) -> None:
    """Note how many pages this annotator can expect in all."""
    connection.execute("UPDATE annotators SET n_expected = ? WHERE id = ?", (n_tasks, annotator))


def _progress(connection: sqlite3.Connection, study: Study, annotator: int, n_prompts: int) -> Progress:
    kinds = dict(
        connection.execute(
            "SELECT kind, count(*) FROM tasks WHERE annotator = ? GROUP BY kind", (annotator,)
        ).fetchall()
    )
    n_rated = kinds.get("rate", 0)
    limit = study.settings.tasks_per_annotator
    n_open = n_prompts if limit is None else min(n_prompts, max(limit - n_rated, 0))
    return Progress(n_rated, kinds.get("repeat", 0), kinds.get("check", 0), n_open)


def _open_sheets(connection: sqlite3.Connection, study: Study, annotator: int, now: float) -> list[sqlite3.Row]:
    """Pages of prompts this annotator has not met, on which fewer than enough others are or were at work."""
    return connection.execute(
        """
        SELECT sheets.id, sheets.prompt, sheets.priority, count(taken.id) AS n_taken
        FROM sheets LEFT JOIN (
            SELECT tasks.id, tasks.sheet FROM tasks JOIN annotators ON annotators.id = tasks.annotator
            WHERE tasks.kind = 'rate' AND (
                tasks.state = 'done'
                OR (tasks.state = 'open' AND tasks.assigned_at > :held_since AND NOT annotators.is_revoked)
            )
        ) AS taken ON taken.sheet = sheets.id
        WHERE sheets.kind = 'rate' AND sheets.prompt NOT IN (
            SELECT met.prompt FROM tasks JOIN sheets AS met ON met.id = tasks.sheet WHERE tasks.annotator = :annotator
        )
        GROUP BY sheets.id HAVING n_taken < :wanted
        """,
        {"annotator": annotator, "held_since": now - HELD_SECONDS, "wanted": study.settings.annotators_per_item},
    ).fetchall()


def _next_sheet(open_sheets: Sequence[sqlite3.Row], study: Study, annotator: int) -> int:
    """The fewest rated, or the first suggested; among several of these the first in the annotator's own shuffle."""

    def rank(sheet: sqlite3.Row) -> tuple[int, ...]:
        is_suggested = study.settings.order == "suggest"
        return (sheet["priority"], sheet["n_taken"]) if is_suggested else (sheet["n_taken"],)

    best = min(map(rank, open_sheets))
    equal = [int(sheet["id"]) for sheet in open_sheets if rank(sheet) == best]
    return min(equal, key=lambda sheet: keyed_seed(study.seed, "order", annotator, sheet))


def _unseen_checks(connection: sqlite3.Connection, annotator: int) -> list[int]:
    """Known-answer pages this annotator has not met, in the order of the file."""
    rows = connection.execute(
        "SELECT id FROM sheets WHERE kind = 'check' "
        "AND id NOT IN (SELECT sheet FROM tasks WHERE annotator = ?) ORDER BY id",
        (annotator,),
    )
    return [row["id"] for row in rows]


def _repeatable(connection: sqlite3.Connection, study: Study, annotator: int) -> int | None:
    """One of the earlier half of the pages that were not repeated yet; never the one they have just left."""
    rows = connection.execute(
        """
        SELECT sheet FROM tasks WHERE annotator = :annotator AND kind = 'rate' AND state = 'done'
        AND sheet NOT IN (SELECT sheet FROM tasks WHERE annotator = :annotator AND kind = 'repeat')
        AND sheet <> (SELECT sheet FROM tasks WHERE annotator = :annotator ORDER BY number DESC LIMIT 1)
        ORDER BY number
        """,
        {"annotator": annotator},
    ).fetchall()
    if not rows:
        return None
    early = [int(row["sheet"]) for row in rows[: math.ceil(len(rows) / 2)]]
    return early[int(keyed_rng(study.seed, "repeat", annotator, early[0]).integers(len(early)))]


def _add_task(connection: sqlite3.Connection, study: Study, annotator: int, sheet: int, kind: str, now: float) -> int:
    number = 1 + int(
        connection.execute("SELECT coalesce(max(number), 0) FROM tasks WHERE annotator = ?", (annotator,)).fetchone()[0]
    )
    texts = connection.execute("SELECT id, system FROM texts WHERE sheet = ? ORDER BY id", (sheet,)).fetchall()
    place = {text["id"]: index for index, text in enumerate(texts)}
    order = choose_order(
        len(texts),
        of_sheet=Counter((place[row["text"]], row["position"]) for row in _shown_of_sheet(connection, sheet)),
        of_annotator=_shown_to(connection, annotator, [text["system"] for text in texts]),
        ties=keyed_rng(study.seed, "positions", annotator, number).random(2 * len(texts)).tolist(),
    )
    task = connection.execute(
        "INSERT INTO tasks (annotator, number, sheet, kind, assigned_at) VALUES (?, ?, ?, ?, ?)",
        (annotator, number, sheet, kind, now),
    ).lastrowid
    connection.executemany(
        "INSERT INTO placements (task, text, position, item) VALUES (?, ?, ?, ?)",
        [(task, texts[text]["id"], position, new_item()) for position, text in enumerate(order)],
    )
    return number


def new_item() -> str:
    """The name by which a browser knows a text on a page: drawn anew each time, so that it says nothing."""
    return "t" + secrets.token_hex(8)


def _shown_of_sheet(connection: sqlite3.Connection, sheet: int) -> list[sqlite3.Row]:
    return connection.execute(
        "SELECT placements.text, placements.position FROM placements JOIN tasks ON tasks.id = placements.task "
        "WHERE tasks.sheet = ? AND tasks.kind <> 'repeat' AND tasks.state <> 'skipped'",
        (sheet,),
    ).fetchall()


def _shown_to(connection: sqlite3.Connection, annotator: int, systems: Sequence[str]) -> dict[tuple[int, int], int]:
    """(place of the system among `systems`, position) -> how often this annotator saw it there."""
    rows = connection.execute(
        """
        SELECT texts.system, placements.position, count(*) AS n FROM tasks
        JOIN placements ON placements.task = tasks.id JOIN texts ON texts.id = placements.text
        WHERE tasks.annotator = ? GROUP BY texts.system, placements.position
        """,
        (annotator,),
    )
    return {
        (place, row["position"]): row["n"]
        for row in rows
        for place, system in enumerate(systems)
        if system == row["system"]
    }
