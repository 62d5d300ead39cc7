"""A stream whose model is silent: comments keep the line alive, and an end of it is noticed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from flask import Flask

from tests.conftest import services_of
from tests.fakes import until
from webapp.agent import TextDelta
from webapp.chat.values import ChatAnswer, ChatEvent, ChatTurn
from webapp.errors import ModelError
from webapp.web.answers import ChatReply, to_json
from webapp.web.sse import KEEP_ALIVE, KEEP_ALIVE_SECONDS, event, raw_event, stream_response


def test_comments_are_sent_as_long_as_the_model_is_silent(app: Flask) -> None:
    speak, hang_up = threading.Event(), threading.Event()
    answer = ChatAnswer("alice", "hello", "default", "req-1")

    def events() -> Iterator[ChatEvent]:
        assert speak.wait(10)
        yield TextDelta("hello")
        yield answer

    with app.test_request_context():
        lines = iter(stream_response(events(), hang_up, "req-1", keep_alive=0.01).iter_encoded())
    assert [next(lines) for _ in range(3)] == [KEEP_ALIVE] * 3
    speak.set()
    rest = [line for line in lines if line != KEEP_ALIVE]
    assert rest == [
        event("delta", {"text": "hello"}),
        raw_event("done", to_json(ChatReply, answer)),
    ]
    assert hang_up.is_set()


def test_a_reader_that_goes_away_calls_the_turn_off(app: Flask) -> None:
    hang_up, closed = threading.Event(), threading.Event()

    def events() -> Iterator[ChatEvent]:
        yield TextDelta("hello")
        assert hang_up.wait(10)
        closed.set()
        raise ModelError("The caller is gone.")

    with app.test_request_context():
        response = stream_response(events(), hang_up, "req-1", keep_alive=0.01)
    lines = iter(response.iter_encoded())
    assert next(lines) == event("delta", {"text": "hello"})
    response.close()
    del lines
    assert closed.wait(10)


def test_a_stream_that_nobody_begins_to_read_frees_the_tenants_place(app: Flask) -> None:
    chat, hang_up = services_of(app).chat, threading.Event()
    events = chat.stream(ChatTurn("alice", "hi", "req-1", time.monotonic(), cancel=hang_up))
    next(events)
    assert chat.load.running == 1
    with app.test_request_context():
        response = stream_response(events, hang_up, "req-1")
    response.close()
    assert hang_up.is_set()
    until(lambda: chat.load.running == 0)


def test_comments_come_often_enough_for_proxies() -> None:
    assert KEEP_ALIVE_SECONDS <= 15
    assert KEEP_ALIVE.startswith(b":")
    assert KEEP_ALIVE.endswith(b"\n\n")
