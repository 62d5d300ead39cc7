"""The SQL of a tenant's notes; the tools that keep them are agent/toolkits/notes.py."""

from __future__ import annotations

from typing import Any

from webapp.storage import Connection

Row = tuple[int, str, int]


def find(connection: Connection, tenant: int, text: str) -> Row | None:
    """The note that says just that."""
    row = connection.execute(
        "SELECT number, content, created_at FROM notes"
        " WHERE tenant_id = :tenant AND content = :text ORDER BY number LIMIT 1",
        {"tenant": tenant, "text": text},
    ).fetchone()
    return None if row is None else (row[0], row[1], row[2])


def count(connection: Connection, tenant: int) -> int:
    """How many the tenant has."""
    found = connection.execute(
        "SELECT COUNT(*) FROM notes WHERE tenant_id = :tenant", {"tenant": tenant}
    )
    return int(found.fetchone()[0])


def add(connection: Connection, tenant: int, text: str, now_ms: int) -> Row:
    """Keeps a note under the tenant's next number. The tenant's row is held by then."""
    values = {"tenant": tenant, "text": text, "now": now_ms}
    row = connection.execute(_ADD, values).fetchone()
    return row[0], row[1], row[2]


def restore(connection: Connection, tenant: int, number: int | None, text: str, at_ms: int) -> None:
    """Puts a note from elsewhere under its number; without one under the next, unless there is one
    that says the same."""
    values = {"tenant": tenant, "text": text, "now": at_ms}
    if number is not None:
        connection.execute(_RESTORE, {**values, "number": number})
    elif find(connection, tenant, text) is None:
        add(connection, tenant, text, at_ms)


def page(connection: Connection, tenant: int, after: int, limit: int) -> list[tuple[Any, ...]]:
    """number, content, created_at, in order of number."""
    return connection.execute(
        "SELECT number, content, created_at FROM notes"
        " WHERE tenant_id = :tenant AND number > :after ORDER BY number LIMIT :limit",
        {"tenant": tenant, "after": after, "limit": limit},
    ).fetchall()


def remove(connection: Connection, tenant: int, number: int) -> bool:
    """False when there is no such note."""
    gone = connection.execute(
        "DELETE FROM notes WHERE tenant_id = :tenant AND number = :number",
        {"tenant": tenant, "number": number},
    )
    return gone.rowcount > 0


def drop_all(connection: Connection, tenant: int) -> None:
    """Deletes all of the tenant's."""
    connection.execute("DELETE FROM notes WHERE tenant_id = :tenant", {"tenant": tenant})


_RESTORE = """
    INSERT INTO notes (tenant_id, number, content, created_at)
    VALUES (:tenant, :number, :text, :now)
"""

_ADD = """
    INSERT INTO notes (tenant_id, number, content, created_at)
    SELECT :tenant, COALESCE(MAX(number), 0) + 1, :text, :now FROM notes
    WHERE tenant_id = :tenant
    RETURNING number, content, created_at
"""
