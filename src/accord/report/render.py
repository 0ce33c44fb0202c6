"""`accord report`: one self-contained page, the same as Markdown, and every table as CSV."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from accord.artifacts import open_stage, require_complete
from accord.json_files import replacing
from accord.report import models, notes, paper, sections, tables
from accord.report.changes import changes_section
from accord.report.diversity import diversity_section
from accord.report.document import Example, ReportInputs, Section
from accord.report.ratings import ratings_section
from accord.report.results import results_section
from accord.report.settings import ReportSettings
from accord.report.sweep import sweep_section
from accord.report.tables import Table, escape_markdown

__all__ = ["ReportInputs", "report_stage"]

VERSION = 2

STAGE_OF_INPUT = {
    "prepared": "prepare",
    "preference": "fit",
    "independent": "fit",
    "candidates": "score",
    "evaluation": "evaluate",
    "sweep": "sweep",
    "votes": "sweep_votes",
    "paper": "paper",
}
"""Field of `ReportInputs` -> the stage whose folder it names."""

SectionBuilder = Callable[[ReportInputs, ReportSettings], Section | None]
SECTIONS: tuple[SectionBuilder, ...] = (
    *paper.SECTIONS,
    sweep_section,
    results_section,
    ratings_section,
    changes_section,
    diversity_section,
    sections.examples_section,
    sections.disagreement_section,
    models.preference_section,
    sections.candidates_section,
    models.calibration_section,
    sections.provenance_section,
    sections.notes_section,
)
"""What a report can show, in the order of the page."""


def report_stage(inputs: ReportInputs, *, output_dir: Path, settings: ReportSettings, seed: int = 0) -> Path:
    """Write report.html, report.md and tables/*.csv; returns the folder.

    Raises:
        ArtifactError: an input folder is missing, unfinished, changed or of another stage, or `output_dir` belongs to
            another report.
    """
    _require_stages(inputs)
    stage = open_stage(
        output_dir, stage="report", version=VERSION, settings=settings, seed=seed, inputs=inputs.by_name()
    )
    if stage.is_complete:
        return stage.folder
    found = [section for build in SECTIONS if (section := build(inputs, settings)) is not None]
    _write(stage.path("report.html"), render_html(found, title=settings.title))
    _write(stage.path("report.md"), render_markdown(found, title=settings.title))
    for name, table in named_tables(found):
        _write(stage.path("tables") / f"{name}.csv", tables.to_csv(table))
    stage.finish()
    return stage.folder


def _require_stages(inputs: ReportInputs) -> None:
    expected = {name: getattr(inputs, name) for name in STAGE_OF_INPUT}
    for name, folder in expected.items():
        if folder is not None:
            require_complete(folder, STAGE_OF_INPUT[name])
    for folder in inputs.calibration.values():
        require_complete(folder, "calibrate")


def render_html(found: Sequence[Section], *, title: str) -> str:
    """The page: one file, no script, nothing loaded from elsewhere."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("accord.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"parts": tables.cell_parts, "note": notes.to_html}
    environment.globals |= {"is_number_column": tables.is_number_column}
    template = environment.get_template("report.html.jinja")
    return template.render(sections=found, title=title, banner=_banner(found)) + "\n"


def render_markdown(found: Sequence[Section], *, title: str) -> str:
    """The same without figures."""
    parts = [f"# {escape_markdown(title)}"]
    if banner := _banner(found):
        parts.append(_note_markdown(banner))
    for section in found:
        parts += [f"## {section.title}", section.lead]
        if section.headline is not None:
            value, interval, sentence = section.headline
            parts.append(f"**{value}** {escape_markdown(interval)} {escape_markdown(sentence)}")
        parts += [tables.to_markdown(table) for table in section.tables]
        parts += [f"### {section.examples_title}"] if section.examples_title else []
        parts += [_example_markdown(example) for example in section.examples]
        parts += [_block_markdown(block) for block in section.blocks]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def named_tables(found: Iterable[Section]) -> list[tuple[str, Table]]:
    """Every table under a name that can be a file's and is no other table's."""
    named: dict[str, Table] = {}
    for table in (table for section in found for table in section.all_tables()):
        name = base = re.sub(r"[^a-z0-9.-]+", "_", table.name.lower()).strip("_.")
        number = 2
        while name in named:
            name, number = f"{base}_{number}", number + 1
        named[name] = table
    return list(named.items())


# -- steps ------------------------------------------------------------------------------------------------------


def _banner(found: Iterable[Section]) -> str:
    """The first paragraph of the notes, which also stands at the top."""
    blocks = (block for section in found if section.name == "notes" for block in section.blocks)
    return next((block.texts[0] for block in blocks if block.kind == "paragraph"), "")


def _example_markdown(example: Example) -> str:
    prompt = "> " + escape_markdown(example.prompt).replace("\n", "\n> ")
    texts = [
        f"- **{escape_markdown(text.label)}**{f' ({escape_markdown(text.note)})' if text.note else ''}: "
        + (escape_markdown(text.text).replace("\n", "\n  ") or "(empty)")
        for text in example.texts
    ]
    title = [f"**{escape_markdown(example.title)}**", ""] if example.title else []
    return "\n".join([*title, prompt, "", *texts])


def _block_markdown(block: notes.Block) -> str:
    match block.kind:
        case "heading":
            return f"### {_note_markdown(block.texts[0])}"
        case "list":
            return "\n".join(f"- {_note_markdown(text)}" for text in block.texts)
        case "table":
            assert block.table is not None
            return tables.to_markdown(block.table)
        case "paragraph":
            return _note_markdown(block.texts[0])


def _note_markdown(text: str) -> str:
    """Notes are Markdown already; only their HTML is shown rather than run."""
    return text.replace("<", "\\<")


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
