"""What all benchmarks of docs/performance.md share: their flags, alternating rounds, the ratio, what is written.

A script checks first that both sides agree, then times them in turn, round by round, so that a busy machine slows both.
Its JSON file is a list of claims with the fields of `Claim`; `python -m benchmarks.run_all` makes the tables of them.
"""

import argparse
import importlib.metadata
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers import peak_bytes, reset_peak

SCALES = (1, 4, 16)
"""How much more work than the claim's own, for the growth of time and memory."""


class Timed(NamedTuple):
    """One run: wall-clock seconds, and the highest resident memory of its process meanwhile."""

    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Claim:
    """One comparison. `ratio` is the peer's seconds over ours, round by round: above 1, accord is faster.

    Args:
        claim: what is compared, e.g. "scoring". peer: with what. floor: the least median ratio that is claimed.
        agree: what was compared first, and how far apart it was. memory: bytes by name. settings: sizes of the work.
        measured: what else is worth a column, e.g. the share of the encoder's own rate.
    """

    claim: str
    peer: str
    versions: Mapping[str, str]
    ours_seconds: Sequence[float]
    peer_seconds: Sequence[float]
    agree: Mapping[str, Any]
    settings: Mapping[str, Any]
    floor: float | None = None
    memory: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> dict[str, float]:
        """Median, smallest and largest ratio of the rounds; nothing where no peer ran."""
        if not self.peer_seconds:
            return {}
        ratios = [theirs / ours for ours, theirs in zip(self.ours_seconds, self.peer_seconds, strict=True)]
        return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def read_arguments(description: str | None, *, rounds: int, size: str | None = None) -> argparse.Namespace:
    """The flags every benchmark has; see `build_parser`."""
    return build_parser(description, rounds=rounds, size=size).parse_args()


def build_parser(description: str | None, *, rounds: int, size: str | None = None) -> argparse.ArgumentParser:
    """A parser with the flags every benchmark has.

    Args:
        size: what --size counts, e.g. "pairs"; None: the work has one size, and there is no such flag.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if size is not None:
        parser.add_argument("--size", type=int, default=None, help=f"{size} at scale 1 instead of the claim's own")
    parser.add_argument("--rounds", type=int, default=rounds, help="how often both sides are timed, in turn")
    parser.add_argument("--scale", type=int, choices=SCALES, default=1, help="so many times the work")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: whether it runs and agrees, no claim")
    parser.add_argument("--ours", action="store_true", help="time accord alone (for the growth at larger scales)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of either side (OpenMP)")
    parser.add_argument("--json", type=Path, default=None, help="file to write the results to")
    return parser


def timed(run: Callable[[], Any]) -> Timed:
    """Run our side once, from a fresh high-water mark of memory."""
    reset_peak()
    started = time.perf_counter()
    run()
    return Timed(time.perf_counter() - started, peak_bytes())


def alternate(sides: Mapping[str, Callable[[], Timed]], *, rounds: int) -> dict[str, list[Timed]]:
    """All sides in turn, `rounds` times: what each took in every round."""
    runs: dict[str, list[Timed]] = {name: [] for name in sides}
    for number in range(1, rounds + 1):
        for name, run in sides.items():
            runs[name].append(run())
        taken = ", ".join(f"{name} {found[-1].seconds:.3f} s" for name, found in runs.items())
        print(f"round {number}: {taken}", file=sys.stderr, flush=True)
    return runs


def seconds_of(runs: Sequence[Timed]) -> list[float]:
    """The seconds of each run."""
    return [run.seconds for run in runs]


def peak_of(runs: Sequence[Timed]) -> int:
    """The highest memory of all runs, in bytes."""
    return max(run.peak_bytes for run in runs)


def versions_of(*packages: str) -> dict[str, str]:
    """The installed versions of these packages, of this interpreter."""
    return {name: importlib.metadata.version(name) for name in packages}


def finish(claims: Iterable[Claim], arguments: argparse.Namespace) -> None:
    """Print every claim and write it where --json says, as it comes: what stops later takes nothing with it."""
    for claim in claims:
        show(claim)
        if arguments.json is not None:
            write(claim, arguments.json, scale=arguments.scale)


def write(claim: Claim, path: Path, *, scale: int) -> None:
    """Put a claim into a result file, in place of the same claim of an earlier run; the other rows stay."""
    row = {
        **asdict(claim),
        "rounds": len(claim.ours_seconds),
        "ratio": claim.ratio,
        "scale": scale,
        "date": datetime.now(UTC).date().isoformat(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    by_claim = {(other["claim"], other["peer"], other["scale"]): other for other in [*rows, row]}
    path.write_text(json.dumps(list(by_claim.values()), indent=1) + "\n", encoding="utf-8")


def show(claim: Claim) -> None:
    """One claim as a few lines of text."""
    print(f"{claim.claim} against {claim.peer}")
    for name, seconds in (("accord", claim.ours_seconds), ("peer", claim.peer_seconds)):
        if seconds:
            print(f"  {name:>6}: {statistics.median(seconds):9.3f} s (from {min(seconds):.3f} to {max(seconds):.3f})")
    if claim.ratio:
        median, low, high = (claim.ratio[key] for key in ("median", "min", "max"))
        least = "" if claim.floor is None else f"; at least {claim.floor:g} is claimed"
        print(f"   ratio: {median:9.2f}   (from {low:.2f} to {high:.2f}){least}")
    for title, values in (("agree", claim.agree), ("measured", claim.measured)):
        for key, value in values.items():
            print(f"  {title}: {key} = {value:.6g}" if isinstance(value, float) else f"  {title}: {key} = {value}")
    for key, value in claim.memory.items():
        print(f"  memory: {key} = {value / 2**20:.0f} MiB")
