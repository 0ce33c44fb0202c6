"""The tables of a study, as numbered migrations: script n takes a file of version n - 1 to version n.

A script that has been released is never changed; a new one is added below it. `PRAGMA user_version` holds the number.
"""

import sqlite3

from accord.errors import ArtifactError

MIGRATIONS = (
    """
    CREATE TABLE study (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        title TEXT NOT NULL,
        form TEXT NOT NULL,
        settings TEXT NOT NULL,
        inputs TEXT NOT NULL,
        seed INTEGER NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('open', 'paused', 'closed')),
        secret TEXT NOT NULL,
        key BLOB NOT NULL
    );
    CREATE TABLE prompts (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        prompt TEXT NOT NULL,
        cluster TEXT NOT NULL
    );
    -- What is shown on one page: one text of each system, or a single text; priority is the place in --suggestions.
    CREATE TABLE sheets (
        id INTEGER PRIMARY KEY,
        prompt INTEGER NOT NULL REFERENCES prompts,
        kind TEXT NOT NULL CHECK (kind IN ('rate', 'check')),
        priority INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX sheets_of_prompt ON sheets (prompt);
    CREATE TABLE texts (
        id INTEGER PRIMARY KEY,
        sheet INTEGER NOT NULL REFERENCES sheets,
        system TEXT NOT NULL,
        seed INTEGER NOT NULL,
        sample INTEGER NOT NULL,
        completion TEXT NOT NULL,
        expected TEXT
    );
    CREATE INDEX texts_of_sheet ON texts (sheet);
    CREATE TABLE annotators (
        id INTEGER PRIMARY KEY AUTOINCREMENT, -- so that the name of a deleted annotator is never given again
        token TEXT NOT NULL UNIQUE,
        code TEXT NOT NULL,
        is_revoked INTEGER NOT NULL DEFAULT 0,
        consented_at REAL,
        traits TEXT NOT NULL DEFAULT '{}',
        n_expected INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE tasks (
        id INTEGER PRIMARY KEY,
        annotator INTEGER NOT NULL REFERENCES annotators ON DELETE CASCADE,
        number INTEGER NOT NULL,
        sheet INTEGER NOT NULL REFERENCES sheets,
        kind TEXT NOT NULL CHECK (kind IN ('rate', 'repeat', 'check')),
        state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done', 'skipped')),
        assigned_at REAL NOT NULL,
        finished_at REAL,
        skip_reason TEXT,
        UNIQUE (annotator, number)
    );
    CREATE INDEX tasks_of_sheet ON tasks (sheet);
    -- A text of a task: where it stands on the page, and the only name by which the browser knows it.
    CREATE TABLE placements (
        id INTEGER PRIMARY KEY,
        task INTEGER NOT NULL REFERENCES tasks ON DELETE CASCADE,
        text INTEGER NOT NULL REFERENCES texts,
        position INTEGER NOT NULL,
        item TEXT NOT NULL UNIQUE,
        UNIQUE (task, position)
    );
    CREATE INDEX placements_of_text ON placements (text);
    CREATE TABLE answers (
        placement INTEGER NOT NULL REFERENCES placements ON DELETE CASCADE,
        question TEXT NOT NULL,
        label TEXT NOT NULL,
        PRIMARY KEY (placement, question)
    ) WITHOUT ROWID;
    -- Every answer that was ever confirmed, in the server's order; a null label withdraws the one before.
    CREATE TABLE history (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        placement INTEGER NOT NULL REFERENCES placements ON DELETE CASCADE,
        question TEXT NOT NULL,
        label TEXT,
        saved_at REAL NOT NULL,
        sent TEXT
    );
    CREATE INDEX history_of_placement ON history (placement, question);
    CREATE TRIGGER history_is_append_only BEFORE UPDATE ON history
    BEGIN
        SELECT RAISE(ABORT, 'history is append-only');
    END;
    """,
)
VERSION = len(MIGRATIONS)


def migrate(connection: sqlite3.Connection, *, name: str) -> None:
    """Bring a study's file to the present version, each step whole or not at all.

    Raises:
        ArtifactError: the file was made by a newer accord.
    """
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found > VERSION:
        raise ArtifactError(
            f"{name} has version {found}, this accord knows versions up to {VERSION}. Open it with the accord that "
            "made it, or update."
        )
    for number in range(found + 1, VERSION + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {MIGRATIONS[number - 1]} PRAGMA user_version = {number}; COMMIT;")
