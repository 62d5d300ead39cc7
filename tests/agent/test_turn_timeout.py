"""One deadline for a whole turn, whatever the model's server does; on real sockets."""

from __future__ import annotations

import json
import socket
import threading
import time

import openai
import pytest

from tests.fakes import FakeModel, calls
from tests.slow_servers import EVENT_STREAM, OPEN_STREAM, Asked, Speak, event, raw_server, said
from tests.upstream import completion
from webapp.agent import Agent, OpenAIModel, Toolkit, tool
from webapp.errors import ConfigurationError, ModelError, ModelTimeout

TURN_SECONDS = 0.8
LATE = 1.0  # how much later than that it may be over
ENDLESS_WISH = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "now", "arguments": ""}}],
}


def answers_then(speak: Speak) -> Speak:
    """`quick` is answered at once, everything else as `speak` does it."""

    def serve(asked: Asked) -> None:
        asked.say("quick") if asked.question == "quick" else speak(asked)

    return serve


def body_by_bytes(asked: Asked) -> None:
    body = json.dumps(completion("late")).encode()
    asked.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    asked.drip(body)


def chunk_sizes_by_bytes(asked: Asked) -> None:
    asked.send(EVENT_STREAM + b"Transfer-Encoding: chunked\r\n\r\n")
    asked.drip(b"00000000000000000000000000000000" * 4)


def busy(asked: Asked) -> None:
    time.sleep(0.15)
    asked.answer(b"{}", "503 Service Unavailable", "Retry-After: 0.1")


def redirects(asked: Asked) -> None:
    time.sleep(0.2)
    asked.answer(b"", "307 Temporary Redirect", "Location: /v1/chat/completions")


def after(head: bytes, piece: bytes) -> Speak:
    """The head at once, then the same piece without end."""

    def speak(asked: Asked) -> None:
        asked.send(head)
        asked.repeat(piece)

    return speak


def wishes_slowly(asked: Asked) -> None:
    time.sleep(0.15)
    wish = json.dumps({"choices": [{"message": ENDLESS_WISH, "finish_reason": "tool_calls"}]})
    if b'"stream":true' in asked.body:
        asked.send(OPEN_STREAM + event({"choices": [{"delta": ENDLESS_WISH, "index": 0}]}))
        asked.send(event({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}))
        asked.send(b"data: [DONE]\n\n")
        asked.sock.shutdown(socket.SHUT_RDWR)
    else:
        asked.answer(wish.encode())


