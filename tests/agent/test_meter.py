"""What a run is counted for: the server's word, and an estimate where there is none."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.fakes import FakeModel, calls
from tests.fakes import said as reply_of
from tests.slow_servers import (
    END,
    OPEN_STREAM,
    USAGE,
    Asked,
    Speak,
    event,
    raw_server,
    said,
)
from webapp.agent import Agent, Meter, ModelReply, ModelRequest, OpenAIModel, RunContext, TextDelta
from webapp.agent.meter import tokens_in
from webapp.agent.toolkits import calculator
from webapp.errors import ModelError
from webapp.messages import Message, Usage

QUESTION = "Tell me a story of a hundred words. " * 10  # 360 letters
ASKED = 4 + 90


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("word" * 100, 100),
        ("漢字かな交じり文" * 10, 80),
        ("привет " * 10, 43),
        ("🙂" * 8, 11),
    ],
)
def test_an_estimate_is_near_what_tokenizers_say(text: str, tokens: int) -> None:
    assert abs(tokens_in(text) - tokens) <= 0.1 * tokens


def used(agent: Agent, *, streaming: bool, leave_after: int | None = None) -> Usage:
    """What a turn is counted for, failed or not; it may be left after so many pieces of text."""
    meter = Meter()
    context = RunContext(user_id="alice", meter=meter)
    events = agent.loop(Message.user(QUESTION), [], context, streaming=streaming).play()
    try:
        for each in events:
            if isinstance(each, TextDelta) and leave_after is not None:
                leave_after -= 1
                if leave_after <= 0:
                    events.close()
                    break
    except ModelError:
        pass
    return meter.usage


@pytest.mark.parametrize("streaming", [False, True])
def test_the_servers_word_goes_before_any_estimate(streaming: bool) -> None:
    model = FakeModel.of(
        calls(("add", {"a": 1, "b": 2}), usage=Usage(5, 2)), reply_of("three " * 50, 7, 3)
    )
    agent = Agent(name="a", model=model, toolkits=[calculator()])
    assert used(agent, streaming=streaming) == Usage(12, 5)


@pytest.mark.parametrize("streaming", [False, True])
def test_an_answer_without_a_bill_is_estimated(streaming: bool) -> None:
    agent = Agent(name="a", model=FakeModel.of(ModelReply("word" * 50)))
    assert used(agent, streaming=streaming) == Usage(ASKED, 50)


def test_what_is_told_the_client_is_the_servers_word_alone() -> None:
    output = Agent(name="a", model=FakeModel.of(ModelReply("word" * 50))).run("hi", user_id="u")
    assert output.usage == Usage()


def test_the_tools_that_the_model_was_told_of_count_as_well() -> None:
    plain = used(Agent(name="a", model=FakeModel.of("x")), streaming=False)
    agent = Agent(name="a", model=FakeModel.of("x"), toolkits=[calculator()])
    assert used(agent, streaming=False).input_tokens > plain.input_tokens + 50


class Pieces:
    """A model that streams pieces without end and says nothing of their cost."""

    name = "pieces"

    def complete(self, request: ModelRequest) -> ModelReply:
        raise ModelError("never")

    def stream(self, request: ModelRequest) -> Iterator[TextDelta | ModelReply]:
        while True:
            yield TextDelta("word" * 5)


def test_a_reader_who_leaves_is_counted_for_what_came() -> None:
    assert used(Agent(name="a", model=Pieces()), streaming=True, leave_after=3) == Usage(ASKED, 15)


def test_a_model_that_fails_before_its_first_word_costs_nothing() -> None:
    for streaming in (False, True):
        model = FakeModel.of(ModelError("failed"))
        assert used(Agent(name="a", model=model), streaming=streaming) == Usage()


# -- on real sockets ----------------------------------------------------------------------------


def stopping(*events: bytes, wait: bool = False) -> Speak:
    """Sends these and then closes the connection, or says nothing more."""

    def speak(asked: Asked) -> None:
        asked.send(OPEN_STREAM, *events)
        if wait:
            time.sleep(5)
        asked.sock.shutdown(socket.SHUT_RDWR)

    return speak


def thought(text: str) -> bytes:
    return event({"choices": [{"delta": {"reasoning_content": text}}]})


def bill(given: int, made: int) -> bytes:
    usage = {"prompt_tokens": given, "completion_tokens": made}
    return event({"choices": [{"delta": {"content": "x"}}], "usage": usage})


@pytest.mark.parametrize(
    ("speak", "usage"),
    [
        (stopping(said("word" * 20)), Usage(ASKED, 20)),
        (stopping(said("word" * 20), event({"error": {"message": "no"}})), Usage(ASKED, 20)),
        (stopping(thought("word" * 30), said("word"), wait=True), Usage(ASKED, 31)),
        (stopping(bill(40, 7)), Usage(40, 7)),
        (stopping(bill(40, 7), said("word" * 30)), Usage(40, 30)),
        (stopping(said("x"), END, USAGE), Usage(7, 3)),
        (stopping(said("word" * 9), END), Usage(ASKED, 9)),
        (stopping(b": comment\n\n", wait=True), Usage(ASKED, 0)),
        (stopping(event({"error": {"message": "no"}})), Usage()),
        (lambda asked: asked.answer(b"{}", "503 Busy"), Usage()),
        (lambda asked: asked.answer(b"{}", "400 No"), Usage()),
        (lambda asked: asked.sock.shutdown(socket.SHUT_RDWR), Usage()),
        (lambda asked: time.sleep(5), Usage(ASKED, 0)),
    ],
    ids=lambda value: "" if callable(value) else str(value.total_tokens),
)
def test_a_streamed_answer_that_fails_is_counted_as_far_as_it_came(
    speak: Speak, usage: Usage
) -> None:
    with raw_server(speak) as server:
        model = OpenAIModel("m", api_key="k", base_url=server.base_url, max_retries=0, timeout=0.5)
        counted = used(Agent(name="a", model=model), streaming=True)
        model.close()
    assert abs(counted.input_tokens - usage.input_tokens) <= 1
    assert abs(counted.output_tokens - usage.output_tokens) <= 1


@pytest.mark.parametrize(
    ("speak", "input_tokens"),
    [
        (lambda asked: time.sleep(5), ASKED),
        (lambda asked: asked.drip(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 99), ASKED),
        (lambda asked: asked.answer(b"{}", "429 Slow down"), 0),
        (lambda asked: asked.sock.shutdown(socket.SHUT_RDWR), 0),
    ],
)
def test_a_whole_answer_that_does_not_come_costs_its_question_if_it_was_worked_on(
    speak: Speak, input_tokens: int
) -> None:
    with raw_server(speak) as server:
        model = OpenAIModel("m", api_key="k", base_url=server.base_url, max_retries=0, timeout=0.5)
        assert used(Agent(name="a", model=model), streaming=False) == Usage(input_tokens, 0)
        model.close()


def test_a_call_that_is_called_off_costs_its_question() -> None:
    cancel, meter = threading.Event(), Meter()
    with raw_server(lambda asked: time.sleep(3)) as server:
        model = OpenAIModel("m", api_key="k", base_url=server.base_url)
        agent = Agent(name="a", model=model)
        threading.Timer(0.2, cancel.set).start()
        context = RunContext(user_id="alice", cancel=cancel, meter=meter)
        events = agent.loop(Message.user(QUESTION), [], context, streaming=False).play()
        assert [json.dumps(each) for each in events if isinstance(each, TextDelta)] == []
        assert meter.usage == Usage(ASKED, 0)
        model.close()
