"""The page of a table or figure of the paper: our numbers beside the published ones, and what the paper lacks."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from accord.evaluation.measure import SURE
from accord.evaluation.metrics.all import LOWER_IS_BETTER, NEUTRAL
from accord.evaluation.tables import describe_tests, few_seeds_text, null_as_nan, resampled_unit
from accord.json_files import read_json
from accord.records import Measurement
from accord.report import figures, tables
from accord.report.document import Example, Figure, ReportInputs, Section, Text
from accord.report.folders import Row, read_rows
from accord.report.layouts import (
    ALTERNATIVES,
    LAYOUTS,
    OWN_COLUMNS,
    Column,
    Layout,
    Published,
    published_rows,
)
from accord.report.notes import Block
from accord.report.settings import ReportSettings
from accord.report.sweep import UNDEFINED, numeric_axis
from accord.report.tables import Cell, Difference, Marked, PValue, Table
from accord.statistics.resampling import Interval

BETTER, WORSE = "†", "‡"
N_CANDIDATES = "generate.num_candidates"
BASE_ROW = "Base"
THIS_RUN = "this run"
DIFFERENCES = ("acceptance", "distinct_2", "self_bleu", "rouge_l_caption", "rouge_l", "perplexity")
"""Metrics whose differences from Base are drawn: what is sought, and what it may cost."""
CURVES = ("loss", "validation_loss", "acceptance", "reward", "pairwise_accuracy")
NOT_COMPARABLE = (
    "Rows marked with a table of the paper are the numbers printed in arXiv 2310.05782, of other data, models and "
    "tokenisation: they show the paper's layout and its own differences, and are not comparable with this run's."
)


class Paper(NamedTuple):
    """What the folder of a paper file holds. `tests`: (generator, metric, pair) -> row of comparisons.json."""

    folder: Path
    layout: Layout
    name: str
    scale: str
    generators: list[Row]
    failed: list[str]
    levels: dict[tuple[str, str, str], Measurement]
    tests: dict[tuple[str, str, str], Row]


def read_paper_folder(folder: Path) -> Paper:
    """The folder's numbers by generator, metric and system; of a rating table those of ratings alone."""
    described = read_json(folder / "paper.json")
    layout = LAYOUTS[described["layout"]]
    levels, tests = {}, {}
    for row in _shown(read_json(folder / "results.json"), layout):
        found = msgspec.convert({key: value for key, value in row.items() if key != "generator"}, Measurement)
        levels[row["generator"], found.name, found.system] = found
    for row in _shown(read_json(folder / "comparisons.json"), layout):
        tests[row["generator"], row["name"], row["system"]] = row
    return Paper(
        folder,
        layout,
        described["layout"],
        described["scale"],
        described["generators"],
        described["failed"],
        levels,
        tests,
    )


def _shown(rows: Any, layout: Layout) -> list[Row]:
    metrics = {column.metric for column in layout.columns}
    return [row for row in null_as_nan(rows) if not layout.form or row["name"] in metrics]


def _of_paper(build: Callable[[Paper], Section | None]) -> Callable[[ReportInputs, ReportSettings], Section | None]:
    """A section of a paper's page as one of any report."""

    def section(inputs: ReportInputs, settings: ReportSettings) -> Section | None:  # noqa: ARG001 -- one signature
        return None if inputs.paper is None else build(read_paper_folder(inputs.paper))

    return section


# -- the table --------------------------------------------------------------------------------------------------


