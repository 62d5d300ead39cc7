"""The limiter's counters in memory, for one process; registered as `memory://`.

The package's own storage looks through every counter a hundred times a second, which with a
hundred thousand active tenants takes more than one processor. Here a counter is looked at again
only when its window has ended.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from limits import RateLimitItem
from limits.storage import Storage

from webapp.locks import BriefLock

SWEEP_AT_MOST = 8


class MemoryCounters(Storage):
    """Fixed windows only, which is what `limits.py` uses.

    Windows are kept by the monotonic clock, so that a wall clock that is set neither shortens nor
    prolongs one; only `get_expiry` speaks of seconds since 1970.
    """

    STORAGE_SCHEME = ["memory"]  # noqa: RUF012 - the name and type are the package's

    def __init__(
        self, uri: str | None = None, wrap_exceptions: bool = False, **options: float | str | bool
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions, **options)
        self._lock = BriefLock()
        self._counters: dict[str, tuple[int, float]] = {}
        # For each length of window the keys in the order in which their windows end.
        self._ending: dict[int, deque[tuple[float, str]]] = {}

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        return ValueError  # nothing here fails

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        now = time.monotonic()
        with self._lock:
            return self._add(key, expiry, amount, now)[0]

    def take(self, items: Sequence[RateLimitItem], *identifiers: str) -> tuple[int, int, float]:
        """As `InOneStep.take` in storage/redis/limits.py: one hit in each, or in none behind the
        one that is full."""
        now = time.monotonic()
        first: tuple[int, int, float] | None = None
        with self._lock:
            for number, item in enumerate(items):
                key = item.key_for(*identifiers)
                count, ends_at = self._counters.get(key, (0, 0.0))
                if ends_at > now and count >= item.amount:
                    return number, count, ends_at - now
                count, ends_at = self._add(key, item.get_expiry(), 1, now)
                first = first or (-1, count, ends_at - now)
        if first is None:
            raise ValueError("no limit was given")
        return first

    def get(self, key: str) -> int:
        count, ends_at = self._counters.get(key, (0, 0.0))
        return count if ends_at > time.monotonic() else 0

    def get_expiry(self, key: str) -> float:
        now = time.monotonic()
        return time.time() + max(0.0, self._counters.get(key, (0, now))[1] - now)

    def check(self) -> bool:
        return True

    def reset(self) -> int | None:
        with self._lock:
            number = len(self._counters)
            self._counters.clear()
            self._ending.clear()
            return number

    def clear(self, key: str) -> None:
        with self._lock:
            self._counters.pop(key, None)

    def _add(self, key: str, expiry: int, amount: int, now: float) -> tuple[int, float]:
        """The count afterwards, and when its window ends."""
        count, ends_at = self._counters.get(key, (0, 0.0))
        ending = self._ending.setdefault(expiry, deque())
        if ends_at <= now:
            count, ends_at = 0, now + expiry
            ending.append((ends_at, key))
        added = self._counters[key] = count + amount, ends_at
        self._sweep(ending, now)
        return added

    def _sweep(self, ending: deque[tuple[float, str]], now: float) -> None:
        """Drops a few counters whose windows have ended; more than come, so that none pile up."""
        for _ in range(SWEEP_AT_MOST):
            if not ending or ending[0][0] > now:
                return
            _, key = ending.popleft()
            if self._counters.get(key, (0, now + 1))[1] <= now:
                del self._counters[key]
