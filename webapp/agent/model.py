"""The protocol of a model; implementations are elsewhere, and a test brings its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from webapp.agent.meter import Meter
from webapp.agent.response_format import ResponseFormat
from webapp.deadline import Deadline
from webapp.messages import Message, ToolCall, Usage
from webapp.turns import Cancellation as Cancellation


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A function as the model sees it; `parameters` is a JSON Schema object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One question to a model: the messages in order, instructions in front.

    A model that can be interrupted ends with `ModelTimeout` soon after the `deadline`, which is
    the whole turn's, and with any `ModelError` soon after `cancel` is set. One that knows what it
    costs before its reply is there tells the `meter`, by which calls that fail are counted.
    `user_id` is whose turn it is, which no server is told, and `begins_turn` says that it is the
    turn's first call. A model that reads `response_format`, the form in which the answer is wanted,
    says so with an attribute `takes_response_format` that is true; others are told in the messages.
    """

    messages: Sequence[Message]
    tools: Sequence[ToolSpec] = ()
    cancel: Cancellation | None = None
    deadline: Deadline | None = None
    meter: Meter = field(default_factory=Meter, compare=False, repr=False)
    user_id: str = field(default="", compare=False, repr=False)
    begins_turn: bool = field(default=True, compare=False)
    response_format: ResponseFormat | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer, as it comes."""

    text: str


@dataclass(frozen=True, slots=True)
class ModelReply:
    """A whole answer: text, or wishes to have tools run, or both.

    `finish_reason` is the model's own word for why it stopped: `stop`, `length`, … `extra` is
    what its server wants back with the answer's message while the turn goes on, and `refused` says
    that the text is the model's refusal to answer.
    """

    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = field(default_factory=Usage)
    finish_reason: str = "stop"
    extra: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)
    refused: bool = False


class Model(Protocol):
    """A language model. Both methods raise `ModelError` and its kinds, and nothing else.

    `ContextOverflow` says that the messages are too long for the model; the agent then leaves
    oldest turns out and asks again.
    """

    @property
    def name(self) -> str: ...

    def complete(self, request: ModelRequest) -> ModelReply:
        """The whole answer."""
        ...

    def stream(self, request: ModelRequest) -> Iterator[TextDelta | ModelReply]:
        """Pieces of text, then the whole answer as the last item."""
        ...


def takes_response_format(model: Model) -> bool:
    """Whether the model reads `ModelRequest.response_format`."""
    return bool(getattr(model, "takes_response_format", False))
