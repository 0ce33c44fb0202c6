"""Who rates what next, and in which order (src/accord/rating/assignment.py)."""

import itertools
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from accord.json_files import write_jsonl
from accord.rating.annotators import delete_annotator, revoke
from accord.rating.assignment import (
    HELD_SECONDS,
    Progress,
    assign_next,
    choose_order,
    is_check_due,
    is_repeat_due,
    latin_rows,
)
from accord.rating.store import Store
from accord.rating.study import load_study
from rating_clients import make_study


def test_rows_of_three_and_four() -> None:
    """By hand: the zigzag 0, 1, n-1, 2, …; for odd n the mirrored rows as well."""
    assert latin_rows(1) == ((0,),)
    assert latin_rows(2) == ((0, 1), (1, 0))
    assert latin_rows(3) == ((0, 1, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0), (0, 2, 1), (1, 0, 2))
    assert latin_rows(4) == ((0, 1, 3, 2), (1, 2, 0, 3), (2, 3, 1, 0), (3, 0, 2, 1))


@pytest.mark.parametrize("n", range(2, 9))
def test_rows_balance_positions_and_neighbours(n: int) -> None:
    rows = latin_rows(n)
    positions = Counter(place for row in rows for place in enumerate(row))
    neighbours = Counter(pair for row in rows for pair in itertools.pairwise(row))
    assert set(positions.values()) == {len(rows) // n}
    assert len(positions) == n * n
    assert set(neighbours.values()) == {len(rows) // n}
    assert len(neighbours) == n * (n - 1)


def test_order_repeats_no_position_where_it_need_not() -> None:
    """Shown once as 0 1 2: of the five other rows 1 2 0 and 2 0 1 repeat nothing; the annotator has seen 1 first."""
    once = {(0, 0): 1, (1, 1): 1, (2, 2): 1}
    assert choose_order(3, of_sheet=once, of_annotator={(1, 0): 1}, ties=[0.0] * 6) == (2, 0, 1)
    assert choose_order(3, of_sheet=once, of_annotator={}, ties=[5, 4, 3, 2, 1, 0]) == (2, 0, 1)
    assert choose_order(3, of_sheet={}, of_annotator={}, ties=[5, 4, 3, 2, 1, 0]) == (1, 0, 2)


def test_checks_are_spread_and_repeats_come_in_the_second_half() -> None:
    """12 rated pages, 2 checks: after 4 and 8. 3 repeats: after 6 + 2, 6 + 4, 6 + 6."""

    def due(n_rated: int, given: int) -> tuple[bool, bool]:
        progress = Progress(n_rated, n_repeats=given, n_checks=given, n_open=12 - n_rated)
        return is_check_due(progress, 2), is_repeat_due(progress, 3)

    assert [due(n, 0) for n in (3, 4, 7, 8)] == [(False, False), (True, False), (True, False), (True, True)]
    assert [due(n, 1) for n in (7, 8, 9, 10)] == [(False, False), (True, False), (True, False), (True, True)]
    assert [due(n, 2) for n in (11, 12)] == [(False, False), (False, True)]
    assert due(12, 3) == (False, False)


# -- in a study --------------------------------------------------------------------------------------------------------


class Panel:
    """Annotators who finish every page at once."""

    def __init__(self, store: Store) -> None:
        self.store, self.study, self.now = store, load_study(store), 1000.0

    def give(self, annotator: int) -> str | None:
        """The prompt of the next page, left open."""
        number = self.store.write_now(lambda connection: assign_next(connection, self.study, annotator, self.now))
        return None if number is None else self.pages(annotator)[number - 1]

    def finish(self, annotator: int, state: str = "done") -> None:
        self.change("UPDATE tasks SET state = ? WHERE annotator = ? AND state = 'open'", state, annotator)

    def rate(self, annotator: int) -> str | None:
        prompt = self.give(annotator)
        self.finish(annotator)
        return prompt

    def change(self, statement: str, *parameters: object) -> None:
        self.store.write_now(lambda connection: connection.execute(statement, parameters))

    def pages(self, annotator: int, kind: str = "%") -> list[str]:
        return [
            row["name"]
            for row in self.store.read(
                "SELECT name FROM tasks JOIN sheets ON sheets.id = tasks.sheet "
                "JOIN prompts ON prompts.id = sheets.prompt WHERE annotator = ? AND tasks.kind LIKE ? ORDER BY number",
                (annotator, kind),
            )
        ]

    def n_expected(self, annotator: int) -> int:
        return int(self.store.read("SELECT n_expected FROM annotators WHERE id = ?", (annotator,))[0][0])

    def shown(self) -> list[sqlite3.Row]:
        return self.store.read(
            "SELECT annotator, tasks.sheet, system, position FROM placements JOIN tasks ON tasks.id = task "
            "JOIN texts ON texts.id = text WHERE tasks.kind = 'rate'"
        )


PanelMaker = Callable[..., Panel]


@pytest.fixture
def panel_of() -> Iterator[PanelMaker]:
    with ExitStack() as stack:

        def make(folder: Path, **settings: Any) -> Panel:
            store = make_study(folder, **settings)
            stack.callback(store.close)
            return Panel(store)

        yield make


def test_fewest_rated_first_and_each_prompt_once(panel_of: PanelMaker, tmp_path: Path) -> None:
    """r1 rates two of four prompts; r2 gets the other two before those; r1 never meets a prompt again."""
    panel = panel_of(tmp_path)
    first = [panel.rate(1), panel.rate(1)]
    second = [panel.rate(2) for _ in range(4)]
    assert set(second[:2]) == {"p0", "p1", "p2", "p3"} - set(first)
    assert len(set(second)) == 4
    rest = [panel.rate(1), panel.rate(1), panel.rate(1)]
    assert {*first, *rest} == {"p0", "p1", "p2", "p3", None}


def test_enough_annotators_and_no_more(panel_of: PanelMaker, tmp_path: Path) -> None:
    """Five people, two wanted for each of six prompts: twelve pages in all, each prompt rated twice."""
    panel = panel_of(tmp_path, n_prompts=6, annotators=5)
    while any(panel.rate(annotator) is not None for annotator in range(1, 6)):
        pass
    counts = Counter(name for annotator in range(1, 6) for name in panel.pages(annotator))
    assert counts == dict.fromkeys(("p0", "p1", "p2", "p3", "p4", "p5"), 2)


def test_positions_are_balanced(panel_of: PanelMaker, tmp_path: Path) -> None:
    """Three annotators, six prompts, three systems: on each page every system stands once in each position, and so in
    all six times; each annotator sees every system in every position, none nearly always in the same."""
    panel = panel_of(tmp_path, n_prompts=6, annotators=3, annotators_per_item=3)
    for _ in range(6):
        for annotator in (1, 2, 3):
            panel.rate(annotator)
    rows = panel.shown()
    assert set(Counter((row["sheet"], row["system"], row["position"]) for row in rows).values()) == {1}
    of_annotator = Counter((row["annotator"], row["system"], row["position"]) for row in rows)
    assert len(of_annotator) == 27
    assert max(of_annotator.values()) <= 4


def test_order_of_prompts_differs_between_annotators_and_not_between_runs(panel_of: PanelMaker, tmp_path: Path) -> None:
    def orders(folder: Path) -> list[list[str]]:
        folder.mkdir()
        panel = panel_of(folder, n_prompts=8, annotators_per_item=3, annotators=3)
        for annotator in (1, 2, 3):
            while panel.rate(annotator):
                pass
        return [panel.pages(annotator) for annotator in (1, 2, 3)]

    found = orders(tmp_path / "one")
    assert found == orders(tmp_path / "two")
    assert len({tuple(order) for order in found}) == 3


def test_a_page_left_open_is_kept_for_its_annotator_an_hour(panel_of: PanelMaker, tmp_path: Path) -> None:
    """One wanted: what r1 has open, r2 gets only when r1 has not come back; r1 goes on with it all the same."""
    panel = panel_of(tmp_path, n_prompts=1, annotators_per_item=1)
    assert (panel.give(1), panel.give(2)) == ("p0", None)
    panel.now += HELD_SECONDS + 1
    assert (panel.give(2), panel.give(1)) == ("p0", "p0")


@pytest.mark.parametrize("how", ["revoked", "skipped", "deleted"])
def test_what_somebody_will_not_rate_is_given_to_others(panel_of: PanelMaker, tmp_path: Path, how: str) -> None:
    panel = panel_of(tmp_path, n_prompts=1, annotators_per_item=1)
    assert (panel.give(1), panel.give(2)) == ("p0", None)
    if how == "revoked":
        panel.store.write_now(lambda connection: revoke(connection, 1))
    elif how == "deleted":
        panel.store.write_now(lambda connection: delete_annotator(connection, 1))
    else:
        panel.finish(1, "skipped")
    assert panel.give(2) == "p0"


def test_no_more_pages_than_an_annotator_is_to_have(panel_of: PanelMaker, tmp_path: Path) -> None:
    panel = panel_of(tmp_path, tasks_per_annotator=3, n_prompts=5)
    assert [panel.rate(1) is None for _ in range(4)] == [False, False, False, True]
    assert panel.n_expected(1) == 3


def test_repeats_come_late_and_never_right_after_themselves(panel_of: PanelMaker, tmp_path: Path) -> None:
    panel = panel_of(tmp_path, n_prompts=4, repeats=2)
    panel.give(1)
    assert panel.n_expected(1) == 6
    panel.finish(1)
    while panel.rate(1):
        pass
    pages, repeats = panel.pages(1), panel.pages(1, "repeat")
    assert len(pages) == 6
    assert len(set(repeats)) == 2
    assert set(panel.pages(1, "rate")) == {"p0", "p1", "p2", "p3"}
    assert len(set(pages[:3])) == 3
    assert all(one != other for one, other in itertools.pairwise(pages))


def test_a_single_page_is_not_repeated(panel_of: PanelMaker, tmp_path: Path) -> None:
    panel = panel_of(tmp_path, n_prompts=1, repeats=2)
    assert (panel.rate(1), panel.n_expected(1), panel.rate(1)) == ("p0", 1, None)


def test_known_answers_are_given_once_to_everybody(panel_of: PanelMaker, tmp_path: Path) -> None:
    path = tmp_path / "checks.jsonl"
    answer = {"expected": {"fluency": ["4", "5"]}, "completion": "Be kind."}
    write_jsonl(path, [{"prompt": "one", **answer}, {"prompt": "two", **answer}])
    panel = panel_of(tmp_path, checks=path)
    for annotator in (1, 2):
        while panel.rate(annotator):
            pass
        assert len(panel.pages(annotator, "check")) == len(set(panel.pages(annotator, "check"))) == 2
        assert len(panel.pages(annotator, "rate")) == 4


def test_single_layout_shows_one_system_of_a_prompt_to_an_annotator(panel_of: PanelMaker, tmp_path: Path) -> None:
    """Two systems, one wanted: r1 judges one text of each prompt, r2 the other."""
    panel = panel_of(tmp_path, form="acceptable", systems=("base", "human"), annotators_per_item=1)
    for annotator in (1, 2, 1, 2, 1, 2, 1, 2):
        panel.rate(annotator)
    rows = panel.shown()
    assert len(rows) == len({row["sheet"] for row in rows}) == 8
    assert Counter(row["annotator"] for row in rows) == {1: 4, 2: 4}
    assert len(set(panel.pages(1))) == 4
