"""How long `accord --help` and the help of every verb take, against `trl --help`.

python -m benchmarks.startup                   # 7 rounds of accord and trl; each verb 3 times
python -m benchmarks.startup --smoke           # 1 round of accord and trl
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median

from accord.cli.main import VERBS
from benchmarks.claims import Claim, Timed, alternate, finish, read_arguments, seconds_of, versions_of

BIN = Path(sys.executable).parent
MOST_SECONDS = 0.5
VERB_ROUNDS = 3


def main() -> None:
    arguments = read_arguments(__doc__, rounds=7)
    rounds = 1 if arguments.smoke else arguments.rounds
    verbs = [] if arguments.smoke else list(VERBS)
    for_peer = {} if arguments.ours else {"trl": partial(help_seconds, ["trl", "--help"], "grpo")}
    runs = alternate({"accord": partial(help_seconds, ["accord", "--help"], "calibrate")} | for_peer, rounds=rounds)
    by_verb = {
        verb: median(help_seconds(["accord", verb, "--help"], verb).seconds for _ in range(VERB_ROUNDS))
        for verb in verbs
    }
    measured = {"most that is claimed": MOST_SECONDS}
    if by_verb:
        slowest = max(by_verb, key=lambda verb: by_verb[verb])
        measured[f"slowest verb: {slowest}"] = by_verb[slowest]
    claim = Claim(
        claim="start-up",
        peer="trl --help",
        versions=versions_of("accord", "trl"),
        ours_seconds=seconds_of(runs["accord"]),
        peer_seconds=seconds_of(runs.get("trl", [])),
        agree={"both print their help": "yes"},
        settings={"verbs": len(verbs)},
        measured=measured,
    )
    finish([claim], arguments)


def help_seconds(command: Sequence[str], expected: str) -> Timed:
    """Run a program of this environment as its own process; stops where it fails or does not name `expected`."""
    started = time.perf_counter()
    done = subprocess.run([BIN / command[0], *command[1:]], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode != 0 or expected not in done.stdout:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return Timed(seconds, 0)


if __name__ == "__main__":
    main()
