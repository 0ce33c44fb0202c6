"""What this machine can do at most, measured: the limits that docs/performance.md holds the paths against.

    python -m benchmarks.machine                # CPU, cores, matrix-multiply rate, memory bandwidth, versions

The matrix-multiply rate is that of float32 products of 2048 × 2048 matrices (2 · 2048³ operations each), the bandwidth
that of copying 256 MiB (read and written: twice the bytes); the best of several tries each, with all threads.
"""

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.claims import versions_of

SIZE = 2048
COPIED_BYTES = 1 << 28
TRIES = 7


def main() -> None:
    print(json.dumps(describe_machine(), indent=1))


def describe_machine() -> dict[str, Any]:
    """CPU and, where there is one, GPU: names, measured limits, versions."""
    found: dict[str, Any] = {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gflops": matmul_gflops(),
        "bandwidth_gbs": copy_bandwidth(),
        "versions": {"python": platform.python_version(), **versions_of("torch", "transformers", "peft", "numpy")},
    }
    if torch.cuda.is_available():
        device = torch.device("cuda")
        found["gpu"] = torch.cuda.get_device_name()
        found["gpu_bf16_gflops"] = matmul_gflops(device, torch.bfloat16, size=8192)
        found["gpu_bandwidth_gbs"] = copy_bandwidth(device, n_bytes=1 << 32)
    return found


def matmul_gflops(device: torch.device | None = None, dtype: torch.dtype = torch.float32, *, size: int = SIZE) -> float:
    """10⁹ floating-point operations per second of square matrix products, the best of several."""
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(left)
    return 2 * size**3 / best_seconds(lambda: torch.mm(left, right, out=out), left.device) / 1e9


def copy_bandwidth(device: torch.device | None = None, *, n_bytes: int = COPIED_BYTES) -> float:
    """10⁹ bytes per second read and written when one array is copied into another, the best of several."""
    source = torch.ones(n_bytes // 4, device=device)
    target = torch.empty_like(source)
    return 2 * n_bytes / best_seconds(lambda: target.copy_(source), source.device) / 1e9


def best_seconds(run: Callable[[], Any], device: torch.device) -> float:
    """The shortest of several runs after one that does not count."""
    taken = []
    for _ in range(TRIES + 1):
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return min(taken[1:])


def cpu_name() -> str:
    """The processor's name as Linux gives it, else what Python knows."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "") or (
        platform.processor() or platform.machine()
    )


if __name__ == "__main__":
    main()
