"""Small named values in the database, such as versions and marks; their owners give them
meaning."""

from __future__ import annotations

from webapp.storage.database import Connection


def value(connection: Connection, name: str) -> str | None:
    """The value under the name."""
    row = connection.execute("SELECT value FROM meta WHERE name = :name", {"name": name}).fetchone()
    return None if row is None else str(row[0])


def put(connection: Connection, name: str, text: str) -> None:
    """Keeps it, in the place of what was there."""
    connection.execute(
        "INSERT INTO meta (name, value) VALUES (:name, :value)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        {"name": name, "value": text},
    )


def put_first(connection: Connection, name: str, text: str) -> bool:
    """Keeps it; False, and nothing, when something is there already."""
    kept = connection.execute(
        "INSERT INTO meta (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING",
        {"name": name, "value": text},
    )
    return kept.rowcount > 0


def take(connection: Connection, name: str) -> bool:
    """Removes it; False when nothing was there."""
    gone = connection.execute("DELETE FROM meta WHERE name = :name", {"name": name})
    return gone.rowcount > 0


def drop_between(connection: Connection, first: str, end: str) -> None:
    """Removes all whose names lie from `first` on and before `end`."""
    connection.execute(
        "DELETE FROM meta WHERE name >= :first AND name < :end", {"first": first, "end": end}
    )


def put_number_outside(connection: Connection, name: str, number: int, low: int, high: int) -> bool:
    """Keeps the number, unless one between `low` and `high`, both included, is there: then False.

    One statement, so that of two processes one alone succeeds.
    """
    kept = connection.execute(
        "INSERT INTO meta (name, value) VALUES (:name, :value) ON CONFLICT (name)"
        " DO UPDATE SET value = excluded.value"
        " WHERE CAST(meta.value AS BIGINT) NOT BETWEEN :low AND :high",
        {"name": name, "value": str(number), "low": low, "high": high},
    )
    return kept.rowcount > 0
