"""The SQL of clearing one tenant's conversations, a bounded part at a time.

A part takes whole oldest turns, so that between two parts a conversation is one that the cap
might have left.
"""

from __future__ import annotations

from webapp.memory.summaries import store as summaries
from webapp.storage import Connection

SESSIONS = 500

_MESSAGES = "/*pg tenant_id = :tenant AND */ session = :session"
_SESSION = "/*pg tenant_id = :tenant AND */ id = :session"


def clear_part(connection: Connection, tenant: int, most: int) -> tuple[int, bool]:
    """Takes about `most` messages: how many went, and whether none is left.

    Session state stays, and with it the session.
    """
    gone = 0
    who = {"tenant": tenant, "limit": SESSIONS}
    sessions = connection.execute(_WITH_MESSAGES, who).fetchall()
    for session, count in sessions:
        if gone and gone + count > most:
            return gone, False
        if count > most:
            return gone + _clear_oldest(connection, tenant, session, most), False
        gone += _clear_session(connection, tenant, session)
    if len(sessions) == SESSIONS:
        return gone, False
    connection.execute(_DROP_EMPTY, who)
    summaries.drop_all(connection, tenant)
    return gone, True


def clear_session_part(
    connection: Connection, tenant: int, session: int, most: int
) -> tuple[int, bool]:
    """Takes about `most` messages of one session, which stays: how many went, and whether none is
    left."""
    which = {"tenant": tenant, "session": session}
    found = connection.execute(_COUNT_OF, which).fetchone()
    count = 0 if found is None else int(found[0])
    if count > most:
        end = connection.execute(_NEXT_TURN, {**which, "most": most}).fetchone()
        if end is not None:
            return _drop_before(connection, which, end[0]), False
    gone = connection.execute(_DROP_MESSAGES, which).rowcount
    connection.execute(_NO_MESSAGES, which)
    summaries.drop_session(connection, tenant, session)
    return gone, True


def drop_messages(connection: Connection, tenant: int, session: int) -> int:
    """Deletes all messages of a session that goes next; how many there were."""
    return connection.execute(_DROP_MESSAGES, {"tenant": tenant, "session": session}).rowcount


def _clear_session(connection: Connection, tenant: int, session: int) -> int:
    which = {"tenant": tenant, "session": session}
    gone = connection.execute(_DROP_MESSAGES, which).rowcount
    if not connection.execute(_DROP_SESSION, which).rowcount:
        connection.execute(_NO_MESSAGES, which)
        summaries.drop_session(connection, tenant, session)
    return gone


def _clear_oldest(connection: Connection, tenant: int, session: int, most: int) -> int:
    which = {"tenant": tenant, "session": session, "most": most}
    end = connection.execute(_NEXT_TURN, which).fetchone()
    if end is None:
        return _clear_session(connection, tenant, session)
    return _drop_before(connection, which, end[0])


def _drop_before(connection: Connection, which: dict[str, int], end: int) -> int:
    gone = connection.execute(f"{_DROP_MESSAGES} AND seq < :end", {**which, "end": end}).rowcount
    connection.execute(_FEWER_MESSAGES, {**which, "gone": gone})
    return gone


_DROP_MESSAGES = f"DELETE FROM messages WHERE {_MESSAGES}"  # noqa: S608  # nosec B608  # a constant

_DROP_SESSION = f"""
    DELETE FROM sessions WHERE {_SESSION} AND state IS NULL AND state_version = 0
"""  # noqa: S608  # nosec B608  # a constant

# What was made of its first question is gone with it; a title that a person gave is not.
_NO_MESSAGES = f"UPDATE sessions SET message_count = 0, opening = NULL WHERE {_SESSION}"  # noqa: S608  # nosec B608  # a constant

_COUNT_OF = f"SELECT message_count FROM sessions WHERE {_SESSION}"  # noqa: S608  # nosec B608  # a constant

_FEWER_MESSAGES = f"""
    UPDATE sessions SET message_count = message_count - :gone WHERE {_SESSION}
"""  # noqa: S608  # nosec B608  # a constant

_WITH_MESSAGES = """
    SELECT id, message_count FROM sessions WHERE tenant_id = :tenant AND message_count > 0
    ORDER BY id LIMIT :limit
"""

_DROP_EMPTY = """
    DELETE FROM sessions WHERE tenant_id = :tenant AND state IS NULL AND state_version = 0
"""

# Where a turn begins, behind so many messages.
_NEXT_TURN = f"""
    SELECT seq FROM messages WHERE {_MESSAGES} AND role = 'user' AND seq >=
        (SELECT seq FROM messages WHERE {_MESSAGES} ORDER BY seq LIMIT 1 OFFSET :most)
    ORDER BY seq LIMIT 1
"""  # noqa: S608  # nosec B608  # a constant
