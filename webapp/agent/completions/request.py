"""The JSON body of a request, with what the server refuses left out or put otherwise."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from webapp.agent.completions.answer_format import (
    as_text,
    format_fields,
    format_part,
    is_told,
    llama_cpp_fields,
)
from webapp.agent.completions.calls import is_object
from webapp.agent.completions.refusals import (
    CALL_IDS,
    EARLIER_CALLS,
    EMPTY_CONTENT,
    JSON_SCHEMA,
    REASONING,
    RENAMED,
    ROLE_ORDER,
    STREAM_OPTIONS,
    SYSTEM,
    TOOLS,
    Part,
    Sent,
)
from webapp.agent.model import ModelRequest, ToolSpec
from webapp.agent.response_format import ResponseFormat
from webapp.messages import Message, ToolCall

ABOUT_TOOLS = frozenset({"tool_choice", "parallel_tool_calls"})
ID_CHARS = 9  # Mistral's form of an id, which every other server takes too


class RequestBody:
    """Writes the bodies of requests to one model. `options` are further fields of each; with
    `llama_cpp` the form of an answer goes into that server's own fields, and into words."""

    def __init__(self, model: str, options: Mapping[str, Any], *, llama_cpp: bool = False) -> None:
        self._llama_cpp = llama_cpp
        self._model = model
        self._options = dict(options)
        self._heads = {
            tools: self._head_without(frozenset(), tools=tools) for tools in (True, False)
        }
        # The kinds of tools that an agent has are the same at each call: their text is kept.
        self._tools_text: tuple[Sequence[ToolSpec], str] = ((), "")

    def text(self, request: ModelRequest, left_out: frozenset[Part], *, stream: bool) -> str:
        """The body; `left_out` are the parts that it goes without."""
        tools = bool(request.tools) and TOOLS not in left_out
        wish, messages = request.response_format, request.messages
        if wish is not None and (self._llama_cpp or is_told(wish, left_out)):
            messages = wish.told_in(messages)
        messages = _messages(messages, left_out, tools=tools)
        form = _Form(left_out)
        if wish is not None:
            # What all answers of this model are to be gives way to what this one is to be.
            head = self._head_without(left_out | {"response_format"}, tools=tools)
        else:
            head = self._head_without(left_out, tools=tools) if left_out else self._heads[tools]
        parts = [head, f'"messages":{_json([form.wire(message) for message in messages])}']
        if tools:
            parts.append(f'"tools":{self._tools(request.tools)}')
        if wish is not None and (asked := self._format_fields(wish, left_out)):
            parts.append(as_text(asked))
        if stream:
            parts.append('"stream":true')
            if STREAM_OPTIONS not in left_out:
                parts.append('"stream_options":{"include_usage":true}')
        return f"{{{','.join(parts)}}}"

    def sent(self, request: ModelRequest, left_out: frozenset[Part], *, stream: bool) -> Sent:
        """The parts that may be refused of the body that these arguments make."""
        tools = bool(request.tools) and TOOLS not in left_out
        messages = _messages(request.messages, left_out, tools=tools)
        calls = [message for message in messages if message.tool_calls]
        return Sent(
            tools=tools,
            calls=bool(calls),
            streamed=stream,
            system=any(message.role == "system" for message in messages),
            alternating=_alternates(messages),
            reasoning=any(m.extra or any(c.extra for c in m.tool_calls) for m in calls),
            earlier_calls=any(m.tool_calls for m in messages[: _last_question(messages)]),
            empty_content=any(not message.content for message in calls),
            options=tuple(self._options),
            format=self._format_part(request.response_format, left_out),
        )

    def _format_fields(self, wish: ResponseFormat, left_out: frozenset[Part]) -> dict[str, Any]:
        return (llama_cpp_fields if self._llama_cpp else format_fields)(wish, left_out)

    def _format_part(self, wish: ResponseFormat | None, left_out: frozenset[Part]) -> Part | None:
        if wish is None or not self._llama_cpp:
            return format_part(wish, left_out)
        return None if JSON_SCHEMA in left_out else JSON_SCHEMA

    def _tools(self, tools: Sequence[ToolSpec]) -> str:
        known, text = self._tools_text
        if known is not tools:
            text = _json([_wire_tool(tool) for tool in tools])
            self._tools_text = (tools, text)
        return text

    def _head_without(self, left_out: frozenset[Part], *, tools: bool) -> str:
        fields: dict[str, Any] = {"model": self._model}
        for name, value in self._options.items():
            if name in left_out:
                if name in RENAMED:
                    fields[RENAMED[name]] = value
            elif tools or name not in ABOUT_TOOLS:
                fields[name] = value
        return _json(fields)[1:-1]