# What these servers said last is known, and is the better answer.
OTHER_ERRORS = ("busy", "redirects")
SLOW: dict[str, Speak] = {
    "silence": lambda asked: time.sleep(5),
    "head by bytes": lambda asked: asked.drip(b"HTTP/1.1 200 OK\r\nContent-Type: text/x\r\n" * 9),
    "fields without end": after(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "interim answers": lambda asked: asked.send(*[b"HTTP/1.1 103 E\r\n\r\n"] * 15, every=0.1),
    "body by bytes": body_by_bytes,
    "chunk sizes by bytes": chunk_sizes_by_bytes,
    "comments": lambda asked: asked.repeat(OPEN_STREAM + b": alive\n\n"),
    "text": after(OPEN_STREAM, said("a ")),
    "empty events": after(OPEN_STREAM, event({"choices": []})),
    "busy": busy,
    "tools": wishes_slowly,
    "redirects": redirects,
}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", SLOW)
def test_a_turn_ends_in_time_and_the_next_one_runs_at_once(name: str, streamed: bool) -> None:
    with raw_server(answers_then(SLOW[name])) as server:
        model = OpenAIModel("m", api_key="k", base_url=server.base_url, max_retries=50)
        agent = Agent(name="a", model=model, toolkits=[Toolkit("t", [now])], max_loops=100,
                      turn_timeout=TURN_SECONDS)  # fmt: skip
        began = time.monotonic()
        with pytest.raises(ModelError if name in OTHER_ERRORS else ModelTimeout):
            play(agent, streamed)
        assert time.monotonic() - began < TURN_SECONDS + LATE
        assert agent.memory.size(user_id="alice") == 0
        began = time.monotonic()
        assert agent.run("quick", user_id="alice").content == "quick"
        assert time.monotonic() - began < LATE
        model.close()


# A client that was handed in, or one behind a proxy, gives the body in pieces; it reads the rest of
# HTTP by itself, within its own limits.
BY_PIECES = ("silence", "body by bytes", "comments", "text", "empty events", "busy", "tools")


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", BY_PIECES)
def test_a_turn_over_another_client_ends_in_time(name: str, streamed: bool) -> None:
    with (
        raw_server(answers_then(SLOW[name])) as server,
        openai.OpenAI(api_key="k", base_url=server.base_url, max_retries=50, timeout=5) as client,
    ):
        agent = Agent(name="a", model=OpenAIModel("m", client=client), max_loops=100,
                      toolkits=[Toolkit("t", [now])], turn_timeout=TURN_SECONDS)  # fmt: skip
        began = time.monotonic()
        with pytest.raises(ModelError if name in OTHER_ERRORS else ModelTimeout):
            play(agent, streamed)
        assert time.monotonic() - began < TURN_SECONDS + LATE
        assert agent.memory.size(user_id="alice") == 0
        assert agent.run("quick", user_id="alice").content == "quick"


def play(agent: Agent, streamed: bool) -> None:
    if streamed:
        list(agent.stream("hi", user_id="alice"))
    else:
        agent.run("hi", user_id="alice")


@tool
def now() -> str:
    """The time."""
    return "noon"


def test_a_handshake_byte_by_byte_ends_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            sock, _ = listener.accept()
            with sock:
                record = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03" + b"\0" * 200
                for byte in record:
                    try:  # the begin of a record that promises sixteen kilobytes
                        sock.sendall(bytes([byte]))
                    except OSError:
                        return
                    time.sleep(0.05)

        threading.Thread(target=drip, daemon=True).start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
        model = OpenAIModel("m", api_key="k", base_url=url, max_retries=0)
        agent = Agent(name="a", model=model, turn_timeout=TURN_SECONDS)
        began = time.monotonic()
        with pytest.raises(ModelTimeout):
            agent.run("hi", user_id="alice")
        assert time.monotonic() - began < TURN_SECONDS + LATE


def test_a_tool_that_runs_over_is_not_waited_for() -> None:
    let_go, ran = threading.Event(), threading.Event()

    @tool
    def slow() -> str:
        """Takes its time."""
        let_go.wait(10)
        ran.set()
        return "at last"

    model = FakeModel.of(calls(("slow", {})), "quick")
    agent = Agent(name="a", model=model, toolkits=[Toolkit("t", [slow])], turn_timeout=0.2)
    began = time.monotonic()
    with pytest.raises(ModelTimeout):
        agent.run("hi", user_id="alice")
    assert time.monotonic() - began < 0.2 + LATE
    assert agent.run("again", user_id="alice").content == "quick"
    let_go.set()
    assert ran.wait(5)
    assert [m.content for m in agent.memory.get_messages(user_id="alice")] == ["again", "quick"]


def test_the_time_begins_when_the_turns_place_has_come() -> None:
    """Three turns of 0.3 s each, with 0.5 s for a turn: those that wait still have their own."""

    def speak(asked: Asked) -> None:
        time.sleep(0.3)
        asked.say("done")

    with raw_server(speak) as server:
        model = OpenAIModel("m", api_key="k", base_url=server.base_url)
        agent = Agent(name="a", model=model, turn_timeout=0.5)
        outputs: list[str] = []
        threads = [
            threading.Thread(
                target=lambda: outputs.append(agent.run("hi", user_id="alice").content)
            )
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outputs == ["done"] * 3


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_a_turn_without_any_time_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="turn_timeout"):
        Agent(name="a", model=FakeModel(), turn_timeout=seconds)
