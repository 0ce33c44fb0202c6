"""The sections of a report after its results, each built from the folders it shows; None where they are absent."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from accord.artifacts import MANIFEST_FILE, STAGE_FILE
from accord.files import read_text
from accord.json_files import read_json, read_jsonl
from accord.records import CandidateSet, Output
from accord.report import figures, tables
from accord.report.document import Example, Figure, ReportInputs, Section, Text
from accord.report.folders import (
    Row,
    first_outputs,
    prompt_text,
    read_per_item,
    read_results,
    read_rows,
    stage_folders,
)
from accord.report.notes import read_blocks
from accord.report.results import TRUTH, is_acceptance
from accord.report.settings import ReportSettings
from accord.report.tables import Cell, Table, interval_of, number

N_BINS = 20

# -- side by side -----------------------------------------------------------------------------------------------


def examples_section(inputs: ReportInputs, settings: ReportSettings) -> Section | None:
    """The first sample of every system for the same prompts, side by side."""
    if not inputs.outputs:
        return None
    numbers = {(row["id"], row["system"]): row for row in read_per_item(inputs.evaluation)}
    examples = tuple(
        Example(prompt_text(rows[0].prompt), tuple(_output_text(row, numbers) for row in rows))
        for rows in first_outputs(inputs)[: settings.n_examples]
    )
    lead = "The first prompts of the test set, not selected, with the first sample of each system."
    if any(text.note for example in examples for text in example.texts):
        lead += " Numbers: acceptance, mean over all of the system's samples for the prompt."
    return Section("examples", "Side by side", lead, examples=examples)


def _output_text(row: Output, numbers: Mapping[tuple[str, str], Row]) -> Text:
    found = {
        metric: value
        for metric, value in numbers.get((row.id, row.system), {}).items()
        if is_acceptance(metric) and value is not None
    }
    short = {TRUTH: "truth", "acceptance": "estimate"} if TRUTH in found else {}
    shown = [f"{short.get(metric, _plain(metric))} {found[metric]:.2f}" for metric in sorted(found, reverse=True)]
    return Text(row.system, " · ".join(shown), row.completion)


# -- disagreement -----------------------------------------------------------------------------------------------


def disagreement_section(inputs: ReportInputs, settings: ReportSettings) -> Section | None:
    """What the annotators disagree about."""
    if inputs.prepared is None:
        return None
    agreement = read_json(inputs.prepared / "agreement.json")
    items = list(read_rows(inputs.prepared / "disagreement.jsonl"))
    contested = sorted(items, key=lambda row: -(row["entropy"] or 0.0))[: settings.n_contested]
    examples = tuple(
        Example(prompt_text(row["prompt"]), (Text(_votes_text(row["votes"]), "", row["completion"]),))
        for row in contested
    )
    return Section(
        "disagreement",
        "What the annotators disagree about",
        "How far the annotators agree, and the items they are most divided on.",
        figures=(_share_figure(items), _entropy_figure(agreement["entropy_histogram"])),
        tables=(_agreement_table(agreement), _annotator_table(agreement["annotators"])),
        examples_title="The most contested items",
        examples=examples,
    )


def _share_figure(items: Sequence[Row]) -> Figure:
    shares = [row["acceptance"] for row in items if row["acceptance"] is not None]
    counts, edges = np.histogram(shares, bins=10, range=(0.0, 1.0))
    svg = figures.histogram_figure(edges.tolist(), counts.tolist(), xlabel="share of accepting votes", ylabel="items")
    return Figure("How many accept an item", svg, "At 0 and 1 all agree; in the middle the panel is divided.")


def _entropy_figure(histogram: Mapping[str, Any]) -> Figure:
    svg = figures.histogram_figure(
        histogram["edges"], histogram["counts"], xlabel="entropy of an item's votes (nats)", ylabel="items"
    )
    caption = "0: all annotators give the same label; ln 2 = 0.693: two labels share the votes equally."
    return Figure("How contested the items are", svg, caption)


def _agreement_table(agreement: Mapping[str, Any]) -> Table:
    """The figures of agreement.json that speak of the whole panel."""
    alpha = agreement["alpha"]
    rows: list[tuple[str, Cell]] = [
        ("items", agreement["n_items"]),
        ("annotators", agreement["n_annotators"]),
        ("annotations", agreement["n_annotations"]),
        ("votes without a name", agreement.get("n_anonymous_votes")),
        ("items by number of votes", _counts_text(agreement["votes_per_item"], unit="votes")),
        ("items by split", _counts_text(agreement.get("splits", {}))),
        (f"Krippendorff's alpha ({alpha['level']})", interval_of(alpha)),
        ("share of items with disagreement", interval_of(agreement["share_disagreeing"])),
        ("items whose majority is tied", agreement["majority_ties"]),
        ("mean acceptance", number(agreement["acceptance_rate"])),
        ("rows without an annotation", agreement.get("n_without_annotation")),
        ("rows that were refused", agreement.get("n_rejected")),
    ]
    caption = (
        "Alpha is 1 for perfect agreement and 0 for agreement by chance. In brackets: 95 % bootstrap intervals over "
        "groups of items, for new items judged by these annotators."
    )
    kept = tuple(row for row in rows if row[1] not in (None, 0, "") or row[0] in ("items", "annotations"))
    return Table("agreement", "Agreement", ("statistic", "value"), kept, caption)


def _annotator_table(annotators: Sequence[Row]) -> Table:
    """Annotators by how often they agree with the others, lowest first."""
    ordered = sorted(annotators, key=lambda row: (number(row["agreement"]), row["annotator"]))
    rows = tuple((row["annotator"], row["n"], number(row["agreement"])) for row in ordered)
    caption = "Agreement: mean share of the other annotators of the same items who gave the same label; lowest first."
    title = f"Annotators ({len(rows)})"
    return Table("annotators", title, ("annotator", "annotations", "agreement"), rows, caption, folded=True)


def _votes_text(votes: Mapping[str, int]) -> str:
    return " · ".join(f"{count} {label}" for label, count in votes.items() if count)


def _counts_text(counts: Mapping[str, int], *, unit: str = "") -> str:
    shown = [f"{key} {unit}".strip() + f": {count}" for key, count in counts.items()]
    if len(shown) > 6:
        shown = [*shown[:3], "…", *shown[-2:]]
    return ", ".join(shown)


# -- candidates -------------------------------------------------------------------------------------------------


def candidates_section(inputs: ReportInputs, settings: ReportSettings) -> Section | None:
    """How far apart a generator's own candidates are."""
    if inputs.candidates is None:
        return None
    rows = [row for row in read_jsonl(inputs.candidates / "candidates.jsonl", CandidateSet) if row.scores]
    scores = [row.scores or () for row in rows]
    lows, highs = [min(row) for row in scores], [max(row) for row in scores]
    spreads = [high - low for low, high in zip(lows, highs, strict=True)]
    extremes = Figure(
        "Highest and lowest score per prompt",
        figures.score_range_figure(lows, highs),
        "One line per prompt: the best and the worst that the generator had to say (the paper's Fig. 3)."
        + figures.drawn_text(len(rows)),
    )
    widest = sorted(range(len(rows)), key=lambda row: -spreads[row])[: settings.n_candidate_prompts]
    return Section(
        "candidates",
        "The candidates",
        "Several diverse completions of each prompt by the generator as it was, ranked by the preference model.",
        figures=(_score_histogram(scores), _spread_histogram(spreads), extremes),
        tables=(_candidate_table(rows, lows, highs, spreads),),
        examples_title="Where the candidates lie furthest apart",
        examples=tuple(_candidate_example(rows[row]) for row in widest),
    )


