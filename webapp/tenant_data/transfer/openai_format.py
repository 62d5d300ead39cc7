"""Conversations as OpenAI's chat messages, a conversation a line: what fine-tuning and evaluation
files hold. Writes them, and reads them into the items of an import.

A line is `{"messages": […], "metadata": {…}}`. The metadata are text, as OpenAI wants them: whose
conversation it is, the session's id, its title, when it began. State, figures and limits have no
place in this format.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from webapp.errors import InvalidInput
from webapp.ids import check_session_id, check_user_id
from webapp.memory.paging.store import Position, StoredMessage, message_page
from webapp.memory.sessions import store as sessions
from webapp.messages import Message, Role, ToolCall
from webapp.periods import iso_utc
from webapp.storage.narrowing import narrow
from webapp.tenant_data.transfer import shapes
from webapp.tenant_data.transfer.export import FIRST_ROW, PAGE, Reading
from webapp.tenant_data.transfer.items import (
    IN_MEMORY,
    Begun,
    Bounds,
    Ended,
    Item,
    Said,
    wrong,
)
from webapp.tenant_data.transfer.reading import ms, object_of
from webapp.tenants.rows import TenantRow

VERSION: Final = 2  # of exports: nothing is left out that this format has
_MOMENT: Final[TypeAdapter[datetime]] = TypeAdapter(shapes.Moment)

_ROLES: Final[dict[str, Role]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


# -- writing ---------------------------------------------------------------------------------------


def openai_lines(reading: Reading, tenant: TenantRow) -> Iterator[bytes]:
    """The tenant's conversations, in pieces: a line may be longer than what fits into memory."""
    after = FIRST_ROW
    while True:
        with reading() as connection:
            narrow(connection, tenant.number)
            page = sessions.page(connection, tenant.number, after, PAGE)
        for row in page:
            after = row[0]
            yield from _conversation(reading, tenant, row)
        if len(page) < PAGE:
            return


def _conversation(reading: Reading, tenant: TenantRow, row: tuple[Any, ...]) -> Iterator[bytes]:
    """One line; nothing for a session without a message."""
    name, created_at, title = row[1], row[2], row[6]
    begun = False
    for stored in _messages(reading, tenant.number, name):
        yield (b"," if begun else b'{"messages":[') + _json(_written(stored.message))
        begun = True
    if begun:
        metadata = {
            "user_id": tenant.user_id,
            "session_id": name,
            "created_at": iso_utc(created_at),
        }
        if title:
            metadata["title"] = title
        yield b'],"metadata":' + _json(metadata) + b"}\n"


def _messages(reading: Reading, tenant: int, session_id: str) -> Iterator[StoredMessage]:
    after: Position | None = None
    while True:
        with reading() as connection:
            narrow(connection, tenant)
            page = message_page(connection, tenant, session_id, PAGE, after=after)
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].position


def _written(message: Message) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        fields["content"] = message.content or None
        fields["tool_calls"] = [call.as_dict() for call in message.tool_calls]
    if message.tool_call_id is not None:
        fields["tool_call_id"] = message.tool_call_id
    return fields


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


# -- reading ---------------------------------------------------------------------------------------


class _Metadata(shapes.Shape):
    user_id: str | None = None
    session_id: str | None = None
    title: str | None = None
    created_at: str | None = None


class _Part(shapes.Shape):
    """A part of a content: text alone can be kept."""

    type: Literal["text", "input_text", "output_text"]
    text: str


class _Spoken(shapes.Shape):
    role: str
    content: str | list[_Part] | None = None
    refusal: str | None = None
    tool_calls: list[shapes.Call] | None = None
    tool_call_id: shapes.Word | None = None


class _Conversation(shapes.Shape):
    messages: Annotated[list[_Spoken], Field(min_length=1)]
    metadata: _Metadata | None = None


