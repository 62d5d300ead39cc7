"""Remembers that a forgotten user is blocked, without remembering the user.

What is kept is a hash of the id under a random key of the database: it can be asked whether an id
is in it, and nobody can read from it who is. It was made of the form of the id that the database
had then: where ids were encrypted since, it can only be asked with the plain id as well.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from webapp.storage import Connection

_KEY = "block_key"


def keep(connection: Connection, stored_id: str, blocked_at: int) -> None:
    """The user goes and its block stays."""
    connection.execute(
        "INSERT INTO meta (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING",
        {"name": _KEY, "value": secrets.token_hex(32)},
    )
    connection.execute(
        "INSERT INTO blocked_users (reference, blocked_at) VALUES (:reference, :at)"
        " ON CONFLICT (reference) DO NOTHING",
        {"reference": _reference(connection, stored_id), "at": blocked_at},
    )


def kept_since(connection: Connection, stored_id: str, user_id: str) -> int | None:
    """Since when a user is blocked that is not there any more; None when it is not."""
    row = connection.execute(
        "SELECT min(blocked_at) FROM blocked_users WHERE reference IN (:stored, :plain)",
        _references(connection, stored_id, user_id),
    ).fetchone()
    return None if row[0] is None else int(row[0])


def lift(connection: Connection, stored_id: str, user_id: str) -> None:
    """The user may come again, or is there again with its block in its own row."""
    connection.execute(
        "DELETE FROM blocked_users WHERE reference IN (:stored, :plain)",
        _references(connection, stored_id, user_id),
    )


def _references(connection: Connection, stored_id: str, user_id: str) -> dict[str, str | None]:
    stored = _reference(connection, stored_id)
    plain = stored if user_id == stored_id else _reference(connection, user_id)
    return {"stored": stored, "plain": plain}


def _reference(connection: Connection, stored_id: str) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE name = :name", {"name": _KEY}).fetchone()
    if row is None:
        return None
    return hmac.digest(bytes.fromhex(row[0]), stored_id.encode("utf-8"), hashlib.sha256).hex()
