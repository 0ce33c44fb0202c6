"""Cells as people read them and as programs read them, from the same rows."""

import csv
import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.records import Measurement
from accord.report.tables import (
    Cell,
    Difference,
    PValue,
    Table,
    escape_markdown,
    format_cell,
    interval_caption,
    is_number_column,
    measurement_table,
    signature_field,
    signature_table,
    to_csv,
    to_markdown,
)
from accord.statistics.resampling import Interval

NAN = math.nan


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("base", "base"),
        (7, "7"),
        (0.53249, "0.532"),
        (-0.25, "−0.250"),
        (-0.0001, "0.000"),
        (23.456, "23.5"),
        (None, "–"),
        (NAN, "–"),
        (Interval(0.5, 0.4, 0.6), "0.500 [0.400, 0.600]"),
        (Interval(0.5, NAN, NAN), "0.500"),
        (Interval(NAN, NAN, NAN), "–"),
        (Difference(0.069, -0.01, 0.148), "+0.069 [−0.010, +0.148]"),
        (Difference(0.0, -0.1, 0.1), "0.000 [−0.100, +0.100]"),
        (Difference(NAN, NAN, NAN), "–"),
        (PValue(0.0002), "< 0.001"),
        (PValue(0.024, is_marked=True), "0.024 †"),
        (PValue(NAN), "–"),
    ],
)
def test_a_cell_as_people_read_it(cell: Cell, shown: str) -> None:
    assert format_cell(cell) == shown


def test_csv_keeps_full_precision_and_gives_intervals_three_columns() -> None:
    """Undefined numbers are empty; a mark is for people."""
    table = Table(
        "t",
        "T",
        ("system", "bleu", "p"),
        (("a, b", Interval(1 / 3, 0.25, 0.5), PValue(0.01, is_marked=True)), ("c", None, PValue(NAN))),
    )
    rows = list(csv.reader(io.StringIO(to_csv(table))))
    assert rows[0] == ["system", "bleu", "bleu_low", "bleu_high", "p"]
    assert rows[1] == ["a, b", str(1 / 3), "0.25", "0.5", "0.01"]
    assert rows[2] == ["c", "", "", "", ""]


def test_a_markdown_table_holds_its_cells_whatever_they_say() -> None:
    table = Table("t", "A_1 <T>", ("name_x",), (("a|b\n<script>",), ("*x*",)), "50 % [sure]")
    assert to_markdown(table).splitlines() == [
        "### A_1 \\<T>",
        "",
        "| name x |",
        "| --- |",
        "| a\\|b \\<script> |",
        "| \\*x\\* |",
        "",
        "50 % [sure]",
    ]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("reference_only", "reference_only"),
        ("_x_", "\\_x\\_"),
        ("# no heading\n- no list\n1. no number", "\\# no heading\n\\- no list\n1\\. no number"),
        ("a > b - c", "a > b - c"),
        ("+0.1 [0.0, 0.2]\n-1.5\n2023", "+0.1 [0.0, 0.2]\n-1.5\n2023"),
        ("[a](b) [c][d]\n[e]: f", "[a\\](b) [c\\][d]\n[e\\]: f"),
        ("title\n---\n===", "title\n\\---\n\\==="),
    ],
)
def test_markdown_marks_are_shown_not_obeyed(text: str, escaped: str) -> None:
    assert escape_markdown(text) == escaped


@given(st.text())
def test_no_tag_and_no_table_border_survives_escaping(text: str) -> None:
    bare = escape_markdown(text).replace("\\\\", "").replace("\\<", "").replace("\\|", "")
    assert "<" not in bare
    assert "|" not in bare


def test_measurements_become_system_by_metric() -> None:
    """b has no y: its cell is absent, not zero."""
    rows = [
        Measurement("x", "a", 1.0, 0.5, 1.5, 3, "x|v:1"),
        Measurement("y", "a", 2.0, NAN, NAN, 3, "y|v:1"),
        Measurement("x", "b", 3.0, 2.5, 3.5, 3, "x|v:1"),
        Measurement("x", "a - b", -2.0, -3.0, -1.0, 3, "x|v:1|paired"),
    ]
    table = measurement_table("t", "T", rows[:3], caption="")
    assert table.columns == ("system", "x", "y")
    assert [[format_cell(cell) for cell in row] for row in table.rows] == [
        ["a", "1.000 [0.500, 1.500]", "2.000"],
        ["b", "3.000 [2.500, 3.500]", "–"],
    ]
    assert signature_table(rows).rows == (("x", "x|v:1"), ("y", "y|v:1"))


def _signed(signature: str) -> Measurement:
    return Measurement("x", "a", 1.0, 0.5, 1.5, 3, signature)


def test_the_caption_says_how_the_intervals_were_made() -> None:
    by_prompt, by_group = "x|ci:bootstrap-1000@0.95/prompt", "x|ci:bootstrap-1000@0.95/group*annotator"
    assert interval_caption([_signed(by_prompt)]) == "95 % bootstrap intervals over prompts (1000 resamples)."
    both = interval_caption([_signed(by_prompt), _signed(by_group), _signed(by_prompt)])
    assert both == "95 % bootstrap intervals over prompts or groups × annotator (1000 resamples)."
    for unlike in ("x|ci:bootstrap-50@0.9/prompt", "x"):
        assert interval_caption([_signed(by_prompt), _signed(unlike)]) == "bootstrap intervals."
    assert interval_caption([]) == "bootstrap intervals."
    assert signature_field("x|split:dev|y", "split") == "dev"


def test_only_plain_numbers_are_aligned_to_the_right() -> None:
    table = Table("t", "T", ("a", "b", "c"), ((1, "x", Interval(1, 0, 2)), (None, 2, None)))
    assert [is_number_column(table, n) for n in range(3)] == [True, False, False]
