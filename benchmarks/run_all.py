"""Every benchmark, one after another, and the tables and plots of docs/performance.md made of what they wrote.

    make bench                                     # all claims; the machine should do nothing else
    python -m benchmarks.run_all --growth          # accord alone at 1, 4 and 16 times the work
    python -m benchmarks.run_all --only scoring    # one script; the other rows come from the last run's files
    python -m benchmarks.run_all --smoke           # do they run and agree? Tiny sizes; the page stays as it is

Results lie in runs/bench as one JSON file a script, each claim with its day. The page is rewritten between its markers
alone.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.claims import SCALES
from benchmarks.machine import describe_machine
from benchmarks.peers import ROOT
from benchmarks.performance_page import render_claims, render_growth, render_machine, rewrite
from benchmarks.performance_plot import draw_growth

SCRIPTS: dict[str, tuple[str, ...]] = {
    "candidates": (),
    "calibration_step": ("--rounds", "2"),
    "calibration_rl": (),
    "scoring": (),
    "preference_fit": ("--rounds", "2"),
    "data_path": ("--rounds", "3"),
    "startup": (),
    "metrics": ("--n", "2000", "--rounds", "2"),
}
"""Script -> its flags; each takes --json."""
LOADS = ("rating_load",)
"""Scripts that hold accord against a limit of its own and write text."""


class Growth(NamedTuple):
    """One path whose work grows: the script, what of the work is multiplied, and the flags of scale 1."""

    script: str
    grows: str
    flags: tuple[str, ...] = ()

    def result(self, folder: Path, scale: int) -> Path:
        return folder / "growth" / f"{self.script}-{self.grows}-{scale}.json"


GROWTH = (
    *(
        Growth("candidates", grows, ("--shapes", "smollm2-135m", "--size", "2", "--grow", grows))
        for grows in ("prompts", "candidates", "prompt_length")
    ),
    *(
        Growth(
            "calibration_step", grows, ("--shapes", "smollm2-135m", "--tuning", "full", "--size", "1", "--grow", grows)
        )
        for grows in ("prompts", "candidates", "prompt_length")
    ),
    Growth("scoring", "pairs", ("--size", "125")),
    Growth("preference_fit", "items", ("--size", "128")),
    Growth("data_path", "items", ("--size", "12500")),
)
"""Sizes at scale 1 are chosen so that 16 times as much ends within minutes."""
GROWTH_ROUNDS = {1: 8, 4: 3, 16: 1}
"""By scale: about as long a look at each, since a machine's rate drifts over seconds."""
OUTPUT_DIR = ROOT / "runs" / "bench"
PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "images" / "growth.svg"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*SCRIPTS, *LOADS], default=None, help="these scripts")
    parser.add_argument("--growth", action="store_true", help="measure the growth of time and memory instead")
    parser.add_argument("--rounds", type=int, default=None, help="instead of each script's own")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, no page")
    parser.add_argument("--page", action="store_true", help="run nothing, rewrite the page from the last results")
    arguments = parser.parse_args()
    folder = OUTPUT_DIR / "smoke" if arguments.smoke else OUTPUT_DIR
    failed: list[str] = []
    if not arguments.page:
        folder.mkdir(parents=True, exist_ok=True)
        write_machine(folder)
        failed = run_growth(folder, arguments) if arguments.growth else run_claims(folder, arguments)
    if not arguments.smoke:
        write_page(folder)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; rows they did not reach are those of an earlier run")


def run_claims(folder: Path, arguments: argparse.Namespace) -> list[str]:
    """Run the scripts; the names of those that failed."""
    rounds = () if arguments.rounds is None else ("--rounds", str(arguments.rounds))
    smoke = ("--smoke",) if arguments.smoke else ()
    names = arguments.only or [*SCRIPTS, *LOADS]
    failed = []
    for name in names:
        if name in LOADS:
            is_done = arguments.smoke or run_load(name, folder)
        elif not (ROOT / "benchmarks" / f"{name}.py").exists():
            is_done = False
        else:
            flags = ("--n", "60", "--rounds", "1") if name == "metrics" and smoke else (*SCRIPTS[name], *smoke)
            is_done = run(name, (*flags, *rounds, "--json", str(folder / f"{name}.json")))
        if not is_done:
            failed.append(name)
    return failed


def run_growth(folder: Path, arguments: argparse.Namespace) -> list[str]:
    """Run accord's side at every scale; the names of those that failed."""
    failed = []
    for growth in GROWTH:
        if arguments.only and growth.script not in arguments.only:
            continue
        flags = ("--smoke",) if arguments.smoke else growth.flags
        for scale in SCALES:
            rounds = arguments.rounds or (1 if arguments.smoke else GROWTH_ROUNDS[scale])
            options = ("--ours", "--rounds", str(rounds), "--scale", str(scale))
            if not run(growth.script, (*flags, *options, "--json", str(growth.result(folder, scale)))):
                failed.append(f"{growth.script} at scale {scale}")
    return failed


def run(name: str, flags: Sequence[str]) -> bool:
    """One script as a process of its own; whether it ended well."""
    print(f"--- benchmarks.{name} {' '.join(flags)}", flush=True)
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *flags], cwd=ROOT, check=False)
    print(f"--- {time.perf_counter() - started:.0f} s, exit status {done.returncode}", flush=True)
    return done.returncode == 0


def run_load(name: str, folder: Path) -> bool:
    """A script that prints what it found; kept as text."""
    print(f"--- benchmarks.{name}", flush=True)
    command = [sys.executable, "-m", f"benchmarks.{name}"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    print(done.stdout + done.stderr, flush=True)
    if done.returncode == 0:
        (folder / f"{name}.txt").write_text(done.stdout, encoding="utf-8")
    return done.returncode == 0


def write_machine(folder: Path) -> None:
    """The machine's limits, measured before anything else runs."""
    (folder / "machine.json").write_text(json.dumps(describe_machine(), indent=1) + "\n", encoding="utf-8")


def write_page(folder: Path) -> None:
    """The tables between the page's markers, and the plot, from whatever results there are."""
    machine = json.loads((folder / "machine.json").read_text(encoding="utf-8"))
    claims = [claim for name in SCRIPTS for claim in claims_of(folder / f"{name}.json")]
    growth = [
        {**claim, "claim": f"{claim['claim']}: {path.grows.replace('_', ' ')}"}
        for path in GROWTH
        for scale in SCALES
        for claim in claims_of(path.result(folder, scale))
    ]
    parts: dict[str, str] = {"machine": render_machine(machine)}
    if claims:
        parts["claims"] = render_claims(claims)
    if growth:
        parts["growth"] = render_growth(growth)
        draw_growth(growth, PLOT)
    rewrite(PAGE, parts)


def claims_of(path: Path) -> list[Mapping[str, Any]]:
    """The claims of a result file; none where there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


if __name__ == "__main__":
    main()
