"""The SQL of clearing conversations, a bounded part at a time; who asks and is told is not here.

A part takes whole oldest turns, so that between two parts a conversation is one that the cap
might have left. The last part of a tenant also takes the answers kept for its idempotency keys:
they are the same words.
"""

from __future__ import annotations

from dataclasses import dataclass

from webapp.storage import Connection
from webapp.storage.slices import ROWS

SESSIONS = 500
TENANTS = 500


@dataclass(frozen=True, slots=True)
class ClearedPart:
    """What one part took: messages, and tenants that are clear by now; `after` is where it is."""

    messages: int = 0
    tenants: int = 0
    finished: bool = True
    after: int = 0


def clear_part(connection: Connection, tenant: int, most: int = ROWS) -> ClearedPart:
    """Takes about `most` messages of the tenant; session state stays, and with it the session."""
    who = {"tenant": tenant}
    gone = 0
    sessions = connection.execute(_SESSIONS, {**who, "limit": SESSIONS}).fetchall()
    for session, count in sessions:
        if gone and gone + count > most:
            return _part(connection, tenant, gone)
        if count > most:
            gone += _clear_oldest(connection, session, most)
            return _part(connection, tenant, gone)
        gone += _clear_session(connection, session)
    if len(sessions) == SESSIONS:
        return _part(connection, tenant, gone)
    connection.execute(
        "DELETE FROM sessions WHERE tenant_id = :tenant AND state IS NULL AND state_version = 0",
        who,
    )
    connection.execute("DELETE FROM idempotency WHERE tenant_id = :tenant", who)
    connection.execute("UPDATE tenants SET message_count = 0 WHERE id = :tenant", who)
    return ClearedPart(gone, 1)


def clear(connection: Connection, tenant: int) -> int:
    """All of the tenant's messages in one transaction; how many there were."""
    gone = 0
    while True:
        part = clear_part(connection, tenant)
        gone += part.messages
        if part.finished:
            return gone


def clear_all_part(connection: Connection, after: int, most: int = ROWS) -> ClearedPart:
    """Takes about `most` messages of the tenants numbered above `after`, in their order."""
    found = connection.execute(_TENANTS, {"after": after, "limit": TENANTS}).fetchall()
    gone = tenants = 0
    for number, _ in found:
        part = clear_part(connection, number, most - gone)
        gone += part.messages
        if not part.finished:
            return ClearedPart(gone, tenants, finished=False, after=after)
        tenants += 1
        after = number
        if gone >= most:
            return ClearedPart(gone, tenants, finished=False, after=after)
    if len(found) == TENANTS:
        return ClearedPart(gone, tenants, finished=False, after=after)
    # Kept answers of tenants whose messages went by another way, such as a smaller cap.
    left = connection.execute(_KEPT_ANSWERS, {"limit": most}).rowcount
    return ClearedPart(gone, tenants, finished=left < most, after=after)


def _part(connection: Connection, tenant: int, gone: int) -> ClearedPart:
    connection.execute(
        "UPDATE tenants SET message_count = message_count - :gone WHERE id = :tenant",
        {"tenant": tenant, "gone": gone},
    )
    return ClearedPart(gone, 0, finished=False)


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


_SESSIONS = """
    SELECT id, message_count FROM sessions WHERE tenant_id = :tenant AND message_count > 0
    ORDER BY id LIMIT :limit
"""

_TENANTS = """
    SELECT id, message_count FROM tenants WHERE id > :after AND message_count + 0 > 0
    ORDER BY id LIMIT :limit
"""

# Where a turn begins, behind so many messages.
_NEXT_TURN = """
    SELECT seq FROM messages WHERE session = :session AND role = 'user' AND seq >=
        (SELECT seq FROM messages WHERE session = :session ORDER BY seq LIMIT 1 OFFSET :most)
    ORDER BY seq LIMIT 1
"""

_KEPT_ANSWERS = """
    DELETE FROM idempotency WHERE (tenant_id, key_hash) IN (
        SELECT idempotency.tenant_id, key_hash FROM idempotency
        JOIN tenants ON tenants.id = tenant_id WHERE message_count = 0 LIMIT :limit
    )
"""
