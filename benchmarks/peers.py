"""The other side of a benchmark: a peer in an environment of its own, alive between rounds.

A peer needs library versions that accord does not (transformers 4.56 for `num_beam_groups`), so each has a virtual
environment, made once under `benchmarks/.venvs` (or the folder in ACCORD_BENCH_VENVS). It runs as a child process that
reads one JSON object per line and answers with one: rounds of both sides alternate, and neither pays for imports.

    python = peer_python("transformers-4.56", ["transformers==4.56.2"])
    with Peer(python, "benchmarks.candidates_peer") as peer:      # our side
        answer = peer.ask("generate", prompts=prompts)            # {"result": ..., "seconds": ..., "peak_bytes": ...}

    if __name__ == "__main__":                                    # benchmarks/candidates_peer.py
        serve({"generate": generate})

This file needs the standard library alone: the peer's side imports it too. Run scripts from the root of the checkout,
as `python -m benchmarks.NAME`.
"""

import ctypes
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]
VENVS_VARIABLE = "ACCORD_BENCH_VENVS"
TORCH = "torch==2.13.0"
"""Installed first, and by name, as in the Makefile: a later requirement then finds it there."""
STAMP = "requirements.txt"
STATUS = Path("/proc/self/status")


class PeerError(RuntimeError):
    """The peer failed; the message is its traceback."""


def venvs_dir() -> Path:
    """Where peers' environments lie."""
    return Path(os.environ.get(VENVS_VARIABLE) or ROOT / "benchmarks" / ".venvs")


def peer_python(name: str, requirements: Sequence[str], *, torch: bool = True) -> Path:
    """The interpreter of the environment `name`, made on the first call and again when its requirements change.

    Args:
        name: folder of the environment. requirements: what pip is given. torch: whether the peer needs torch.

    Raises:
        subprocess.CalledProcessError: pip could not install; the half-made environment is made anew next time.
    """
    folder = venvs_dir() / name
    wanted = "\n".join([*([TORCH] if torch else []), *requirements]) + "\n"
    python = folder / "bin" / "python"
    if not (is_made(name) and (folder / STAMP).read_text() == wanted):
        shutil.rmtree(folder, ignore_errors=True)
        print(f"making the environment {folder}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        install = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        if torch:
            subprocess.run([*install, TORCH], check=True)
        subprocess.run([*install, *([TORCH] if torch else []), *requirements], check=True)
        (folder / STAMP).write_text(wanted)
    return python


def is_made(name: str) -> bool:
    """Whether the environment `name` is there and whole: its stamp is written last."""
    return (venvs_dir() / name / STAMP).is_file()


class Peer:
    """A child process that answers `ask`; its own prints go to standard error.

    Args:
        python: its interpreter. module: what it runs, which calls `serve`. threads: of its OpenMP pool.
    """

    def __init__(self, python: Path, module: str, *, threads: int | None = None) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        environment |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "PASSIVE"}
        if threads is not None:
            environment["OMP_NUM_THREADS"] = str(threads)
        self.process = subprocess.Popen(
            [python, "-m", module], cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, task: str, **arguments: Any) -> dict[str, Any]:
        """`{"result", "seconds", "peak_bytes"}` of a handler of the peer: what it returned, how long it took without
        the pipe, and the highest resident memory of its process meanwhile.

        Raises:
            PeerError: the handler raised, or the process ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps({"task": task, "arguments": arguments}), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise PeerError(f"the peer ended with exit status {self.process.wait()} at {task!r}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child process: it stops at the end of its input."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def serve(handlers: Mapping[str, Callable[..., Any]]) -> None:
    """Answer requests until standard input ends: `handlers[task](**arguments)`, its result as JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not reach the pipe
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reset_peak()
            started = time.perf_counter()
            result = handlers[request["task"]](**request["arguments"])
            seconds = time.perf_counter() - started
            answer = {"result": result, "seconds": seconds, "peak_bytes": peak_bytes()}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


def peak_bytes() -> int:
    """Highest resident memory of this process since it started or `reset_peak`.

    Linux: `VmHWM`, as `ru_maxrss` of a child begins at its parent's. Elsewhere `ru_maxrss`, which cannot be reset.
    """
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reset_peak() -> None:
    """Let `peak_bytes` begin anew at the memory that is resident now (Linux alone)."""
    if STATUS.exists():
        (STATUS.parent / "clear_refs").write_text("5")


def give_back_freed() -> None:
    """Give memory that was freed back to the system, so that it does not count as resident (glibc alone)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def file_hash(path: Path) -> str:
    """SHA-256 of a file: both sides name the weights they loaded."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
