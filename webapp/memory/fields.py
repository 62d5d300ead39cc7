"""Messages and sessions in JSON: one set of names for the REST API, the terminal and exports."""

from __future__ import annotations

from typing import Any

from webapp.memory.paging.store import StoredMessage
from webapp.memory.sessions.store import SessionSummary
from webapp.periods import iso_utc


def message_fields(stored: StoredMessage) -> dict[str, Any]:
    """One message and the session that it is in."""
    message = stored.message
    fields: dict[str, Any] = {
        "id": message.id,
        "role": message.role,
        "content": message.content,
        "created_at": iso_utc(message.created_at_ms),
        "session_id": stored.session_id,
    }
    if message.tool_calls:
        fields["tool_calls"] = [call.as_dict() for call in message.tool_calls]
    if message.tool_call_id is not None:
        fields["tool_call_id"] = message.tool_call_id
    return fields


def session_fields(session: SessionSummary) -> dict[str, Any]:
    """One session without what was said in it."""
    return {
        "session_id": session.session_id,
        "title": session.title,
        "message_count": session.message_count,
        "turn_count": session.turn_count,
        "input_tokens": session.input_tokens,
        "output_tokens": session.output_tokens,
        "created_at": iso_utc(session.created_at_ms),
        "last_active_at": iso_utc(session.last_active_at_ms),
        "has_state": session.has_state,
    }
