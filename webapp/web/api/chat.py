"""POST /chat: one turn, whole or as server-sent events."""

from __future__ import annotations

from dataclasses import replace

from flask import Response, request
from pydantic import ConfigDict, Field

from webapp.agent import Approval
from webapp.agent.approvals import MAX_REASON_CHARS
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


class GivenApproval(Shape):
    """What a person has decided about a call that waits."""

    call_id: str = Field(min_length=1, max_length=200)
    approved: bool
    reason: str = Field(default="", max_length=MAX_REASON_CHARS)


class ChatRequest(Shape):
    """The body of POST /chat; `user_id` may be left out with a token, which names its user, and
    `message` where `approvals` are given."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["message"]}, {"required": ["approvals"]}]}
    )

    message: str = Field(default="", json_schema_extra={"minLength": 1, "pattern": MESSAGE_PATTERN})
    approvals: list[GivenApproval] = Field(default_factory=list, min_length=1, max_length=128)
    user_id: UserId | None = None
    session_id: SessionId | None = None
    stream: bool = False
    response_format: ResponseFormat | None = None


def chat() -> Response:
    """Runs one turn of the tenant and answers with the reply."""
    require_no_query()
    body = bind_json(ChatRequest)
    if not body.model_fields_set & {"message", "approvals"}:
        raise InvalidInput("message is required", fields={"message": "message is required"})
    user_id = body.user_id if body.user_id is not None else caller().user_id
    if user_id is None:
        raise InvalidInput("user_id is required", fields={"user_id": "user_id is required"})
    caller().speaks_for(user_id)
    here, hang_up = context(), HangUp.of_request()
    turn = ChatTurn(
        user_id=user_id,
        message=body.message,
        approvals=_approvals(body.approvals) if body.approvals else (),
        request_id=here.request_id,
        started=here.started,
        session_id=body.session_id or DEFAULT_SESSION,
        idempotency_key=request.headers.get("Idempotency-Key"),
        cancel=hang_up,
        span=here.span,
    )
    admit(turn)
    if body.response_format is not None:
        # Not before the limit has let the turn in: a schema costs some time to look at.
        turn = replace(turn, wanted=wanted(body.response_format))
    if not body.stream:
        return answer(ChatReply, services().chat.reply(turn))
    return stream_turn(turn, hang_up.closed)


def _approvals(given: list[GivenApproval]) -> tuple[Approval, ...]:
    if len({each.call_id for each in given}) < len(given):
        sentence = "approvals must name each call_id once"
        raise InvalidInput(sentence, fields={"approvals": sentence})
    return tuple(Approval(each.call_id, each.approved, each.reason) for each in given)
