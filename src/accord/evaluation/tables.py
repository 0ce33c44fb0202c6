"""The measurements as people read them: one sheet, written for the terminal, Markdown, LaTeX, HTML and CSV."""

import csv
import html
import io
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from accord.evaluation.measure import SURE, TEST_MARKS, TWO_WAY, Comparison, n_tests
from accord.evaluation.outputs import SEPARATOR
from accord.json_files import read_json, replacing
from accord.records import Measurement

DAGGER = "†"
ENOUGH_ANNOTATORS = 20  # fewer stand for themselves
ENOUGH_SEEDS = 5  # with fewer, false alarms are more frequent than promised (docs/significance.md)
CSV_COLUMNS = ("metric", "system", "value", "low", "high", "n", "p", "p_holm", "effect", "test", "signature")
Rows = list[list[str]]


class Sheet(NamedTuple):
    """What every format shows; the first row of each table is its header, the first column its names.

    `caption` is of the levels, `test` of the differences: it says which test made p and what † means. `signatures`:
    (metric, signature), the footer.
    """

    caption: str
    levels: Rows
    test: str
    differences: Rows
    outputs: Rows
    signatures: list[tuple[str, str]]


def build_sheet(
    measurements: Sequence[Measurement],
    comparisons: Sequence[Comparison],
    *,
    counts: Mapping[str, Mapping[str, int]],
) -> Sheet:
    """The sheet of an evaluation's results, comparisons and counted outputs."""
    levels = [row for row in measurements if SEPARATOR not in row.system]
    counted = [[name, str(row["n_outputs"]), str(row["n_seeds"]), str(row["n_empty"])] for name, row in counts.items()]
    return Sheet(
        _level_caption(levels, counts),
        level_rows(measurements, comparisons),
        _test_caption(comparisons, levels) if comparisons else "",
        difference_rows(comparisons) if comparisons else [],
        [["system", "outputs", "seeds", "empty (scored 0)"], *counted],
        list(dict.fromkeys((row.name, row.signature) for row in levels)),
    )


def read_sheet(evaluation: Path) -> Sheet:
    """The sheet of a finished folder of `accord evaluate`."""
    measurements = msgspec.convert(null_as_nan(read_json(evaluation / "results.json")), list[Measurement])
    comparisons = msgspec.convert(null_as_nan(read_json(evaluation / "comparisons.json")), list[Comparison])
    return build_sheet(measurements, comparisons, counts=read_json(evaluation / "outputs.json"))


