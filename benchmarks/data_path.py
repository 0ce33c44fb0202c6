"""1,000,000 annotations, read, validated, counted, with Krippendorff's alpha and its interval, and Dawid–Skene.

    python -m benchmarks.data_path                 # 1,000,000 annotations of 200,000 items, 1 round
    python -m benchmarks.data_path --smoke         # 2,000 annotations

The peer reads the same file with pandas, checks the same things, resamples items in a plain loop over NumPy counts, and
fits crowd-kit's DawidSkene with as many steps as accord needs to converge. The annotations are drawn with a fixed seed:
500 annotators, each with an error rate of their own, five to an item, three labels. Both layouts are measured: JSONL
with one item a line (accord's own) and a CSV table with one annotation a row.
"""

import csv
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from accord.data.aggregation import dawid_skene
from accord.data.describe import DAWID_SKENE_ITERATIONS
from accord.data.labels import count_labels
from accord.data.schema import read_items
from accord.data.schemes import LabelScheme
from accord.statistics.agreement import alpha_interval
from benchmarks.claims import Claim, Timed, alternate, finish, peak_of, read_arguments, seconds_of, timed, versions_of
from benchmarks.peers import Peer

N_ITEMS, PER_ITEM = 200_000, 5
ITEMS_PER_ANNOTATOR = 400
LABELS = ("no", "unsure", "yes")
SCHEME = LabelScheme("benchmark", LABELS, acceptable=("yes",))
N_RESAMPLES = 1000
FLOORS: dict[str, float | None] = {".jsonl": 10.0, ".csv": None}
SEED = 20230
ALPHA_TOLERANCE = 1e-9
INTERVAL_TOLERANCE = 0.1
"""Of the ends of the two intervals, in widths of the interval: both resample with their own draws."""
FREQUENCY_TOLERANCE = 1e-6


def main() -> None:
    arguments = read_arguments(__doc__, rounds=1, size="items")
    n_items = (400 if arguments.smoke else arguments.size or N_ITEMS) * arguments.scale
    with tempfile.TemporaryDirectory() as folder:
        finish((compared(path, n_items, arguments) for path in write_files(Path(folder), n_items)), arguments)


def compared(path: Path, n_items: int, arguments: Any) -> Claim:
    """One layout: both sides in turn; the claim only if they agree."""
    found: dict[str, dict[str, Any]] = {}
    layout = {".jsonl": "items, JSONL", ".csv": "one annotation a row, CSV"}[path.suffix]

    def ours() -> None:
        found["accord"] = run(path)

    def theirs() -> Timed:
        with Peer(Path(sys.executable), "benchmarks.data_path_peer", threads=arguments.threads) as peer:
            steps = found["accord"]["steps"]
            answer = peer.ask("run", path=str(path), labels=LABELS, n_resamples=N_RESAMPLES, n_steps=steps)
        found["peer"] = answer["result"]
        return Timed(answer["seconds"], answer["peak_bytes"])

    sides: dict[str, Callable[[], Timed]] = {"accord": partial(timed, ours)}
    if not arguments.ours:
        sides["peer"] = theirs
    runs = alternate(sides, rounds=arguments.rounds)
    own, peers = runs["accord"], runs.get("peer", [])
    return Claim(
        claim=f"data: {layout}",
        peer="pandas, crowd-kit and a plain loop",
        versions=versions_of("numpy", "pandas", "crowd-kit", "msgspec"),
        ours_seconds=seconds_of(own),
        peer_seconds=seconds_of(peers),
        agree=agreement(found["accord"], found["peer"]) if peers else {},
        settings={"annotations": n_items * PER_ITEM, "items": n_items, "resamples": N_RESAMPLES},
        floor=FLOORS[path.suffix],
        memory={"ours": peak_of(own)} | ({"peer": peak_of(peers)} if peers else {}),
    )


