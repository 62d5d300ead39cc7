"""How a message lies in its row of the table `messages`; which rows are read is not here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from webapp.messages import Message, ToolCall


def message_of(row: Sequence[Any]) -> Message:
    """The message of message_id, role, content, tool_calls, tool_call_id, created_at."""
    message_id, role, content, tool_calls, tool_call_id, created_at = row
    return Message.stored(
        role,
        content,
        message_id,
        calls_of(tool_calls) if tool_calls is not None else (),
        tool_call_id,
        created_at,
    )


def calls_of(text: str) -> tuple[ToolCall, ...]:
    """Reads the column `tool_calls` of a row that has one."""
    return tuple(ToolCall.from_dict(call) for call in json.loads(text))


def row_of(message: Message, tenant: int, session: int, seq: int) -> dict[str, Any]:
    """Parameters for the row of a message, the `seq`-th of its tenant's session."""
    return {
        "tenant": tenant,
        "session": session,
        "seq": seq,
        "message_id": message.id,
        "role": message.role,
        "content": message.content,
        "tool_calls": _text_of(message.tool_calls) if message.tool_calls else None,
        "tool_call_id": message.tool_call_id,
        "created_at": message.created_at_ms,
    }


def columns_of(messages: Sequence[Message]) -> dict[str, list[Any]]:
    """The same for rows of a session that are written together, a list for each column."""
    rows = [row_of(message, 0, 0, 0) for message in messages]
    return {name: [row[name] for row in rows] for name in _COLUMNS}


_COLUMNS = ("message_id", "role", "content", "tool_calls", "tool_call_id", "created_at")


def _text_of(calls: Iterable[ToolCall]) -> str:
    return json.dumps([call.as_dict() for call in calls], ensure_ascii=False)
