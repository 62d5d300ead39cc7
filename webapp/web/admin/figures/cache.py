"""A cache for figures that take long to count; an old one is counted again in the background."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from flask import current_app

from webapp.clock import Clock
from webapp.errors import SwitchboardError

EXTENSION = "switchboard-console"
MAX_ENTRIES = 200
PATIENCE_SECONDS = 2.0
STALE = 4
# A figure that takes long is counted less often: at most a tenth of one core goes into it.
REST_FOR_WORK = 10

Value = TypeVar("Value")


@dataclass(slots=True)
class _Entry:
    ready: threading.Event = field(default_factory=threading.Event)
    counting: bool = False
    began_at: float = 0.0
    counted_at: float = 0.0
    took: float = 0.0
    value: Any = None
    fault: SwitchboardError | None = None


class FigureCache:
    """The cache of one process. Two readers of one figure count it once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()

    def get(
        self,
        key: Hashable,
        count: Callable[[], Value],
        *,
        seconds: float,
        patience: float = PATIENCE_SECONDS,
    ) -> Value | None:
        """The value, at most a little older than `seconds`; None when there is no old one and
        counting has taken longer than `patience`. Raises what the counting raised."""
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            while len(self._entries) > MAX_ENTRIES:
                self._entries.popitem(last=False)
            now = self._clock.monotonic()
            age = now - entry.counted_at
            seconds = max(seconds, entry.took * REST_FOR_WORK)
            start = not entry.counting and (not entry.ready.is_set() or age >= seconds)
            if start:
                entry.counting, entry.began_at = True, now
            # A figure that is far too old is not shown; the reader waits for the new one.
            if start and age >= seconds * STALE:
                entry.ready.clear()
        if start:
            threading.Thread(
                target=self._count, args=(entry, count), name="figures", daemon=True
            ).start()
        # Patience counts from the start of the counting, so a later reader waits for less time.
        if not entry.ready.wait(max(0.0, entry.began_at + patience - self._clock.monotonic())):
            return None
        if entry.fault is not None:
            raise entry.fault
        return cast("Value", entry.value)

    def _count(self, entry: _Entry, count: Callable[[], Any]) -> None:
        value, fault = None, None
        try:
            value = count()
        except SwitchboardError as error:
            fault = error
        finally:
            with self._lock:
                entry.value, entry.fault = value, fault
                # After a failure the next reader counts again.
                now = self._clock.monotonic()
                entry.counted_at, entry.took = 0.0 if fault else now, now - entry.began_at
                entry.counting = False
                entry.ready.set()


def figure_cache() -> FigureCache:
    """The cache of the current application."""
    return cast("FigureCache", current_app.extensions[EXTENSION])
