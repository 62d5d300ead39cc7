"""Tells which rows of a table of facts are settled; the answer depends on the engine."""

from __future__ import annotations

from webapp.storage.database import Connection


def settled_through(connection: Connection) -> int:
    """The number up to which every request is stored, or never will be.

    SQLite lets one transaction write at a time, so numbers are given in the order of commits and
    the newest one that can be seen is the answer. PostgreSQL gives numbers before the commit: a
    lower one may still come. docs/decisions.md says how it will answer.
    """
    found = connection.execute("SELECT COALESCE(MAX(id), 0) FROM requests", {})
    return int(found.fetchone()[0])


def newest_number(connection: Connection) -> int:
    """The newest number that a request was ever given, whether it is still there or not.

    SQLite keeps it in a table of its own.
    """
    found = connection.execute(
        "SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'requests'", {}
    )
    return max(int(found.fetchone()[0]), settled_through(connection))