def table_section(paper: Paper) -> Section:
    """The table in the paper's layout with its footnotes, all tests, and every seed by itself."""
    measured = {name for _, name, _ in paper.levels}
    columns = [_filled(column, measured) for column in paper.layout.columns]
    if not paper.layout.published:
        columns = [column for column in columns if column.metric in measured]
    own = [column for column in OWN_COLUMNS if column.metric in measured - {found.metric for found in columns}]
    rows = tuple(row for generator in paper.generators for row in _generator_rows(paper, generator, [*columns, *own]))
    seeds = max((len(row["seeds"]) for generator in paper.generators for row in generator["rows"]), default=0)
    title = paper.layout.title + (f", scale {paper.scale}" if paper.scale else "")
    table = Table(
        paper.name, title, ("model", "row", "numbers of", *(c.name for c in (*columns, *own))), rows, _caption(paper)
    )
    lead = (
        f"{len(paper.generators)} generator{'s' if len(paper.generators) > 1 else ''}, up to {seeds} "
        f"seed{'s' if seeds > 1 else ''}: the preference model, calibration and decoding vary with the seed; the "
        "supervised generator, its candidates, the prompts and the independent judge are one for all."
    )
    return Section(
        "paper",
        paper.layout.title,
        lead,
        tables=(table, *_test_tables(paper), *_seed_tables(paper, [*columns, *own])),
        blocks=_footnotes(paper, columns),
    )


def _filled(column: Column, measured: set[str]) -> Column:
    """The column with the metric that fills it: its own, or another that may stand in for it."""
    names = (column.metric, *ALTERNATIVES.get(column.metric, ()))
    return column._replace(metric=next((name for name in names if name in measured), column.metric))


def _generator_rows(paper: Paper, generator: Row, columns: Sequence[Column]) -> list[tuple[Cell, ...]]:
    """Every row of ours with the published row of the same name below it, then the published rows that we have not."""
    published = [row for row in published_rows(paper.name) if row.generator == generator["published"]]
    shown: list[tuple[Cell, ...]] = []
    used: list[Published] = []
    for row in generator["rows"]:
        if not row["written"]:
            continue
        name = _row_name(row["decoding"], row["row"])
        cells = [_own_cell(paper, generator["name"], row, column) for column in columns]
        if any(cell is not None for cell in cells):
            shown.append((generator["name"], name, THIS_RUN, *cells))
        for printed in published:
            if (printed.row, printed.mode) == (row["row"], row["decoding"]):
                used.append(printed)
                shown.append(_published_row(paper, printed, columns))
    return shown + [_published_row(paper, printed, columns) for printed in published if printed not in used]


def _own_cell(paper: Paper, generator: str, row: Row, column: Column) -> Cell:
    found = paper.levels.get((generator, column.metric, row["system"]))
    if found is None:
        return None
    value, low, high = (column.factor * number for number in (found.value, found.low, found.high))
    base = row["system"].removesuffix(row["row"]) + BASE_ROW
    test = paper.tests.get((generator, column.metric, f"{row['system']} - {base}"))
    return Marked(value, low, high, _mark(column.metric, test), _digits(paper))


def _mark(metric: str, test: Row | None) -> str:
    """† where better than Base, ‡ where worse, beyond chance; nothing for metrics without a better side."""
    if test is None or metric in NEUTRAL or not test["p_holm"] < SURE:
        return ""
    is_better = (test["difference"] > 0) != (metric in LOWER_IS_BETTER)
    return BETTER if is_better else WORSE


def _published_row(paper: Paper, printed: Published, columns: Sequence[Column]) -> tuple[Cell, ...]:
    cells: list[Cell] = []
    for column in columns:
        value = printed.values.get(column.name)
        mark = BETTER if column.name in printed.marked else ""
        cells.append(None if value is None else Marked(value, mark=mark, digits=_digits(paper)))
    where = paper.layout.title.partition(":")[0]
    return (printed.generator, _row_name(printed.mode, printed.row), f"paper, {where}", *cells)


def _digits(paper: Paper) -> int:
    return 3 if paper.layout.form else 2


def _row_name(decoding: str, row: str) -> str:
    return f"{decoding}, {row}" if decoding else row


def _caption(paper: Paper) -> str:
    levels, tests = list(paper.levels.values()), list(paper.tests.values())
    if not levels:
        return "No numbers of this run yet: the table is filled by ratings."
    signatures = [level.signature for level in levels]
    text = f"In brackets: {tables.interval_caption(levels)}"
    if not tests:
        return text
    made = describe_tests((row["test"] for row in tests), unit=resampled_unit(signatures))
    return (
        f"{text} {BETTER} better, {WORSE} worse than Base with p < {SURE} by the {made}, after Holm's correction over "
        f"the {sum(not math.isnan(row['p']) for row in tests)} tests of all generators.{few_seeds_text(signatures)} "
        f"The published {BETTER} means p < 0.01, by no named test."
    )


