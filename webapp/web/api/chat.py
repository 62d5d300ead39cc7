"""POST /chat: one turn, whole or as server-sent events."""

from __future__ import annotations

from dataclasses import replace

from flask import Response, request
from pydantic import Field

from webapp.chat.values import ChatTurn
from webapp.errors import InvalidInput
from webapp.ids import DEFAULT_SESSION
from webapp.web.answers import ChatReply, answer
from webapp.web.binding import (
    MESSAGE_PATTERN,
    SessionId,
    Shape,
    UserId,
    bind_json,
    require_no_query,
)
from webapp.web.context import caller, context, services
from webapp.web.hang_up import HangUp
from webapp.web.response_format import ResponseFormat, wanted
from webapp.web.turn import admit, stream_turn


class ChatRequest(Shape):
    """The body of POST /chat; `user_id` may be left out with a token, which names its user."""

    message: str = Field(json_schema_extra={"minLength": 1, "pattern": MESSAGE_PATTERN})
    user_id: UserId | None = None
    session_id: SessionId | None = None
    stream: bool = False
    response_format: ResponseFormat | None = None


def chat() -> Response:
    """Runs one turn of the tenant and answers with the reply."""
    require_no_query()
    body = bind_json(ChatRequest)
    user_id = body.user_id if body.user_id is not None else caller().user_id
    if user_id is None:
        raise InvalidInput("user_id is required", fields={"user_id": "user_id is required"})
    caller().speaks_for(user_id)
    hang_up = HangUp.of_request()
    turn = ChatTurn(
        user_id=user_id,
        message=body.message,
        request_id=context().request_id,
        started=context().started,
        session_id=body.session_id or DEFAULT_SESSION,
        idempotency_key=request.headers.get("Idempotency-Key"),
        cancel=hang_up,
        span=context().span,
    )
    admit(turn)
    if body.response_format is not None:
        # Not before the limit has let the turn in: a schema costs some time to look at.
        turn = replace(turn, wanted=wanted(body.response_format))
    if not body.stream:
        return answer(ChatReply, services().chat.reply(turn))
    return stream_turn(turn, hang_up.closed)