def run(path: Path) -> dict[str, Any]:
    """Read, validate, count, alpha with interval, Dawid–Skene, as `accord prepare` does it."""
    counted = count_labels(read_items(path, scheme=SCHEME), SCHEME)
    votes = (counted.item_index, counted.annotator_index, counted.label_index)
    interval = alpha_interval(*votes, level="nominal", n_resamples=N_RESAMPLES, rng=np.random.default_rng(SEED))
    fitted = dawid_skene(*votes, len(LABELS), max_iterations=DAWID_SKENE_ITERATIONS)
    return {
        "votes": counted.counts.sum(axis=0).tolist(),
        "alpha": interval.value,
        "low": interval.low,
        "high": interval.high,
        "frequency": fitted.label_probs.mean(axis=0).tolist(),
        "most_probable": np.bincount(fitted.label_probs.argmax(axis=1), minlength=len(LABELS)).tolist(),
        "steps": fitted.n_iterations,
    }


def agreement(own: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """How far the two results are apart; stops where that is more than rounding and resampling."""
    width = own["high"] - own["low"]
    apart = {
        "votes counted": float(np.abs(np.subtract(own["votes"], theirs["votes"])).max()),
        "alpha": abs(own["alpha"] - theirs["alpha"]),
        "interval's ends, in widths": max(abs(own[end] - theirs[end]) for end in ("low", "high")) / width,
        "Dawid-Skene's frequency of a label": float(np.abs(np.subtract(own["frequency"], theirs["frequency"])).max()),
    }
    limits = (0.0, ALPHA_TOLERANCE, INTERVAL_TOLERANCE, FREQUENCY_TOLERANCE)
    for (name, found), limit in zip(apart.items(), limits, strict=True):
        if not found <= limit:
            raise SystemExit(f"{name} differ by {found:.3g}, so times mean nothing: {own} against {theirs}")
    return apart | {"Dawid-Skene steps": own["steps"]}


def write_files(folder: Path, n_items: int) -> list[Path]:
    """The same annotations as JSONL and as a long CSV table."""
    paths = [folder / "items.jsonl", folder / "annotations.csv"]
    with paths[0].open("w", encoding="utf-8") as jsonl, paths[1].open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["id", "prompt", "completion", "group", "annotator", "label"])
        for row in drawn_items(n_items):
            jsonl.write(json.dumps(row) + "\n")
            texts = [row[name] for name in ("id", "prompt", "completion", "group")]
            writer.writerows([*texts, vote["annotator"], vote["label"]] for vote in row["annotations"])
    return paths


def drawn_items(n_items: int) -> Iterator[dict[str, Any]]:
    """Items with five annotations each; an annotator says the true label but for an error rate of their own."""
    rng = np.random.default_rng(SEED)
    n_annotators = max(20, n_items // ITEMS_PER_ANNOTATOR)
    slips = rng.uniform(0.05, 0.5, size=n_annotators)
    truth = rng.choice(len(LABELS), size=n_items, p=[0.3, 0.2, 0.5])
    first = rng.integers(n_annotators, size=n_items)
    step = rng.integers(1, n_annotators // PER_ITEM, size=n_items)
    who = (first[:, None] + step[:, None] * np.arange(PER_ITEM)) % n_annotators
    is_slip = rng.random(who.shape) < slips[who]
    said = np.where(is_slip, rng.integers(len(LABELS), size=who.shape), truth[:, None])
    for number, (annotators, labels) in enumerate(zip(who.tolist(), said.tolist(), strict=True)):
        yield {
            "id": f"i{number}",
            "prompt": f"Message number {number}, of about as many words as people write to each other in a chat.",
            "completion": f"A reply to message number {number}, which takes up what it said and asks for more.",
            "group": f"g{number // 4}",
            "annotations": [
                {"annotator": f"a{annotator}", "label": LABELS[label]}
                for annotator, label in zip(annotators, labels, strict=True)
            ],
        }


if __name__ == "__main__":
    main()
