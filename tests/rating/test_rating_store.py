"""The file of a study: groups of changes, failures that stay alone, nothing left of what was deleted."""

import asyncio
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from accord.errors import ArtifactError
from accord.rating.migrations import MIGRATIONS, VERSION
from accord.rating.store import MAX_GROUP, Store, connect


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path / "study.sqlite")
    found.write_now(lambda connection: connection.execute("CREATE TABLE notes (text TEXT UNIQUE)"))
    yield found
    found.close()


def note(text: str) -> Any:
    return lambda connection: connection.execute("INSERT INTO notes VALUES (?)", (text,)).rowcount


def notes(store: Store) -> list[str]:
    return [row["text"] for row in store.read("SELECT text FROM notes ORDER BY rowid")]


def test_the_file_is_made_to_last(store: Store) -> None:
    """WAL; FULL (2): a commit returns only after the log is on the disk; secure_delete overwrites."""
    with closing(connect(store.path)) as connection:
        found = [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete", "user_version")
        ]
    assert found == ["wal", 2, 1, 1, VERSION]


def test_changes_at_once_share_transactions_and_keep_their_order(store: Store) -> None:
    statements: list[str] = []
    store._writer.set_trace_callback(statements.append)

    async def all_at_once() -> list[int]:
        return await asyncio.gather(*(store.write(note(f"{number:03}")) for number in range(MAX_GROUP + 10)))

    assert asyncio.run(all_at_once()) == [1] * (MAX_GROUP + 10)
    assert notes(store) == [f"{number:03}" for number in range(MAX_GROUP + 10)]
    assert statements.count("COMMIT") == 2


def test_a_change_that_fails_takes_no_other_with_it(store: Store) -> None:
    """Its own statements are undone, the ones before and after it in the same transaction stay."""

    def half(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes VALUES ('half')")
        raise ZeroDivisionError("ours")

    async def three() -> list[Any]:
        changes = (store.write(note("one")), store.write(half), store.write(note("one")), store.write(note("two")))
        return await asyncio.gather(*changes, return_exceptions=True)

    found = asyncio.run(three())
    assert [type(result) for result in found] == [int, ZeroDivisionError, sqlite3.IntegrityError, int]
    assert notes(store) == ["one", "two"]


def test_nothing_is_confirmed_when_the_commit_fails(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a full disk; the next changes go through again."""
    real = store._writer

    class FullDisk:
        @property
        def in_transaction(self) -> bool:
            return real.in_transaction

        def execute(self, statement: str, *parameters: Any) -> Any:
            if statement == "COMMIT":
                raise sqlite3.OperationalError("database or disk is full")
            return real.execute(statement, *parameters)

    async def two() -> list[Any]:
        return list(await asyncio.gather(store.write(note("a")), store.write(note("b")), return_exceptions=True))

    monkeypatch.setattr(store, "_writer", FullDisk())
    assert [str(failure) for failure in asyncio.run(two())] == ["database or disk is full"] * 2
    monkeypatch.undo()
    assert notes(store) == []
    assert asyncio.run(two()) == [1, 1]


def test_who_does_not_wait_any_more_has_still_written(store: Store) -> None:
    async def leave() -> None:
        waiting = asyncio.create_task(store.write(note("gone")))
        await asyncio.sleep(0)
        waiting.cancel()
        await store.finish()

    asyncio.run(leave())
    assert notes(store) == ["gone"]


def test_readers_see_one_moment(store: Store) -> None:
    with store.snapshot() as connection:
        before = connection.execute("SELECT count(*) FROM notes").fetchone()[0]
        store.write_now(note("meanwhile"))
        assert connection.execute("SELECT count(*) FROM notes").fetchone()[0] == before == 0
    assert notes(store) == ["meanwhile"]


def test_forgetting_leaves_no_byte(store: Store) -> None:
    secret = "a confession nobody shall read"
    store.write_now(note(secret))
    files = [store.path, store.path.with_name(store.path.name + "-wal")]
    assert any(secret.encode() in path.read_bytes() for path in files)
    asyncio.run(store.write(lambda connection: connection.execute("DELETE FROM notes"), is_forgetting=True))
    assert not any(secret.encode() in path.read_bytes() for path in files)


def test_a_checkpoint_folds_the_log_into_the_file_while_others_write(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accord.rating.store.CHECKPOINT_EVERY", 20)

    async def write() -> None:
        for number in range(25):
            await store.write(note(f"note {number}"))
        await store.finish()

    asyncio.run(write())
    assert b"note 7" in store.path.read_bytes()


def test_a_file_of_a_newer_accord_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    with closing(connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    expected = f"{path} has version {VERSION + 1}, this accord knows versions up to {VERSION}."
    with pytest.raises(ArtifactError, match=re.escape(expected)):
        Store(path)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    path.write_text("id,label\n" * 100, encoding="utf-8")
    with pytest.raises(ArtifactError, match="is not the file of a study"):
        Store(path)


def test_a_file_that_cannot_be_written_is_not_called_foreign(store: Store, tmp_path: Path) -> None:
    """A missing folder stands for one that may not be written to: to root that is no matter."""
    with pytest.raises(ArtifactError, match=r"study.sqlite cannot be opened to write \(unable to open database file\)"):
        Store(tmp_path / "absent" / "study.sqlite")
    store._writer.execute("PRAGMA query_only = ON")
    with pytest.raises(ArtifactError, match=r"study.sqlite cannot be written \(attempt to write a readonly database\)"):
        store.write_now(note("x"))


def test_a_migration_that_fails_leaves_the_version_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "study.sqlite"
    Store(path).close()
    broken = (*MIGRATIONS, "CREATE TABLE extra (id); CREATE TABLE extra (id);")
    monkeypatch.setattr("accord.rating.migrations.MIGRATIONS", broken)
    monkeypatch.setattr("accord.rating.migrations.VERSION", len(broken))
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        Store(path)
    with closing(connect(path)) as connection:
        tables = [row["name"] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
    assert "extra" not in tables


def test_history_cannot_be_rewritten(store: Store) -> None:
    connection = store._writer
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("INSERT INTO history (placement, question, label, saved_at) VALUES (1, 'q', 'yes', 0)")
    with pytest.raises(sqlite3.IntegrityError, match="history is append-only"):
        connection.execute("UPDATE history SET label = 'no'")
