"""A page of one session's conversation, for the pages that show it."""

from __future__ import annotations

from typing import Any

from flask import url_for

from webapp.accounts.roles import Permission
from webapp.memory.paging.conversation import ConversationPage, Place, conversation
from webapp.memory.summaries import store as summaries
from webapp.memory.summary import Summary
from webapp.storage.narrowing import narrow
from webapp.tenants.rows import TenantRow
from webapp.web.admin.session.visitor import visitor
from webapp.web.context import services
from webapp.web.cursors import write_cursor

MESSAGES = 30


def talk(row: TenantRow, session_id: str | None, place: Place | None = None) -> ConversationPage:
    """The newest messages, or those at the place; none for somebody who may not read them."""
    if not visitor().may(Permission.READ_CONVERSATIONS):
        return ConversationPage(())
    with services().database.read() as connection:
        narrow(connection, row.number)
        return conversation(
            connection, row.number, session_id, limit=MESSAGES, place=place, from_end=True
        )


def shown(row: TenantRow, session_id: str | None, page: ConversationPage) -> dict[str, Any]:
    """What the templates show of it."""
    return {
        "session_id": session_id,
        "messages": [stored.message for stored in page.messages],
        "earlier_url": address(row, session_id, page.earlier),
        "summary": _summary(row, session_id),
    }


def _summary(row: TenantRow, session_id: str | None) -> Summary | None:
    """What the model is told of messages that it is no longer sent."""
    if session_id is None or not visitor().may(Permission.READ_CONVERSATIONS):
        return None
    with services().database.read() as connection:
        narrow(connection, row.number)
        return summaries.find(connection, row.number, session_id)


def address(row: TenantRow, session_id: str | None, place: Place | None) -> str | None:
    """Where the page at that place is."""
    if place is None:
        return None
    cursor = write_cursor(place, "messages", row.number, session_id)
    return url_for("admin.conversation", user_id=row.user_id, session_id=session_id, cursor=cursor)
