"""docs/reliability.md: every damage, what was printed, what survived.

The page is written from the cases of damages.py and disturbances.py and checked against them: tests/damage/ runs each
and looks for its row. `python tests/reliability_page.py docs/reliability.md` runs them all and writes the page anew.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from damages import CASES, Case, Outcome, build_toy_chain, copy_of, inside, run_case
from disturbances import SCENARIOS, Scenario

STALE = "write the page anew: python tests/reliability_page.py docs/reliability.md"


class Row(NamedTuple):
    """A line of the page."""

    section: str
    what: str
    verb: str
    printed: str
    survived: str

    @property
    def text(self) -> str:
        printed = "`` " + self.printed.replace("|", "\\|").replace("\n", " ⏎ ") + " ``" if self.printed else "works"
        return f"| {self.what} | {self.verb} | {printed} | {self.survived} |"


def row_of(case: Case, outcome: Outcome) -> Row:
    return Row(case.section, case.what, case.verb, outcome.printed.removeprefix("accord: "), case.survived)


def row_of_scenario(scenario: Scenario, printed: str) -> Row:
    return Row(scenario.section, scenario.what, scenario.verb, printed.removeprefix("accord: "), scenario.survived)


LEADS = {
    "Files": "A file of rows that is damaged as a whole.",
    "Rows": "One row of a file is wrong. `--on-bad-row skip` sets such rows of a corpus aside and counts them.",
    "Tables": "CSV and JSON documents, and label schemes.",
    "Folders": "A stage's folder as the input of the next verb.",
    "Models": "Model folders and adapters.",
    "Settings": "`--config` files and the file of `accord run`.",
    "Output folders": "Places where nothing can be written, or something else stands.",
    "Interrupts": "A signal in the midst of the work. (Here and below, the seconds in `curve.jsonl` are those that "
    "each run took.)",
    "Full disk": "The system refuses to write a file to its end.",
    "Resuming": "Going on with an unfinished folder, or reusing a finished one.",
}
HEADER = ("| damage | verb | printed | survived |", "| --- | --- | --- | --- |")
INTRODUCTION = """# Reliability

What happens when something is broken. Each row was run through the program on a tiny corpus with tiny models: the
damage, the verb, what it printed (after `accord: `, exit code 2 where none is named), and what survived. Every line
says what was found, where, what was expected and what to do. A test runs every row and compares it with this page; the
page is written by `python tests/reliability_page.py docs/reliability.md`.

Random bytes, random JSON and mutated files of every format are thrown at the door of `accord prepare` as well
(`tests/damage/test_fuzz_door.py`): no traceback, and every row is either kept or counted.
"""


def page_of(rows: Sequence[Row]) -> str:
    """docs/reliability.md."""
    parts = [INTRODUCTION]
    for section, lead in LEADS.items():
        lines = [row.text for row in rows if row.section == section]
        parts.append(
            "\n".join(
                [
                    f"## {section}\n\n{lead}\n",
                    "| damage | verb | printed | survived |",
                    "| --- | --- | --- | --- |",
                    *lines,
                ]
            )
        )
    return "\n\n".join(part.strip() for part in parts) + "\n"


def all_rows(folder: Path) -> Iterator[Row]:
    """Run every case and scenario; takes a minute or two."""
    build_toy_chain(folder / "chain")
    for number, case in enumerate(CASES):
        yield row_of(case, run_case(case, copy_of(folder / "chain", folder / f"case-{number}")))
    for number, scenario in enumerate(SCENARIOS):
        with inside(copy_of(folder / "chain", folder / f"scenario-{number}")):
            yield row_of_scenario(scenario, scenario.play())


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        text = page_of(list(all_rows(Path(scratch))))
    Path(sys.argv[1]).write_text(text, encoding="utf-8")
