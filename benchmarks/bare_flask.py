"""The bare peer: Flask hands each message to the upstream over a kept-alive socket.

No store, no limits, no checks, no `openai`: what is left is what any Flask server would have
to pay. Run it under gunicorn as `benchmarks.bare_flask:create_app()`; `BARE_UPSTREAM` is the
upstream's base URL.
"""

import json
import os
import socket
from collections import deque
from urllib.parse import urlsplit

from flask import Flask, Response, request

from benchmarks.framing import Message, take_message


class Upstream:
    """Kept-alive connections to one upstream, taken and given back by whoever calls."""

    __slots__ = ("_address", "_head", "_idle")

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._idle: deque[socket.socket] = deque()
        self._head = (
            f"POST {parts.path}/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()

    def complete(self, text: str) -> str:
        """Return the upstream's answer to one message; OSError where there is none."""
        asked = {"model": "stub", "messages": [{"role": "user", "content": text}]}
        return self.ask(json.dumps(asked).encode())

    def ask(self, body: bytes) -> str:
        """Return the upstream's answer to the body of a request."""
        # A deque's own pop and append are atomic, under threads and under gevent.
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = socket.create_connection(self._address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(self._head + b"%d\r\n\r\n" % len(body) + body)
        received = b""
        while True:
            piece = connection.recv(65536)
            if not piece:
                raise ConnectionResetError("the upstream hung up")
            received += piece
            answer = take_message(received, reply=True)
            if isinstance(answer, Message):
                break
        self._idle.append(connection)
        content = json.loads(answer.body)["choices"][0]["message"]["content"]
        return str(content)


def create_app() -> Flask:
    """Make the app; the upstream is read from the environment."""
    app = Flask(__name__)
    upstream = Upstream(os.environ["BARE_UPSTREAM"])

    @app.get("/healthz")
    def healthz() -> Response:
        return Response(status=200)

    @app.post("/chat")
    def chat() -> dict[str, str]:
        asked = request.get_json()
        return {"user_id": asked["user_id"], "reply": upstream.complete(asked["message"])}

    return app
