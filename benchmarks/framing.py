"""Cutting HTTP/1.1 messages out of received bytes, for the stub and the load generator alike.

No sockets here and no meaning of any header beyond those that say where a message ends.
"""

from typing import NamedTuple

MAX_HEAD_BYTES = 64 * 1024


class FramingError(ValueError):
    """The bytes are no HTTP/1.1 message that these tools understand."""


class Message(NamedTuple):
    """One whole message: `start` is its first line, `head` all of its head in lower case."""

    start: bytes
    head: bytes
    body: bytes
    rest: bytes


class Partial(NamedTuple):
    """What is known of a message whose end has not arrived."""

    head: bytes
    body_started: bool


def take_message(data: bytes, *, closed: bool = False, reply: bool = False) -> Message | Partial:
    """Cut the first message off `data`, or say what of it is there.

    `closed` means that no more bytes will come, which ends a reply that gives no length.
    `reply` tells answers, which may end with the connection, from requests, which may not.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > MAX_HEAD_BYTES:
            raise FramingError("the head of a message is too long")
        return Partial(b"", False)
    original = data[:end]
    head = original.lower() + b"\r\n"
    start = original[: original.find(b"\r\n")] if b"\r\n" in original else original
    body_at = end + 4
    length = header(head, b"content-length")
    if length is not None:
        if not length.isdigit():
            raise FramingError("Content-Length is not a number")
        stop = body_at + int(length)
        if len(data) < stop:
            return Partial(head, len(data) > body_at)
        return Message(start, head, data[body_at:stop], data[stop:])
    coding = header(head, b"transfer-encoding")
    if coding is not None and b"chunked" in coding:
        return _take_chunked(data, start, head, body_at)
    if not reply:
        return Message(start, head, b"", data[body_at:])
    if closed:
        return Message(start, head, data[body_at:], b"")
    return Partial(head, len(data) > body_at)


def header(head: bytes, name: bytes) -> bytes | None:
    """Return the value of a header; `head` and `name` are in lower case."""
    at = head.find(b"\r\n" + name + b":")
    if at < 0:
        return None
    value_at = at + len(name) + 3
    return head[value_at : head.find(b"\r\n", value_at)].strip()


def _take_chunked(data: bytes, start: bytes, head: bytes, at: int) -> Message | Partial:
    body_at = at
    chunks: list[bytes] = []
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return Partial(head, len(data) > body_at)
        size_text = data[at:line_end].partition(b";")[0].strip()
        try:
            size = int(size_text, 16)
        except ValueError as error:
            raise FramingError("a chunk has no size") from error
        at = line_end + 2
        if size == 0:
            break
        if len(data) < at + size + 2:
            return Partial(head, True)
        chunks.append(data[at : at + size])
        at += size + 2
    while True:  # Trailers, ended by an empty line.
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return Partial(head, True)
        if line_end == at:
            return Message(start, head, b"".join(chunks), data[at + 2 :])
        at = line_end + 2
