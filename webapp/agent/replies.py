"""Makes a model's reply fit to be stored and sent again; refuses what cannot be used."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import replace
from uuid import uuid4

from webapp.agent.model import ModelReply
from webapp.agent.text import storable
from webapp.agent.tools import NAME
from webapp.errors import ModelError
from webapp.messages import ToolCall

MAX_CALLS = 128


def usable(reply: ModelReply, taken_ids: Container[str]) -> ModelReply:
    """The reply with storable text and calls whose ids differ from each other and `taken_ids`.

    Raises `ModelError` for a reply with neither text nor calls, or with more than `MAX_CALLS`.
    """
    if not reply.tool_calls and not reply.content.strip():
        raise ModelError("The model gave an empty answer.")
    if len(reply.tool_calls) > MAX_CALLS:
        raise ModelError("The model asked for too many tools at once.")
    calls: list[ToolCall] = []
    own_ids: set[str] = set()
    for call in reply.tool_calls:
        call_id = storable(call.id)
        if not call_id or call_id in own_ids or call_id in taken_ids:
            call_id = f"call-{uuid4()}"
        own_ids.add(call_id)
        calls.append(ToolCall(call_id, _name(call.name), storable(call.arguments)))
    return replace(reply, content=storable(reply.content), tool_calls=tuple(calls))


def _name(name: str) -> str:
    """A name as OpenAI's API takes it back; a wrong one would make every later turn fail."""
    if NAME.fullmatch(name):
        return name
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "unnamed"
