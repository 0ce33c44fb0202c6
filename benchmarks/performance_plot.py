"""The plot of docs/performance.md: how accord's time and peak memory grow with the work."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Claim = Mapping[str, Any]


def draw_growth(claims: Sequence[Claim], path: Path) -> None:
    """A column for each path: seconds as multiples of those at 1×, beside linear growth, and peak memory below."""
    paths: dict[str, dict[str, list[Claim]]] = defaultdict(lambda: defaultdict(list))
    for claim in sorted(claims, key=lambda claim: claim["scale"]):
        name, _, line = claim["claim"].partition(": ")
        paths[name][line.removesuffix(": items") or name].append(claim)
    figure = Figure(figsize=(1 + 2.4 * len(paths), 5.2), layout="constrained")
    panels = figure.subplots(2, len(paths), sharex=True, sharey="row", squeeze=False)
    scales = sorted({claim["scale"] for claim in claims})
    for column, (name, lines) in enumerate(paths.items()):
        time, memory = panels[0, column], panels[1, column]
        time.plot(scales, scales, linestyle=":", color="grey", label="linear")
        for line, rows in lines.items():
            draw_line(time, memory, line, rows)
        time.set_title(name.replace(", ", "\n", 1), fontsize="medium")
        time.set(xscale="log", yscale="log")
        time.legend(fontsize="x-small")
        memory.set(xscale="log", xlabel="work")
        memory.set_yscale("log", base=2)  # often within one power of ten, where base 10 labels nothing
        memory.yaxis.set_major_formatter(lambda mebibytes, _: f"{mebibytes:g}")
        for axes in (time, memory):
            axes.set_xticks(scales, [f"{scale}×" for scale in scales], minor=False)
            axes.minorticks_off()
        time.set_yticks(scales, [f"{scale}×" for scale in scales], minor=False)
    panels[0, 0].set_ylabel("seconds, over those at 1×")
    panels[1, 0].set_ylabel("peak memory in MiB")
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "accord", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def draw_line(time: Axes, memory: Axes, line: str, rows: Sequence[Claim]) -> None:
    """One path's growth, in the same colour in both panels."""
    seconds = [statistics.median(row["ours_seconds"]) for row in rows]
    (drawn,) = time.plot(
        [row["scale"] for row in rows], [value / seconds[0] for value in seconds], marker="o", markersize=4, label=line
    )
    with_memory = [row for row in rows if "ours" in row["memory"]]
    memory.plot(
        [row["scale"] for row in with_memory],
        [row["memory"]["ours"] / 2**20 for row in with_memory],
        marker="o",
        markersize=4,
        color=drawn.get_color(),
    )
