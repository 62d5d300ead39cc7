"""Whether the limiter's storage answers, remembered: nobody waits again for one that is away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from webapp.storage.limits import reason

Result = TypeVar("Result")
logger = logging.getLogger("switchboard.limits")

# How many ask at once. It also bounds the connections that a process opens.
ROOM = 16
# One that refuses at once is asked again by the next request after this: a try costs 0.2 ms then,
# and limits shall hold again with the first request after its return. One that did not answer is
# asked in the background alone.
PAUSE_SECONDS = 0.002
SLOW_SECONDS = 0.1
FRESH_SECONDS = 1.0
LINES_APART_SECONDS = 30.0


class Away(Exception):
    """The storage does not answer now."""


class Outage:
    """Asks a storage, and does not ask it while it is known to be away.

    `look` tries whether it can be written. When it begins to be away or is back, a line says so,
    one of each kind in half a minute at most.
    """

    def __init__(self, look: Callable[[], object]) -> None:
        self._look = look
        self._room = threading.BoundedSemaphore(ROOM)
        self._lock = threading.Lock()
        self._began: float | None = None  # when it was found to be away
        self._ask_again = 0.0
        self._looking = False  # in the background, and so nobody else asks
        self._answered = float("-inf")
        self._told = False
        self._next_line = float("-inf")
        self.let_through = 0
        self.fault = "does not answer"

    def ask(self, work: Callable[[], Result]) -> Result:
        """What `work` gives; `Away` when the storage is away, at once when that is known."""
        if self._is_known_away():
            raise Away
        # Those inside wait for a bounded time; when one of them fails, nobody goes in after it.
        self._room.acquire()
        try:
            if self._is_known_away():
                raise Away
            began = time.monotonic()
            try:
                result = work()
            except Exception as error:  # noqa: BLE001  # each storage raises its own kinds
                self._failed(error, time.monotonic() - began)
                raise Away from None
            self._is_back()
            return result
        finally:
            self._room.release()

    def is_up(self) -> bool:
        """Whether it answers; asked at most once a second as long as it does."""
        if self._began is None and time.monotonic() - self._answered < FRESH_SECONDS:
            return True
        try:
            self.ask(self._look)
        except Away:
            return False
        return True

    def count_let_through(self) -> None:
        """Notes a request that went on without having been counted."""
        with self._lock:
            self.let_through += 1
        self._tell_away()

    def _is_known_away(self) -> bool:
        return self._began is not None and (self._looking or time.monotonic() < self._ask_again)

    def _failed(self, error: Exception, took: float) -> None:
        now = time.monotonic()
        with self._lock:
            self._began = now if self._began is None else self._began
            self._ask_again = now + PAUSE_SECONDS
            self.fault = reason(error)
            look_here = took >= SLOW_SECONDS and not self._looking
            self._looking = self._looking or look_here
        self._tell_away()
        if look_here:
            threading.Thread(target=self._look_until_known, daemon=True).start()

    def _look_until_known(self) -> None:
        """Waits on the storage, over and over, until it answers or refuses at once."""
        while True:
            began = time.monotonic()
            try:
                self._look()
            except Exception as error:  # noqa: BLE001  # as above
                if time.monotonic() - began >= SLOW_SECONDS:
                    continue
                self.fault = reason(error)
            else:
                self._is_back()
            self._looking = False
            return

    def _is_back(self) -> None:
        self._answered = time.monotonic()
        if self._began is None:
            return
        with self._lock:
            began, self._began = self._began, None
            told, self._told = self._told, False
        if told and began is not None:
            seconds = round(self._answered - began, 1)
            logger.info(
                "limiter_storage_back", extra={"after": seconds, "let_through": self.let_through}
            )

    def _tell_away(self) -> None:
        now = time.monotonic()
        with self._lock:
            if self._began is None or now < self._next_line:
                return
            self._next_line, self._told = now + LINES_APART_SECONDS, True
            fields = {"storage": self.fault, "let_through": self.let_through}
        logger.warning("limiter_storage_failed", extra=fields)
