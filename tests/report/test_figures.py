"""Figures follow the page: no size, colours, ids or remote names of their own; the same input gives the same text."""

import math
import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from accord.report.figures import (
    MAX_POINTS,
    curve_figure,
    drawn_points,
    drawn_text,
    histogram_figure,
    interval_figure,
    reliability_figure,
    scatter_figure,
    score_range_figure,
    trend_figure,
)
from accord.statistics.resampling import Interval

CURVE: list[dict[str, float | None]] = [{"step": 0, "x": 1.0}, {"step": 8, "x": 0.5}, {"step": 16, "x": None}]
NAN = math.nan
FIGURES: dict[str, Callable[[], str]] = {
    "histogram": lambda: histogram_figure([0, 0.5, 1], [3, 1], xlabel="entropy", ylabel="items"),
    "reliability": lambda: reliability_figure({"dev": [{"predicted": 0.2, "observed": 0.3, "n": 9}], "test": []}),
    "score_range": lambda: score_range_figure([0.1, 0.3], [0.5, 0.4]),
    "curve": lambda: curve_figure({"a": CURVE, "b": CURVE}, "x", ylabel="loss", kept_steps={"a": 8, "b": 16}),
    "interval": lambda: interval_figure(
        ["a", "b"], {"x": [Interval(1, 0, 2), Interval(NAN, NAN, NAN)]}, xlabel="x", with_zero=True
    ),
    "trend": lambda: trend_figure(
        {"a": [(5, Interval(1, 0, 2)), (10, Interval(NAN, NAN, NAN))], "b": [(5, Interval(2, 1, 3))]},
        level=Interval(1.5, 1, 2),
        xlabel="k",
        ylabel="bleu",
    ),
    "differences": lambda: histogram_figure([-1, 0, 1], [3, 1], xlabel="d", ylabel="prompts", with_zero=True),
    "scatter": lambda: scatter_figure({"a": ([0.1], [0.2]), "b": ([], [])}, xlabel="truth", ylabel="estimate"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_follows_the_page(name: str) -> None:
    svg = FIGURES[name]()
    opening = svg[: svg.index(">")]
    assert re.search(r"\b(width|height)=", opening) is None
    assert 'role="img"' in opening
    assert "aria-label=" in opening
    assert re.search(r"#[0-9a-fA-F]{3,8}\b(?!-)", svg.replace('href="#', "").replace("url(#", "")) is None
    assert re.search(r"\brgb|\b(fill|stroke|color): (black|white)", svg) is None
    assert "http" not in svg
    assert "<style" not in svg
    assert "<metadata" not in svg
    assert "currentColor" in svg
    ElementTree.fromstring(svg)


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_figure_twice_is_the_same_text(name: str) -> None:
    assert FIGURES[name]() == FIGURES[name]()


def test_every_reference_inside_a_figure_finds_its_id() -> None:
    svg = FIGURES["scatter"]()
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)) <= {(i, "") for i in ids} | {("", i) for i in ids}


def test_two_figures_in_one_page_share_no_id() -> None:
    ids = [set(re.findall(r'\bid="([^"]+)"', draw())) for draw in FIGURES.values()]
    assert sum(map(len, ids)) == len(set.union(*ids))


def test_an_undefined_interval_is_left_out_and_its_label_kept() -> None:
    """Two labels, one dot: the other is undefined."""
    svg = FIGURES["interval"]()
    assert svg.count("var(--series-1)") > 0
    assert re.findall(r"<text[^>]*>([ab])</text>", svg) == ["b", "a"]


def test_a_long_label_takes_two_lines() -> None:
    """Broken at its minus; a short one stays whole."""
    label = "num_candidates=20 − num_candidates=5"
    svg = interval_figure([label, "a − b"], {"x": [Interval(1, 0, 2), Interval(1, 0, 2)]}, xlabel="x")
    assert re.findall(r"<text[^>]*>([^<]*(?:num|−)[^<]*)</text>", svg) == [
        "a − b",
        "num_candidates=20 −",
        "num_candidates=5",
    ]


def test_names_are_text_never_markup_or_formulas() -> None:
    svg = interval_figure(["<b>$x$</b>"], {"_": [Interval(1, 0, 2)], "$y$": [Interval(1, 0, 2)]}, xlabel='"<i>"')
    assert "&lt;b&gt;$x$&lt;/b&gt;" in svg
    assert 'aria-label="&quot;&lt;i&gt;&quot;' in svg
    assert "$y$" in svg
    ElementTree.fromstring(svg)


def test_of_many_points_an_even_share_is_drawn_and_the_caption_says_so() -> None:
    """The first and the last are always among them."""
    assert drawn_points(3).tolist() == [0, 1, 2]
    assert drawn_text(3) == ""
    points = drawn_points(10_001)
    assert len(points) == MAX_POINTS
    assert (points[0], points[-1]) == (0, 10_000)
    assert drawn_text(10_001) == f" {MAX_POINTS} of 10001 are drawn."
    assert drawn_points(0).tolist() == []
    many = [n / 10_000 for n in range(10_001)]
    assert scatter_figure({"a": (many, many)}, xlabel="x", ylabel="y").count("<use") < MAX_POINTS + 30
