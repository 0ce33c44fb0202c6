"""The plot of docs/performance.md: how accord's time and peak memory grow with the work."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure


def draw_growth(claims: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Two panels over the scale, both logarithmic: seconds (with the slope of linear growth) and MiB."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    time, memory = figure.subplots(1, 2)
    for name in dict.fromkeys(claim["claim"] for claim in claims):
        rows = sorted((claim for claim in claims if claim["claim"] == name), key=lambda claim: claim["scale"])
        scales = [row["scale"] for row in rows]
        time.plot(scales, [statistics.median(row["ours_seconds"]) for row in rows], marker="o", label=name)
        with_memory = [row for row in rows if "ours" in row["memory"]]
        memory.plot(
            [row["scale"] for row in with_memory], [row["memory"]["ours"] / 2**20 for row in with_memory], marker="o"
        )
    scales = sorted({claim["scale"] for claim in claims})
    low = min(statistics.median(claim["ours_seconds"]) for claim in claims)
    time.plot(scales, [low * scale for scale in scales], linestyle=":", color="grey", label="linear")
    for axes, label in ((time, "seconds"), (memory, "peak memory in MiB")):
        axes.set(xscale="log", yscale="log", xlabel="work", ylabel=label)
        axes.set_xticks(scales, [f"{scale}×" for scale in scales], minor=False)
        axes.minorticks_off()
    memory.set_yscale("log", base=2)  # often within one power of ten, where base 10 labels nothing
    memory.yaxis.set_major_formatter(lambda mebibytes, _: f"{mebibytes:g}")
    figure.legend(loc="outside right upper", fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "accord", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