def _footnotes(paper: Paper, columns: Sequence[Column]) -> tuple[Block, ...]:
    wanted = {column.name: column.metric for column in paper.layout.columns}
    measured = {name for _, name, _ in paper.levels}
    notes = [NOT_COMPARABLE, *paper.layout.footnotes] if paper.layout.published else [*paper.layout.footnotes]
    missing = [f"{column.name} ({column.metric})" for column in columns if column.metric not in measured]
    if missing and measured:
        notes.append(f"Not measured in this run: {', '.join(missing)}.")
    notes += [
        f"{column.name} is {column.metric} here; the paper's is {wanted[column.name]}."
        for column in columns
        if column.metric in measured and column.metric != wanted[column.name]
    ]
    notes += [f"{name}: {text}" for name, text in _signatures(paper, columns)]
    if paper.failed:
        notes.append(f"Runs that failed and are missing: {'; '.join(paper.failed)}.")
    return (Block("heading", ("Footnotes",)), Block("list", tuple(notes)))


def _signatures(paper: Paper, columns: Sequence[Column]) -> list[tuple[str, str]]:
    """What each column is, without how its interval was made."""
    found = {metric: level.signature for (_, metric, _), level in paper.levels.items()}
    return [
        (
            column.name,
            f"`{found[column.metric].partition('|ci:')[0]}`" + (f" × {column.factor:g}" if column.factor != 1 else ""),
        )
        for column in columns
        if column.metric in found
    ]


def _test_tables(paper: Paper) -> list[Table]:
    rows = tuple(
        (
            generator,
            test["system"].replace(" - ", " − "),
            metric.replace("_", " "),
            Difference(test["difference"], test["low"], test["high"]),
            PValue(test["p_holm"], is_marked=test["p_holm"] < SURE),
            PValue(test["p"]),
        )
        for (generator, metric, _), test in paper.tests.items()
    )
    columns = ("model", "pair", "metric", "difference", "p (Holm)", "p")
    return [Table(f"{paper.name}_tests", f"All tests ({len(rows)})", columns, rows, folded=True)] if rows else []


def _seed_tables(paper: Paper, columns: Sequence[Column]) -> list[Table]:
    """Objective × generator × seed: every row under every seed by itself."""
    path = paper.folder / "seeds.jsonl"
    found = list(read_rows(path)) if path.is_file() else []
    rows = tuple(
        (row["generator"], row["system"], str(row["seed"]), *(_seed_cell(row.get(c.metric), c) for c in columns))
        for row in found
    )
    if not rows:
        return []
    heads = ("model", "row", "seed", *(column.name for column in columns))
    return [Table(f"{paper.name}_seeds", f"Every seed by itself ({len(rows)})", heads, rows, folded=True)]


def _seed_cell(value: float | None, column: Column) -> Cell:
    return None if value is None else Marked(column.factor * value)


# -- what calibration gains and costs ---------------------------------------------------------------------------


def cost_section(paper: Paper) -> Section | None:
    """Every row's difference from Base: acceptance under the independent judge, variety, fit to the references."""
    shown = []
    for generator in paper.generators:
        for metric in DIFFERENCES:
            found = {
                pair.partition(" - ")[0]: Interval(test["difference"], test["low"], test["high"])
                for (name, measured, pair), test in paper.tests.items()
                if (name, measured) == (generator["name"], metric) and pair.endswith(BASE_ROW)
            }
            if found and any(not math.isnan(interval.value) for interval in found.values()):
                plain = metric.replace("_", " ")
                svg = figures.interval_figure(
                    list(found), {plain: list(found.values())}, xlabel=f"difference in {plain}", with_zero=True
                )
                shown.append(Figure(f"{generator['name']}: {plain}", svg, _better_side(metric)))
    if not shown:
        return None
    lead = (
        "Differences from Base. Acceptance is under the independent judge, which saw other annotators and texts than "
        "the model that ranked the candidates; variety and fit to the references are what a gain may cost."
    )
    return Section("gains", "What it gains and what it costs", lead, figures=tuple(shown))


