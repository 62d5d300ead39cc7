"""The SQL of a tenant's sessions: lists and counts them, exports and restores them, drops them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from webapp.storage import Connection


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """One session of a tenant; times are milliseconds since 1970-01-01 UTC."""

    session_id: str
    message_count: int
    created_at_ms: int
    last_active_at_ms: int
    has_state: bool


def sessions_of(connection: Connection, tenant: int, limit: int = 1000) -> list[SessionSummary]:
    """At most `limit` of the tenant's sessions, the most recently active first."""
    rows = connection.execute(_LATEST, {"tenant": tenant, "limit": limit}).fetchall()
    return [SessionSummary(row[0], row[1], row[2], row[3], bool(row[4])) for row in rows]


def count(connection: Connection, tenant: int) -> int:
    """How many sessions the tenant has."""
    found = connection.execute(
        "SELECT COUNT(*) FROM sessions WHERE tenant_id = :tenant", {"tenant": tenant}
    )
    return int(found.fetchone()[0])


def count_with_messages(connection: Connection) -> int:
    """How many sessions of all tenants hold a message; walks all sessions."""
    found = connection.execute("SELECT COUNT(*) FROM sessions WHERE message_count > 0", {})
    return int(found.fetchone()[0])


def page(connection: Connection, tenant: int, after: int, limit: int) -> list[tuple[Any, ...]]:
    """id, session_id, created_at, last_active_at, state, state_version, in order of id."""
    return connection.execute(_PAGE, {"tenant": tenant, "after": after, "limit": limit}).fetchall()


def put(connection: Connection, tenant: int, name: str, values: Mapping[str, Any]) -> bool:
    """Makes the session; False when there is one of this name that is in use."""
    made = connection.execute(_PUT, {**values, "tenant": tenant, "session": name})
    return made.rowcount > 0


def put_times(
    connection: Connection, tenant: int, name: str, created_at: int, last_active_at: int
) -> None:
    """Storing messages has set them to now."""
    connection.execute(
        "UPDATE sessions SET created_at = :created, last_active_at = :active"
        " WHERE tenant_id = :tenant AND session_id = :session",
        {"tenant": tenant, "session": name, "created": created_at, "active": last_active_at},
    )


def drop_all(connection: Connection, tenant: int) -> None:
    """Deletes the tenant's sessions with their state; their messages are gone by now."""
    connection.execute("DELETE FROM sessions WHERE tenant_id = :tenant", {"tenant": tenant})


_LATEST = """
    SELECT session_id, message_count, created_at, last_active_at, state IS NOT NULL FROM sessions
    WHERE tenant_id = :tenant ORDER BY last_active_at DESC, id DESC LIMIT :limit
"""

_PAGE = """
    SELECT id, session_id, created_at, last_active_at, state, state_version FROM sessions
    WHERE tenant_id = :tenant AND id > :after ORDER BY id LIMIT :limit
"""

_PUT = """
    INSERT INTO sessions
        (tenant_id, session_id, created_at, last_active_at, state, state_version)
    VALUES (:tenant, :session, :created_at, :last_active_at, :state, :state_version)
    ON CONFLICT (tenant_id, session_id) DO UPDATE SET
        state = excluded.state, state_version = sessions.state_version + excluded.state_version
    WHERE sessions.message_count = 0 AND sessions.state IS NULL
"""
