"""Checks a model's reply before it is stored and sent again, and cleans its text."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import replace
from uuid import uuid4

from webapp.agent.argument_json import BadArgumentsText, sound_arguments
from webapp.agent.model import ModelReply
from webapp.agent.tools import NAME
from webapp.errors import ModelError
from webapp.messages import ToolCall
from webapp.storable import storable

MAX_CALLS = 128
CUT_SHORT = ("length", "max_tokens", "MAX_TOKENS", "model_length")


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
        while not call_id or call_id in own_ids or call_id in taken_ids:
            # Mistral's form, which all others take back too; OpenAI's bound is 40 characters.
            call_id = uuid4().hex[:9]
        own_ids.add(call_id)
        calls.append(_call(call, call_id, reply.finish_reason))
    return replace(reply, content=storable(reply.content), tool_calls=tuple(calls))


def _call(call: ToolCall, call_id: str, finish_reason: str) -> ToolCall:
    """The call with arguments that are a JSON object; one that cannot be read is not to be run."""
    name = _name(call.name)
    try:
        arguments, fault = sound_arguments(storable(call.arguments)), ""
    except BadArgumentsText as bad:
        arguments, fault = "{}", f"The arguments of {name} {bad}."
        if finish_reason in CUT_SHORT:
            fault += " The answer was cut off before they ended: write less."
    return ToolCall(call_id, name, arguments, call.extra, fault)


def _name(name: str) -> str:
    """A name as OpenAI's API takes it back; a wrong one would make every later turn fail."""
    if NAME.fullmatch(name):
        return name
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "unnamed"
