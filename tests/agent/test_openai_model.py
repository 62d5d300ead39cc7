"""OpenAIModel against a real server on loopback that refuses, hangs, cuts off or sends rubbish."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.upstream import Answer, completion, saying, streaming, upstream
from webapp.agent import ModelReply, ModelRequest, OpenAIModel, TextDelta, ToolSpec
from webapp.errors import ContextOverflow, ModelError, ModelTimeout
from webapp.messages import Message, ToolCall, Usage

HELLO = ModelRequest([Message.system("Be brief."), Message.user("Hello")])


MakeModel = Callable[..., OpenAIModel]


@pytest.fixture
def model() -> Iterator[MakeModel]:
    """Makes models that are closed after the test."""
    made: list[OpenAIModel] = []

    def make(base_url: str, **options: Any) -> OpenAIModel:
        given = {"max_retries": 0, **options}
        made.append(OpenAIModel("m", api_key="k", base_url=base_url, **given))
        return made[-1]

    yield make
    for each in made:
        each.close()


def failing(status: int, **error: object) -> Answer:
    return Answer(json.dumps({"error": {"message": "secret words", **error}}).encode(), status)


def test_a_whole_answer_comes_with_its_usage(model: MakeModel) -> None:
    with upstream(lambda _: saying("Hi!")) as server:
        assert model(server.base_url).complete(HELLO) == ModelReply("Hi!", (), Usage(7, 3))
    assert server.requests == [
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hello"},
            ],
        }
    ]


def test_tool_calls_go_both_ways(model: MakeModel) -> None:
    call = ToolCall("c1", "add", '{"a":5,"b":3}')
    wish = {"choices": [{"message": {"content": None, "tool_calls": [call.as_dict()]}}]}
    messages = [
        Message.user("5+3?"),
        Message.assistant("", tool_calls=(call,)),
        Message.tool("8", tool_call_id="c1"),
    ]
    request = ModelRequest(messages, tools=[ToolSpec("add", "Adds.", {"type": "object"})])
    with upstream(lambda _: Answer(json.dumps(wish).encode())) as server:
        assert model(server.base_url).complete(request).tool_calls == (call,)
    sent = server.requests[0]
    assert sent["messages"][1] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [call.as_dict()],
    }
    assert sent["messages"][2] == {"role": "tool", "content": "8", "tool_call_id": "c1"}
    assert sent["tools"][0]["function"]["name"] == "add"


def test_a_streamed_answer_comes_in_pieces_and_then_whole(model: MakeModel) -> None:
    with upstream(lambda _: streaming("Hi", " there", "!")) as server:
        items = list(model(server.base_url).stream(HELLO))
    assert items[:-1] == [TextDelta("Hi"), TextDelta(" there"), TextDelta("!")]
    assert items[-1] == ModelReply("Hi there!", (), Usage(7, 3))
    assert server.requests[0]["stream_options"] == {"include_usage": True}


def test_pieces_of_streamed_tool_calls_are_put_together(model: MakeModel) -> None:
    def chunk(**delta: Any) -> str:
        return "data: " + json.dumps({"choices": [{"delta": delta}]}) + "\n\n"

    body = chunk(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "add"}}])
    body += chunk(tool_calls=[{"index": 0, "function": {"arguments": '{"a":'}}])
    body += chunk(tool_calls=[{"index": 1, "id": "c2", "function": {"name": "now"}}])
    body += chunk(tool_calls=[{"index": 0, "function": {"arguments": "1}"}}])
    body += 'data: {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}\n\n'
    answer = Answer(body.encode(), content_type="text/event-stream")
    with upstream(lambda _: answer) as server:
        reply = list(model(server.base_url).stream(HELLO))[-1]
    assert isinstance(reply, ModelReply)
    assert reply.tool_calls == (ToolCall("c1", "add", '{"a":1}'), ToolCall("c2", "now", ""))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429, 500, 502, 503])
def test_each_refusal_is_a_model_error_without_the_providers_words(
    model: MakeModel, status: int
) -> None:
    with upstream(lambda _: failing(status)) as server:
        for ask in (model(server.base_url).complete, _drain(model(server.base_url))):
            with pytest.raises(ModelError) as caught:
                ask(HELLO)
            assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        {"code": "context_length_exceeded"},
        {"code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": 9000},
    ],
)
def test_a_conversation_that_is_too_long_is_told_apart(
    model: MakeModel, error: dict[str, Any]
) -> None:
    with upstream(lambda _: failing(400, **error)) as server, pytest.raises(ContextOverflow):
        model(server.base_url).complete(HELLO)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"<html>",
        b"\xff\xfe",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"tool_calls": [{"id": "x"}]}}]}',
        b'{"choices": ' + b"[" * 100_000,
    ],
)
def test_rubbish_is_a_model_error(model: MakeModel, body: bytes) -> None:
    with upstream(lambda _: Answer(body)) as server, pytest.raises(ModelError):
        model(server.base_url).complete(HELLO)


@pytest.mark.parametrize(
    "answer",
    [
        streaming("Hi", end=False),
        streaming("Hi", cut=30),
        Answer(b"data: rubbish\n\n", content_type="text/event-stream"),
        Answer(b'data: {"error": {"message": "x"}}\n\n', content_type="text/event-stream"),
        Answer(b"<html>a page</html>", content_type="text/html"),
    ],
)
def test_a_stream_that_breaks_off_is_a_model_error(model: MakeModel, answer: Answer) -> None:
    with upstream(lambda _: answer) as server, pytest.raises(ModelError):
        list(model(server.base_url).stream(HELLO))


def test_an_answer_that_is_cut_off_is_a_model_error(model: MakeModel) -> None:
    with upstream(lambda _: saying("Hi!", cut=20)) as server, pytest.raises(ModelError):
        model(server.base_url).complete(HELLO)


def test_half_a_surrogate_pair_is_replaced(model: MakeModel) -> None:
    body = json.dumps(completion("a\ud800b")).encode()
    with upstream(lambda _: Answer(body)) as server:
        assert model(server.base_url).complete(HELLO).content == "a\ufffdb"


def test_a_hanging_server_is_left_after_the_time_out_and_not_asked_again(model: MakeModel) -> None:
    started = time.monotonic()
    with upstream(lambda _: saying("late", delay=1.5)) as server:
        with pytest.raises(ModelTimeout):
            model(server.base_url, timeout=0.2, max_retries=2).complete(HELLO)
        assert time.monotonic() - started < 1.2
        assert len(server.requests) == 1


def test_a_server_that_drips_is_left_after_the_time_out(model: MakeModel) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_drip, args=(listener,), daemon=True).start()
        port = listener.getsockname()[1]
        started = time.monotonic()
        with pytest.raises(ModelTimeout):
            model(f"http://127.0.0.1:{port}/v1", timeout=0.3).complete(HELLO)
        assert time.monotonic() - started < 1.5


def test_a_dead_server_is_a_model_error(model: MakeModel) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ModelError):
        model(f"http://127.0.0.1:{port}/v1").complete(HELLO)


def test_a_passing_fault_is_tried_again(model: MakeModel) -> None:
    answers = iter([failing(503), saying("at last")])
    with upstream(lambda _: next(answers)) as server:
        assert model(server.base_url, max_retries=1).complete(HELLO).content == "at last"


def test_a_server_that_wants_a_long_pause_is_not_waited_for(model: MakeModel) -> None:
    busy = failing(429)
    busy.headers["Retry-After"] = "100"
    started = time.monotonic()
    with upstream(lambda _: busy) as server, pytest.raises(ModelError):
        model(server.base_url, timeout=5, max_retries=2).complete(HELLO)
    assert time.monotonic() - started < 3


def test_a_kept_connection_that_the_server_closed_is_replaced(model: MakeModel) -> None:
    answers = iter([saying("one", headers={"Connection": "close"}), saying("two")])
    with upstream(lambda _: next(answers)) as server:
        client = model(server.base_url)
        assert [client.complete(HELLO).content for _ in range(2)] == ["one", "two"]


def _drain(client: OpenAIModel) -> Any:
    return lambda request: list(client.stream(request))


def _drip(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(40):
            time.sleep(0.1)
            try:
                connection.sendall(b" ")
            except OSError:
                return
