"""Whose run of a workflow it is, what it was given, and what its steps have made so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from webapp.deadline import Deadline
from webapp.errors import ConfigurationError
from webapp.ids import DEFAULT_SESSION, check_session_id, check_user_id
from webapp.session_state import SessionState
from webapp.turns import Cancellation
from webapp.workflow.values import as_text, checked_value


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class ExecutionContext:
    """One run of one user, as a step sees it.

    `input` is what the whole workflow was given, `previous` what the step before gave, and
    `outputs` has what each step gave so far by the step's name. `session_state` is the session's:
    a step changes it with `set`, `delete`, `change` and `clear`, and what it reads is a copy.
    Parallel branches have a state each.

    User and session are those of the caller: a step can neither change them nor run an agent for
    somebody else through the workflow. `step` is the path of the step, such as `team/refunds`, and
    `idempotency_key` stays the same when the step is tried again, after a kill as well: whatever
    has an effect outside should be given it.
    """

    input: Any
    session_id: str = DEFAULT_SESSION
    user_id: str = ""
    session_state: SessionState = field(default_factory=SessionState)
    previous: Any = None
    outputs: Mapping[str, Any] = field(default_factory=_nothing)
    run_id: str = ""
    step: str = ""
    attempt: int = 1
    idempotency_key: str = ""
    cancel: Cancellation | None = field(default=None, repr=False)
    deadline: Deadline | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_user_id(self.user_id)
        check_session_id(self.session_id)
        checked_value(self.input, "The input")
        given: object = self.session_state
        if isinstance(given, Mapping) and not isinstance(given, SessionState):
            object.__setattr__(self, "session_state", SessionState(given))
        elif not isinstance(given, SessionState):
            raise ConfigurationError("session_state must be a dict; leave it out for none.")

    @property
    def cancelled(self) -> bool:
        """Whether the run was called off, or the step's time is over."""
        if self.cancel is not None and self.cancel.is_set():
            return True
        return self.deadline is not None and self.deadline.passed

    @property
    def text(self) -> str:
        """What the step before gave, as text for a model; the workflow's input in the first."""
        return as_text(self.input if self.previous is None else self.previous)
