"""Reads an export and checks each line of it; restoring.py stores it.

The format is described in export.py. Exports of version 1 are read as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import Any

from pydantic import ValidationError

from webapp.errors import InvalidInput
from webapp.messages import Message, ToolCall
from webapp.storable import holds_storable
from webapp.tenant_data.transfer import shapes
from webapp.tenant_data.transfer.export import FORMAT, VERSION
from webapp.usage.figures import REQUEST
from webapp.usage.histogram import NO_LATENCY

MAX_LINE_BYTES = 4 * 1024 * 1024
MAX_MESSAGES = 200_000
MAX_SESSIONS = 10_000
MAX_REQUESTS = 500_000
MAX_USAGE = 500_000


@dataclass(slots=True)
class Contents:
    """An export that has been read and found whole; nothing is stored yet."""

    version: int
    conversations: bool
    tenant: shapes.Tenant
    sessions: dict[str, shapes.Session] = field(default_factory=dict)
    messages: dict[str, list[Message]] = field(default_factory=dict)
    message_count: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)
    usage: list[dict[str, Any]] = field(default_factory=list)


def read_export(lines: Iterable[bytes]) -> Contents:
    """Reads and checks every line; `InvalidInput` says which line is wrong and why."""
    reading = _Reading()
    number = 0
    for number, line in enumerate(lines, start=1):
        value = _object(line, number)
        try:
            reading.take(value, number)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in fault["loc"])
            raise _wrong(number, f"is wrong at {place}") from None
    return reading.whole(number)


class _Reading:
    """An export half read."""

    def __init__(self) -> None:
        self.head: shapes.Head | None = None
        self.contents: Contents | None = None
        self.end: shapes.End | None = None
        self._seen_usage: set[tuple[Any, ...]] = set()
        self._conversations = True

    def take(self, value: dict[str, Any], number: int) -> None:
        kind = value["type"]
        if self.end is not None:
            raise _wrong(number, "stands behind the end")
        if self.head is None:
            if kind != FORMAT or value.get("version") not in range(1, VERSION + 1):
                raise _wrong(number, f"is not the head of an export of version 1 to {VERSION}")
            self.head = shapes.Head.model_validate(value)
            self._conversations = value.get("conversations") is not False
        elif kind == "end":
            self.end = shapes.End.model_validate(value)
        elif kind == "tenant" and self.contents is None:
            tenant = shapes.Tenant.model_validate(value)
            self.contents = Contents(self.head.version, self._conversations, tenant)
        elif self.contents is None or kind not in ("session", "message", "request", "usage"):
            raise _wrong(number, "has an unknown type, is a second tenant, or stands before it")
        else:
            self._row(self.contents, kind, value, number)

    def _row(self, contents: Contents, kind: str, value: dict[str, Any], number: int) -> None:
        if kind == "session":
            _take_session(contents, shapes.Session.model_validate(value), number)
        elif kind == "message":
            _take_message(contents, shapes.StoredMessage.model_validate(value), number)
        elif kind == "request":
            if len(contents.requests) >= MAX_REQUESTS:
                raise _wrong(number, "is one request too many")
            request = shapes.Request.model_validate(value)
            contents.requests.append({**request.model_dump(), "at": ms(request.at)})
        else:
            row = _usage_row(value, contents.version)
            key = tuple(row[name] for name in ("period", "at", "measure", "code", "bucket"))
            if key in self._seen_usage or len(contents.usage) >= MAX_USAGE:
                raise _wrong(number, "is a sum of usage for the second time, or one too many")
            self._seen_usage.add(key)
            contents.usage.append(row)

    def whole(self, last: int) -> Contents:
        """Raises `InvalidInput` when the end is missing or counts otherwise."""
        contents, end = self.contents, self.end
        if end is None or contents is None:
            raise _wrong(last + 1, "is missing: the export was cut off")
        counted = (
            end.messages == contents.message_count
            and end.sessions <= len(contents.sessions)
            and end.requests in (None, len(contents.requests))
            and end.usages in (None, len(contents.usage))
        )
        if not counted:
            raise _wrong(last, "names other numbers of sessions, messages or rows than there are")
        return contents


def _object(line: bytes, number: int) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        raise _wrong(number, f"is longer than {MAX_LINE_BYTES} bytes")
    try:
        value: dict[str, Any] = json.loads(line, parse_constant=_refuse_constant)
        _ = value["type"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise _wrong(number, "is not a JSON object with a type") from None
    if not holds_storable(value):
        raise _wrong(number, "holds a NUL or half a surrogate pair, and so no Unicode text")
    return value


def _take_session(contents: Contents, session: shapes.Session, number: int) -> None:
    if session.session_id in contents.sessions or len(contents.sessions) >= MAX_SESSIONS:
        raise _wrong(number, "names a session a second time, or one too many")
    contents.sessions[session.session_id] = session


def _take_message(contents: Contents, given: shapes.StoredMessage, number: int) -> None:
    if contents.message_count >= MAX_MESSAGES:
        raise _wrong(number, "is one message too many")
    # A session that began while its tenant was exported has messages and no line.
    contents.sessions.setdefault(given.session_id, shapes.Session(session_id=given.session_id))
    calls = tuple(
        ToolCall(call.id, call.function.name, call.function.arguments) for call in given.tool_calls
    )
    message = Message(
        given.role, given.content, given.id, calls, given.tool_call_id, ms(given.created_at)
    )
    contents.messages.setdefault(given.session_id, []).append(message)
    contents.message_count += 1


def _usage_row(value: dict[str, Any], version: int) -> dict[str, Any]:
    if version > 1:
        usage = shapes.Usage.model_validate(value)
        return {**usage.model_dump(), "at": ms(usage.at)}
    day = shapes.DayOfUsage.model_validate(value)
    midnight = datetime.combine(day.day, time(), UTC)
    return {
        **day.model_dump(exclude={"day"}),
        "period": "day",
        "at": ms(midnight),
        "measure": REQUEST,
        "code": "",
        "bucket": NO_LATENCY,
    }


def ms(moment: datetime) -> int:
    """Milliseconds since 1970-01-01 UTC."""
    return round(moment.timestamp() * 1000)


def _refuse_constant(name: str) -> None:
    """Python takes NaN and Infinity for JSON; those who read the answers do not."""
    raise ValueError(name)


def _wrong(number: int, fault: str) -> InvalidInput:
    sentence = f"Line {number} of the import {fault}."
    return InvalidInput(sentence, fields={f"line {number}": sentence})