def null_as_nan(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a JSON file, in which null stands for nan."""
    return [{key: math.nan if value is None else value for key, value in row.items()} for row in rows]


def write_tables(
    folder: Path, sheet: Sheet, measurements: Sequence[Measurement], comparisons: Sequence[Comparison]
) -> None:
    """Write table.md, table.tex, table.html and table.csv."""
    texts = {
        "table.md": render_markdown(sheet),
        "table.tex": render_latex(sheet),
        "table.html": render_html(sheet),
        "table.csv": render_csv(measurements, comparisons),
    }
    for name, text in texts.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


# -- rows -------------------------------------------------------------------------------------------------------


def level_rows(measurements: Sequence[Measurement], comparisons: Sequence[Comparison] = ()) -> Rows:
    """A header, then one row per metric with a column per system; differences are left out.

    Where every comparison is with one and the same system, † marks the cells that surely differ from it.
    """
    levels = [row for row in measurements if SEPARATOR not in row.system]
    systems = list(dict.fromkeys(row.system for row in levels))
    marked = _differing_cells(comparisons) if yardstick(comparisons) is not None else set()
    cells = {
        (row.name, row.system): interval_text(row.value, row.low, row.high)
        + (f" {DAGGER}" if (row.name, row.system) in marked else "")
        for row in levels
    }
    names = dict.fromkeys(row.name for row in levels)
    return [["metric", *systems], *([name, *(cells.get((name, s), "–") for s in systems)] for name in names)]


def difference_rows(comparisons: Sequence[Comparison]) -> Rows:
    """A header, then one row per comparison; † marks a corrected p below 0.05."""
    rows = [
        [
            row.system,
            row.name,
            interval_text(row.difference, row.low, row.high),
            number_text(row.effect),
            number_text(row.p),
            number_text(row.p_holm) + (f" {DAGGER}" if row.p_holm < SURE else ""),
        ]
        for row in comparisons
    ]
    return [["difference", "metric", "value", "effect", "p", "p (Holm)"], *rows]


def yardstick(comparisons: Sequence[Comparison]) -> str | None:
    """The system that every comparison is with, if there is one."""
    found = {row.system.split(SEPARATOR)[1] for row in comparisons}
    return found.pop() if len(found) == 1 else None


def describe_tests(tests: Iterable[str], *, unit: str) -> str:
    """How the p-values were made: `ar-10000` is "two-sided approximate randomisation (10000 swaps of whole groups)"."""
    found: dict[str, int] = {}
    for mark, n_draws in (test.rsplit("-", 1) for test in tests if test):
        found[mark] = max(found.get(mark, 0), int(n_draws))
    texts = {
        TEST_MARKS["randomisation"]: f"two-sided approximate randomisation ({{}} swaps of whole {unit})",
        TEST_MARKS["bootstrap"]: f"two-sided paired bootstrap ({{}} resamples of {unit})",
        TEST_MARKS["sacrebleu-bootstrap"]: f"paired bootstrap, tails as in sacreBLEU ({{}} resamples of {unit})",
        TWO_WAY: "of ratings, two-sided paired bootstrap ({} resamples of prompts and annotators together)",
    }
    return ", or ".join(texts[mark].format(n) for mark, n in found.items())


def resampled_unit(signatures: Iterable[str]) -> str:
    """What was resampled, in words, from the measurements' signatures."""
    found = _units(signatures)
    unit = "groups" if any(text.startswith("group") for text in found) else "prompts"
    return f"{unit} and seeds" if any("*seed:" in text for text in found) else unit


def few_annotators_text(signatures: Iterable[str]) -> str:
    """Whose opinion ratings are, where annotators are too few to stand for anybody else; else nothing."""
    found = [int(number) for text in signatures for number in re.findall(r"\|annotators:(\d+)", text)]
    if not found or max(found) >= ENOUGH_ANNOTATORS:
        return ""
    if max(found) == 1:
        return " Ratings are those of this one annotator: intervals are for new prompts alone."
    return f" Ratings are those of these {max(found)} annotators, who were resampled too."


def few_seeds_text(signatures: Iterable[str]) -> str:
    """A warning where the seeds are too few for their resampling to show how much they differ; else nothing."""
    n_seeds = [int(text.rsplit(":", 1)[1]) for text in _units(signatures) if "*seed:" in text]
    return f" With {min(n_seeds)} seeds p comes out too small." if n_seeds and min(n_seeds) < ENOUGH_SEEDS else ""


# -- formats ----------------------------------------------------------------------------------------------------


def render_markdown(sheet: Sheet) -> str:
    """table.md: levels, paired differences, what was counted, and the metrics' signatures."""
    parts = ["# Evaluation", escape_markdown(sheet.caption), _markdown_table(sheet.levels)]
    if sheet.differences:
        parts += ["## Paired differences", escape_markdown(sheet.test), _markdown_table(sheet.differences)]
    parts += ["## Outputs", _markdown_table(sheet.outputs)]
    parts += ["## Signatures", "\n".join(f"- {name}: {_code(signature)}" for name, signature in sheet.signatures)]
    return "\n\n".join(parts) + "\n"


def render_text(sheet: Sheet, *, width: int) -> list[str]:
    """Lines for a terminal of `width` columns; a wider table of levels is broken into blocks of systems."""
    lines = [sheet.caption, "", *_text_blocks(sheet.levels, width=width)]
    if sheet.differences:
        lines += ["", sheet.test, "", *_text_lines(sheet.differences)]
    return [*lines, "", *(f"{name}: {signature}" for name, signature in sheet.signatures)]


def render_latex(sheet: Sheet) -> str:
    """table.tex: tables for `booktabs`, signatures below the first."""
    signatures = [
        rf"{escape_latex(name)}: \texttt{{{escape_latex(signature)}}}\par" for name, signature in sheet.signatures
    ]
    footer = [r"\par\smallskip", r"{\footnotesize\raggedright", *_breakable(signatures), "}"]
    lines = [r"% needs \usepackage{booktabs}", *_latex_table(sheet.levels, sheet.caption, footer)]
    if sheet.differences:
        lines += ["", *_latex_table(sheet.differences, sheet.test, [])]
    return "\n".join(lines) + "\n"


def render_html(sheet: Sheet) -> str:
    """table.html: a page of its own, nothing loaded from elsewhere."""
    body = _html_table(sheet.levels, sheet.caption)
    if sheet.differences:
        body += _html_table(sheet.differences, sheet.test)
    body += _html_table(sheet.outputs, "Outputs")
    found = [f"<li>{html.escape(name)}: <code>{html.escape(text)}</code></li>" for name, text in sheet.signatures]
    head = [
        "<!doctype html>",
        '<html lang="en">',
        '<head><meta charset="utf-8"><title>Evaluation</title><style>',
        "body { font-family: sans-serif } table { border-collapse: collapse; margin: 1em 0 }",
        "caption { text-align: left } th, td { padding: 0.2em 0.8em; text-align: right; border-top: 1px solid }",
        "th:first-child, td:first-child { text-align: left } code { overflow-wrap: anywhere }",
        "</style></head>",
        "<body>",
    ]
    return "\n".join([*head, *body, "<footer><ul>", *found, "</ul></footer>", "</body>", "</html>"]) + "\n"


def render_csv(measurements: Sequence[Measurement], comparisons: Sequence[Comparison]) -> str:
    """table.csv: a row per metric and system or difference, in full precision; empty where undefined."""
    tests = {(row.name, row.system): row for row in comparisons}
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in measurements:
        test = tests.get((row.name, row.system))
        tested = ["", "", "", ""] if test is None else [test.p, test.p_holm, test.effect, test.test]
        cells = [row.name, row.system, row.value, row.low, row.high, row.n, *tested, row.signature]
        writer.writerow(["" if isinstance(cell, float) and math.isnan(cell) else cell for cell in cells])
    return file.getvalue()


# -- texts ------------------------------------------------------------------------------------------------------


def interval_text(value: float, low: float, high: float) -> str:
    """`0.512 [0.470, 0.561]`; the value alone without an interval, "–" where undefined."""
    if math.isnan(low) or math.isnan(high):
        return number_text(value)
    return f"{number_text(value)} [{number_text(low)}, {number_text(high)}]"


def number_text(value: float) -> str:
    """Three decimals; "–" where undefined; a p-value that rounds to nothing keeps its order of magnitude."""
    if math.isnan(value):
        return "–"
    return f"{value:.1e}" if 0 < abs(value) < 0.0005 else f"{value or 0.0:.3f}"  # no minus zero


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is, on one line: no markup, no HTML, no links, no further table cells."""
    markup = r"([\\`*|]|<(?=[A-Za-z/!?])|&(?=#?\w+;)|(?<!\w)_|_(?!\w)|\](?=[(\[:]))"
    return re.sub(markup, r"\\\1", one_line(text))


def escape_latex(text: str) -> str:
    r"""Text that LaTeX prints as it is; a number's minus is one, a leading [ or * no argument of the \\ before it."""
    escaped = re.sub(r"-(?=-)", "-{}", one_line(text).translate(LATEX))
    return re.sub(r"^([\[*])", r"{\1}", re.sub(r"(?<![\w}-])-(?=\d)", "$-$", escaped))


def one_line(text: str) -> str:
    """Control characters and line ends become spaces."""
    return "".join(" " if unicodedata.category(character) in ("Cc", "Zl", "Zp") else character for character in text)


LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\textquotedbl{}",
        DAGGER: r"\dag{}",
        "–": r"\textendash{}",
        **{character: f"\\{character}" for character in "{}$&#_%"},
    }
)


