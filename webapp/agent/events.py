"""The events of a turn and its outcome, as values; turn.py makes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias

from webapp.agent.approvals import PausedTurn, PendingCall
from webapp.agent.misuse import no_attribute
from webapp.agent.model import TextDelta
from webapp.agent.other_libraries import OUTPUTS
from webapp.agent.run_context import new_run_id
from webapp.memory import Summary
from webapp.messages import Message, Usage

RunStatus: TypeAlias = Literal["completed", "paused", "cancelled"]
ToolStatus: TypeAlias = Literal["ok", "error"]


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A tool that the model asked for is about to run; `tool_call_id` is the id of the call."""

    name: str
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A tool has run; `error` says that the model was told of a fault instead of a result."""

    name: str
    status: ToolStatus
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class ModelAnswered:
    """One call to the model is over; the tokens it cost, also when the turn fails later on."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class RunOutput:
    """The outcome of one turn.

    `messages` are those of this turn alone, the question first; `usage` is the sum over all the
    calls to the model of this run, `model_calls` their number in the turn. A cancelled run has the
    text that came before it was called off, and nothing of it is stored. A `paused` run waits for
    the approval of its `pending_calls`: its messages become part of the memory when the turn is
    complete. `finish_reason` is the model's own last one, empty for a cancelled run and
    `approval_required` for a paused one, and `model` the name under which the model was asked.
    Where a form of the answer was asked for, `parsed` is its value and `content` its JSON text.
    `summary` is the session's, when this run has made a new one.
    """

    content: str
    run_id: str = field(default_factory=new_run_id)
    status: RunStatus = "completed"
    usage: Usage = field(default_factory=Usage)
    messages: tuple[Message, ...] = ()
    model_calls: int = 0
    finish_reason: str = ""
    model: str = ""
    paused: PausedTurn | None = field(default=None, repr=False)
    parsed: Any = None
    summary: Summary | None = None

    if not TYPE_CHECKING:  # a type checker must go on to know which attributes there are

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(no_attribute("RunOutput", name, OUTPUTS))

    @property
    def pending_calls(self) -> tuple[PendingCall, ...]:
        """The calls that wait for approval."""
        return () if self.paused is None else self.paused.pending_calls


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of every turn that does not fail."""

    output: RunOutput


Event: TypeAlias = TextDelta | ToolStarted | ToolFinished | ModelAnswered | Finished
