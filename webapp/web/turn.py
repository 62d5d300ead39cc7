"""What every door does with a turn: the tenant's rate limit, and the streamed answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextvars import copy_context
from itertools import chain

from flask import Response

from webapp.agent.turn import Started
from webapp.chat.values import ChatEvent, ChatTurn
from webapp.errors import RateLimited
from webapp.web.context import context, services
from webapp.web.limits import limits
from webapp.web.sse import stream_response


def admit(turn: ChatTurn) -> None:
    """The tenant's rate limit, on every way in; a refusal counts in the tenant's metrics."""
    context().tenant, context().tool_log = turn.user_id, turn.tool_log
    chat_service, user_ids = services().chat, services().user_ids
    chat_service.check(turn)
    own_limit = chat_service.admission(turn)
    try:
        limits().require_turn(user_ids.reference(turn.user_id), own_limit)
    except RateLimited as error:
        chat_service.record_refusal(turn, status=error.status, code=error.code)
        raise


def stream_turn(turn: ChatTurn, closed: threading.Event) -> Response:
    """Waits for the tenant's place, so that a refusal has its own status; then streams."""
    events = services().chat.stream(turn)
    # The turn takes its place in the context in which it goes on, and not in the request's: that
    # would look, to the connection's next request, as if it were inside this turn.
    inside = copy_context()
    first = inside.run(next, events)
    told: Iterator[ChatEvent] = events if isinstance(first, Started) else chain([first], events)
    here = context()
    return stream_response(
        told, closed, turn.request_id, inside=inside, here=here, writer=here.door.events
    )
