"""The file of a study: SQLite in WAL mode with synchronous=FULL, one thread that writes, readers beside it.

Changes that arrive while the disk is busy with the ones before share the next transaction and so its one fsync. Each
runs inside a savepoint of its own: one that fails takes nothing of the others with it. A change counts as made when
its transaction is on the disk, and only then does the caller hear of it.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from accord.errors import ArtifactError
from accord.rating.migrations import migrate

STUDY_FILE = "study.sqlite"
MAX_GROUP = 256
"""The most changes in one transaction, so that none waits for too many others."""
BUSY_MS = 10_000

ResultT = TypeVar("ResultT")
Change = Callable[[sqlite3.Connection], ResultT]


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode that waits for others and overwrites what it deletes.

    Raises:
        ArtifactError: `path` is no study's file.
    """
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_MS / 1000)
    connection.row_factory = sqlite3.Row
    try:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.DatabaseError as error:
        connection.close()
        raise ArtifactError(
            f"{path} is not the file of a study ({error}). Expected one that accord rate made."
        ) from None
    return connection


class Store:
    """A study's open file. `read` sees what is committed; `write` returns once its change is.

    Raises:
        ArtifactError: `path` is no study's file, or one of a newer accord.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with closing(connect(path)) as connection:
            migrate(connection, name=str(path))
        self._readers = threading.local()
        self._queue: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_groups, name="study-writer", daemon=True)
        self._thread.start()

    def read(self, query: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query, in the calling thread."""
        return self._reader().execute(query, parameters).fetchall()

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one moment of the study, whatever is written meanwhile."""
        connection = self._reader()
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.execute("COMMIT")

    async def write(self, change: Change[ResultT]) -> ResultT:
        """Make a change in the writing thread; returns what it returns, once that is on the disk."""
        return await asyncio.wrap_future(self._submit(change))

    def write_now(self, change: Change[ResultT]) -> ResultT:
        """`write` for callers that may wait."""
        return self._submit(change).result()

    async def forget(self, change: Change[ResultT]) -> ResultT:
        """Make a change that deletes, and leave no byte of what it deleted in the file or its log."""
        return await asyncio.wrap_future(self._submit(change, is_forgetting=True))

    def close(self) -> None:
        """Finish what is queued, and fold the log into the file."""
        self._queue.put(None)
        self._thread.join()
        reader = getattr(self._readers, "connection", None)
        if reader is not None:
            reader.close()

    def _reader(self) -> sqlite3.Connection:
        if not hasattr(self._readers, "connection"):
            self._readers.connection = connect(self.path)
        connection: sqlite3.Connection = self._readers.connection
        return connection

    def _submit(self, change: Change[ResultT], *, is_forgetting: bool = False) -> "Future[ResultT]":
        future: Future[ResultT] = Future()
        self._queue.put(_Pending(change, future, is_forgetting))
        return future

    def _write_groups(self) -> None:
        with closing(connect(self.path)) as connection:
            while (first := self._queue.get()) is not None:
                group, is_last = self._group_with(first)
                _commit_group(connection, group)
                if is_last:
                    return

    def _group_with(self, first: "_Pending") -> "tuple[list[_Pending], bool]":
        """`first` and whatever waits behind it; whether the end of the queue was among it."""
        group = [first]
        while len(group) < MAX_GROUP:
            try:
                pending = self._queue.get_nowait()
            except queue.Empty:
                break
            if pending is None:
                return group, True
            group.append(pending)
        return group, False


class _Pending(NamedTuple):
    change: Change[Any]
    future: "Future[Any]"
    is_forgetting: bool


def _commit_group(connection: sqlite3.Connection, group: Sequence[_Pending]) -> None:
    """Run the changes in one transaction, and tell their callers only after the commit."""
    outcomes: list[tuple[Any, BaseException | None]] = []
    try:
        connection.execute("BEGIN IMMEDIATE")
        outcomes = [_outcome(connection, pending.change) for pending in group]
        connection.execute("COMMIT")
        if any(pending.is_forgetting for pending in group):
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:  # a full disk, say: nothing of the group is confirmed
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        outcomes = [(None, error)] * len(group)
    for pending, (result, failure) in zip(group, outcomes, strict=True):
        if not pending.future.set_running_or_notify_cancel():
            continue
        if failure is not None:
            pending.future.set_exception(failure)
        else:
            pending.future.set_result(result)


def _outcome(connection: sqlite3.Connection, change: Change[Any]) -> tuple[Any, BaseException | None]:
    connection.execute("SAVEPOINT one")
    try:
        result = change(connection)
    except Exception as error:
        connection.execute("ROLLBACK TO one")
        connection.execute("RELEASE one")
        return None, error
    connection.execute("RELEASE one")
    return result, None
