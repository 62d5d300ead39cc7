"""Changes to a tenant: block, own limits, forget; who may and who is told is directory.py's."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.storage import Connection


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What went with a tenant, in rows."""

    messages: int
    sessions: int
    requests: int

    def as_dict(self) -> dict[str, int]:
        return {
            "messages": self.messages,
            "sessions": self.sessions,
            "requests": self.requests,
        }


@dataclass(frozen=True, slots=True)
class Inactive:
    """A tenant that nobody has heard of for long."""

    number: int
    last_active_at: int
    messages: int


def set_blocked(connection: Connection, number: int, blocked: bool, now_ms: int) -> None:
    """Blocks from `now_ms` on, or unblocks; who is blocked already stays so since then."""
    if blocked:
        connection.execute(
            "UPDATE tenants SET blocked_at = :now WHERE id = :number AND blocked_at IS NULL",
            {"number": number, "now": now_ms},
        )
    else:
        connection.execute(
            "UPDATE tenants SET blocked_at = NULL WHERE id = :number", {"number": number}
        )


def set_rate_limit(connection: Connection, number: int, text: str | None) -> None:
    """The tenant's own limit, checked before; None goes back to the default."""
    connection.execute(
        "UPDATE tenants SET rate_limit = :text WHERE id = :number",
        {"number": number, "text": text},
    )


def set_token_budget(connection: Connection, number: int, text: str | None) -> None:
    """The tenant's own token budget, checked before; None goes back to the default."""
    connection.execute(
        "UPDATE tenants SET token_budget = :text WHERE id = :number",
        {"number": number, "text": text},
    )


def forget(
    connection: Connection, number: int, *, inactive_since: int | None = None
) -> Forgotten | None:
    """Deletes the tenant from every table; None when it is gone already.

    With `inactive_since` it is spared when it was active from that moment on, or is blocked.
    What it cost stays in the sums over all tenants, where nothing points at it.
    """
    who = {"number": number, "since": inactive_since}
    if inactive_since is not None:
        silent = connection.execute(
            "SELECT 1 FROM tenants"
            " WHERE id = :number AND last_active_at < :since AND blocked_at IS NULL",
            who,
        )
        if silent.fetchone() is None:
            return None
    messages = connection.execute(
        "DELETE FROM messages WHERE session IN (SELECT id FROM sessions WHERE tenant_id = :number)",
        who,
    ).rowcount
    sessions = connection.execute("DELETE FROM sessions WHERE tenant_id = :number", who).rowcount
    requests = connection.execute("DELETE FROM requests WHERE tenant_id = :number", who).rowcount
    connection.execute("DELETE FROM usage WHERE tenant_id = :number", who)
    connection.execute("DELETE FROM idempotency WHERE tenant_id = :number", who)
    gone = connection.execute("DELETE FROM tenants WHERE id = :number", who).rowcount
    return Forgotten(messages, sessions, requests) if gone else None


def inactive(
    connection: Connection, before_ms: int, limit: int, after: Inactive | None = None
) -> list[Inactive]:
    """At most `limit` tenants last active before then, the longest silent first.

    Blocked tenants are left out: forgotten, they would come back unblocked.
    """
    found = connection.execute(
        "SELECT id, last_active_at, message_count FROM tenants"
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
