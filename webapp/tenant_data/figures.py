"""Counts what an act would remove, for the page that asks before it; removes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.storage import Connection


@dataclass(frozen=True, slots=True)
class Figures:
    """What there is of one tenant, or of all; `tenants` are those with any message."""

    messages: int
    sessions: int
    requests: int = 0
    tenants: int = 1


def of_tenant(connection: Connection, number: int) -> Figures:
    """Counts index entries of one tenant."""
    row = connection.execute(
        "SELECT (SELECT message_count FROM tenants WHERE id = :number),"
        " (SELECT COUNT(*) FROM sessions WHERE tenant_id = :number),"
        " (SELECT COUNT(*) FROM requests WHERE tenant_id = :number)",
        {"number": number},
    ).fetchone()
    return Figures(row[0] or 0, row[1], row[2])


def of_all(connection: Connection) -> Figures:
    """Walks two indexes from end to end: call it through `read_long`."""
    row = connection.execute(
        "SELECT COALESCE(SUM(message_count), 0), COUNT(*) FROM tenants WHERE message_count > 0", {}
    ).fetchone()
    sessions = connection.execute(
        "SELECT COUNT(*) FROM sessions WHERE message_count > 0", {}
    ).fetchone()
    return Figures(int(row[0]), int(sessions[0]), tenants=int(row[1]))
