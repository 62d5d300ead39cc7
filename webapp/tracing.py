"""What is told of a request while it runs, for those who follow it; by default nothing.

A `Span` is handed on by hand, from the request to the turn, the model's calls and the tools: a
turn is a generator that goes on in other threads, where no context is the caller's. What is made
of it is in observability/otel.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    from webapp.messages import Usage


class Span:
    """A part of the work that begins and ends. This one is of nobody, and does nothing.

    As a block it ends with it, and is what a tool's own code sees as the current span.
    """

    __slots__ = ()

    recording = False

    def turn(self, conversation: str) -> Span:  # noqa: ARG002  # as those that record
        """A turn of the agent begins; `conversation` must not name anybody."""
        return self

    def agent(self, name: str, model: str) -> None:
        """It is known who plays the turn."""

    def model_call(self, model: str) -> Span:  # noqa: ARG002  # as above
        """A call to the model begins."""
        return self

    def tool_call(self, name: str, call_id: str) -> Span:  # noqa: ARG002  # as above
        """A tool begins."""
        return self

    def answered(self, usage: Usage, finish_reason: str) -> None:
        """The model has answered."""

    def failed(self, error: BaseException) -> None:
        """It ends with this; nothing of the error's text is told."""

    def failed_as(self, kind: str) -> None:
        """It ends with a failure of this kind."""

    def end(self) -> None:
        """It is over; further calls change nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.end()


NO_SPAN = Span()


class RequestSpan(Protocol):
    """The span of an HTTP request."""

    @property
    def span(self) -> Span: ...

    def end(self, status: int, code: str | None) -> None:
        """The answer is over; `code` is the error's."""
        ...


class Tracing(Protocol):
    """Begins the spans of requests, and sends them away."""

    def request(
        self, method: str, route: str, request_id: str, headers: Mapping[str, str]
    ) -> RequestSpan | None:
        """None when this request is not recorded."""
        ...

    def close(self) -> None:
        """Sends what waits, within seconds."""
        ...
