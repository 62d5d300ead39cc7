"""Which connections there are and which of them must go for a new one; no sockets, no greenlets.

`--concurrency` counts turns. Connections have a larger bound of their own, and it never refuses a
connection that works: when it is reached, those that have been silent longest are ended. A
connection is silent while its next request or the rest of it is awaited. One address may have no
more than a share of the silent places, so that a single visitor does not wear out everybody else's;
an address that is busy, a backend with a thousand turns, is not bounded by that.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator
from typing import Protocol

SHARE = 4  # of the places, for the silent connections of one address
FRESH_SECONDS = 2.0  # a connection that was answered just now is about to ask again
RESERVE = 64  # beyond the bound, for asking whether the process lives
AT_ONCE = 64  # the oldest are looked for among all, so several are taken at a time


class Endable(Protocol):
    """A connection as it is seen here."""

    @property
    def group(self) -> str:
        """The connection's address, or its /64; empty when that says nothing."""
        ...

    def is_last(self) -> None:
        """Lets it end with the request that is being answered."""
        ...

    def end(self) -> None:
        """Ends it: a reader that waits for its bytes finds it closed."""
        ...


class Connections:
    """All connections of a worker. Not for several threads: one event loop calls it."""

    def __init__(
        self,
        most: int,
        *,
        share_addresses: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`share_addresses` is False behind proxies, whose addresses everybody has."""
        self.most = most
        self.share_addresses = share_addresses
        self._clock = clock
        self._all: set[Endable] = set()
        self._silent: dict[str, dict[Endable, float]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Endable]:
        return iter(list(self._all))

    @property
    def silent_count(self) -> int:
        return sum(map(len, self._silent.values()))

    def add(self, connection: Endable) -> bool:
        """Takes it in, idle; False when it is one too many: then it may only ask whether we live.

        When even the reserve is used up it is ended at once.
        """
        if self.share_addresses and connection.group:
            self._end_some_of(connection.group)
        if len(self._all) >= self.most:
            self.end_oldest()
        within = len(self._all) < self.most
        self._all.add(connection)
        self.silent(connection)
        if len(self._all) > self.most + RESERVE:
            connection.end()
        return within

    def silent(self, connection: Endable, since: float | None = None) -> None:
        """Marks the connection as idle from now on, or from `since`."""
        if connection in self._all:
            began = self._clock() if since is None else since
            self._silent.setdefault(connection.group, {})[connection] = began

    def busy(self, connection: Endable) -> None:
        """Marks the connection as busy with a request."""
        group = self._silent.get(connection.group)
        if group is not None and group.pop(connection, None) is not None and not group:
            del self._silent[connection.group]

    def remove(self, connection: Endable) -> None:
        self._all.discard(connection)
        self.busy(connection)

    def silent_for(self, seconds: float) -> list[Endable]:
        """Those that have been silent for so long."""
        before = self._clock() - seconds
        return [
            connection
            for group in self._silent.values()
            for connection, since in group.items()
            if since <= before
        ]

    def _end_some_of(self, group: str) -> None:
        """Keeps an address within its share."""
        silent = self._silent.get(group, {})
        if len(silent) * SHARE < self.most:
            return
        fresh = self._clock() - FRESH_SECONDS
        for connection in heapq.nsmallest(AT_ONCE, silent, key=silent.__getitem__):
            if silent[connection] <= fresh:
                self._end(connection)

    def end_oldest(self) -> bool:
        """Ends some of those that are silent; False when there are none."""
        silent = {
            connection: since
            for group in self._silent.values()
            for connection, since in group.items()
        }
        # Few at a time where there are few, so that nobody is ended for nothing.
        count = min(AT_ONCE, max(1, self.most // 64))
        for connection in heapq.nsmallest(count, silent, key=silent.__getitem__):
            self._end(connection)
        return bool(silent)

    def _end(self, connection: Endable) -> None:
        # Its place is free from now on: closing takes one more round of the loop.
        self.remove(connection)
        connection.end()
