"""The SQL of a tenant's sessions: lists and counts them, exports and restores them, drops them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from webapp.memory.sessions.titles import LOOKED_AT, shortened
from webapp.storage import Connection


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """One session of a tenant; times are milliseconds since 1970-01-01 UTC.

    `number` tells it from all others. Turns and tokens are those of its stored turns, which a
    clear leaves as they are.
    """

    number: int
    session_id: str
    title: str | None
    message_count: int
    turn_count: int
    input_tokens: int
    output_tokens: int
    created_at_ms: int
    last_active_at_ms: int
    has_state: bool

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


def summary_of(row: Sequence[Any]) -> SessionSummary:
    """The session in a row of `COLUMNS`."""
    number, session_id, title, asked, messages, turns, came, went, begun, active, has_state = row
    # A first question is here for sessions that are older than titles are.
    shown = title or (shortened(asked) if asked else None) or None
    return SessionSummary(
        number, session_id, shown, messages, turns, came, went, begun, active, bool(has_state)
    )


def find(connection: Connection, tenant: int, session_id: str) -> SessionSummary | None:
    """The session of this name, or None; never makes one."""
    row = connection.execute(_FIND, {"tenant": tenant, "session": session_id}).fetchone()
    return None if row is None else summary_of(row)


def touch(connection: Connection, tenant: int, session_id: str, now_ms: int) -> None:
    """The session is active now; it is made, if there is none."""
    connection.execute(_TOUCH, {"tenant": tenant, "session": session_id, "now": now_ms})


def with_messages(
    connection: Connection, tenant: int, after: int, limit: int
) -> list[SessionSummary]:
    """At most `limit` sessions that have messages and are numbered above `after`, in order."""
    rows = connection.execute(
        _WITH_MESSAGES, {"tenant": tenant, "after": after, "limit": limit}
    ).fetchall()
    return [summary_of(row) for row in rows]


def rename(connection: Connection, tenant: int, session_id: str, title: str | None) -> int | None:
    """Gives it a title, or with None takes the given one back; its number, None for no session."""
    row = connection.execute(
        _RENAME, {"tenant": tenant, "session": session_id, "title": title}
    ).fetchone()
    return None if row is None else int(row[0])


def drop(connection: Connection, tenant: int, number: int) -> None:
    """Deletes the session with its state; its messages are gone by now."""
    connection.execute(_DROP, {"tenant": tenant, "number": number})


def count(connection: Connection, tenant: int) -> int:
    """How many sessions the tenant has."""
    found = connection.execute(
        "SELECT COUNT(*) FROM sessions WHERE tenant_id = :tenant", {"tenant": tenant}
    )
    return int(found.fetchone()[0])


def newest(connection: Connection, tenant: int) -> str | None:
    """The id of the session that was active last."""
    row = connection.execute(_NEWEST, {"tenant": tenant}).fetchone()
    return None if row is None else str(row[0])


def count_with_messages(connection: Connection) -> int:
    """How many sessions of all tenants hold a message; walks all sessions."""
    found = connection.execute("SELECT COUNT(*) FROM sessions WHERE message_count > 0", {})
    return int(found.fetchone()[0])


def page(connection: Connection, tenant: int, after: int, limit: int) -> list[tuple[Any, ...]]:
    """id, session_id, created_at, last_active_at, state, state_version, `FIGURES`, and the running
    summary's text, last message and time, in order of id."""
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


TITLE = "COALESCE(title, NULLIF(opening, ''))"
FIRST_QUESTION = f"""CASE WHEN title IS NULL AND opening IS NULL THEN (
        SELECT substr(content, 1, {LOOKED_AT:d}) FROM messages
        WHERE /*pg messages.tenant_id = sessions.tenant_id AND */ session = sessions.id
            AND role = 'user' ORDER BY seq LIMIT 1
    ) END"""  # noqa: S608  # nosec B608  # a constant
COLUMNS = f"""id, session_id, {TITLE}, {FIRST_QUESTION}, message_count, turn_count, input_tokens,
    output_tokens, created_at, last_active_at, state IS NOT NULL"""
"""What `summary_of` reads."""

_FIND = f"""
    SELECT {COLUMNS} FROM sessions WHERE tenant_id = :tenant AND session_id = :session
"""  # noqa: S608  # nosec B608  # a constant

_TOUCH = """
    INSERT INTO sessions (tenant_id, session_id, created_at, last_active_at)
    VALUES (:tenant, :session, :now, :now)
    ON CONFLICT (tenant_id, session_id) DO UPDATE SET last_active_at = excluded.last_active_at
"""

_NEWEST = """
    SELECT session_id FROM sessions WHERE tenant_id = :tenant
    ORDER BY last_active_at DESC, id DESC LIMIT 1
"""

_WITH_MESSAGES = f"""
    SELECT {COLUMNS} FROM sessions
    WHERE tenant_id = :tenant AND id > :after AND message_count > 0 ORDER BY id LIMIT :limit
"""  # noqa: S608  # nosec B608  # a constant

_RENAME = """
    UPDATE sessions SET title = :title WHERE tenant_id = :tenant AND session_id = :session
    RETURNING id
"""

_DROP = "DELETE FROM sessions WHERE tenant_id = :tenant AND id = :number"

FIGURES = ("title", "opening", "turn_count", "input_tokens", "output_tokens")
"""What an export has of a session beside its times and its state."""

_PAGE = f"""
    SELECT id, session_id, created_at, last_active_at, state, state_version, {", ".join(FIGURES)},
        session_summaries.content, session_summaries.through, session_summaries.made_at
    FROM sessions LEFT JOIN session_summaries
        ON session_summaries.tenant_id = sessions.tenant_id AND session_summaries.session = id
    WHERE sessions.tenant_id = :tenant AND id > :after ORDER BY id LIMIT :limit
"""  # noqa: S608  # nosec B608  # a constant

_PUT = """
    INSERT INTO sessions
        (tenant_id, session_id, created_at, last_active_at, state, state_version,
        title, opening, turn_count, input_tokens, output_tokens)
    VALUES (:tenant, :session, :created_at, :last_active_at, :state, :state_version,
        :title, :opening, :turn_count, :input_tokens, :output_tokens)
    ON CONFLICT (tenant_id, session_id) DO UPDATE SET
        title = COALESCE(excluded.title, sessions.title), opening = excluded.opening,
        turn_count = sessions.turn_count + excluded.turn_count,
        input_tokens = sessions.input_tokens + excluded.input_tokens,
        output_tokens = sessions.output_tokens + excluded.output_tokens,
        state = excluded.state, state_version = sessions.state_version + excluded.state_version
    WHERE sessions.message_count = 0 AND sessions.state IS NULL
"""
