"""The SQL of messages that are older than they may become."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.memory.ageing.turns import Aged
from webapp.storage import Connection

_MESSAGES = "/*pg tenant_id = :tenant AND */ session = :session"
_SESSION = "/*pg tenant_id = :tenant AND */ id = :session"


@dataclass(frozen=True, slots=True)
class OldSession:
    """A session whose oldest message is too old."""

    tenant: int
    number: int


def with_old_messages(
    connection: Connection, before_ms: int, after: OldSession, limit: int
) -> list[OldSession]:
    """At most `limit` sessions whose oldest message, or oldest but for system messages, is from
    before then. It looks at one or two rows of each session: call it through `read_long`."""
    rows = connection.execute(
        _OLD,
        {"before": before_ms, "tenant": after.tenant, "session": after.number, "limit": limit},
    ).fetchall()
    return [OldSession(*row) for row in rows]


def oldest_messages(connection: Connection, session: OldSession, limit: int) -> list[Aged]:
    """The session's oldest messages, at most `limit`."""
    rows = connection.execute(_OLDEST, {**_which(session), "limit": limit}).fetchall()
    return [Aged(*row) for row in rows]


def drop_before(connection: Connection, session: OldSession, end: int, before_ms: int) -> int:
    """Deletes the messages numbered below `end`, system messages only when they are old as well;
    gives their number. The title that was made from the first question goes with it."""
    values = {**_which(session), "end": end, "before": before_ms}
    gone = connection.execute(_DROP, values).rowcount
    if gone:
        connection.execute(_SHRINK, {**_which(session), "gone": gone})
    return gone


def count_before(connection: Connection, session: OldSession, end: int, before_ms: int) -> int:
    """How many `drop_before` would delete."""
    values = {**_which(session), "end": end, "before": before_ms}
    return int(connection.execute(_COUNT, values).fetchone()[0])


def drop_empty(connection: Connection, session: OldSession) -> None:
    """Deletes the session, if it holds no message, no state and no title of a person."""
    connection.execute(_DROP_EMPTY, _which(session))


def _which(session: OldSession) -> dict[str, int]:
    return {"tenant": session.tenant, "session": session.number}


_FIRST = """(
    SELECT created_at FROM messages
    WHERE /*pg messages.tenant_id = sessions.tenant_id AND */ session = sessions.id {only}
    ORDER BY seq LIMIT 1
)"""
_OLD = f"""
    SELECT tenant_id, id FROM sessions
    WHERE (tenant_id, id) > (:tenant, :session) AND message_count > 0 AND (
        {_FIRST.format(only="")} < :before
        OR {_FIRST.format(only="AND role <> 'system'")} < :before
    )
    ORDER BY tenant_id, id LIMIT :limit
"""  # noqa: S608  # nosec B608  # text of this module

_OLDEST = f"""
    SELECT seq, role, created_at FROM messages WHERE {_MESSAGES} ORDER BY seq LIMIT :limit
"""  # noqa: S608  # nosec B608  # a constant

_THOSE = f"{_MESSAGES} AND seq < :end AND (role <> 'system' OR created_at < :before)"
_DROP = f"DELETE FROM messages WHERE {_THOSE}"  # noqa: S608  # nosec B608  # a constant
_COUNT = f"SELECT COUNT(*) FROM messages WHERE {_THOSE}"  # noqa: S608  # nosec B608  # a constant

_SHRINK = f"""
    UPDATE sessions SET message_count = message_count - :gone, opening = NULL WHERE {_SESSION}
"""  # noqa: S608  # nosec B608  # a constant

_DROP_EMPTY = f"""
    DELETE FROM sessions WHERE {_SESSION} AND message_count = 0 AND state IS NULL
        AND state_version = 0 AND title IS NULL
"""  # noqa: S608  # nosec B608  # a constant
