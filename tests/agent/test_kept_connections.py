"""What is left on a kept connection to the model's server never reaches the next user's turn."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.upstream import completion
from webapp.agent import ModelRequest, OpenAIModel
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
    """A model whose server reads each request whole and then says what it likes."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline():
                length = 0
                while (line := self.rfile.readline().strip()) != b"":
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                request = json.loads(self.rfile.read(length))
                speaks(self.wfile.write, request["messages"][-1]["content"])

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
