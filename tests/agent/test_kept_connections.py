"""What the model's server left behind after one user's call never touches the next user's."""

from __future__ import annotations

import http.client
import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.upstream import completion, streaming
from webapp.agent import ModelReply, ModelRequest, OpenAIModel
from webapp.errors import ModelError
from webapp.messages import Message

Speak = Callable[[Callable[[bytes], Any], str], None]
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


def answer_to(question: str) -> bytes:
    body = json.dumps(completion(f"for {question}")).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


@contextmanager
def server_that(speaks: Speak) -> Iterator[OpenAIModel]:
    """A model whose server reads each request and says what it likes to question and cookies."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline():
                headers = http.client.parse_headers(self.rfile)
                request = json.loads(self.rfile.read(int(headers["Content-Length"])))
                question = request["messages"][-1]["content"]
                speaks(self.wfile.write, f"{question} {headers['Cookie'] or ''}".strip())

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        model = OpenAIModel("m", api_key="k", base_url=url, max_retries=0, timeout=5.0)
        try:
            yield model
        finally:
            model.close()
            server.shutdown()


def ask(model: OpenAIModel, text: str) -> str:
    return model.complete(ModelRequest([Message.user(text)])).content


@pytest.mark.parametrize("interims", [1, 3])
def test_an_interim_answer_is_not_taken_for_the_answer(interims: int) -> None:
    def speaks(send: Callable[[bytes], Any], question: str) -> None:
        send(INTERIM * interims)
        time.sleep(0.02)
        send(answer_to(question))

    with server_that(speaks) as model:
        answers = [ask(model, name) for name in ("alice", "bob", "mallory")]
    assert answers == ["for alice", "for bob", "for mallory"]


def test_a_server_that_never_comes_to_its_answer_is_left() -> None:
    with server_that(lambda send, _: send(INTERIM * 100)) as model, pytest.raises(ModelError):
        ask(model, "alice")


def test_an_answer_that_nobody_asked_for_is_not_given_to_the_next_user() -> None:
    def speaks(send: Callable[[bytes], Any], question: str) -> None:
        send(answer_to(question))
        time.sleep(0.02)
        send(answer_to(f"{question} again"))

    with server_that(speaks) as model:
        answers = []
        for name in ("alice", "bob"):
            answers.append(ask(model, name))
            time.sleep(0.1)
    assert answers == ["for alice", "for bob"]


def test_a_cookie_that_was_set_for_one_user_is_not_sent_for_another() -> None:
    def speaks(send: Callable[[bytes], Any], question: str) -> None:
        send(answer_to(question).replace(b"\r\n", b"\r\nSet-Cookie: who=alice; Path=/\r\n", 1))

    with server_that(speaks) as model:
        assert [ask(model, name) for name in ("alice", "bob")] == ["for alice", "for bob"]


@pytest.mark.parametrize("end_after", [0.0, 0.3])
def test_a_stream_leaves_nothing_of_itself_to_the_next_user(end_after: float) -> None:
    """Its connection is used again when its end came at once, and not when it came late."""
    connections = set()

    def speaks(send: Callable[[bytes], Any], question: str) -> None:
        connections.add(threading.current_thread())
        events = streaming(f"for {question}").body
        send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        chunk, end = b"%x\r\n%b\r\n" % (len(events), events), b"0\r\n\r\n"
        send(b"Transfer-Encoding: chunked\r\n\r\n" + chunk + (b"" if end_after else end))
        if end_after:
            time.sleep(end_after)
            send(end)

    with server_that(speaks) as model:
        for name in ("alice", "bob", "mallory"):
            *_, reply = model.stream(ModelRequest([Message.user(name)]))
            assert isinstance(reply, ModelReply)
            assert reply.content == f"for {name}"
    assert len(connections) == (1 if end_after == 0 else 3)