def _better_side(metric: str) -> str:
    return f"{'Left' if metric in LOWER_IS_BETTER else 'Right'} of 0 is better."


# -- candidates -------------------------------------------------------------------------------------------------


def spread_section(paper: Paper) -> Section | None:
    """Fig. 3, and whether likely candidates are those that score well, the premise of calibration."""
    premise = read_json(paper.folder / "premise.json")
    if not premise:
        return None
    by_row: dict[tuple[str, str], list[Row]] = {}
    for row in read_rows(paper.folder / "candidates.jsonl"):
        by_row.setdefault((row["generator"], row["row"]), []).append(row)
    first = dict(reversed(list(by_row)))
    chosen = by_row if paper.name == "figure3" else [(name, row) for name, row in by_row if first[name] == row]
    shown = [_spread_figure(key, by_row[key]) for key in chosen]
    lead = (
        "Candidates of the generator before calibration, scored by the row's own preference model (first seed). Rank "
        "correlation: Spearman's, of a candidate's log-probability per token with its score, among the candidates of a "
        "prompt; 0 means that likely texts are no better liked, which is what calibration is to change."
    )
    return Section("spread", "The candidates", lead, figures=tuple(shown), tables=(_premise_table(premise, by_row),))


def _spread_figure(key: tuple[str, str], rows: Sequence[Row]) -> Figure:
    svg = figures.score_range_figure([row["lowest"] for row in rows], [row["highest"] for row in rows])
    caption = (
        f"{len(rows)} prompts, {_counts(rows)} candidates each: the best and the worst that the generator had to say."
    )
    return Figure(f"{key[0]}, scores of {key[1]}", svg, caption + figures.drawn_text(len(rows)))


def _counts(rows: Sequence[Row]) -> str:
    low, high = min(row["n"] for row in rows), max(row["n"] for row in rows)
    return str(low) if low == high else f"{low} to {high}"


def _premise_table(premise: Sequence[Row], by_row: Mapping[tuple[str, str], Sequence[Row]]) -> Table:
    found = {(row["generator"], row["system"], row["name"]): row for row in premise}
    names = ("lowest", "highest", "spread", "rank_correlation")
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (*key, len(members), *(tables.interval_of(found[(*key, name)]) for name in names))
        for key, members in by_row.items()
    )
    columns = ("model", "scores of", "prompts", "lowest score", "highest score", "difference", "rank correlation")
    levels = [Measurement(row["name"], row["system"], 0.0, 0.0, 0.0, row["n"], row["signature"]) for row in premise]
    caption = f"Means over prompts. In brackets: {tables.interval_caption(levels)}"
    return Table("candidates", "Scores within a prompt, and the generator's own likelihood", columns, rows, caption)


# -- the number of candidates -----------------------------------------------------------------------------------


def axis_section(paper: Paper) -> Section | None:
    """Fig. 4: every metric against the one number that varies over the rows, a line for each other setting."""
    shown = []
    for generator in paper.generators:
        points = [
            {"name": row["system"], "values": row["values"]} for row in generator["rows"] if row["row"] != BASE_ROW
        ]
        axis = numeric_axis(_without_constants(points), along=N_CANDIDATES)
        if axis is None:
            continue
        for column in (*paper.layout.columns, *OWN_COLUMNS):
            column = _filled(column, {name for _, name, _ in paper.levels})
            found = {
                system: _scaled(level, column)
                for (name, metric, system), level in paper.levels.items()
                if (name, metric) == (generator["name"], column.metric)
            }
            series = {
                label: [(x, found.get(name, UNDEFINED)) for x, name in line] for label, line in axis.series.items()
            }
            if all(math.isnan(interval.value) for line in series.values() for _, interval in line):
                continue
            svg = figures.trend_figure(series, level=found.get(BASE_ROW), xlabel=axis.key, ylabel=column.name)
            shown.append(Figure(f"{generator['name']}: {column.name}", svg, "Dashed: Base."))
    if not shown:
        return None
    lead = (
        "The paper's curves rise and fall again with K; it blames near-duplicates among many candidates, which would "
        "mean that leaving near-equal scores unranked (tie) helps. It prints no numbers for this figure."
    )
    return Section("axis", "The number of candidates", lead, figures=tuple(shown))


