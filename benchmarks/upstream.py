"""An OpenAI-compatible upstream that answers at once or after a delay, and costs next to nothing.

It is a stub for measuring what stands in front of it: no model runs here. Run it with
`python -m benchmarks.upstream`; what it answers is chosen by options or by the base path
(see `benchmarks.answers`).
"""

import argparse
import asyncio
import json
import os
import signal
import socket
from dataclasses import dataclass, field
from typing import cast

import uvloop

from benchmarks.answers import Answers, Behaviour
from benchmarks.framing import FramingError, Message, header, take_message

BACKLOG = 4096


@dataclass(slots=True)
class Tally:
    """What one process of the stub has been asked so far, as `GET /stats` tells it."""

    turns: int = 0
    messages: int = 0
    last_messages: int = 0
    open_connections: int = 0
    most_connections: int = 0

    def as_json(self) -> bytes:
        """Return the figures as a JSON object."""
        return json.dumps(
            {
                "turns": self.turns,
                "messages": self.messages,
                "last_messages": self.last_messages,
                "open_connections": self.open_connections,
                "most_connections": self.most_connections,
            }
        ).encode()


@dataclass(slots=True)
class Stub:
    """What all connections of one process share."""

    answers: Answers
    tally: Tally = field(default_factory=Tally)


class Connection(asyncio.Protocol):
    """One client's connection: requests are answered in order, a delayed one holds the next."""

    __slots__ = ("_busy", "_pending", "_stub", "_timer", "_transport", "_urged")

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._pending = b""
        self._busy = False
        self._urged = False
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection in."""
        # uvloop's transports are asyncio's in shape and not by inheritance.
        self._transport = cast("asyncio.Transport", transport)
        tally = self._stub.tally
        tally.open_connections += 1
        tally.most_connections = max(tally.most_connections, tally.open_connections)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Count the connection out and forget an answer that nobody waits for."""
        self._transport = None
        self._stub.tally.open_connections -= 1
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Take what has arrived; while an answer is due it only waits its turn."""
        self._pending = self._pending + data if self._pending else data
        if not self._busy:
            self._serve()

    def _serve(self) -> None:
        while self._pending and not self._busy and self._transport is not None:
            try:
                message = take_message(self._pending)
            except FramingError as error:
                self._write(plain(400, refusal(str(error))))
                self._transport.close()
                return
            if not isinstance(message, Message):
                if not self._urged and header(message.head, b"expect") == b"100-continue":
                    self._urged = True
                    self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            self._urged = False
            self._pending = message.rest
            self._answer(message)

    def _answer(self, message: Message) -> None:
        method, _, rest = message.start.partition(b" ")
        target = rest.partition(b" ")[0]
        close = header(message.head, b"connection") == b"close"
        behaviour = self._stub.answers.behaviour(target)
        if behaviour is None:
            self._send(self._other(method, target), 0.0, close)
        elif method != b"POST":
            self._send(plain(405, refusal("use POST"), b"Allow: POST\r\n"), 0.0, close)
        else:
            self._complete(behaviour, message.body, close)

    def _complete(self, behaviour: Behaviour, body: bytes, close: bool) -> None:
        # Counting the roles tells how long a history was sent without parsing it, which
        # would cost more than all the rest of this stub.
        sent = body.count(b'"role"')
        if sent == 0:
            self._send(plain(400, refusal("messages is missing")), 0.0, close)
            return
        tally = self._stub.tally
        tally.turns += 1
        tally.messages += sent
        tally.last_messages = sent
        try:
            answer = self._stub.answers.answer(behaviour, body)
        except ValueError:
            self._send(plain(400, refusal("the body is not valid JSON")), 0.0, close)
            return
        self._send(answer, behaviour.delay, close)

    def _other(self, method: bytes, target: bytes) -> bytes:
        path = target.partition(b"?")[0]
        if method == b"GET" and path.endswith(b"/v1/models"):
            return plain(200, self._stub.answers.models)
        if method == b"GET" and path == b"/stats":
            return plain(200, self._stub.tally.as_json())
        return plain(404, refusal("there is nothing here"))

    def _send(self, answer: bytes, delay: float, close: bool) -> None:
        if delay <= 0:
            self._write(answer)
            if close and self._transport is not None:
                self._transport.close()
            return
        self._busy = True
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(delay, self._send_late, answer, close)

    def _send_late(self, answer: bytes, close: bool) -> None:
        self._busy = False
        self._timer = None
        self._send(answer, 0.0, close)
        self._serve()

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def plain(status: int, body: bytes, more: bytes = b"") -> bytes:
    """Return a whole JSON answer."""
    reason = {200: b"OK", 400: b"Bad Request", 404: b"Not Found"}.get(status, b"Refused")
    return b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b" % (
        status,
        reason,
        more,
        len(body),
        body,
    )


def refusal(sentence: str) -> bytes:
    """Return an error in OpenAI's envelope."""
    error = {"message": sentence, "type": "invalid_request_error", "param": None, "code": None}
    return json.dumps({"error": error}).encode()


async def start(answers: Answers, host: str = "127.0.0.1", port: int = 0) -> asyncio.Server:
    """Listen on `port` (0 picks a free one) in the running loop."""
    stub = Stub(answers)
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: Connection(stub), host, port, backlog=BACKLOG)


def listen(host: str, port: int, shared: bool) -> socket.socket:
    """Return a bound socket; `shared` lets several processes bind the same port."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    return listener


async def _serve_until_told(answers: Answers, listener: socket.socket, ended: int | None) -> None:
    stub = Stub(answers)
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    if ended is None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, told.set)
    else:
        loop.add_reader(ended, told.set)
    server = await loop.create_server(lambda: Connection(stub), sock=listener, backlog=BACKLOG)
    if ended is None:
        # Only now: a signal that comes before the handlers are set would be lost.
        host, port = listener.getsockname()
        print(f"http://{host}:{port}/v1", flush=True)
    await told.wait()
    server.close()


def main() -> None:
    """Run the stub until SIGINT or SIGTERM; the first line printed is its base URL."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.upstream", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--answer", choices=("fixed", "echo", "count"), default="fixed")
    parser.add_argument("--text", default="I am a stub and I say the same to everyone.")
    parser.add_argument("--pieces", type=int, default=8, help="deltas of a streamed answer")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    answers = Answers(
        Behaviour(options.delay_ms / 1000, options.answer), options.text, options.pieces
    )
    shared = options.processes > 1
    listener = listen(options.host, options.port, shared)
    port = listener.getsockname()[1]
    # A child ends when this pipe does, which is when its parent ends, however that comes about.
    ended, alive = os.pipe()
    for _ in range(options.processes - 1):
        if os.fork() == 0:
            os.close(alive)
            listener.close()
            listener = listen(options.host, port, shared)
            uvloop.run(_serve_until_told(answers, listener, ended))
            return
    uvloop.run(_serve_until_told(answers, listener, None))


if __name__ == "__main__":
    main()
