"""A tenant's conversations page by page, for people and exports; an agent reads history/."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from webapp.memory.rows import message_of
from webapp.messages import Message
from webapp.storage import Connection


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a tenant's messages: the row number of a session and a place in it."""

    session: int
    seq: int


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message and where it is stored."""

    session_id: str
    position: Position
    message: Message


def message_page(
    connection: Connection,
    tenant: int,
    session_id: str | None,
    limit: int,
    *,
    after: Position | None = None,
    before: Position | None = None,
    newest_first: bool = False,
) -> list[StoredMessage]:
    """At most `limit` messages of one session, or of all, in the order in which sessions began.

    Oldest first they begin behind `after`; with `newest_first` they come the other way round,
    from before `before`. A position of another tenant gives what this tenant has there: nothing
    of the other's. Every page costs the same.
    """
    way = _BACKWARD if newest_first else _FORWARD
    position = before if newest_first else after
    only = "" if session_id is None else " AND sessions.session_id = :name"
    asked: dict[str, Any] = {"tenant": tenant, "name": session_id, "limit": limit}
    if position is None:
        return _page(connection, f"{only} {way.order}", asked)
    asked |= {"session": position.session, "seq": position.seq}
    page = _page(connection, f"{only} {way.rest_of_session} {way.order}", asked)
    if len(page) < limit:
        asked["limit"] = limit - len(page)
        page += _page(connection, f"{only} {way.further_sessions} {way.order}", asked)
    return page


@dataclass(frozen=True, slots=True)
class _Way:
    """The SQL of going through messages one way."""

    rest_of_session: str
    further_sessions: str
    order: str


_FORWARD = _Way(
    "AND sessions.id = :session AND seq > :seq",
    "AND sessions.id > :session",
    "ORDER BY sessions.id, seq",
)

_BACKWARD = _Way(
    "AND sessions.id = :session AND seq < :seq",
    "AND sessions.id < :session",
    "ORDER BY sessions.id DESC, seq DESC",
)

_PAGE = """
    SELECT sessions.session_id, session, seq,
        message_id, role, content, tool_calls, tool_call_id, messages.created_at
    FROM sessions JOIN messages ON session = sessions.id
        /*pg AND messages.tenant_id = sessions.tenant_id */
    WHERE sessions.tenant_id = :tenant
"""


def _page(connection: Connection, rest: str, asked: dict[str, Any]) -> list[StoredMessage]:
    rows = connection.execute(f"{_PAGE} {rest} LIMIT :limit", asked).fetchall()
    return [StoredMessage(row[0], Position(row[1], row[2]), message_of(row[3:])) for row in rows]
