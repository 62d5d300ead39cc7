"""The body of an answer as it comes: bounded, unpacked, and ended when its time is over."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator

import httpx2

from webapp.agent.http.answer import Answer, BadAnswer
from webapp.agent.http.call import Call
from webapp.agent.http.unpacking import CannotUnpack, unpacked

MAX_ANSWER_BYTES = 32 * 1024 * 1024
# What is between two line ends of a stream is in memory before anybody can look at it.
MAX_LINE_BYTES = 8 * 1024 * 1024
END_SECONDS = 0.05


class Unusable(httpx2.RemoteProtocolError):
    """The answer is too large or cannot be unpacked; a second one would be no better."""


class Body:
    """The answer's bytes; `done` is told at its closing whether the connection can be kept.

    Raises `httpx2.ReadTimeout` and `httpx2.ReadError` for what breaks off, and `Unusable`.
    """

    def __init__(
        self, answer: Answer, sock: socket.socket, call: Call, done: Callable[[bool], None]
    ) -> None:
        self._answer = answer
        self._sock = sock
        self._call = call
        self._done = done
        self._pieces = answer.pieces()
        self._broken = False
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        total = line = 0
        coding = self._answer.fields.get("content-encoding", "")
        try:
            for piece in unpacked(self._received(), coding) if coding else self._received():
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
        if not self._closed:
            self._closed = True
            self._done(self._comes_to_its_end())

    def _received(self) -> Iterator[bytes]:
        """The bytes from the connection."""
        try:
            # Not `yield from`: a reader who leaves before the end would end the pieces as well.
            for piece in self._pieces:  # noqa: UP028
                yield piece
        except TimeoutError as error:
            self._broken = True
            raise ended(self._call) from error
        except (BadAnswer, OSError) as error:
            self._broken = True
            if self._call.is_over():
                raise ended(self._call) from error
            raise httpx2.ReadError("the answer broke off") from error
        if self._call.is_over():
            # The watchdog has broken the connection, which looks like the end of some answers.
            self._broken = True
            raise ended(self._call)

    def _unusable(self, why: str) -> Unusable:
        self._broken = True
        return Unusable(why)

    def _comes_to_its_end(self) -> bool:
        """Whether nothing but the end was left to read, as after the last event of a stream."""
        if self._broken or self._answer.will_close:
            return False
        if self._answer.ended:
            return self._answer.is_reusable
        if self._call.is_over():
            return False
        try:
            self._sock.settimeout(END_SECONDS)
            return next(self._pieces, None) is None and self._answer.is_reusable
        except (BadAnswer, OSError):
            return False


def in_time(pieces: Iterable[bytes], call: Call) -> Iterator[bytes]:
    """The body that somebody else reads, bounded by the call's time and in its size."""
    total = 0
    for piece in pieces:
        if call.is_over():
            raise ended(call)
        total += len(piece)
        if total > MAX_ANSWER_BYTES:
            raise Unusable("the answer is too large")
        yield piece


def ended(call: Call) -> httpx2.TransportError:
    """The error for a call that is over before its answer."""
    if call.called_off:
        return httpx2.ReadError("the call was called off")
    return httpx2.ReadTimeout("no whole answer in time")
