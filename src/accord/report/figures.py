"""Figures as SVG text that follows the page: text stays text, colours are CSS variables, no size of their own.

Figures are drawn narrow, so that they are readable on a phone without zooming; series differ in shape as well as in
colour.
"""

import hashlib
import html
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from accord.statistics.resampling import Interval

SIZE = (3.9, 2.8)  # inches: some 280 CSS pixels wide
INK, MUTED, GRID = "#010101", "#020202", "#030303"
SERIES = ("#040401", "#040402", "#040403", "#040404", "#040405", "#040406")
MARKERS = ("o", "s", "D", "^", "v", "P")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
_VARIABLES = {INK: "currentColor", MUTED: "var(--muted)", GRID: "var(--grid)"} | {
    colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)
}
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "accord",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9.5,
    "legend.fontsize": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.unicode_minus": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.columnspacing": 1.4,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
MAX_LABEL = 20  # characters beside a row
MAX_POINTS = 400  # of one series: more would weigh the page down and show no more

Draw = Callable[[Any], None]


def drawn_points(n_points: int) -> np.ndarray:
    """Which of n points are drawn: all, or `MAX_POINTS` evenly spread among them."""
    return np.unique(np.linspace(0, n_points - 1, min(n_points, MAX_POINTS)).round().astype(np.int64))


def drawn_text(n_points: int) -> str:
    """A sentence for the caption where not all points are drawn."""
    return f" {MAX_POINTS} of {n_points} are drawn." if n_points > MAX_POINTS else ""


def histogram_figure(
    edges: Sequence[float], counts: Sequence[int], *, xlabel: str, ylabel: str, with_zero: bool = False
) -> str:
    """Bars of `counts` between `edges` (one more than counts); `with_zero`: mark 0, for differences."""

    def draw(axes: Any) -> None:
        if with_zero:
            axes.axvline(0, color=MUTED, linewidth=0.9, linestyle="--", zorder=3)
        axes.bar(edges[:-1], counts, width=0.94 * np.diff(edges), align="edge", color=SERIES[0], linewidth=0)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.grid(visible=False, axis="x")
        axes.yaxis.get_major_locator().set_params(integer=True)

    return _svg(draw, f"Histogram: {ylabel} by {xlabel}.")


