"""Reads an answer from its bytes, whole or in pieces as they come; knows no HTTP but the bytes."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator
from typing import Any, Protocol

from webapp.agent.completions.answer import Answer, SaidFailure
from webapp.agent.completions.events import EventReader, objects
from webapp.agent.completions.failures import refusal_in_answer
from webapp.agent.http.events import tokens_of
from webapp.agent.meter import Meter
from webapp.agent.model import ModelReply, TextDelta
from webapp.errors import ModelError

UNREADABLE = "The model gave an answer that cannot be read."
BROKE_OFF = "The model's answer broke off."
# What reading a JSON of an unexpected shape, or of absurd depth, raises.
UNREADABLE_KINDS = (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError)


class Clock(Protocol):
    """Receives the progress of a streamed answer."""

    def heard(self) -> None: ...
    def rest(self) -> None: ...
    def complete(self) -> None: ...
    def goes_on(self) -> None: ...


def read_whole(body: bytes, charset: str | None, known: Container[str]) -> ModelReply:
    """The answer in a whole body: JSON, or a stream that nobody asked for.

    Raises `Refused` when it says that it is a failure, and `ModelError`.
    """
    answer = Answer(known)
    ended = True
    try:
        try:
            answer.take(_json(body), bare=True)
        except (ValueError, AttributeError):
            found, reader = objects(body, charset)
            ended = reader.ended or reader.bare
            for data in found:
                answer.take(data, bare=reader.bare)
        answer.end()
        answer.without_unopened_thought()
    except SaidFailure as said:
        raise refusal_in_answer(said.data) from said
    except UNREADABLE_KINDS as error:
        raise ModelError(UNREADABLE) from error
    return _reply(answer, ended=ended)


def _json(body: bytes) -> Any:
    # An ASCII brace and no NUL behind it is UTF-8, which `loads` would find out in six steps.
    if body[:1] == b"{" and body[1:2] != b"\0":
        return json.loads(str(body, "utf-8", "surrogatepass"))
    return json.loads(body)


class Stream:
    """A streamed answer under way; `pieces` may be called once."""

    def __init__(
        self, charset: str | None, known: Container[str], clock: Clock, meter: Meter
    ) -> None:
        self._answer = Answer(known)
        self._reader = EventReader(charset)
        self._clock = clock
        self._meter = meter

    @property
    def is_finished(self) -> bool:
        """Whether nothing is missing but the bill: what goes wrong now spoils nothing."""
        return self._answer.finish_reason is not None

    def pieces(self, body: Iterable[bytes]) -> Iterator[TextDelta]:
        """The text as it comes. Raises `Refused`, `ModelError`, and what `body` raises."""
        answer, reader, clock = self._answer, self._reader, self._clock
        try:
            for data in self._objects(body):
                seemed_finished = answer.finish_reason is not None
                text = answer.take(data, bare=reader.bare)
                if text and seemed_finished:
                    clock.goes_on()
                elif answer.finish_reason is not None:
                    clock.complete()
                if text:
                    clock.rest()
                    yield TextDelta(text)
                    clock.heard()
                elif (tokens := tokens_of(data)) is not None:
                    self._meter.heard(tokens)
                    if answer.finish_reason is None:
                        clock.heard()
        except SaidFailure as said:
            if not self.is_finished:
                raise refusal_in_answer(said.data) from said
        except UNREADABLE_KINDS as error:
            raise ModelError(UNREADABLE) from error
        finally:
            self._meter.said(answer.usage)

    def end(self) -> Iterator[TextDelta | ModelReply]:
        """The rest of the text, and the whole answer; raises when it is incomplete."""
        text = self._answer.end()
        if text:
            yield TextDelta(text)
        yield _reply(self._answer, ended=self._reader.ended)

    def _objects(self, body: Iterable[bytes]) -> Iterator[dict[str, object]]:
        for piece in body:
            yield from self._reader.feed(piece)
            if self._reader.ended:
                return
        yield from self._reader.end()


def whole_of(items: Iterable[TextDelta | ModelReply]) -> ModelReply:
    """The whole answer at the end of its pieces."""
    for item in items:
        if isinstance(item, ModelReply):
            return item
    raise ModelError(BROKE_OFF, server_failed=True)


def _reply(answer: Answer, *, ended: bool) -> ModelReply:
    reply = answer.reply()
    is_empty = not reply.tool_calls and not reply.content.strip()
    if is_empty and (ended or answer.finish_reason is not None):
        raise ModelError("The model gave an empty answer.")
    if is_empty or not answer.is_complete(ended=ended):
        raise ModelError(BROKE_OFF, server_failed=True)
    return reply
