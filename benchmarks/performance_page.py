"""The generated parts of docs/performance.md: results as Markdown, put between the page's markers."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Claim = Mapping[str, Any]
"""A row of a result file, as `claims.finish` writes it."""


def rewrite(page: Path, parts: Mapping[str, str]) -> None:
    """Replace what stands between `<!-- NAME:start -->` and `<!-- NAME:end -->` for each part.

    Raises:
        ValueError: the page has no such markers.
    """
    text = page.read_text(encoding="utf-8")
    for name, body in parts.items():
        start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
        before, found_start, rest = text.partition(start)
        _, found_end, after = rest.partition(end)
        if not (found_start and found_end):
            raise ValueError(f"{page.name} has no markers {start} and {end}")
        text = f"{before}{start}\n\n{body.strip()}\n\n{end}{after}"
    page.write_text(text, encoding="utf-8")


def render_machine(machine: Mapping[str, Any]) -> str:
    """The machine and its limits, one line each."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"- {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']:.0f} GiB of memory.",
        f"- The machine's own limits: {machine['gflops']:.0f} GFLOP/s in float32 matrix products, "
        f"{machine['bandwidth_gbs']:.1f} GB/s copying memory, with {machine['threads']} threads.",
        f"- {versions}.",
    ]
    if "gpu" in machine:
        lines.append(
            f"- {machine['gpu']}: {machine['gpu_bf16_gflops'] / 1000:.0f} TFLOP/s in bfloat16 matrix products, "
            f"{machine['gpu_bandwidth_gbs']:.0f} GB/s."
        )
    return "\n".join(lines)


def render_claims(claims: Sequence[Claim]) -> str:
    """Time and ratio of every claim, its memory, what agreed, and what else was measured."""
    ratios = ["| work | peer | accord | peer's | ratio | at least |", "| --- | --- | --- | --- | --- | --- |"]
    ratios += [claim_row(claim) for claim in claims]
    memory = ["| work | accord | peer |", "| --- | --- | --- |"]
    memory += [
        f"| {claim['claim']} against {claim['peer']} | {mebibytes(claim, 'ours')} | {mebibytes(claim, 'peer')} |"
        for claim in claims
        if claim["memory"]
    ]
    details = [line for claim in claims for line in detail_lines(claim)]
    return "\n".join(
        [*ratios, "", "Peak memory:", "", *memory, "", "What agreed, and what else was measured:", "", *details]
    )


def claim_row(claim: Claim) -> str:
    own, theirs = seconds(claim["ours_seconds"]), seconds(claim["peer_seconds"])
    return f"| {claim['claim']} | {claim['peer']} | {own} | {theirs} | {ratio_of(claim)} | {least_of(claim)} |"


def detail_lines(claim: Claim) -> list[str]:
    """One list entry: settings, agreement and further figures of a claim."""
    groups = [
        ("", claim["settings"]),
        ("agreement: ", claim["agree"]),
        ("measured: ", claim["measured"]),
        ("versions: ", claim["versions"]),
    ]
    told = "; ".join(
        prefix + ", ".join(f"{k} {shown(v)}" for k, v in values.items()) for prefix, values in groups if values
    )
    return [f"- **{claim['claim']}** against {claim['peer']}, {claim['date']}: {told}."]


def render_growth(claims: Sequence[Claim]) -> str:
    """Seconds and peak memory of accord at every scale, one row a path."""
    paths = list(dict.fromkeys(claim["claim"] for claim in claims))
    scales = sorted({claim["scale"] for claim in claims})
    found = {(claim["claim"], claim["scale"]): claim for claim in claims}
    header = ["| path |", *(f" {scale}× |" for scale in scales), " time at the last, by linear growth |"]
    lines = ["".join(header), "| --- |" + " --- |" * (len(scales) + 1)]
    for path in paths:
        cells = [growth_cell(found.get((path, scale))) for scale in scales]
        lines.append(f"| {path} | " + " | ".join(cells) + f" | {linear_share(found, path, scales)} |")
    plot = "![Time and peak memory of each path at 1, 4 and 16 times the work](images/growth.svg)"
    return "\n".join([*lines, "", plot])


def growth_cell(claim: Claim | None) -> str:
    if claim is None:
        return "–"
    n_runs = len(claim["ours_seconds"])
    of_runs = f" of {n_runs} runs" if n_runs > 1 else ""
    return f"{seconds(claim['ours_seconds'])}{of_runs}, {mebibytes(claim, 'ours')}"


def linear_share(found: Mapping[tuple[str, int], Claim], path: str, scales: Sequence[int]) -> str:
    """Time at the largest scale over that of linear growth from the smallest: 1.0 is linear, below is better."""
    ends = [found.get((path, scale)) for scale in (scales[0], scales[-1])]
    if ends[0] is None or ends[1] is None or scales[0] == scales[-1]:
        return "–"
    first, last = (statistics.median(claim["ours_seconds"]) for claim in ends if claim is not None)
    return f"{last / (first * scales[-1] / scales[0]):.2f} of it"


def seconds(values: Sequence[float]) -> str:
    """The median, with as many digits as it deserves."""
    if not values:
        return "–"
    median = statistics.median(values)
    return f"{median:.3f} s" if median < 1 else f"{median:.1f} s"


def ratio_of(claim: Claim) -> str:
    """Median and range of the rounds; one round has no range."""
    ratio = claim["ratio"]
    if not ratio:
        return "–"
    if len(claim["peer_seconds"]) == 1:
        return f"**{ratio['median']:.2f}** (one round)"
    return f"**{ratio['median']:.2f}** ({ratio['min']:.2f} to {ratio['max']:.2f})"


def least_of(claim: Claim) -> str:
    return "–" if claim.get("floor") is None else f"{claim['floor']:g}"


def mebibytes(claim: Claim, side: str) -> str:
    found = claim["memory"].get(side)
    return "–" if found is None else f"{found / 2**20:.0f} MiB"


def shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