def _without_constants(points: Sequence[Row]) -> list[Row]:
    """The points without the settings that all share."""
    values = [point["values"] for point in points]
    same = {key for key in (values[0] if values else ()) if all(v.get(key) == values[0][key] for v in values)}
    return [
        {**point, "values": {key: value for key, value in point["values"].items() if key not in same}}
        for point in points
    ]


def _scaled(level: Measurement, column: Column) -> Interval:
    return Interval(column.factor * level.value, column.factor * level.low, column.factor * level.high)


# -- training ---------------------------------------------------------------------------------------------------


def training_section(paper: Paper) -> Section | None:
    """Fig. 5: loss and acceptance against steps and seconds, and samples a second."""
    curves: dict[str, list[Row]] = {}
    for row in read_rows(paper.folder / "curves.jsonl"):
        curves.setdefault(f"{row['generator']}: {row['row']}", []).append(row)
    shown = []
    for key in CURVES:
        for against in ("step", "seconds"):
            having = {
                name: rows
                for name, rows in curves.items()
                if all(row.get(against) is not None for row in rows) and any(row.get(key) is not None for row in rows)
            }
            if having and (paper.name == "figure5" or (key, against) == ("pairwise_accuracy", "step")):
                plain = key.replace("_", " ")
                svg = figures.curve_figure(having, key, ylabel=plain, against=against)
                shown.append(Figure(f"{plain.capitalize()} by {against}", svg, "On held-out prompts; first seed."))
    if not shown:
        return None
    return Section(
        "training",
        "Training",
        "Losses of different objectives have no common scale; what they share is the axis.",
        figures=tuple(shown),
        tables=_pace_tables(curves),
    )


def _pace_tables(curves: Mapping[str, Sequence[Row]]) -> tuple[Table, ...]:
    rows = tuple(
        (name, last["step"], last["seconds"], last.get("samples"), _per_second(last))
        for name, found in curves.items()
        if (last := found[-1]).get("seconds") is not None
    )
    columns = ("run", "steps", "seconds", "samples", "samples per second")
    caption = "Seconds of the training steps alone, on the machine that ran them. The paper: RL 2.65, calibration 4.36."
    return (Table("pace", "Samples per second", columns, rows, caption),) if rows else ()


def _per_second(row: Row) -> float | None:
    return row["samples"] / row["seconds"] if row.get("samples") and row["seconds"] else None


# -- cases ------------------------------------------------------------------------------------------------------


def case_section(paper: Paper) -> Section | None:
    """The paper's Tables 9 and 10: what every row wrote for the same prompts, with its numbers."""
    examples = tuple(
        Example(
            row["prompt"],
            (
                *(Text(text["system"], _numbers(text["numbers"]), text["completion"]) for text in row["texts"]),
                *(Text("reference", "what a person wrote", text) for text in row["references"]),
            ),
            title=f"{row['generator']} · {row['id']}",
        )
        for row in read_rows(paper.folder / "cases.jsonl")
    )
    lead = "The first prompts of the test set, not selected; every row's first text under its first seed."
    return Section("cases", "Case browser", lead, examples=examples) if examples else None


def _numbers(found: Mapping[str, Any]) -> str:
    shown = [
        name for name in ("acceptance", *(name for name in found if name in _RATED)) if found.get(name) is not None
    ]
    return " · ".join(f"{name.replace('_', ' ')} {found[name]:.2f}" for name in shown)


_RATED = frozenset(column.metric for layout in LAYOUTS.values() if layout.form for column in layout.columns)

SECTIONS = tuple(
    _of_paper(build)
    for build in (table_section, axis_section, spread_section, training_section, cost_section, case_section)
)
"""The sections of a paper's page, in order; none of them on the page of any other report."""
