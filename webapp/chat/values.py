"""The inputs and outputs of the chat service, as values; no HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from webapp.agent import TextDelta, ToolFinished, ToolStarted
from webapp.agent.turn import Started
from webapp.allowances import TokenBudget
from webapp.ids import DEFAULT_SESSION
from webapp.messages import Usage
from webapp.session_state import MAX_BYTES
from webapp.tracing import NO_SPAN, Span
from webapp.turns import Cancellation


@dataclass(frozen=True, slots=True)
class ChatLimits:
    """The limits of a turn, from the settings."""

    message_max_chars: int = 32_000
    memory_max_messages: int = 100
    waiting_turns: int = 4
    state_max_bytes: int = MAX_BYTES
    token_budget: TokenBudget = field(default_factory=TokenBudget)


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """One turn that a checked caller asks for.

    `route` names the door it came through in the tenant's metrics; `started` is the monotonic
    clock in seconds when the request came, so that waiting in line counts as latency. `span` is the
    request's, for those who follow it.
    """

    user_id: str
    message: str
    request_id: str
    started: float
    session_id: str = DEFAULT_SESSION
    route: str = "chat"
    idempotency_key: str | None = None
    cancel: Cancellation | None = None
    span: Span = NO_SPAN


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


ChatEvent: TypeAlias = Started | TextDelta | ToolStarted | ToolFinished | ChatAnswer
