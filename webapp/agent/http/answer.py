"""Reads one answer of HTTP/1.1 from a socket, as servers write it: the head, then the body.

Parsers that are made for servers which keep to the standard (h11, llhttp in httptools and in
geventhttpclient, http.client) refuse fields that model servers and the proxies before them do send;
see docs/decisions.md.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

from webapp.agent.http.call import Call

MAX_HEAD_BYTES = 256 * 1024
MAX_LINE_BYTES = 64 * 1024
MAX_INTERIM = 16
MAX_TRAILERS = 1000
NO_BODY = (204, 304)
CHUNK = 64 * 1024
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_BEGIN = b"HTTP/1."
_SIZE = re.compile(rb"[0-9a-fA-F]{1,15}")


class BadAnswer(Exception):
    """What came is no answer of HTTP/1.1, or it broke off."""


class NoAnswer(BadAnswer):
    """The server closed the connection and said nothing."""


class Answer:
    """One answer. `fields` are by their names in small letters, `ended` says that all was read."""

    __slots__ = ("_at", "_call", "_data", "_sock", "chunked", "ended", "fields", "length", "status",
                 "will_close")  # fmt: skip

    def __init__(self, sock: socket.socket, call: Call) -> None:
        self._sock = sock
        self._call = call
        self._data = b""
        self._at = 0
        self.status = 0
        self.fields: dict[str, str] = {}
        self.chunked = False
        self.length: int | None = None
        self.will_close = True
        self.ended = False

    @property
    def is_reusable(self) -> bool:
        """Whether the connection may carry another request: nothing is left on it of this one."""
        return self.ended and not self.will_close and self._at == len(self._data)

    def begin(self) -> None:
        """Reads up to the body, past any interim answers (RFC 9110, 15.2).

        An interim one that is not skipped would leave the real one on the kept connection, for
        the next request: somebody else's.
        """
        for _ in range(MAX_INTERIM):
            first, *lines = self._head().split("\n")
            version, _, rest = first.strip().partition(" ")
            status = rest.strip().partition(" ")[0]
            if not version.startswith("HTTP/1.") or len(status) != 3 or not status.isdecimal():
                raise BadAnswer("not an HTTP/1 answer")
            self.status = int(status)
            if self.status >= 200:
                break
        else:
            raise BadAnswer("nothing but interim answers")
        self.fields = _fields(lines)
        self._find_end(is_old=version == "HTTP/1.0")

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes; each piece was waited for once at most."""
        if self.chunked:
            while left := self._chunk_size():
                yield from self._known(left)
                if self._line():
                    raise BadAnswer("a chunk is longer than it was said to be")
            self._skip_trailers()
        elif self.length is not None:
            yield from self._known(self.length)
        else:
            while self._at < len(self._data) or self._more():
                yield self._take(CHUNK)
        self.ended = True

    def _head(self) -> str:
        seen = 0
        while (end := _END_OF_HEAD.search(self._data, max(self._at, seen - 2))) is None:
            seen = len(self._data) - self._at
            if seen > MAX_HEAD_BYTES:
                raise BadAnswer("the head of the answer is too large")
            if not self._more():
                raise BadAnswer("the head of the answer broke off") if seen else NoAnswer()
            if self._data[: len(_BEGIN)] != _BEGIN[: len(self._data)]:
                raise BadAnswer("not an HTTP/1 answer")
        if end.end() - self._at > MAX_HEAD_BYTES:
            raise BadAnswer("the head of the answer is too large")
        head = self._data[self._at : end.start()]
        self._at = end.end()
        return head.decode("latin-1")

    def _find_end(self, *, is_old: bool) -> None:
        """How the body ends (RFC 9112, 6.3): chunks, a length, or the connection's end."""
        # Said twice it was done once, by one of two who both said so; "identity" means none.
        said = self.fields.get("transfer-encoding", "").lower().split(",")
        codings = {coding.strip() for coding in said} - {"", "identity"}
        self.chunked = codings == {"chunked"}
        if codings and not self.chunked:
            raise BadAnswer("a transfer coding that was not asked for")
        lengths = {each.strip() for each in self.fields.get("content-length", "").split(",")}
        lengths.discard("")
        if not self.chunked and lengths:
            if len(lengths) > 1:
                raise BadAnswer("several lengths")
            text = lengths.pop()
            self.length = int(text) if text.isascii() and text.isdecimal() else None
        if self.status in NO_BODY:
            self.chunked, self.length = False, 0
        wishes = self.fields.get("connection", "").lower()
        kept = "keep-alive" in wishes if is_old else "close" not in wishes
        ends = self.chunked or self.length is not None
        # Both a length and chunks: somebody in between may have understood the other (6.1).
        doubtful = self.chunked and (bool(lengths) or len(said) > 1)
        self.will_close = not kept or not ends or doubtful

    # -- bytes ----------------------------------------------------------------------------------

    def _more(self) -> bool:
        """Waits for more; False at the connection's end."""
        began = self._call.give_way()
        data = self._sock.recv(CHUNK)
        self._call.came(began)
        self._data = self._data[self._at :] + data
        self._at = 0
        return bool(data)

    def _take(self, most: int) -> bytes:
        """What is there already, or the first of it."""
        start = self._at
        self._at = min(len(self._data), start + most)
        return self._data[start : self._at]

    def _known(self, left: int) -> Iterator[bytes]:
        while left:
            piece = self._take(left)
            if piece:
                left -= len(piece)
                yield piece
            elif not self._more():
                raise BadAnswer("the answer broke off")

    def _line(self) -> bytes:
        while (end := self._data.find(b"\n", self._at)) < 0:
            if len(self._data) - self._at > MAX_LINE_BYTES:
                raise BadAnswer("a line between two chunks does not end")
            if not self._more():
                raise BadAnswer("the answer broke off")
        line = self._data[self._at : end]
        self._at = end + 1
        return line.strip()

    def _chunk_size(self) -> int:
        size = self._line().partition(b";")[0].strip()
        if _SIZE.fullmatch(size) is None:
            raise BadAnswer("not the size of a chunk")
        return int(size, 16)

    def _skip_trailers(self) -> None:
        for _ in range(MAX_TRAILERS):
            try:
                if not self._line():
                    return
            except BadAnswer:
                self.will_close = True  # some close behind the last chunk; nothing is missing
                return
        raise BadAnswer("too many fields behind the answer")


def _fields(lines: list[str]) -> dict[str, str]:
    """Several fields of one name are joined by commas."""
    fields: dict[str, str] = {}
    name = ""
    for line in lines:
        if line[:1] in (" ", "\t"):
            if name:  # the older form of a long field (RFC 9112, 5.2)
                fields[name] += " " + line.strip()
            continue
        said, colon, value = line.partition(":")
        if colon:
            name, value = said.strip().lower(), value.strip()
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields
