"""Reads an export back into a tenant, all or nothing; the format is described in export.py.

Conversations and session state come back, and for a tenant that was unknown its own limits and
its block. Figures do not: they would be counted twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from webapp.errors import Conflict, InvalidInput
from webapp.ids import check_session_id, check_user_id
from webapp.memory import store as conversations
from webapp.messages import Message, Role, ToolCall
from webapp.storage import Connection
from webapp.tenants import changes, store
from webapp.tenants.export import FORMAT, VERSION

MAX_LINE_BYTES = 4 * 1024 * 1024
MAX_MESSAGES = 200_000
MAX_SESSIONS = 10_000
_YEAR_10000 = 253_402_300_800  # in seconds since 1970


def _valid(check: Callable[[object], str]) -> AfterValidator:
    def validate(value: str) -> str:
        try:
            return check(value)
        except InvalidInput as error:
            raise ValueError(error.message) from None

    return AfterValidator(validate)


def _check_moment(moment: datetime) -> datetime:
    """In UTC it can fall outside the years that can be written again; none is before 1970."""
    if not 0 <= moment.timestamp() < _YEAR_10000:
        raise ValueError("is no time that can be stored")
    return moment


def _refuse_constant(name: str) -> None:
    """Python takes NaN and Infinity for JSON; those who read the answers do not."""
    raise ValueError(name)


class _Shape(BaseModel):
    """Unknown fields are left alone: a newer export may say more."""

    model_config = ConfigDict(strict=True, extra="ignore")


class _Head(_Shape):
    type: Literal["switchboard-tenant"]
    version: int


class _Tenant(_Shape):
    user_id: Annotated[str, _valid(check_user_id)]
    blocked: bool = False
    rate_limit: str | None = None
    token_budget: str | None = None


class _Session(_Shape):
    session_id: Annotated[str, _valid(check_session_id)]
    state: dict[str, Any] | None = None
    # It goes on being counted up from here.
    state_version: int = Field(default=0, ge=0, lt=2**53)


class _Function(_Shape):
    name: str = Field(max_length=200)
    arguments: str


class _ToolCall(_Shape):
    id: str = Field(max_length=200)
    function: _Function


class _Message(_Shape):
    id: str = Field(min_length=1, max_length=200)
    role: Role
    content: str
    # JSON has no dates, so even a strict shape must read them from text.
    created_at: Annotated[AwareDatetime, Field(strict=False), AfterValidator(_check_moment)]
    session_id: Annotated[str, _valid(check_session_id)]
    tool_calls: list[_ToolCall] = []
    tool_call_id: str | None = Field(default=None, max_length=200)


class _End(_Shape):
    sessions: int
    messages: int


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import brought."""

    sessions: int
    messages: int


@dataclass(slots=True)
class Contents:
    """An export that has been read and found whole; nothing is stored yet."""

    tenant: _Tenant | None = None
    sessions: dict[str, _Session] = field(default_factory=dict)
    messages: dict[str, list[Message]] = field(default_factory=dict)
    message_count: int = 0


def read_export(lines: Iterable[bytes]) -> Contents:
    """Reads and checks every line; `InvalidInput` says which line is wrong and why."""
    contents = Contents()
    end: _End | None = None
    number = 0
    for number, line in enumerate(lines, start=1):
        if end is not None:
            raise _wrong(number, "stands behind the end")
        if len(line) > MAX_LINE_BYTES:
            raise _wrong(number, f"is longer than {MAX_LINE_BYTES} bytes")
        try:
            value = json.loads(line, parse_constant=_refuse_constant)
            kind = value["type"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise _wrong(number, "is not a JSON object with a type") from None
        if not _is_text(line, value):
            raise _wrong(number, "is not valid Unicode text")
        try:
            if number == 1:
                if kind != FORMAT or _Head.model_validate(value).version != VERSION:
                    raise _wrong(number, f"is not the head of an export of version {VERSION}")
            elif kind == "end":
                end = _End.model_validate(value)
            else:
                _take(contents, kind, value, number)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in fault["loc"])
            raise _wrong(number, f"is wrong at {place}") from None
    if end is None or contents.tenant is None:
        raise _wrong(number + 1, "is missing: the export was cut off")
    if end.messages != contents.message_count or end.sessions > len(contents.sessions):
        raise _wrong(number, "names other numbers of sessions and messages than there are")
    return contents


def store_import(
    connection: Connection,
    stored_id: str,
    contents: Contents,
    now_ms: int,
    *,
    cap: int,
) -> tuple[int, Imported]:
    """Stores it under the tenant; its number and what came.

    `Conflict` when a session of that name is in use already: two conversations are not mixed.
    Sessions longer than `cap` (0: any length) keep their newest turns.
    """
    known = store.number_of(connection, stored_id)
    number = store.ensure(connection, stored_id, now_ms)
    tenant = contents.tenant
    if known is None and tenant is not None:
        changes.set_blocked(connection, number, tenant.blocked, now_ms)
        changes.set_rate_limit(connection, number, tenant.rate_limit)
        changes.set_token_budget(connection, number, tenant.token_budget)
    kept = 0
    for name, session in contents.sessions.items():
        made = connection.execute(
            "INSERT INTO sessions (tenant_id, session_id, created_at, last_active_at, state,"
            " state_version) VALUES (:tenant, :session, :now, :now, :state, :version)"
            " ON CONFLICT (tenant_id, session_id) DO UPDATE SET state = excluded.state,"
            " state_version = sessions.state_version + excluded.state_version"
            " WHERE sessions.message_count = 0 AND sessions.state IS NULL",
            {
                "tenant": number,
                "session": name,
                "now": now_ms,
                "state": None if session.state is None else _json(session.state),
                "version": session.state_version,
            },
        )
        if made.rowcount == 0:
            raise Conflict(
                "The tenant has a session of the same name that is in use; nothing was imported."
            )
        messages = contents.messages.get(name, [])
        if messages:
            kept += conversations.append(connection, number, name, messages, cap, now_ms) or 0
    return number, Imported(len(contents.sessions), kept)


def _take(contents: Contents, kind: str, value: dict[str, Any], number: int) -> None:
    if kind == "tenant" and contents.tenant is None:
        contents.tenant = _Tenant.model_validate(value)
    elif kind == "session":
        session = _Session.model_validate(value)
        if session.session_id in contents.sessions or len(contents.sessions) >= MAX_SESSIONS:
            raise _wrong(number, "names a session a second time, or one too many")
        contents.sessions[session.session_id] = session
    elif kind == "message":
        message = _Message.model_validate(value)
        if contents.message_count >= MAX_MESSAGES:
            raise _wrong(number, "is one message too many")
        # A session that began while its tenant was exported has messages and no line.
        contents.sessions.setdefault(message.session_id, _Session(session_id=message.session_id))
        contents.messages.setdefault(message.session_id, []).append(_message(message))
        contents.message_count += 1
    elif kind not in ("request", "usage"):
        raise _wrong(number, "has an unknown type, or a second tenant")


def _is_text(line: bytes, value: object) -> bool:
    """Half a surrogate pair can be written in JSON, but not stored as UTF-8."""
    if b"\\ud" not in line.lower():
        return True
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _message(given: _Message) -> Message:
    calls = tuple(
        ToolCall(call.id, call.function.name, call.function.arguments) for call in given.tool_calls
    )
    return Message(
        given.role, given.content, given.id, calls, given.tool_call_id, _ms(given.created_at)
    )


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _wrong(number: int, fault: str) -> InvalidInput:
    sentence = f"Line {number} of the import {fault}."
    return InvalidInput(sentence, fields={f"line {number}": sentence})