def read_openai(
    lines: Iterable[bytes], now_ms: int, *, of_all: bool = False, bounds: Bounds = IN_MEMORY
) -> Iterator[Item]:
    """The items of such a file; `InvalidInput` says which line is wrong and why.

    All of it is of one user, or `of_all` each line of the one that its metadata name. A
    conversation without a session's id is called by its line: `import-7`.
    """
    user_id: str | None = None
    names: set[tuple[int, str]] = set()
    begun, count = False, _Count()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        conversation = _read(line, number, bounds.conversation_bytes)
        metadata = conversation.metadata or _Metadata()
        name = _session_name(metadata, number)
        whose = _user_name(metadata, number) if of_all else None
        if not begun or whose != user_id:
            if begun:
                yield count.ended()
            user_id, begun = whose, True
            yield Begun(number, user_id, None, VERSION, conversations=True)
        mark = (hash(user_id), name)
        if mark in names or count.all_sessions >= bounds.sessions:
            raise wrong(number, "names a session a second time, or one too many")
        names.add(mark)
        count.sessions += 1
        count.all_sessions += 1
        session = _session(metadata, name, number)
        yield session
        at = now_ms if session.created_at is None else min(ms(session.created_at), now_ms)
        for place, spoken in enumerate(conversation.messages):
            count.messages += 1
            count.all_messages += 1
            if count.all_messages > bounds.messages:
                raise wrong(number, "has one message too many")
            yield Said(name, _message(spoken, at, number, place))
    if not begun:
        raise InvalidInput("The import has no conversation in it.")
    yield count.ended()


class _Count:
    """How much there was, of one tenant and of all."""

    sessions = messages = all_sessions = all_messages = 0

    def ended(self) -> Ended:
        ended = Ended(self.sessions, self.messages, 0)
        self.sessions = self.messages = 0
        return ended


def _read(line: bytes, number: int, most: int) -> _Conversation:
    value = object_of(line, number, most, "messages")
    try:
        return _Conversation.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"])[:100]
        raise wrong(number, f"is wrong at {place}") from None


def _session_name(metadata: _Metadata, number: int) -> str:
    if metadata.session_id is None:
        return f"import-{number}"
    try:
        return check_session_id(metadata.session_id)
    except InvalidInput as error:
        raise wrong(number, f"is wrong at metadata.session_id: {error.message}") from None


def _user_name(metadata: _Metadata, number: int) -> str:
    try:
        return check_user_id(metadata.user_id)
    except InvalidInput as error:
        raise wrong(number, f"is wrong at metadata.user_id: {error.message}") from None


def _session(metadata: _Metadata, name: str, number: int) -> shapes.Session:
    try:
        created = (
            None if metadata.created_at is None else _MOMENT.validate_python(metadata.created_at)
        )
        return shapes.Session(
            session_id=name, created_at=created, last_active_at=created, title=metadata.title
        )
    except ValidationError as error:
        place = error.errors(include_url=False, include_input=False)[0]["loc"] or ("created_at",)
        raise wrong(number, f"is wrong at metadata.{place[0]}") from None


def _message(spoken: _Spoken, at_ms: int, number: int, place: int) -> Message:
    role = _ROLES.get(spoken.role)
    if role is None:
        raise wrong(number, f"is wrong at messages.{place}.role")
    calls = tuple(
        ToolCall(call.id, call.function.name, call.function.arguments)
        for call in spoken.tool_calls or ()
    )
    text = spoken.content if spoken.content is not None else spoken.refusal
    if isinstance(text, list):
        text = "".join(part.text for part in text)
    if (text is None and not calls) or (calls and role != "assistant"):
        raise wrong(number, f"is wrong at messages.{place}")
    if (role == "tool") != (spoken.tool_call_id is not None):
        raise wrong(number, f"is wrong at messages.{place}.tool_call_id")
    return Message(
        role,
        text or "",
        tool_calls=calls,
        tool_call_id=spoken.tool_call_id,
        created_at_ms=at_ms,
    )
