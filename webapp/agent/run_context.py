"""The context of a run as one value: user, session, ids, cancellation, deadline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

from webapp.agent.meter import Meter
from webapp.agent.tool_log import ToolLog
from webapp.deadline import Deadline
from webapp.errors import ConfigurationError
from webapp.ids import DEFAULT_SESSION
from webapp.messages import random_uuid
from webapp.session_state import SessionState
from webapp.tracing import NO_SPAN, Span
from webapp.turns import Cancellation


def new_run_id() -> str:
    """A fresh id, `run-` and a random UUID."""
    return f"run-{random_uuid()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """One run of one user.

    A tool, or a check of a guardrail, that has a parameter with this type is given the context of
    the run that calls it. The model can neither see nor fill that parameter, so `user_id` and
    `session_id` are those that the application gave, whatever the model was talked into.

    `request_id` is the server's and empty in a program without one. `cancel` is set when the run
    is called off, or a tool's call timed out: a tool that takes long looks at `cancelled` now and
    then. `deadline` is the moment at which the turn, or the call, gives up. `meter` counts what the
    run uses at the model, and `tool_log` its calls of tools. `state` is the session's, a dict whose
    changes are stored with the turn; of a context that no turn has made it is a dict of its own.
    `span` is the turn's, for those who follow it from outside.

    `idempotency_key` stays the same when the same request is tried again. A tool is given that of
    its call, to hand on to whatever it has an effect on; `tool_name` and `tool_call_id` say which
    call it is, and are empty outside of one.
    """

    user_id: str
    session_id: str = DEFAULT_SESSION
    run_id: str = field(default_factory=new_run_id)
    request_id: str = ""
    cancel: Cancellation | None = None
    deadline: Deadline | None = None
    meter: Meter = field(default_factory=Meter, compare=False, repr=False)
    state: SessionState = field(default_factory=SessionState, compare=False, repr=False)
    span: Span = field(default=NO_SPAN, compare=False, repr=False)
    tool_log: ToolLog = field(default_factory=ToolLog, compare=False, repr=False)
    idempotency_key: str = ""
    tool_name: str = ""
    tool_call_id: str = ""

    @property
    def cancelled(self) -> bool:
        """Whether the run was called off."""
        return self.cancel is not None and self.cancel.is_set()

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: object) -> NoReturn:
        # Inside another type it would be a value that the model writes, user and all.
        raise ConfigurationError(
            "RunContext is given to a parameter whose whole type it is, and cannot be part of"
            " what a model writes."
        )
