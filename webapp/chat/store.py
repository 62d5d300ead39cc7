"""The SQL of the agent's configurations; what may be in one is configuration.py's."""

from __future__ import annotations

from typing import Any

from webapp.storage import Connection
from webapp.storage.database import Ask

Row = tuple[int, int, str, str, str, str, int, int, int | None]
"""id, created_at, created_by, name, model, instructions, context_max_messages, max_loops,
restored_from."""

_SELECT = (
    "SELECT id, created_at, created_by, name, model, instructions, context_max_messages, max_loops,"
    " restored_from FROM agent_configurations"
)


NEWEST_NUMBER: Ask = ("SELECT MAX(id) FROM agent_configurations", {})
"""What `newest_number` asks."""


def newest_number(connection: Connection) -> int:
    """The number of the configuration in force; 0 when none was ever made."""
    found = connection.execute(*NEWEST_NUMBER).fetchone()
    return int(found[0] or 0)


def newest(connection: Connection, limit: int) -> list[Row]:
    """At most `limit` configurations, the newest first."""
    return connection.execute(
        f"{_SELECT} ORDER BY id DESC LIMIT :limit",
        {"limit": limit},
    ).fetchall()


def find(connection: Connection, number: int) -> Row | None:
    row: Row | None = connection.execute(
        f"{_SELECT} WHERE id = :number",
        {"number": number},
    ).fetchone()
    return row


def add(connection: Connection, values: dict[str, Any]) -> int:
    """Adds a configuration, which is in force from then on; gives its number."""
    return int(connection.execute(_ADD, values).fetchone()[0])


_ADD = """
    INSERT INTO agent_configurations (created_at, created_by, name, model, instructions,
        context_max_messages, max_loops, restored_from)
    VALUES (:now, :by, :name, :model, :instructions, :context, :loops, :restored)
    RETURNING id
"""
