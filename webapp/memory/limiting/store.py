"""The SQL of a tenant's limits: who is over them, and which sessions are the oldest."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.memory.limiting.limits import TenantLimits
from webapp.storage import Connection


@dataclass(frozen=True, slots=True)
class Candidate:
    """A session that may have to go."""

    number: int
    session_id: str
    messages: int


def oldest(
    connection: Connection, tenant: int, keep: str | None, limit: int, *, least: int = 0
) -> list[Candidate]:
    """At most `limit` of the tenant's sessions with at least so many messages, the least recently
    active first, without `keep`."""
    rows = connection.execute(
        _OLDEST, {"tenant": tenant, "keep": keep or "", "least": least, "limit": limit}
    ).fetchall()
    return [Candidate(*row) for row in rows]


def tenants_over(
    connection: Connection, limits: TenantLimits, after: int, limit: int
) -> list[tuple[int, int, int]]:
    """Number, messages and sessions of tenants over a limit, in order of their number above
    `after`. Without a match it walks all tenants: call it through `read_long`."""
    conditions = []
    if limits.messages:
        conditions.append("message_count > :messages")
    if limits.sessions:
        conditions.append(f"{_SESSIONS} > :sessions")
    values = {"after": after, "limit": limit}
    values |= {"messages": limits.messages} if limits.messages else {}
    values |= {"sessions": limits.sessions} if limits.sessions else {}
    rows = connection.execute(
        f"SELECT id, message_count, {_SESSIONS} FROM tenants"  # noqa: S608  # nosec B608  # text of this module
        f" WHERE id > :after AND ({' OR '.join(conditions)}) ORDER BY id LIMIT :limit",
        values,
    ).fetchall()
    return [(int(row[0]), int(row[1]), int(row[2])) for row in rows]


_SESSIONS = "(SELECT COUNT(*) FROM sessions WHERE tenant_id = tenants.id)"

# No session is named ''.
_OLDEST = """
    SELECT id, session_id, message_count FROM sessions
    WHERE tenant_id = :tenant AND session_id <> :keep AND message_count >= :least
    ORDER BY last_active_at, id LIMIT :limit
"""
