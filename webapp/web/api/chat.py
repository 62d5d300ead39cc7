"""POST /chat: one turn, whole or as server-sent events."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextvars import copy_context

from flask import Response, request
from pydantic import Field

from webapp.chat.service import ChatEvent, Started
from webapp.chat.values import ChatTurn
from webapp.errors import InvalidInput, RateLimited
from webapp.ids import DEFAULT_SESSION
from webapp.web.binding import (
    MESSAGE_PATTERN,
    SessionId,
    Shape,
    UserId,
    bind_json,
    require_no_query,
)
from webapp.web.context import HangUp, caller, context, services
from webapp.web.limits import limits
from webapp.web.sse import stream_response


class ChatRequest(Shape):
    """The body of POST /chat; `user_id` may be left out with a token, which names its user."""

    message: str = Field(json_schema_extra={"minLength": 1, "pattern": MESSAGE_PATTERN})
    user_id: UserId | None = None
    session_id: SessionId | None = None
    stream: bool = False


class Listener:
    """Set when the client is gone, whichever way that was noticed."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self._hang_up = HangUp.of_request()

    def is_set(self) -> bool:
        return self.closed.is_set() or self._hang_up.is_set()


def chat() -> Response:
    """Runs one turn of the tenant and answers with the reply."""
    require_no_query()
    body = bind_json(ChatRequest)
    user_id = body.user_id if body.user_id is not None else caller().user_id
    if user_id is None:
        raise InvalidInput("user_id is required", fields={"user_id": "user_id is required"})
    caller().speaks_for(user_id)
    listener = Listener()
    turn = ChatTurn(
        user_id=user_id,
        message=body.message,
        request_id=context().request_id,
        started=context().started,
        session_id=body.session_id or DEFAULT_SESSION,
        idempotency_key=request.headers.get("Idempotency-Key"),
        cancel=listener,
    )
    admit(turn)
    if not body.stream:
        return json_answer(services().chat.reply(turn).as_dict())
    return stream_turn(turn, listener.closed)


def admit(turn: ChatTurn) -> None:
    """The tenant's rate limit, on every way in; a refusal counts in the tenant's metrics."""
    context().tenant = turn.user_id
    chat_service, user_ids = services().chat, services().user_ids
    chat_service.check(turn)
    own_limit = chat_service.admission(turn)
    try:
        limits().require_turn(user_ids.reference(turn.user_id), own_limit)
    except RateLimited as error:
        chat_service.record_refusal(turn, status=error.status, code=error.code)
        raise


def json_answer(body: dict[str, object]) -> Response:
    """The same as Flask's `jsonify`, for a tenth of its cost on the way of every turn."""
    return Response(json.dumps(body), content_type="application/json")


def stream_turn(turn: ChatTurn, closed: threading.Event) -> Response:
    """Waits for the tenant's place, so that a refusal has its own status; then streams."""
    events = services().chat.stream(turn)
    # The turn takes its place in the context in which it goes on, and not in the request's: that
    # would look, to the connection's next request, as if it were inside this turn.
    inside = copy_context()
    first = inside.run(next, events)

    def all_events() -> Iterator[ChatEvent]:
        if not isinstance(first, Started):
            yield first
        yield from events

    return stream_response(all_events(), closed, turn.request_id, inside=inside, here=context())
