"""A real HTTP server on loopback that stands for a model's server and keeps what it was sent."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(slots=True)
class Answer:
    """What the server sends; `cut` ends the connection after so many bytes of the body."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    pause: float = 0.0
    cut: int | None = None


Behaviour = Callable[[dict[str, Any]], Answer]


def completion(content: str | None, **message: Any) -> dict[str, Any]:
    """The body of a whole answer."""
    return {
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": content, **message},
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def saying(text: str, **options: Any) -> Answer:
    """A whole answer with this text."""
    return Answer(json.dumps(completion(text)).encode(), **options)


def streaming(*pieces: str, end: bool = True, **options: Any) -> Answer:
    """The answer in pieces, as server-sent events."""
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
        for piece in pieces
    ]
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    if end:
        last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": len(pieces)}}
        lines += [f"data: {json.dumps(last)}\n\n", f"data: {json.dumps(usage)}\n\n"]
        lines.append("data: [DONE]\n\n")
    return Answer("".join(lines).encode(), content_type="text/event-stream", **options)


def counting(request: dict[str, Any]) -> Answer:
    """COUNT of the behaviour cases: says how many messages it was sent, whole or streamed."""
    text = f"I see {len(request['messages'])} messages in history"
    return streaming(text) if request.get("stream") else saying(text)


class Upstream:
    """Behaves as `behave` says; `requests` are the bodies that came, in order, and
    `open_connections` counts those that the client has not closed."""

    def __init__(self, behave: Behaviour) -> None:
        self.behave = behave
        self.requests: list[dict[str, Any]] = []
        self.base_url = ""
        self.open_connections = 0


@contextmanager
def upstream(behave: Behaviour = counting, *, port: int = 0) -> Iterator[Upstream]:
    """The server, for the length of the block; without a port it takes a free one."""
    state, lock = Upstream(behave), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two writes

        def setup(self) -> None:
            super().setup()
            with lock:
                state.open_connections += 1

        def finish(self) -> None:
            super().finish()
            with lock:
                state.open_connections -= 1

        def do_GET(self) -> None:
            self._send(Answer(b'{"data": []}'))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.requests.append(body)
            self._send(state.behave(body))

        def _send(self, answer: Answer) -> None:
            time.sleep(answer.delay)
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if answer.cut is not None:
                self.wfile.write(answer.body[: answer.cut])
                self.close_connection = True
                return
            if answer.pause:
                for event in answer.body.split(b"\n\n"):
                    self.wfile.write(event + b"\n\n" if event else b"")
                    self.wfile.flush()
                    time.sleep(answer.pause)
                return
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 512

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hung up is what some tests are about."""

    server = Server(("127.0.0.1", port), Handler)
    state.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
