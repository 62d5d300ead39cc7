"""Asks the model something beside the turn, within a bound of time; the turn goes on without it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from webapp.agent.guardrails.bounded import within
from webapp.agent.meter import Meter
from webapp.agent.model import Model, ModelReply, ModelRequest
from webapp.agent.run_context import RunContext
from webapp.agent.tools import LeftRunning
from webapp.deadline import Deadline
from webapp.messages import Message

_log = logging.getLogger(__name__)
_left_running = LeftRunning()


def ask_beside(
    model: Model, messages: Sequence[Message], context: RunContext, seconds: float
) -> ModelReply | None:
    """The model's answer, None when there is none in time; what it cost is on the run's meter.

    It takes at most half of the time that the run has left. Raises `RunCalledOff`.
    """
    left = context.deadline
    deadline = Deadline.after(seconds if left is None else min(seconds, left.left / 2))
    # Not the run's own: a model that does not come back in time may tell its meter things later.
    meter = Meter()
    request = ModelRequest(
        messages, (), context.cancel, deadline, meter, context.user_id, begins_turn=True
    )
    meter.ask(request, [])
    span = context.span.model_call(model.name)
    reply: ModelReply | None = None
    try:
        outcome = within(
            lambda: model.complete(request), replace(context, deadline=deadline), _left_running
        )
        if isinstance(outcome, ModelReply):
            reply = outcome
            span.answered(reply.usage, reply.finish_reason)
        elif isinstance(outcome, Exception):
            span.failed(outcome)
            log_failure(outcome, context)
        elif isinstance(outcome, BaseException):
            raise outcome
    except TimeoutError as error:
        span.failed(error)
        log_failure(error, context)
    finally:
        span.end()
        meter.settle(reply)
        context.meter.add(meter.usage)
    return reply


def log_failure(error: BaseException, context: RunContext) -> None:
    """Says of which kind it was; its text may hold a provider's or a user's words."""
    told = {"request_id": context.request_id}
    _log.warning("summary failed: %s", type(error).__name__, extra=told)
