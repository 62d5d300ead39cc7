"""The SQL of clearing one tenant's conversations, a bounded part at a time.

A part takes whole oldest turns, so that between two parts a conversation is one that the cap
might have left.
"""

from __future__ import annotations

from webapp.storage import Connection

SESSIONS = 500


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
            return gone + _clear_oldest(connection, session, most), False
        gone += _clear_session(connection, session)
    if len(sessions) == SESSIONS:
        return gone, False
    connection.execute(_DROP_EMPTY, who)
    return gone, True


def _clear_session(connection: Connection, session: int) -> int:
    which = {"session": session}
    gone = connection.execute("DELETE FROM messages WHERE session = :session", which).rowcount
    dropped = connection.execute(
        "DELETE FROM sessions WHERE id = :session AND state IS NULL AND state_version = 0", which
    ).rowcount
    if not dropped:
        connection.execute("UPDATE sessions SET message_count = 0 WHERE id = :session", which)
    return gone


def _clear_oldest(connection: Connection, session: int, most: int) -> int:
    which = {"session": session, "most": most}
    end = connection.execute(_NEXT_TURN, which).fetchone()
    if end is None:
        return _clear_session(connection, session)
    gone = connection.execute(
        "DELETE FROM messages WHERE session = :session AND seq < :end",
        {**which, "end": end[0]},
    ).rowcount
    connection.execute(
        "UPDATE sessions SET message_count = message_count - :gone WHERE id = :session",
        {**which, "gone": gone},
    )
    return gone


_WITH_MESSAGES = """
    SELECT id, message_count FROM sessions WHERE tenant_id = :tenant AND message_count > 0
    ORDER BY id LIMIT :limit
"""

_DROP_EMPTY = """
    DELETE FROM sessions WHERE tenant_id = :tenant AND state IS NULL AND state_version = 0
"""

# Where a turn begins, behind so many messages.
_NEXT_TURN = """
    SELECT seq FROM messages WHERE session = :session AND role = 'user' AND seq >=
        (SELECT seq FROM messages WHERE session = :session ORDER BY seq LIMIT 1 OFFSET :most)
    ORDER BY seq LIMIT 1
"""
