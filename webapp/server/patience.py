"""How long one connection may take for what it does just now; no sockets, no greenlets.

A client may be slow, but each of its waits has an end: for the head of a request as a whole, for
a body by a rate that it must keep, for its reading of an answer likewise. What is counted for an
answer is only the time for which it could not be sent, so a silent model costs a reader nothing.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable

HEAD_SECONDS = 15.0
HEAD_BYTES = 32 * 1024
BODY_SECONDS = 20.0
BODY_BYTES_A_SECOND = 32 * 1024
SEND_SECONDS = 60.0
SEND_BYTES_A_SECOND = 4 * 1024
LINGER_SECONDS = 3.0
LINGER_BYTES = 64 * 1024 * 1024
STOP_SECONDS = 30.0


class Phase(enum.Enum):
    """The part of a request that is read from the connection now."""

    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    LINGER = "linger"


class HeadTooLarge(Exception):
    """More came than the head of a request may have."""


class Patience:
    """The deadlines of one connection. Times are of the monotonic clock, in seconds."""

    __slots__ = ("_blocked", "_bytes", "_clock", "_end", "_keepalive", "_sent", "phase")

    def __init__(self, keepalive: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`keepalive` is how long it may be silent between two requests."""
        self._clock = clock
        self._keepalive = keepalive
        self._bytes = 0
        self._sent = 0
        self._blocked = 0.0
        # A new connection says something at once; only one that has been answered may wait.
        self.phase = Phase.HEAD
        self._end = clock() + HEAD_SECONDS

    def shorten(self, seconds: float) -> None:
        """This connection is one too many: it may say what it wants, but soon."""
        self._end = min(self._end, self._clock() + seconds)

    def next_request(self) -> None:
        """The last request is answered, from here on the next one may come."""
        self.phase, self._bytes = Phase.IDLE, 0
        self._end = self._clock() + self._keepalive

    def body(self) -> None:
        """The head is there; what comes now is the body, if any."""
        self.phase, self._bytes = Phase.BODY, 0
        self._end = 0.0  # begins with the first wait for it
        self._sent, self._blocked = 0, 0.0

    def linger(self) -> None:
        """It is answered and over; what still comes is thrown away, so that the answer is read."""
        self.phase, self._bytes = Phase.LINGER, 0
        self._end = self._clock() + LINGER_SECONDS

    def left(self, stopping_since: float | None = None) -> float:
        """Seconds for which the next bytes may be awaited; 0 or less when there are none left.

        `stopping_since` is when the process was told to stop, after which nothing is read long.
        """
        now = self._clock()
        if self.phase is Phase.BODY:
            if not self._end:
                self._end = now + BODY_SECONDS
            left = min(BODY_SECONDS, self._end + self._bytes / BODY_BYTES_A_SECOND - now)
        else:
            left = self._end - now
        if stopping_since is not None:
            left = min(left, stopping_since + STOP_SECONDS - now)
        return left

    def came(self, count: int) -> None:
        """So many bytes were read; `HeadTooLarge` when a head does not end."""
        if self.phase is Phase.HEAD and self._bytes > HEAD_BYTES:
            raise HeadTooLarge
        if self.phase is Phase.IDLE:
            self.phase = Phase.HEAD
            self._end = self._clock() + HEAD_SECONDS
        self._bytes += count
        if self.phase is Phase.LINGER and self._bytes > LINGER_BYTES:
            self._end = 0.0

    @property
    def body_since(self) -> float:
        """When the first wait for the body began."""
        return self._end - BODY_SECONDS

    @property
    def has_begun(self) -> bool:
        """Whether some of a request was read."""
        return self.phase is Phase.HEAD and self._bytes > 0

    def may_block(self) -> float:
        """Seconds for which the next piece of the answer may wait for its reader."""
        return min(SEND_SECONDS, SEND_SECONDS + self._sent / SEND_BYTES_A_SECOND - self._blocked)

    def sent(self, count: int, seconds: float) -> None:
        """A piece of the answer went out and took so long."""
        self._sent += count
        self._blocked += seconds
