"""Waits until a socket can be used, so that threads and greenlets go on meanwhile."""

from __future__ import annotations

import select
import sys
import time
from typing import Any

_READ, _WRITE = 1, 2


class Readiness:
    """Of one socket, used by one thread or greenlet at a time.

    Under gevent the watcher is kept: making one for each wait costs as much as a statement.
    """

    def __init__(self, fileno: int) -> None:
        self._fileno = fileno
        monkey = sys.modules.get("gevent.monkey")
        self._greenlets = monkey is not None and bool(monkey.is_module_patched("select"))
        self._watchers: dict[int, Any] = {}
        if not self._greenlets:
            self._poll = select.poll()

    def wait(self, *, write: bool, deadline: float | None) -> bool:
        """Until it can be read, or with `write` until it can be written as well; False when the
        deadline, by the monotonic clock, comes first."""
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return False
        if self._greenlets:
            return self._wait_in_loop(_READ | _WRITE if write else _READ, left)
        events = select.POLLIN | (select.POLLOUT if write else 0)
        self._poll.register(self._fileno, events)
        return bool(self._poll.poll(None if left is None else left * 1000))

    def close(self) -> None:
        """Lets go of the loop's watchers; before the socket is closed."""
        watchers, self._watchers = self._watchers, {}
        for watcher in watchers.values():
            watcher.close()

    def _wait_in_loop(self, events: int, left: float | None) -> bool:
        from gevent import Timeout, get_hub

        hub = get_hub()
        watcher = self._watchers.get(events)
        if watcher is None:
            watcher = self._watchers[events] = hub.loop.io(self._fileno, events)
        if left is None:
            hub.wait(watcher)
            return True
        timeout = Timeout.start_new(left)
        try:
            hub.wait(watcher)
        except Timeout as over:
            if over is not timeout:
                raise  # somebody else's
            return False
        finally:
            timeout.close()
        return True
