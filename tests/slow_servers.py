"""Raw servers on loopback that take their time, or too much of everything; no HTTP library."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.upstream import completion

EVENT_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
OPEN_STREAM = EVENT_STREAM + b"Connection: close\r\n\r\n"


@dataclass
class Asked:
    """One request as it came, and the socket to answer it on."""

    sock: socket.socket
    target: str
    method: str
    head: dict[str, str]
    body: bytes

    @property
    def question(self) -> str:
        """The last thing the user said."""
        return str(json.loads(self.body)["messages"][-1]["content"])

    def send(self, *pieces: bytes, every: float = 0.0) -> None:
        for piece in pieces:
            self.sock.sendall(piece)
            time.sleep(every)

    def drip(self, content: bytes, every: float = 0.1) -> None:
        """A byte at a time."""
        self.send(*(content[i : i + 1] for i in range(len(content))), every=every)

    def repeat(self, piece: bytes, every: float = 0.1) -> None:
        """Without end."""
        while True:
            self.send(piece, every=every)

    def answer(
        self, body: bytes, status: str = "200 OK", *fields: str, kind: str = "application/json"
    ) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
        self.send("\r\n".join([*lines, *fields, "", ""]).encode() + body)

    def say(self, text: str) -> None:
        """Whole or streamed, as it was asked for."""
        if b'"stream":true' not in self.body:
            self.answer(json.dumps(completion(text)).encode())
            return
        content = b"".join([said(text), END, USAGE, b"data: [DONE]\n\n"])
        self.answer(content, kind="text/event-stream")


def said(text: str) -> bytes:
    """An event with a piece of text."""
    return event({"choices": [{"index": 0, "delta": {"content": text}}]})


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


END = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
USAGE = event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})

Speak = Callable[[Asked], Any]


@dataclass
class RawServer:
    """Where it is, what was asked, and how many connections are open at its end."""

    port: int
    asked: list[Asked] = field(default_factory=list)
    open: int = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@contextmanager
def raw_server(speak: Speak) -> Iterator[RawServer]:
    """Reads each request and lets `speak` answer; a connection that breaks ends its thread."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    state = RawServer(listener.getsockname()[1])
    lock = threading.Lock()

    def serve(sock: socket.socket) -> None:
        with lock:
            state.open += 1
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with sock, sock.makefile("rb") as reader:
                while (asked := _read(sock, reader)) is not None:
                    state.asked.append(asked)
                    speak(asked)
        except OSError:
            pass
        finally:
            with lock:
                state.open -= 1

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _read(sock: socket.socket, reader: Any) -> Asked | None:
    line = reader.readline().decode("latin-1").split()
    if len(line) < 2:
        return None
    head: dict[str, str] = {}
    while row := reader.readline().decode("latin-1").strip():
        name, _, value = row.partition(":")
        head[name.lower()] = value.strip()
    return Asked(sock, line[1], line[0], head, reader.read(int(head.get("content-length", "0"))))
