"""The body of an answer as it comes: bounded, unpacked, and ended when its time is over."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable, Iterator

import httpx2

from webapp.agent.http.answer import Answer
from webapp.agent.http.call import Call
from webapp.agent.http.unpacking import CannotUnpack, unpacked

MAX_ANSWER_BYTES = 32 * 1024 * 1024
# What is between two line ends of a stream is in memory before anybody can look at it.
MAX_LINE_BYTES = 8 * 1024 * 1024
CHUNK = 64 * 1024
END_SECONDS = 0.05


class Unusable(httpx2.RemoteProtocolError):
    """The answer is too large or cannot be unpacked; a second one would be no better."""


class Body(httpx2.SyncByteStream):
    """The answer's bytes; `done` is told at its closing whether the connection can be kept.

    Raises `httpx2.ReadTimeout`, `httpx2.ReadError`, `httpx2.RemoteProtocolError` for what breaks
    off, and `Unusable`.
    """

    def __init__(
        self,
        answer: Answer,
        sock: socket.socket,
        call: Call,
        request: httpx2.Request,
        done: Callable[[bool], None],
    ) -> None:
        self._answer = answer
        self._sock = sock
        self._call = call
        self._request = request
        self._done = done
        self._reusable = False
        self._broken = False
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        total = line = 0
        try:
            for piece in unpacked(self._chunks(), self._answer.field(b"content-encoding")):
                total += len(piece)
                if total > MAX_ANSWER_BYTES:
                    raise self._unusable("the answer is too large")
                if self._call.streaming:
                    end = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
                    line = len(piece) - end - 1 if end >= 0 else line + len(piece)
                    if line > MAX_LINE_BYTES:
                        raise self._unusable("an event of the answer is too large")
                yield piece
        except CannotUnpack as error:
            raise self._unusable(str(error)) from error

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        reusable = self._reusable or self._comes_to_its_end()
        self._answer.close()
        self._done(reusable)

    def _chunks(self) -> Iterator[bytes]:
        """What the connection brings; it can be kept when all of it was read."""
        reusable, self._broken = not self._answer.will_close, True
        began = time.monotonic()
        try:
            while chunk := self._answer.read1(CHUNK):
                self._call.came(began)
                self._broken = False
                yield chunk
                self._broken = True
                began = self._call.give_way()
        except TimeoutError as error:
            raise self._late() from error
        except (http.client.HTTPException, OSError, ValueError) as error:
            if self._call.is_over():
                raise self._late() from error
            raise httpx2.ReadError("the answer broke off", request=self._request) from error
        if self._call.is_over():
            # The lookout has broken the connection, which looks like the end of some answers.
            raise self._late()
        if self._answer.length:
            self._broken = True
            raise httpx2.RemoteProtocolError("the answer broke off", request=self._request)
        self._reusable, self._broken = reusable, False

    def _late(self) -> httpx2.TransportError:
        if self._call.called_off:
            return httpx2.ReadError("the call was called off", request=self._request)
        return httpx2.ReadTimeout("no whole answer in time", request=self._request)

    def _unusable(self, why: str) -> Unusable:
        self._broken = True
        return Unusable(why, request=self._request)

    def _comes_to_its_end(self) -> bool:
        """Whether nothing but the end was left to read, as after the last event of a stream."""
        if self._broken or self._answer.will_close or self._call.is_over():
            return False
        try:
            self._sock.settimeout(END_SECONDS)
            return not self._answer.read1(CHUNK) and not self._answer.length
        except (http.client.HTTPException, OSError, ValueError):
            return False
