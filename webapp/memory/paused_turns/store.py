"""The SQL of turns that wait for approval; what is in one, as text, is agent/approvals.py's.

A session has one at most. Each writing changes the row's version, so that of two that go on with
the same turn one alone does.
"""

from __future__ import annotations

from dataclasses import dataclass

from webapp.storage import Connection

# A tenant who lets so many sessions wait is not asked about the oldest any more.
MOST_OF_TENANT = 100
# And all that wait may have so many characters.
MAX_CHARS_OF_TENANT = 10_000_000


@dataclass(frozen=True, slots=True)
class PausedRow:
    """One turn that waits; `created_at_ms` is when its first call did."""

    session_id: str
    turn: str
    version: int
    created_at_ms: int


def find(connection: Connection, tenant: int, session: str, now_ms: int) -> PausedRow | None:
    """The session's turn, unless its time is over."""
    row = connection.execute(
        "SELECT session_id, turn, version, created_at FROM paused_turns"
        " WHERE tenant_id = :tenant AND session_id = :session AND expires_at > :now",
        {"tenant": tenant, "session": session, "now": now_ms},
    ).fetchone()
    return None if row is None else PausedRow(*row)


def listed(connection: Connection, tenant: int, now_ms: int, most: int) -> list[PausedRow]:
    """At most so many of those that wait, the newest first."""
    rows = connection.execute(
        "SELECT session_id, turn, version, created_at FROM paused_turns"
        " WHERE tenant_id = :tenant AND expires_at > :now ORDER BY created_at DESC, session_id"
        " LIMIT :most",
        {"tenant": tenant, "now": now_ms, "most": most},
    )
    return [PausedRow(*row) for row in rows.fetchall()]


def count(connection: Connection, tenant: int, now_ms: int) -> int:
    """How many wait."""
    row = connection.execute(
        "SELECT COUNT(*) FROM paused_turns WHERE tenant_id = :tenant AND expires_at > :now",
        {"tenant": tenant, "now": now_ms},
    ).fetchone()
    return int(row[0]) if row else 0


def others_chars(connection: Connection, tenant: int, session: str) -> int:
    """How many characters the turns of the tenant's other sessions have."""
    row = connection.execute(
        "SELECT COALESCE(SUM(LENGTH(turn)), 0) FROM paused_turns"
        " WHERE tenant_id = :tenant AND session_id <> :session",
        {"tenant": tenant, "session": session},
    ).fetchone()
    return int(row[0]) if row else 0


def put(
    connection: Connection, tenant: int, session: str, turn: str, now_ms: int, expires_at: int
) -> bool:
    """Keeps a turn that has just begun to wait; False when another one of the session waits."""
    values = {"tenant": tenant, "session": session, "turn": turn}
    made = connection.execute(_PUT, {**values, "now": now_ms, "expires": expires_at})
    connection.execute(_SURPLUS, {"tenant": tenant, "most": MOST_OF_TENANT})
    return made.rowcount > 0


def change(
    connection: Connection, tenant: int, session: str, version: int, turn: str, expires_at: int
) -> bool:
    """Keeps the turn as far as it has come; False when it is of another version, or gone."""
    values = {"tenant": tenant, "session": session, "version": version, "turn": turn}
    return connection.execute(_CHANGE, {**values, "expires": expires_at}).rowcount > 0


def drop(connection: Connection, tenant: int, session: str, version: int) -> bool:
    """Takes the turn away; False when it is of another version, or gone."""
    gone = connection.execute(
        "DELETE FROM paused_turns"
        " WHERE tenant_id = :tenant AND session_id = :session AND version = :version",
        {"tenant": tenant, "session": session, "version": version},
    )
    return gone.rowcount > 0


def drop_late_ones(connection: Connection, tenant: int, session: str, now_ms: int) -> None:
    """Takes those of the tenant's other sessions away whose time is over."""
    connection.execute(
        "DELETE FROM paused_turns"
        " WHERE tenant_id = :tenant AND session_id <> :session AND expires_at <= :now",
        {"tenant": tenant, "session": session, "now": now_ms},
    )


def clear(connection: Connection, tenant: int) -> None:
    """Takes all of the tenant's away."""
    connection.execute("DELETE FROM paused_turns WHERE tenant_id = :tenant", {"tenant": tenant})


def clear_session(connection: Connection, tenant: int, session: str) -> bool:
    """Takes one session's away; False when none waited."""
    gone = connection.execute(
        "DELETE FROM paused_turns WHERE tenant_id = :tenant AND session_id = :session",
        {"tenant": tenant, "session": session},
    )
    return gone.rowcount > 0


def clear_left(connection: Connection, most: int) -> int:
    """Takes some of any tenants' away, whoever they are; gives their number."""
    return connection.execute(_LEFT, {"most": most}).rowcount


def prune(connection: Connection, now_ms: int, most: int) -> int:
    """Takes at most `most` of those away whose time is over; gives their number."""
    return connection.execute(_OLD, {"now": now_ms, "most": most}).rowcount


_PUT = """
    INSERT INTO paused_turns (tenant_id, session_id, turn, version, created_at, expires_at)
    VALUES (:tenant, :session, :turn, 1, :now, :expires)
    ON CONFLICT (tenant_id, session_id) DO UPDATE SET turn = excluded.turn,
        version = paused_turns.version + 1, created_at = excluded.created_at,
        expires_at = excluded.expires_at
    WHERE paused_turns.expires_at <= :now
"""

_CHANGE = """
    UPDATE paused_turns SET turn = :turn, version = version + 1, expires_at = :expires
    WHERE tenant_id = :tenant AND session_id = :session AND version = :version
"""

_SURPLUS = """
    DELETE FROM paused_turns WHERE tenant_id = :tenant AND session_id IN (
        SELECT session_id FROM paused_turns WHERE tenant_id = :tenant
        ORDER BY created_at DESC, session_id LIMIT 1000 OFFSET :most
    )
"""

_LEFT = """
    DELETE FROM paused_turns WHERE (tenant_id, session_id) IN (
        SELECT tenant_id, session_id FROM paused_turns LIMIT :most
    )
"""

_OLD = """
    DELETE FROM paused_turns WHERE (tenant_id, session_id) IN (
        SELECT tenant_id, session_id FROM paused_turns WHERE expires_at <= :now LIMIT :most
    )
"""
