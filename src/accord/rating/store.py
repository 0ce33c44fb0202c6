"""The file of a study: SQLite in WAL mode with synchronous=FULL.

Changes that arrive while the disk is busy with the ones before share the next transaction, and so its one fsync. Each
runs inside a savepoint of its own: one that fails takes nothing of the others with it. A change counts as made when
its transaction is on the disk, and only then does the caller hear of it.

Changes run on the event loop, because they are short and a second thread would fight it for the interpreter at every
statement; what waits for the disk, the commit, runs in a thread. So does the checkpoint, which copies the log into the
file, in a thread and with a connection of its own: a commit that had to do that on the way would keep all waiting.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from accord.errors import ArtifactError
from accord.rating.migrations import migrate

STUDY_FILE = "study.sqlite"
MAX_GROUP = 256
"""The most changes in one transaction, so that none waits for too many others."""
CHECKPOINT_EVERY = 400
"""Changes between two checkpoints."""
BUSY_SECONDS = 10.0

MAKE_WRITABLE = "Use a study whose file and folder you may write to; a copy will do for --export."

ResultT = TypeVar("ResultT")
Change = Callable[[sqlite3.Connection], ResultT]


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode that waits for others and overwrites what it deletes.

    Raises:
        ArtifactError: `path` is no study's file.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False)
    except sqlite3.OperationalError as error:
        raise ArtifactError(f"{path} cannot be opened to write ({error}). {MAKE_WRITABLE}") from None
    connection.row_factory = sqlite3.Row
    try:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.OperationalError as error:
        connection.close()
        raise ArtifactError(f"{path} cannot be opened to write ({error}). {MAKE_WRITABLE}") from None
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
        self._writer = connect(path)
        self._writer.execute("PRAGMA wal_autocheckpoint = 0")
        self._n_unchecked = 0
        self._checkpoint: asyncio.Task[None] | None = None
        self._is_writing = threading.Lock()
        self._pending: list[_Pending] = []
        self._flushing: asyncio.Task[None] | None = None
        self._readers = threading.local()

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

    async def write(self, change: Change[ResultT], *, is_forgetting: bool = False) -> ResultT:
        """Make a change; returns what it returns, once that is on the disk.

        Args:
            is_forgetting: the change deletes, and no byte of what it deleted may stay in the file or its log.
        """
        future: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        self._pending.append(_Pending(change, future, is_forgetting))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())
        return await future

    def write_now(self, change: Change[ResultT]) -> ResultT:
        """`write` where no event loop runs.

        Raises:
            ArtifactError: the file cannot be written.
        """
        with self._is_writing:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                raise ArtifactError(f"{self.path} cannot be written ({error}). {MAKE_WRITABLE}") from None
            try:
                result = change(self._writer)
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")
        return result

    async def finish(self) -> None:
        """Wait until all that was asked for is written."""
        for task in (self._flushing, self._checkpoint):
            if task is not None:
                await task

    def close(self) -> None:
        """Close the file; its log is folded into it when the last one closes."""
        self._writer.close()
        if hasattr(self._readers, "connection"):
            self._readers.connection.close()
            del self._readers.connection

    def _reader(self) -> sqlite3.Connection:
        if not hasattr(self._readers, "connection"):
            self._readers.connection = connect(self.path)
        connection: sqlite3.Connection = self._readers.connection
        return connection

    async def _flush(self) -> None:
        """Group after group, until nothing is pending."""
        while self._pending:
            await asyncio.sleep(0)  # whatever has arrived by now joins the group
            group, self._pending = self._pending[:MAX_GROUP], self._pending[MAX_GROUP:]
            with self._is_writing:
                outcomes = await self._commit(group)
            for pending, (result, failure) in zip(group, outcomes, strict=True):
                if pending.future.done():  # whoever asked has gone
                    continue
                if failure is not None:
                    pending.future.set_exception(failure)
                else:
                    pending.future.set_result(result)
            self._n_unchecked += len(group)
            if self._n_unchecked >= CHECKPOINT_EVERY and (self._checkpoint is None or self._checkpoint.done()):
                self._n_unchecked = 0
                self._checkpoint = asyncio.create_task(asyncio.to_thread(_fold_log, self.path))

    async def _commit(self, group: "Sequence[_Pending]") -> "Sequence[_Outcome]":
        """Run the changes in one transaction; what became of each, once that is on the disk."""
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            outcomes = [_outcome(self._writer, pending.change) for pending in group]
            await asyncio.to_thread(self._writer.execute, "COMMIT")
            if any(pending.is_forgetting for pending in group):
                await asyncio.to_thread(self._forget)
        except sqlite3.Error as error:  # a full disk, say: nothing of the group is confirmed
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            return [_Outcome(None, error)] * len(group)
        return outcomes

    def _forget(self) -> None:
        self._writer.execute("VACUUM")
        is_busy = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if is_busy:
            raise sqlite3.OperationalError("the log cannot be emptied while others read; delete again")


def _fold_log(path: Path) -> None:
    """Copy what is committed from the log into the file, as far as nobody reads the older state."""
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


class _Pending(NamedTuple):
    change: Change[Any]
    future: "asyncio.Future[Any]"
    is_forgetting: bool


class _Outcome(NamedTuple):
    result: Any
    failure: Exception | None


def _outcome(connection: sqlite3.Connection, change: Change[Any]) -> _Outcome:
    connection.execute("SAVEPOINT one")
    try:
        result = change(connection)
    except Exception as error:
        connection.execute("ROLLBACK TO one")
        connection.execute("RELEASE one")
        return _Outcome(None, error)
    connection.execute("RELEASE one")
    return _Outcome(result, None)
