"""The embedded model's process: chat completions of the OpenAI dialect on a loopback port.

Started by `process`, which owns the port and waits for the one line that this writes. It imports
the standard library and llama.cpp's binding only, so that it is up in a moment and stays small.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import threading
import time
import uuid
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from webapp.local_model.chat_request import BadRequest, ChatRequest
from webapp.local_model.engine import (
    CONTEXT_TOKENS,
    CallerGone,
    Engine,
    EngineFailed,
    Outcome,
    PromptTooLong,
)

MAX_BODY_BYTES = 8 * 1024 * 1024
LOOPBACK_HOSTS = ("127.0.0.1", "localhost")
PARENT_CHECK_SECONDS = 0.25


class ModelServer(ThreadingHTTPServer):
    """The port, with what its handlers share."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, engine: Engine, model_name: str) -> None:
        super().__init__(listener.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.engine = engine
        self.model_name = model_name

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is the caller's business; anything else is worth a line."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection, kept open between requests."""

    server: ModelServer
    protocol_version = "HTTP/1.1"
    server_version = "embedded-model"
    sys_version = ""
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == "/health":
            self._send(HTTPStatus.OK, {"status": "ok"})
        elif self.path == "/v1/models":
            entry = {"id": self.server.model_name, "object": "model", "owned_by": "embedded"}
            self._send(HTTPStatus.OK, {"object": "list", "data": [{**entry, "created": 0}]})
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "There is nothing here.", "not_found")

    def do_POST(self) -> None:
        if self.path != "/v1/chat/completions":
            self._refuse(HTTPStatus.NOT_FOUND, "There is nothing here.", "not_found", close=True)
            return
        try:
            asked = ChatRequest.parse(self._body())
            _Answer(self, asked).give()
        except BadRequest as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error), "invalid_request")
        except PromptTooLong as error:
            self._refuse(
                HTTPStatus.BAD_REQUEST,
                f"The messages make {error.prompt_tokens} tokens. This model's context holds "
                f"{CONTEXT_TOKENS}, its answer included.",
                "context_length_exceeded",
                n_prompt_tokens=error.prompt_tokens,
                n_ctx=CONTEXT_TOKENS,
            )
        except EngineFailed:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "The model failed.", "server_error")
        except CallerGone:
            self.close_connection = True

    def gone(self) -> bool:
        """Whether the caller has closed the connection."""
        readable = select.select([self.connection], [], [], 0)[0]
        try:
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the library
        """Says nothing: the web server has its own line for each request."""

    def _body(self) -> bytes:
        # A web page may post to any loopback port; neither of these two can it forge.
        host = (self.headers.get("Host") or "").rpartition(":")[0]
        kind = self.headers.get_content_type()
        length = self.headers.get("Content-Length") or ""
        if host not in LOOPBACK_HOSTS or kind != "application/json" or not length.isascii():
            self.close_connection = True
            raise BadRequest("Send JSON, with its length, to this machine's own address.")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            raise BadRequest(f"Send a body of at most {MAX_BODY_BYTES} bytes, with its length.")
        return self.rfile.read(int(length))

    def _refuse(
        self, status: HTTPStatus, message: str, code: str, *, close: bool = False, **facts: int
    ) -> None:
        self.close_connection = self.close_connection or close
        kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None
        error = {"message": message, "type": kind or "invalid_request_error", "param": None}
        self._send(status, {"error": {**error, "code": code, **facts}})

    def _send(self, status: HTTPStatus, body: dict[str, Any]) -> None:
        content = json.dumps(body, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self._write_with_headers(content)

    # The two below are the wire's; `_Answer` speaks through them.

    def send_whole(self, body: dict[str, Any]) -> None:
        self._send(HTTPStatus.OK, body)

    def send_event(self, data: str, *, first: bool, last: bool = False) -> None:
        """One server-sent event, in a chunk of its own."""
        event = f"data: {data}\n\n".encode()
        chunk = b"%x\r\n%b\r\n" % (len(event), event) + (b"0\r\n\r\n" if last else b"")
        if not first:
            self.wfile.write(chunk)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Transfer-Encoding", "chunked")
        self._write_with_headers(chunk)

    def _write_with_headers(self, content: bytes) -> None:
        self._headers_buffer += [b"\r\n", content]  # type: ignore[attr-defined]
        self.flush_headers()


class _Answer:
    """One chat completion on its way to the caller, whole or streamed."""

    def __init__(self, handler: Handler, asked: ChatRequest) -> None:
        self._handler = handler
        self._asked = asked
        self._begun = False
        self._text: list[str] = []
        self._head = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": handler.server.model_name,
        }

    def give(self) -> None:
        asked, engine = self._asked, self._handler.server.engine
        emit = self._send_piece if asked.stream else self._text.append
        try:
            outcome = engine.answer(asked.prompt, asked.limits, emit, self._handler.gone)
        except EngineFailed:
            if not self._begun:
                raise
            # The status line is long gone: what is left is to break off, which the caller notices.
            raise CallerGone from None
        if asked.stream:
            self._finish_stream(outcome)
            return
        message = {"role": "assistant", "content": "".join(self._text)}
        choice = {"index": 0, "message": message, "finish_reason": outcome.finish_reason}
        self._handler.send_whole(
            {
                **self._head,
                "object": "chat.completion",
                "choices": [choice],
                "usage": _usage(outcome),
            }
        )

    def _send_piece(self, text: str) -> None:
        self._send_chunk({"role": "assistant", "content": text}, None)

    def _finish_stream(self, outcome: Outcome) -> None:
        self._send_chunk({}, outcome.finish_reason)
        if self._asked.include_usage:
            self._event({"choices": [], "usage": _usage(outcome)})
        self._handler.send_event("[DONE]", first=False, last=True)

    def _send_chunk(self, delta: dict[str, str], finish_reason: str | None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        self._event({"choices": [choice]})

    def _event(self, body: dict[str, Any]) -> None:
        data = {**self._head, "object": "chat.completion.chunk", **body}
        self._handler.send_event(json.dumps(data, ensure_ascii=False), first=not self._begun)
        self._begun = True


def _usage(outcome: Outcome) -> dict[str, int]:
    return {
        "prompt_tokens": outcome.prompt_tokens,
        "completion_tokens": outcome.completion_tokens,
        "total_tokens": outcome.prompt_tokens + outcome.completion_tokens,
    }


def main(weights: str, model_name: str, descriptor: str) -> None:
    """Serves on the parent's open port until the parent process has gone."""
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # llama.cpp writes to standard output too, so the pipe to the parent is moved out of its way.
    report = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    listener = socket.socket(fileno=int(descriptor))
    server = ModelServer(listener, Engine(weights), model_name)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.write(report, b"ready\n")
    os.close(report)
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    # An orderly end would wait for answers that nobody reads.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:4])
