"""Many clients at once, each on a connection of its own; no test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from tests.server.running import Answer


async def ask(port: int, request: bytes) -> Answer | None:
    """The answer, whole or streamed; None when none came."""
    data = b""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        try:
            writer.write(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            while chunk := await reader.read(2**16):
                data += chunk
        finally:
            writer.close()
    except OSError:
        pass  # the server went away: what has come may still be a whole answer
    return parsed(data)


def parsed(data: bytes) -> Answer | None:
    """The bytes of one answer; None when they are not all there. A stream may be broken off."""
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    if headers.get("Transfer-Encoding") == "chunked":
        body = _joined(body)
    elif len(body) != int(headers.get("Content-Length", len(body))):
        return None
    return Answer(int(first.split()[1]), headers, body)


def _joined(body: bytes) -> bytes:
    """The content of the chunks that have come."""
    content = b""
    while True:
        size, separator, rest = body.partition(b"\r\n")
        if not separator or not int(size, 16):
            return content
        content, body = content + rest[: int(size, 16)], rest[int(size, 16) + 2 :]


def all_at_once(port: int, requests: Sequence[bytes], seconds: float = 60) -> list[Answer | None]:
    """Sends every request at the same time; the answers in the order of the requests."""

    async def everyone() -> list[Answer | None]:
        async with asyncio.timeout(seconds):
            return await asyncio.gather(*(ask(port, request) for request in requests))

    return asyncio.run(everyone())


def done_of(answer: Answer | None) -> dict[str, object] | None:
    """The body that says that the turn is done: of a whole answer, or of the `done` event."""
    if answer is None or answer.status != 200:
        return None
    if not answer.headers["Content-Type"].startswith("text/event-stream"):
        body: dict[str, object] = answer.json
        return body
    for block in answer.body.split(b"\n\n")[:-1]:
        # Only whole events count: the last one ends with its empty line.
        if block.startswith(b"event: done\n"):
            done: dict[str, object] = json.loads(block.partition(b"data: ")[2])
            return done
    return None