# -- steps ------------------------------------------------------------------------------------------------------


def _units(signatures: Iterable[str]) -> list[str]:
    return [found[1] for text in signatures if (found := re.search(r"\|ci:[^|/]*/([^|]+)", text))]


def _differing_cells(comparisons: Sequence[Comparison]) -> set[tuple[str, str]]:
    return {(row.name, row.system.split(SEPARATOR)[0]) for row in comparisons if row.p_holm < SURE}


def _level_caption(levels: Sequence[Measurement], counts: Mapping[str, Mapping[str, int]]) -> str:
    n_prompts = max(row["n_prompts"] for row in counts.values())
    several = any(row["n_seeds"] > 1 for row in counts.values())
    level = next(
        (found[1] for row in levels if (found := re.search(r"ci:bootstrap-\d+@([\d.]+)", row.signature))), None
    )
    text = f"{n_prompts} prompts; samples averaged per prompt"
    text += "; seeds scored one by one, then averaged" if several else ""
    text += (
        f"; {float(level):.0%} bootstrap intervals over {resampled_unit(row.signature for row in levels)} in brackets."
        if level
        else "."
    )
    return text + few_annotators_text(row.signature for row in levels)


def _test_caption(comparisons: Sequence[Comparison], levels: Sequence[Measurement]) -> str:
    sure = f"{DAGGER} p < {SURE} after Holm's correction over the {n_tests(comparisons)} tests of this table"
    with_system = yardstick(comparisons)
    where = f"; beside a level: against {with_system}" if with_system is not None else ""
    unit = resampled_unit(row.signature for row in levels)
    made = describe_tests((row.test for row in comparisons), unit=unit)
    few_seeds = few_seeds_text(row.signature for row in levels)
    return f"p: {made}.{few_seeds} {sure}{where}. effect: difference / standard deviation over {unit.split(' ')[0]}."


