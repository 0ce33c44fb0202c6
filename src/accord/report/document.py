"""What a report is made from and what it is made of, before any of it is HTML, Markdown or CSV."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from accord.report.notes import Block
from accord.report.tables import Table


class ReportInputs(NamedTuple):
    """The folders a report is made from; what is None is left out of it.

    `candidates`: a folder of `accord score`; `calibration`: run name -> folder of `accord calibrate`; `outputs`:
    folders with outputs.jsonl, or such files; `notes`: a Markdown file shown at the end, its first paragraph also at
    the top of the page (the demo says there that its panel is simulated, and prints the panel's rules); `sweep`:
    folder of a sweep's plan, whose points are the systems of `evaluation`; `votes`: the comparison of its preference
    models; `paper`: folder of a table or figure of the paper, which has a page of its own.
    """

    prepared: Path | None = None
    preference: Path | None = None
    independent: Path | None = None
    candidates: Path | None = None
    calibration: Mapping[str, Path] = {}
    outputs: Sequence[Path] = ()
    evaluation: Path | None = None
    notes: Path | None = None
    sweep: Path | None = None
    votes: Path | None = None
    paper: Path | None = None

    def by_name(self) -> dict[str, Path]:
        """Every input under a name of its own."""
        named = {name: value for name, value in self._asdict().items() if isinstance(value, Path)}
        named |= {f"calibration {name}": folder for name, folder in self.calibration.items()}
        return named | {f"outputs {number}": folder for number, folder in enumerate(self.outputs)}


class Figure(NamedTuple):
    """An inline SVG with what it shows in words."""

    title: str
    svg: str
    caption: str


class Text(NamedTuple):
    """A text that somebody or something wrote: who, with which numbers, and the text itself."""

    label: str
    note: str
    text: str


class Example(NamedTuple):
    """A prompt and what was written for it; `title` says why it is shown."""

    prompt: str
    texts: tuple[Text, ...]
    title: str = ""


class Headline(NamedTuple):
    """The one number to read first: `value` large, `interval` beside it, `sentence` says what it is."""

    value: str
    interval: str
    sentence: str


class Section(NamedTuple):
    """A part of the report, in the order in which the page shows its fields."""

    name: str
    title: str
    lead: str
    headline: Headline | None = None
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    examples_title: str = ""
    examples: tuple[Example, ...] = ()
    blocks: tuple[Block, ...] = ()

    def all_tables(self) -> tuple[Table, ...]:
        """Its tables, those in its notes included."""
        return (*self.tables, *(block.table for block in self.blocks if block.table is not None))