def _score_histogram(scores: Sequence[Sequence[float]]) -> Figure:
    values = [score for row in scores for score in row]
    counts, edges = np.histogram(values, bins=N_BINS)
    svg = figures.histogram_figure(edges.tolist(), counts.tolist(), xlabel="score", ylabel="candidates")
    return Figure("Scores", svg, f"All {len(values)} candidates of all prompts.")


def _spread_histogram(spreads: Sequence[float]) -> Figure:
    counts, edges = np.histogram(spreads, bins=N_BINS, range=(0.0, max(spreads, default=0.0) or 1.0))
    svg = figures.histogram_figure(edges.tolist(), counts.tolist(), xlabel="highest − lowest score", ylabel="prompts")
    return Figure("Spread within a prompt", svg, "What a better choice among its candidates could gain on a prompt.")


def _candidate_table(
    rows: Sequence[CandidateSet], lows: Sequence[float], highs: Sequence[float], spreads: Sequence[float]
) -> Table:
    merged = sum(sum(row.copies) - len(row.copies) for row in rows if row.copies)
    cells: tuple[tuple[str, Cell], ...] = (
        ("prompts", len(rows)),
        ("distinct candidates", sum(len(row.completions) for row in rows)),
        ("identical candidates merged", merged),
        ("mean lowest score of a prompt", _mean(lows)),
        ("mean highest score of a prompt", _mean(highs)),
        ("mean difference of the two", _mean(spreads)),
    )
    return Table("candidates", "Candidates", ("statistic", "value"), cells)


def _candidate_example(row: CandidateSet) -> Example:
    scores = row.scores or ()
    order = sorted(range(len(row.completions)), key=lambda k: -scores[k])
    texts = (
        Text(
            f"score {tables.format_cell(scores[k])}",
            f"{tables.format_cell(row.sum_logps[k] / max(1, row.n_tokens[k]))} nats per token",
            row.completions[k],
        )
        for k in order
    )
    return Example(prompt_text(row.prompt), tuple(texts))


# -- provenance and notes ---------------------------------------------------------------------------------------


def provenance_section(inputs: ReportInputs, settings: ReportSettings) -> Section | None:  # noqa: ARG001 -- one signature
    """What is needed to make these numbers again."""
    folders = stage_folders(inputs)
    found = [] if inputs.evaluation is None else [tables.signature_table(read_results(inputs.evaluation))]
    if folders:
        versions = read_json(next(iter(folders.values())) / MANIFEST_FILE)["versions"]
        found.append(Table("versions", "Versions", ("package", "version"), tuple(versions.items()), folded=True))
    for name, folder in folders.items():
        found.append(_settings_table(name, read_json(folder / STAGE_FILE)))
    lead = "What is needed to make these numbers again."
    return Section("provenance", "Settings and versions", lead, tables=tuple(found)) if found else None


def _settings_table(name: str, stage: Mapping[str, Any]) -> Table:
    rows = [("fingerprint", stage["fingerprint"]), ("seed", str(stage["seed"]))]
    rows += [(key, _setting_text(value)) for key, value in stage["settings"].items()]
    role = stage["settings"].get("system") or name.removeprefix("calibration ")
    return Table(
        f"settings_{name}", f"Settings of {stage['stage']} ({role})", ("setting", "value"), tuple(rows), folded=True
    )


def notes_section(inputs: ReportInputs, settings: ReportSettings) -> Section | None:  # noqa: ARG001 -- one signature
    """The notes, as they were written."""
    if inputs.notes is None:
        return None
    return Section("notes", "Notes", "", blocks=read_blocks(read_text(inputs.notes, expected="a Markdown file")))


def _setting_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
