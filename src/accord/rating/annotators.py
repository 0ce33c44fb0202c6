"""Annotators of a study: one unguessable link each, which can be taken back, and all their data with it.

The file keeps the links themselves, not only their digests, because the admin page shows them again; whoever can read
the file can read every answer in it anyway. A request is looked up by the digest of its token, so that the time a
look-up takes says nothing of the token.
"""

import hashlib
import json
import secrets
import sqlite3
import time
from collections.abc import Mapping
from typing import NamedTuple

TOKEN_BYTES = 24
"""192 random bits a link."""


class Annotator(NamedTuple):
    """Who a link belongs to."""

    id: int
    token: str
    code: str
    is_revoked: bool
    has_consented: bool
    traits: dict[str, str]

    @property
    def name(self) -> str:
        return annotator_name(self.id)


def annotator_name(number: int) -> str:
    """The name in every file: it says nothing but the order of the invitations."""
    return f"r{number}"


def token_digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def read_annotators(connection: sqlite3.Connection) -> list[Annotator]:
    """All of them, in the order of their invitation."""
    return [_annotator(row) for row in connection.execute("SELECT * FROM annotators ORDER BY id")]


def invite(connection: sqlite3.Connection) -> str:
    """A new annotator; returns the token of their link."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    connection.execute("INSERT INTO annotators (token, code) VALUES (?, ?)", (token, secrets.token_hex(4).upper()))
    return token


def invite_until(connection: sqlite3.Connection, n_annotators: int) -> None:
    """Invite as many as are missing to `n_annotators` ever invited: nobody takes the place of who was sent away."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'annotators'").fetchone()
    for _ in range(n_annotators - (0 if row is None else row["seq"])):
        invite(connection)


def revoke(connection: sqlite3.Connection, number: int) -> bool:
    """Take a link back; what was answered with it stays. Whether there was such an annotator."""
    return connection.execute("UPDATE annotators SET is_revoked = 1 WHERE id = ?", (number,)).rowcount > 0


def delete_annotator(connection: sqlite3.Connection, number: int) -> bool:
    """Remove an annotator with all answers, history, pages and traits. Whether there was such an annotator."""
    return connection.execute("DELETE FROM annotators WHERE id = ?", (number,)).rowcount > 0


def consent(connection: sqlite3.Connection, number: int, traits: Mapping[str, str]) -> None:
    """Note that an annotator has agreed, and what they say about themselves."""
    connection.execute(
        "UPDATE annotators SET consented_at = coalesce(consented_at, ?), traits = ? WHERE id = ?",
        (time.time(), json.dumps(dict(traits), ensure_ascii=False), number),
    )


def _annotator(row: sqlite3.Row) -> Annotator:
    return Annotator(
        id=row["id"],
        token=row["token"],
        code=row["code"],
        is_revoked=bool(row["is_revoked"]),
        has_consented=row["consented_at"] is not None,
        traits=json.loads(row["traits"]),
    )
