"""The inputs and outputs of the chat service, as values; no HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

from webapp.agent import Approval, PendingCall, TextDelta, ToolFinished, ToolStarted
from webapp.agent.structured.wanted import Wanted
from webapp.agent.tool_log import ToolLog
from webapp.agent.turn import Started
from webapp.allowances import TokenBudget
from webapp.ids import DEFAULT_SESSION
from webapp.memory.limiting.limits import NO_LIMITS, TenantLimits
from webapp.messages import Usage
from webapp.session_state import MAX_BYTES
from webapp.tracing import NO_SPAN, Span
from webapp.turns import Cancellation


@dataclass(frozen=True, slots=True)
class ChatLimits:
    """The limits of a turn, from the settings."""

    message_max_chars: int = 32_000
    memory_max_messages: int = 100
    tenant: TenantLimits = NO_LIMITS
    waiting_turns: int = 4
    state_max_bytes: int = MAX_BYTES
    approval_seconds: float = 86_400.0
    token_budget: TokenBudget = field(default_factory=TokenBudget)


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """One turn that a checked caller asks for. With `approvals` the message may be empty.

    `route` names the door it came through in the tenant's metrics; `started` is the monotonic
    clock in seconds when the request came, so that waiting in line counts as latency. `span` is the
    request's, for those who follow it. `wanted` is the form that the answer must have,
    and `tool_log` is filled with the turn's calls of tools.
    """

    user_id: str
    message: str
    request_id: str
    started: float
    session_id: str = DEFAULT_SESSION
    approvals: tuple[Approval, ...] = ()
    route: str = "chat"
    idempotency_key: str | None = None
    cancel: Cancellation | None = None
    span: Span = NO_SPAN
    tool_log: ToolLog = field(default_factory=ToolLog, compare=False, repr=False)
    wanted: Wanted | None = None


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """A finished turn; the turn is on disk when this exists."""

    user_id: str
    reply: str
    session_id: str
    request_id: str
    usage: Usage = field(default_factory=Usage)
    finish_reason: str = "stop"
    model: str = ""

    def formed(self, output: object) -> FormedAnswer:
        """The same with the value that its text stands for."""
        return FormedAnswer(
            user_id=self.user_id,
            reply=self.reply,
            session_id=self.session_id,
            request_id=self.request_id,
            usage=self.usage,
            finish_reason=self.finish_reason,
            model=self.model,
            output=output,
        )


@dataclass(frozen=True, slots=True)
class FormedAnswer(ChatAnswer):
    """An answer of the wanted form: `reply` is its JSON text, `output` the value."""

    output: Any = None


@dataclass(frozen=True, slots=True)
class PausedAnswer(ChatAnswer):
    """A turn that waits for the approval of these calls, kept apart from the memory."""

    pending_calls: tuple[PendingCall, ...] = ()


def with_pending_calls(answer: ChatAnswer, calls: Sequence[PendingCall]) -> PausedAnswer:
    """The answer of a turn that waits for these."""
    said = {each.name: getattr(answer, each.name) for each in fields(ChatAnswer)}
    return PausedAnswer(**said, pending_calls=tuple(calls))


ChatEvent: TypeAlias = Started | TextDelta | ToolStarted | ToolFinished | ChatAnswer
