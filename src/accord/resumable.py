"""Row-by-row work that survives a kill at any moment: the unit of resume is the batch.

The batch plan is computed before the first batch. Each finished batch is appended to a log and then committed by
an atomic note of the log's length and checksum; on restart whatever lies beyond the noted length is cut off and
redone. A log that is not what the note says is not trusted: the work starts over, and that is said.
"""

import logging
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import msgspec
import numpy as np

from accord.files import naming_failed_writes
from accord.json_files import replacing, write_json
from accord.progress import progress

logger = logging.getLogger("accord")

Compute = Callable[[Sequence[int]], Sequence[msgspec.Struct]]


def map_batches(
    scratch_dir: Path,
    batches: Sequence[Sequence[int]],
    compute: Compute,
    output_path: Path,
    *,
    label: str,
) -> None:
    """Compute the batches that are not done yet, then write all rows to `output_path` in input order.

    Args:
        scratch_dir: keeps the log between runs; the caller removes it when its stage is finished.
        batches: row numbers 0 … N−1, each once; the same plan at every restart.
        compute: row numbers of a batch -> its records, in the same order.
        output_path: JSONL, replaced atomically. Memory: one batch and 8 bytes a row.
    """
    log_path, note_path = scratch_dir / "rows.jsonl", scratch_dir / "done.json"
    done = _committed(log_path, note_path)
    encoder = msgspec.json.Encoder()
    n_rows = sum(len(batch) for batch in batches)
    with _opened_log(log_path) as log, progress(label, n_rows, done=sum(map(len, batches[: done.batches]))) as advance:
        log.truncate(done.bytes)
        log.seek(done.bytes)
        for number in range(done.batches, len(batches)):
            records = compute(batches[number])
            assert len(records) == len(batches[number]), "compute must return one record per row"
            rows = b"".join(encoder.encode(record) + b"\n" for record in records)
            with naming_failed_writes(log_path):
                _write_through(log, rows)
            done = _Done(number + 1, done.bytes + len(rows), zlib.crc32(rows, done.crc32))
            write_json(note_path, done._asdict())
            advance(len(records))
    _write_in_order(log_path, [row for batch in batches for row in batch], output_path)


class _Done(NamedTuple):
    """Finished batches, the length of their rows in the log, and the checksum of those bytes."""

    batches: int
    bytes: int
    crc32: int


def _committed(log_path: Path, note_path: Path) -> _Done:
    """What is finished; nothing where the log is not as the note says."""
    nothing = _Done(0, 0, 0)
    if not note_path.exists():
        return nothing
    try:
        done = _Done(**msgspec.json.decode(note_path.read_bytes(), type=dict[str, int]))
        with log_path.open("rb") as log:
            if _checksum(log, done.bytes) == done.crc32:
                return done
        reason = "is not as long as it was, or was changed"
    except (OSError, ValueError, TypeError) as error:
        reason = f"cannot be read ({error})"
    logger.warning("The log of finished rows %s %s; starting over.", log_path, reason)
    return nothing


def _checksum(log: IO[bytes], n_bytes: int) -> int | None:
    """CRC-32 of the first `n_bytes`; None where there are fewer."""
    crc32 = 0
    while n_bytes > 0:
        block = log.read(min(n_bytes, 1 << 20))
        if not block:
            return None
        crc32, n_bytes = zlib.crc32(block, crc32), n_bytes - len(block)
    return crc32


def _opened_log(log_path: Path) -> IO[bytes]:
    """Without a buffer, so that closing it after a failed write has nothing left to write."""
    with naming_failed_writes(log_path):
        return log_path.open("ab", buffering=0)


def _write_through(log: IO[bytes], rows: bytes) -> None:
    left = memoryview(rows)
    while left:
        left = left[log.write(left) :]
    os.fsync(log.fileno())


def _write_in_order(log_path: Path, rows: Sequence[int], output_path: Path) -> None:
    """Copy the log's lines, which stand in the order of `rows`, to `output_path` in ascending row order."""
    offsets = np.zeros(len(rows), dtype=np.int64)
    position = 0
    with log_path.open("rb") as log:
        for row, line in zip(rows, log, strict=True):
            offsets[row] = position
            position += len(line)
        with replacing(output_path) as temporary, temporary.open("wb") as output:
            for offset in offsets:
                log.seek(int(offset))
                output.write(log.readline())
