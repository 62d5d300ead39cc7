"""Reads a session as an agent needs it: whole, or the newest turns; pages are in paging/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from webapp.memory.capacity import Outline, cut
from webapp.memory.rows import message_of
from webapp.messages import Message
from webapp.storage import Connection
from webapp.storage.database import Ask


def history(
    connection: Connection, tenant: int, session_id: str, newest: int | None = None
) -> list[Message]:
    """The messages of a session, oldest first; empty when there are none.

    With `newest` (at least 1) the cost does not grow with the session. When that many rows are
    not the whole session, the result has the newest whole turns among them, and in front of them
    the newest `newest` of the system messages, wherever they stood: `fit` of the result and a next
    turn, under a cap up to `newest`, is `fit` of the whole session and that turn. Only a newest
    turn that alone is larger is there as its question and its last answer.
    """
    who = {"tenant": tenant, "session": session_id}
    if newest is None:
        rows = connection.execute(f"{_SELECT} ORDER BY seq", who).fetchall()
        return [message_of(row[1:]) for row in rows]
    rows = connection.execute(*newest_first(tenant, session_id, newest)).fetchall()
    if len(rows) <= newest:
        return [message_of(row[1:]) for row in reversed(rows)]
    systems = connection.execute(_SYSTEMS, {**who, "limit": newest}).fetchall()
    front = _rows(connection, who, [row[0] for row in reversed(systems)])
    others = [row for row in rows[newest - 1 :: -1] if row[2] != "system"]
    begin = next((index for index, row in enumerate(others) if row[2] == "user"), None)
    turns = _newest_turn(connection, who, newest) if begin is None else others[begin:]
    return [message_of(row[1:]) for row in (*front, *turns)]


def newest_first(tenant: int, session_id: str, newest: int) -> Ask:
    """What `history` asks first: one row more tells whether anything is left out."""
    return _NEWEST, {"tenant": tenant, "session": session_id, "limit": newest + 1}


def _newest_turn(connection: Connection, who: Mapping[str, Any], cap: int) -> list[Any]:
    """The rows of the newest turn, or what `fit` leaves of it."""
    turn = []
    rows = connection.execute(f"{_ROLES} ORDER BY seq DESC", who)
    while (row := rows.fetchone()) is not None:
        turn.append(Outline.of(*row))
        if row[1] == "user":
            break
    return _rows(connection, who, [row.seq for row in cut(turn[::-1], cap)])


def _rows(connection: Connection, who: Mapping[str, Any], seqs: Sequence[int]) -> list[Any]:
    one = f"{_SELECT} AND seq = :seq"
    return [connection.execute(one, {**who, "seq": seq}).fetchone() for seq in seqs]


_SELECT = """
    SELECT seq, message_id, role, content, tool_calls, tool_call_id, created_at FROM messages
    WHERE /*pg tenant_id = :tenant AND */ session =
        (SELECT id FROM sessions WHERE tenant_id = :tenant AND session_id = :session)
"""

_NEWEST = f"{_SELECT} ORDER BY seq DESC LIMIT :limit"

_ROLES = """
    SELECT seq, role, tool_calls IS NOT NULL FROM messages
    WHERE /*pg tenant_id = :tenant AND */ session =
        (SELECT id FROM sessions WHERE tenant_id = :tenant AND session_id = :session)
        AND role <> 'system'
"""

# Only numbers are asked for, so that the partial index answers alone.
_SYSTEMS = """
    SELECT seq FROM messages
    WHERE /*pg tenant_id = :tenant AND */ session =
        (SELECT id FROM sessions WHERE tenant_id = :tenant AND session_id = :session)
        AND role = 'system'
    ORDER BY seq DESC LIMIT :limit
"""
