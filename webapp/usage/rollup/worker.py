"""Runs the roll-up while turns are recorded, and to its end when asked; the step is store.py's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from webapp.clock import Clock
from webapp.errors import SwitchboardError
from webapp.storage import Database
from webapp.storage.slices import in_slices
from webapp.usage.rollup import store

EVERY_SECONDS = 5.0
MANY = 1000
LAST_SECONDS = 2.0
# How long a step may wait for another process that writes.
STEP_SECONDS = 5.0


def _never() -> bool:
    return False


def roll_up(database: Database, enough: Callable[[], bool] = _never) -> bool:
    """Adds the pending facts to the sums, step by step with turns in between, until `enough`
    says so; whether all are in. Raises `StorageUnavailable`; what is left waits for the next.
    """
    with database.read() as connection:
        if not store.is_anything_pending(connection):
            return True
    return all(not (left and enough()) for left in in_slices(database, store.step, bool))


class RollUp:
    """Of one process: rolls up in the background, some moments after something was recorded.

    Other processes may do the same at the same time; each fact is counted once all the same.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._since = clock.monotonic()
        self._noted = 0
        self._recorded = False
        self._running: threading.Thread | None = None
        self._closed = threading.Event()

    def note(self) -> None:
        """Says that something was recorded; costs next to nothing."""
        self._recorded = True
        self._noted += 1
        if self._noted < MANY and self._clock.monotonic() - self._since < EVERY_SECONDS:
            return
        with self._lock:
            if self._running is not None:
                return
            self._noted, self._since = 0, self._clock.monotonic()
            self._running = threading.Thread(target=self._run, name="rollup", daemon=True)
            self._running.start()

    def close(self) -> None:
        """Adds what this process has recorded, unless that takes too long; the process ends."""
        self._closed.set()
        with self._lock:
            running = self._running
        if running is not None:
            running.join(STEP_SECONDS)
        if not self._recorded:
            return
        end = time.monotonic() + LAST_SECONDS
        with suppress(SwitchboardError):
            roll_up(self._database, lambda: time.monotonic() > end)

    def _run(self) -> None:
        # A database that cannot is told of by /readyz; the facts stay where they are.
        with suppress(SwitchboardError):
            roll_up(self._database, self._closed.is_set)
        with self._lock:
            self._running = None