def _markdown_table(rows: Rows) -> str:
    lines = ["| " + " | ".join(escape_markdown(cell) for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "| " + " | ".join("---" for _ in rows[0]) + " |", *lines[1:]])


def _code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _latex_table(rows: Rows, caption: str, footer: Sequence[str]) -> list[str]:
    lines = [" & ".join(escape_latex(cell) for cell in row) + r" \\" for row in rows]
    return [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}",
        r"\toprule",
        lines[0],
        r"\midrule",
        *lines[1:],
        r"\bottomrule",
        r"\end{tabular}",
        *footer,
        r"\end{table}",
    ]


def _breakable(lines: Sequence[str]) -> list[str]:
    """Signatures have no spaces: lines may end after their bars."""
    return [line.replace(r"\textbar{}", r"\textbar\allowbreak{}") for line in lines]


def _html_table(rows: Rows, caption: str) -> list[str]:
    def cells(row: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"

    body = [cells(row, "td") for row in rows[1:]]
    return ["<table>", f"<caption>{html.escape(caption)}</caption>", cells(rows[0], "th"), *body, "</table>"]


def _text_blocks(rows: Rows, *, width: int) -> list[str]:
    """The table, or as many columns at a time as fit beside the first."""
    widths = [max(len(row[column]) for row in rows) + 2 for column in range(len(rows[0]))]
    blocks: list[list[int]] = [[]]
    for column in range(1, len(widths)):
        if blocks[-1] and widths[0] + sum(widths[k] for k in blocks[-1]) + widths[column] > width:
            blocks.append([])
        blocks[-1].append(column)
    lines: list[str] = []
    for columns in blocks:
        lines += ([""] if lines else []) + _text_lines([[row[0], *(row[column] for column in columns)] for row in rows])
    return lines


def _text_lines(rows: Rows) -> list[str]:
    widths = [max(len(one_line(row[column])) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(one_line(cell).ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
