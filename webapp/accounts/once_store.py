"""Marks of forms that were acted on, so that a form that is sent twice acts once.

A mark begins with the moment it was made at, in 13 digits of milliseconds, so that old ones can
be told by their text.
"""

from __future__ import annotations

from webapp.storage import Connection

KEPT_MS = 24 * 3600 * 1000
_PREFIX = "once:"


def outcome(connection: Connection, mark: str) -> str | None:
    """What the form with this mark led to; None when it was not acted on."""
    row = connection.execute(
        "SELECT value FROM meta WHERE name = :name", {"name": _PREFIX + mark}
    ).fetchone()
    return None if row is None else str(row[0])


def take(connection: Connection, mark: str, said: str, now_ms: int) -> bool:
    """Takes the mark in the transaction of the act; False when another has taken it."""
    connection.execute(
        "DELETE FROM meta WHERE name >= :prefix AND name < :old",
        {"prefix": _PREFIX, "old": f"{_PREFIX}{now_ms - KEPT_MS:013d}"},
    )
    taken = connection.execute(
        "INSERT INTO meta (name, value) VALUES (:name, :said) ON CONFLICT (name) DO NOTHING",
        {"name": _PREFIX + mark, "said": said},
    )
    return taken.rowcount == 1