def reliability_figure(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Observed against predicted acceptance, one line per split; a point's area follows its number of votes."""

    def draw(axes: Any) -> None:
        _diagonal(axes)
        for (colour, marker), (split, points) in zip(_styles(), curves.items(), strict=False):
            x, y = [point["predicted"] for point in points], [point["observed"] for point in points]
            n_votes = np.array([point["n"] for point in points], dtype=float)
            axes.plot(x, y, color=colour, linewidth=1.2)
            sizes = 8 + 40 * n_votes / max(1.0, n_votes.max(initial=1.0))
            axes.scatter(x, y, color=colour, marker=marker, s=sizes, label=_label(split), linewidth=0)
        axes.set(xlabel="predicted acceptance", ylabel="observed share of votes", xlim=(0, 1), ylim=(0, 1))

    return _svg(
        draw, "Reliability: observed share of accepting votes by predicted acceptance; the diagonal is perfect."
    )


def score_range_figure(lows: Sequence[float], highs: Sequence[float]) -> str:
    """Lowest and highest candidate score of every prompt, prompts sorted by the highest (the paper's Fig. 3)."""
    order = np.argsort(np.asarray(highs), kind="stable")[drawn_points(len(highs))]
    low, high = np.asarray(lows)[order], np.asarray(highs)[order]

    def draw(axes: Any) -> None:
        x = np.arange(len(order))
        axes.vlines(x, low, high, color=MUTED, linewidth=0.6)
        axes.scatter(x, high, color=SERIES[0], marker=MARKERS[0], s=13, label="highest", linewidth=0)
        axes.scatter(x, low, color=SERIES[1], marker=MARKERS[1], s=13, label="lowest", linewidth=0)
        axes.set(xlabel="prompts, sorted by their highest score", ylabel="score")
        axes.set_xticks([])

    return _svg(draw, "Lowest and highest candidate score of every prompt.")


def curve_figure(
    curves: Mapping[str, Sequence[Mapping[str, float | None]]],
    key: str,
    *,
    ylabel: str,
    kept_steps: Mapping[str, int] | None = None,
    against: str = "step",
) -> str:
    """A learning curve per run: `key` against the step, or another number of its rows; a ring at the step kept."""

    def draw(axes: Any) -> None:
        for number, (name, rows) in enumerate(curves.items()):
            style = {"color": SERIES[number % len(SERIES)], "linestyle": LINES[number % len(LINES)]}
            points = {row[against] or 0: row[key] for row in rows if row.get(key) is not None}
            marker = MARKERS[number % len(MARKERS)]
            axes.plot(points.keys(), points.values(), **style, linewidth=1.3, marker=marker, ms=3, label=_label(name))
            kept = (kept_steps or {}).get(name)
            if kept in points:
                axes.plot(kept, points[kept], marker="o", ms=9, markerfacecolor="none", color=style["color"])
        axes.set(xlabel=against.replace("_", " "), ylabel=ylabel)
        axes.xaxis.get_major_locator().set_params(integer=True)

    return _svg(draw, f"{ylabel} by training step." if against == "step" else f"{ylabel} by {against}.")


def interval_figure(
    labels: Sequence[str],
    series: Mapping[str, Sequence[Interval]],
    *,
    xlabel: str,
    with_zero: bool = False,
    mark: float | None = None,
) -> str:
    """A row per label with a dot and its interval per series; undefined ones are left out.

    Args:
        series: name -> one interval per label. With one series there is no legend.
        with_zero: mark 0, for differences. mark: another number to mark.
    """
    offsets = np.linspace(0.18, -0.18, len(series)) if len(series) > 1 else np.zeros(1)
    shown_labels = [_wrapped(label) for label in labels]

    def draw(axes: Any) -> None:
        if with_zero or mark is not None:
            axes.axvline(mark or 0.0, color=MUTED, linewidth=0.9, linestyle="--")
        for (colour, marker), offset, (name, intervals) in zip(_styles(), offsets, series.items(), strict=False):
            rows = [(len(labels) - 1 - n + offset, *found) for n, found in enumerate(intervals)]
            shown = [row for row in rows if not math.isnan(row[1])]
            y, value, low, high = np.array(shown, dtype=float).reshape(-1, 4).T
            axes.hlines(y, low, high, color=colour, linewidth=1.8)
            label = _label(name) if len(series) > 1 else None
            axes.scatter(value, y, color=colour, marker=marker, s=26, zorder=3, linewidth=0, label=label)
        axes.set_yticks(range(len(labels)), list(reversed(shown_labels)))
        axes.set_ylim(-0.6, len(labels) - 0.4)
        axes.set_xlabel(xlabel)
        axes.locator_params(axis="x", nbins=4)
        axes.grid(visible=False, axis="y")

    n_lines = sum(label.count("\n") for label in shown_labels)
    height = 0.75 + (0.3 if len(series) == 1 else 0.42) * max(2, len(labels)) + 0.25 * (len(series) > 1) + 0.1 * n_lines
    return _svg(draw, f"{xlabel}, with intervals.", height=height)


def trend_figure(
    series: Mapping[str, Sequence[tuple[float, Interval]]], *, level: Interval | None = None, xlabel: str, ylabel: str
) -> str:
    """A metric with its intervals against a number, one line per series; `level` is dashed across (a yardstick)."""

    def draw(axes: Any) -> None:
        if level is not None and not math.isnan(level.value):
            axes.axhline(level.value, color=MUTED, linewidth=1.0, linestyle="--")
        numbers = sorted({x for points in series.values() for x, _ in points})
        shift = 0.012 * (numbers[-1] - numbers[0]) if len(series) > 1 else 0.0
        for number, (name, points) in enumerate(series.items()):
            colour, marker = SERIES[number % len(SERIES)], MARKERS[number % len(MARKERS)]
            shown = [(x + shift * number, *found) for x, found in points if not math.isnan(found.value)]
            x, value, low, high = np.array(shown, dtype=float).reshape(-1, 4).T
            axes.vlines(x, low, high, color=colour, linewidth=1.6)
            label = _label(name) if len(series) > 1 else None
            style = LINES[number % len(LINES)]
            axes.plot(x, value, color=colour, linestyle=style, linewidth=1.2, marker=marker, ms=5, label=label)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.set_xticks(numbers if len(numbers) <= 8 else numbers[:: len(numbers) // 8 + 1])
        axes.xaxis.set_major_formatter("{x:g}")

    return _svg(draw, f"{ylabel} against {xlabel}, with intervals.")


def shares_figure(rows: Mapping[str, Sequence[int]], parts: Sequence[str], *, xlabel: str) -> str:
    """A bar per row, split into the shares of its counts, one tone per part, faint to strong; bars without counts are
    empty. Each part's name stands in the legend with its tone."""

    def draw(axes: Any) -> None:
        totals = {name: max(1, sum(counts)) for name, counts in rows.items()}
        strength = np.linspace(0.15, 1.0, len(parts))
        for number, (part, alpha) in enumerate(zip(parts, strength, strict=True)):
            left = [sum(counts[:number]) / totals[name] for name, counts in rows.items()]
            width = [counts[number] / totals[name] for name, counts in rows.items()]
            y = range(len(rows) - 1, -1, -1)
            axes.barh(y, width, left=left, color=SERIES[0], alpha=alpha, height=0.62, label=_label(part), linewidth=0)
        axes.set_yticks(range(len(rows)), list(rows)[::-1])
        axes.set(xlabel=xlabel, xlim=(0, 1))
        axes.grid(visible=False, axis="y")

    return _svg(draw, f"{xlabel}, per system.", height=0.95 + 0.34 * max(2, len(rows)) + 0.22 * ((len(parts) + 2) // 3))


def scatter_figure(points: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, xlabel: str, ylabel: str) -> str:
    """y against x, both shares, in a colour and shape per series; the diagonal is y = x."""

    def draw(axes: Any) -> None:
        _diagonal(axes)
        for (colour, marker), (name, (x, y)) in zip(_styles(), points.items(), strict=False):
            shown = drawn_points(len(x))
            x, y = np.asarray(x)[shown], np.asarray(y)[shown]
            axes.scatter(x, y, color=colour, marker=marker, s=11, alpha=0.75, linewidth=0, label=_label(name))
        axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(0, 1), ylim=(0, 1))

    return _svg(draw, f"{ylabel} against {xlabel}; on the diagonal they are equal.", height=3.3)


def _styles() -> list[tuple[str, str]]:
    return list(zip(SERIES, MARKERS, strict=True))


def _wrapped(label: str) -> str:
    """A long label on two lines, so that it leaves room for what it labels: broken at its minus or comma."""
    if len(label) <= MAX_LABEL:
        return label
    for sign in (" − ", ", ", " "):
        first, found, second = label.partition(sign)
        if found:
            return f"{first}{sign.rstrip()}\n{second}"
    return label


def _label(name: str) -> str:
    """A legend leaves out names that start with an underscore; this one is shown."""
    return f"\u200b{name}" if name.startswith("_") else name


def _diagonal(axes: Any) -> None:
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle="--")


# -- drawing ----------------------------------------------------------------------------------------------------


def _svg(draw: Draw, description: str, *, height: float = SIZE[1]) -> str:
    """Draw on fresh axes and return an inline SVG without size, colours of its own, dates or random ids."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(SIZE[0], height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        draw(axes)
        handles, labels = axes.get_legend_handles_labels()
        if labels:
            figure.legend(handles, labels, loc="outside upper left", ncols=3)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(text.getvalue(), description)


def _inline(svg: str, description: str) -> str:
    """The picture alone: what a page has already, or must decide itself, is taken out."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href=", "href=")
    view_box = re.search(r'viewBox="[^"]*"', svg)
    assert view_box is not None
    opening = f'<svg {view_box[0]} role="img" aria-label="{html.escape(description)}" stroke-linejoin="round">'
    svg = opening + svg[svg.index(">") + 1 :]
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    prefix = "f" + hashlib.sha256(svg.encode()).hexdigest()[:8]  # several figures stand in one page
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{prefix}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    return re.sub(r"\s*\n\s*", "\n", svg)