class _Form:
    """The form in which messages are written for one server."""

    def __init__(self, left_out: frozenset[Part]) -> None:
        self._short_ids = CALL_IDS in left_out
        self._no_content = "" if EMPTY_CONTENT in left_out else None
        self._extras = REASONING not in left_out

    def wire(self, message: Message) -> dict[str, Any]:
        if message.role == "tool":
            return {
                "role": "tool",
                "content": message.content,
                "tool_call_id": self._id(message.tool_call_id or ""),
            }
        if message.tool_calls:
            extra = message.extra if self._extras and message.extra else {}
            return {
                "role": message.role,
                "content": message.content or self._no_content,
                **extra,
                "tool_calls": [self._call(call) for call in message.tool_calls],
            }
        return {"role": message.role, "content": message.content}

    def _call(self, call: ToolCall) -> dict[str, Any]:
        # What came with an import, or was stored by an older version, may be no JSON; vLLM would
        # refuse the conversation for ever.
        arguments = call.arguments if is_object(call.arguments) else "{}"
        function: dict[str, Any] = {"name": call.name, "arguments": arguments}
        wire = {"id": self._id(call.id), "type": "function", "function": function}
        if not call.extra or not self._extras:
            return wire
        inner = call.extra.get("function")
        return {
            **call.extra,
            **wire,
            "function": {**inner, **function} if isinstance(inner, dict) else function,
        }

    def _id(self, call_id: str) -> str:
        if not self._short_ids:
            return call_id
        return hashlib.sha256(call_id.encode("utf-8", "replace")).hexdigest()[:ID_CHARS]


def _messages(
    messages: Sequence[Message], left_out: frozenset[Part], *, tools: bool
) -> Sequence[Message]:
    if not tools:
        messages = _without_calls(messages)
    if not left_out:
        return messages
    if EARLIER_CALLS in left_out:
        place = _last_question(messages)
        messages = [*_without_calls(messages[:place]), *messages[place:]]
    if SYSTEM in left_out:
        messages = _system_in_the_question(messages)
    if ROLE_ORDER in left_out:
        messages = _alternating(messages)
    return messages


def _without_calls(messages: Sequence[Message]) -> Sequence[Message]:
    """The questions and answers alone: servers that know no tools refuse their traces as well."""
    if not any(message.tool_calls or message.role == "tool" for message in messages):
        return messages
    return [m for m in messages if m.role != "tool" and not m.tool_calls]


def _last_question(messages: Sequence[Message]) -> int:
    places = (i for i in range(len(messages) - 1, -1, -1) if messages[i].role == "user")
    return next(places, 0)


def _system_in_the_question(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages with the instructions in front of the user's first message."""
    told = [message.content for message in messages if message.role == "system"]
    rest = [message for message in messages if message.role != "system"]
    for place, message in enumerate(rest):
        if told and message.role == "user":
            rest[place] = replace(message, content="\n\n".join([*told, message.content]))
            break
    return rest


def _alternating(messages: Sequence[Message]) -> Sequence[Message]:
    """Each user's words and each answer as one message, the first of them a user's."""
    joined: list[Message] = []
    for message in messages:
        last = joined[-1] if joined else None
        if message.role == "assistant" and (last is None or last.role == "system"):
            continue
        plain = message.role in ("user", "assistant") and not message.tool_calls
        if last is not None and plain and last.role == message.role and not last.tool_calls:
            joined[-1] = replace(last, content=f"{last.content}\n\n{message.content}")
        else:
            joined.append(message)
    return joined


def _alternates(messages: Sequence[Message]) -> bool:
    return len(_alternating(messages)) == len(messages)


# `json.dumps` would make one at each call.
_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _wire_tool(tool: ToolSpec) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": dict(tool.parameters),
        },
    }
