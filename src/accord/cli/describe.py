"""`accord describe`: what a prepared folder holds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from accord.cli.options import COMMON, DEFAULT_OPTIONS, Options
from accord.cli.output import interval_text, show


def describe(prepared: Path, *, most_contested: int = 5, common: Annotated[Options, COMMON] = DEFAULT_OPTIONS) -> None:
    """Show what a prepared folder holds and what the annotators disagree about.

    Args:
        prepared: Folder of `accord prepare`.
        most_contested: How many of the items with the highest disagreement are listed.
    """
    from accord.artifacts import require_complete

    content = read_content(require_complete(prepared, "prepare"))
    contested = _most_contested(prepared / "disagreement.jsonl", most_contested) if "agreement" in content else []
    lines = [str(prepared), *(f"  {line}" for line in content_lines(content))]
    if contested:
        lines += ["most contested:", *(f"  {row['id']}  {_votes_text(row)}  {row['completion']}" for row in contested)]
    show(lines, {**content, "most_contested": contested}, as_json=common.json)


def read_content(folder: Path) -> dict[str, Any]:
    """What a prepared folder says of itself: `agreement` of annotated items, or `prompts`."""
    from accord.data.prepared import AGREEMENT_FILE, COUNTS_FILE
    from accord.json_files import read_json

    if (folder / COUNTS_FILE).is_file():
        return {"prompts": read_json(folder / COUNTS_FILE)}
    return {"agreement": read_json(folder / AGREEMENT_FILE)}


def content_lines(content: Mapping[str, Any]) -> list[str]:
    """The key numbers of a prepared folder."""
    return agreement_lines(content["agreement"]) if "agreement" in content else prompts_lines(content["prompts"])


def prompts_lines(counts: Mapping[str, Any]) -> list[str]:
    """The key numbers of prompts.json."""
    sides = ", ".join(f"{split} {n}" for split, n in counts["splits"].items())
    left_out = f", {counts['n_left_out']} left out" if counts["n_left_out"] else ""
    return [
        f"{counts['n_prompts']} prompts with human replies ({sides}){left_out}",
        f"words per reply: {counts['words_per_reference']:.1f}",
    ]


def agreement_lines(agreement: Mapping[str, Any]) -> list[str]:
    """The key numbers of agreement.json."""
    counts = (agreement[key] for key in ("n_items", "n_annotators", "n_annotations"))
    named = {"n_without_annotation": "without annotation", "n_rejected": "refused"}
    left_out = [f"{agreement[key]} {name}" for key, name in named.items() if agreement.get(key)]
    return [
        "{} items, {} annotators, {} annotations".format(*counts),
        *([f"rows left out: {', '.join(left_out)}"] if left_out else []),
        f"Krippendorff's alpha ({agreement['alpha']['level']}): {interval_text(agreement['alpha'])}",
        f"items whose annotators disagree: {interval_text(agreement['share_disagreeing'])}",
        f"acceptance: {interval_text({'value': agreement['acceptance_rate']})}",
    ]


def _most_contested(path: Path, n_items: int) -> list[dict[str, Any]]:
    import heapq

    import msgspec

    with path.open("rb") as file:
        rows = (msgspec.json.decode(line) for line in file)
        return heapq.nlargest(n_items, rows, key=lambda row: row["entropy"] or 0.0)


def _votes_text(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{label} {count}" for label, count in row["votes"].items())
