"""A bounded number of connections, made when they are needed; what is done with one is not here.

Whoever needs a connection that is not there yet makes it and is told at once why it cannot be
made, and the first one who comes when the server is back has it. psycopg_pool makes them in a
thread of its own, which waits twice as long after each failure; see docs/decisions.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from webapp.errors import StorageUnavailable
from webapp.storage.postgres.link import Link

WAIT_SECONDS = 30.0  # as long as a unit waits behind others on SQLite
OLDEST_SECONDS = 3600.0
UNDOUBTED_SECONDS = 0.25


class Pool:
    """Lends connections, the one that was used last first."""

    def __init__(self, most: int, make: Callable[[], Link]) -> None:
        self._make = make
        self._most = most
        self._free = _permits(most)
        self._idle: list[Link] = []
        self._process = os.getpid()

    def take(self, *, sure: bool = False) -> Link:
        """A connection for the caller alone, to be given back with `give_back` or `drop`.

        One that was used just now is taken as it is, unless the caller has to be `sure`.
        """
        if self._process != os.getpid():
            self._begin_anew()
        try:
            self._free.get(timeout=WAIT_SECONDS)
        except Empty:
            raise StorageUnavailable(
                "All connections to the database are in use for too long; nothing was stored.",
                part="stalled",
            ) from None
        try:
            return self._usable(sure=sure) or self._make()
        except BaseException:
            self._free.put(None)
            raise

    def give_back(self, link: Link) -> None:
        """It is sound, and in no transaction."""
        link.rested = time.monotonic()
        if link.rested - link.born < OLDEST_SECONDS:
            self._idle.append(link)
        else:
            link.close()
        self._free.put(None)

    def drop(self, link: Link, *, all_like_it: bool = False) -> None:
        """It is of no use any more; with `all_like_it`, neither are those that nobody uses now."""
        link.close()
        if all_like_it:
            self.close()
        self._free.put(None)

    def forget(self) -> None:
        """One that was lent is closed by others."""
        self._free.put(None)

    def close(self) -> None:
        """Closes those that nobody uses now."""
        while True:
            try:
                self._idle.pop().close()
            except IndexError:
                return

    def _usable(self, *, sure: bool) -> Link | None:
        while True:
            try:
                link = self._idle.pop()
            except IndexError:
                return None
            if (not sure and time.monotonic() - link.rested < UNDOUBTED_SECONDS) or link.is_usable:
                return link
            link.close()

    def _begin_anew(self) -> None:
        """In a process that was forked: what is here belongs to the other one."""
        self._process = os.getpid()
        self._free = _permits(self._most)
        theirs, self._idle = self._idle, []
        for link in theirs:
            link.abandon()


def _permits(number: int) -> SimpleQueue[None]:
    """Who has taken one may hold a connection; a queue costs a fifth of what a semaphore does."""
    permits: SimpleQueue[None] = SimpleQueue()
    for _ in range(number):
        permits.put(None)
    return permits
