"""The SQL of activity: counts the active tenants, and finds those that were inactive for long."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.storage import Connection


@dataclass(frozen=True, slots=True)
class Inactive:
    """A tenant that was inactive for long."""

    number: int
    last_active_at: int
    messages: int
    requests: int

    @property
    def rows(self) -> int:
        """About as many as there are to delete."""
        return self.messages + self.requests


def count_active(connection: Connection, since_ms: int) -> int:
    """How many were active since then; walks that part of an index."""
    found = connection.execute(
        "SELECT COUNT(*) FROM tenants WHERE last_active_at >= :since", {"since": since_ms}
    )
    return int(found.fetchone()[0])


def inactive(
    connection: Connection, before_ms: int, limit: int, after: Inactive | None = None
) -> list[Inactive]:
    """At most `limit` tenants last active before then, the longest silent first.

    Blocked tenants are left out: forgotten, they would come back unblocked.
    """
    found = connection.execute(
        "SELECT id, last_active_at, message_count, request_count FROM tenants"
        " WHERE last_active_at < :before AND last_active_at >= :after_at"
        " AND (last_active_at > :after_at OR id > :after_id) AND blocked_at IS NULL"
        " ORDER BY last_active_at, id LIMIT :limit",
        {
            "before": before_ms,
            "after_at": after.last_active_at if after else 0,
            "after_id": after.number if after else 0,
            "limit": limit,
        },
    )
    return [Inactive(*row) for row in found.fetchall()]


def count_inactive(connection: Connection, before_ms: int) -> int:
    """How many tenants `inactive` would give; walks that part of an index."""
    found = connection.execute(
        "SELECT COUNT(*) FROM tenants WHERE last_active_at < :before AND blocked_at IS NULL",
        {"before": before_ms},
    )
    return int(found.fetchone()[0])


def is_inactive(connection: Connection, number: int, before_ms: int) -> bool:
    """Whether `inactive` would give this tenant still."""
    found = connection.execute(
        "SELECT 1 FROM tenants"
        " WHERE id = :number AND last_active_at < :before AND blocked_at IS NULL",
        {"number": number, "before": before_ms},
    )
    return found.fetchone() is not None


def silent_with_messages(connection: Connection, before_ms: int, limit: int) -> list[int]:
    """At most `limit` tenants with messages that were last active before then, blocked or not."""
    found = connection.execute(
        "SELECT id FROM tenants WHERE last_active_at < :before AND message_count > 0"
        " ORDER BY last_active_at, id LIMIT :limit",
        {"before": before_ms, "limit": limit},
    )
    return [int(row[0]) for row in found.fetchall()]
