"""Stand-ins for models and times that every test may use; no servers, no databases."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, field
from typing import TypeAlias

from webapp.agent import (
    Agent,
    Event,
    Model,
    ModelReply,
    ModelRequest,
    RunContext,
    TextDelta,
)
from webapp.messages import Message, ToolCall, Usage
from webapp.turns import TurnQueue

Answer: TypeAlias = str | ModelReply | Exception | Callable[[ModelRequest], "str | ModelReply"]


def calls(*wishes: tuple[str, object], usage: Usage | None = None, content: str = "") -> ModelReply:
    """A reply that asks for tools; each wish is a name and its arguments, as text or for JSON."""
    return ModelReply(
        content,
        tuple(
            ToolCall(f"call-{number}", name, given if isinstance(given, str) else json.dumps(given))
            for number, (name, given) in enumerate(wishes)
        ),
        usage or Usage(),
    )


def said(content: str, input_tokens: int = 0, output_tokens: int = 0) -> ModelReply:
    """A reply of text with a bill."""
    return ModelReply(content, (), Usage(input_tokens, output_tokens))


def pieces(text: str) -> list[str]:
    """The words of a text, each with the white space behind it."""
    return re.findall(r"\s*\S+\s*", text) or ([text] if text else [])


@dataclass
class FakeModel:
    """Gives the answers of its queue, one a call, and keeps every request.

    An exception in the queue is raised, a function is asked for the answer. With the queue empty
    it gives `otherwise`, and fails the test when there is none. Streamed, it comes word by word.
    """

    answers: deque[Answer] = field(default_factory=deque)
    otherwise: Answer | None = None
    name: str = "fake"
    requests: list[ModelRequest] = field(default_factory=list)
    closed_streams: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def of(cls, *answers: Answer, otherwise: Answer | None = None) -> FakeModel:
        return cls(deque(answers), otherwise)

    @property
    def seen(self) -> list[list[Message]]:
        """The messages of every request, in order."""
        return [list(request.messages) for request in self.requests]

    def complete(self, request: ModelRequest) -> ModelReply:
        with self._lock:
            self.requests.append(request)
            answer = self.answers.popleft() if self.answers else self.otherwise
        assert answer is not None, "the fake model was asked once more than it has answers"
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, str | ModelReply):
            answer = answer(request)
        return ModelReply(answer) if isinstance(answer, str) else answer

    def stream(self, request: ModelRequest) -> Iterator[TextDelta | ModelReply]:
        reply = self.complete(request)
        try:
            yield from (TextDelta(piece) for piece in pieces(reply.content))
            yield reply
        finally:
            self.closed_streams += 1


def count_messages(request: ModelRequest) -> str:
    """The answer of the stub COUNT: how many messages it was sent."""
    return f"I see {len(request.messages)} messages in history"


def count_model() -> FakeModel:
    """The stub COUNT."""
    return FakeModel(otherwise=count_messages)


def echo_model() -> FakeModel:
    """Repeats the last question, so that an answer tells whose it is."""
    return FakeModel(otherwise=lambda request: f"You said: {request.messages[-1].content}")


@dataclass
class GatedModel:
    """A model whose answers wait until the test opens the gate; `entered` counts who waits, `seen`
    are the numbers of messages that it was sent."""

    answer: str = "done"
    name: str = "gated"
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    seen: list[int] = field(default_factory=list)

    def complete(self, request: ModelRequest) -> ModelReply:
        self.seen.append(len(request.messages))
        self.entered.release()
        assert self.gate.wait(10), "nobody opened the gate"
        return ModelReply(self.answer)

    def stream(self, request: ModelRequest) -> Iterator[TextDelta | ModelReply]:
        reply = self.complete(request)
        yield TextDelta(reply.content)
        yield reply


def played(
    agent: Agent, question: Message, history: Sequence[Message], *, streaming: bool = False
) -> Iterator[Event]:
    """The events of one turn's loop, which needs neither a memory nor a place."""
    return agent.loop(question, history, RunContext(user_id="alice"), streaming=streaming).play()


@contextmanager
def taken(queue: TurnQueue, tenant: str) -> Iterator[None]:
    """Holds the tenant's place for somebody else: the block itself stands outside of that turn."""
    elsewhere, place = Context(), queue.place(tenant)
    elsewhere.run(place.__enter__)
    try:
        yield
    finally:
        elsewhere.run(place.__exit__, None, None, None)


def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    """Waits until something is so; fails the test when it does not come to pass in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.001)


class HandClock:
    """A clock that a test moves by hand; milliseconds since 1970-01-01 UTC."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.ms = now_ms
        self.wrong_ms = 0

    def now_ms(self) -> int:
        return self.ms + self.wrong_ms

    def monotonic(self) -> float:
        return self.ms / 1000

    def advance(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock; no time passes."""
        self.wrong_ms += round(seconds * 1000)


# The type checker sees here that the fakes fit the protocol.
MODELS: tuple[Model, ...] = (FakeModel(), GatedModel())
