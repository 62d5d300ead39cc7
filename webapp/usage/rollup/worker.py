"""Runs the roll-up while turns are recorded, and to its end when asked; the step is store.py's."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from webapp.clock import Clock
from webapp.errors import SwitchboardError
from webapp.storage import Database
from webapp.storage.slices import in_slices
from webapp.usage.rollup import store

EVERY_SECONDS = 5.0
MANY = 1000
LAST_SECONDS = 5.0


def roll_up(database: Database, *, seconds: float | None = None) -> bool:
    """Adds all pending facts to the sums, step by step with turns in between, for at most so
    long; whether all are in. Raises `StorageUnavailable`; what is left is taken up another time.
    """
    with database.read() as connection:
        if not store.is_anything_pending(connection):
            return True
    end = None if seconds is None else time.monotonic() + seconds
    for left in in_slices(database, store.step, bool):
        if left and end is not None and time.monotonic() > end:
            return False
    return True


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
        self._running: threading.Thread | None = None

    def note(self) -> None:
        """Says that something was recorded; costs next to nothing."""
        self._noted += 1
        if self._noted < MANY and self._clock.monotonic() - self._since < EVERY_SECONDS:
            return
        with self._lock:
            if self._running is not None:
                return
            self._running = threading.Thread(target=self._run, name="rollup", daemon=True)
            self._noted, self._since = 0, self._clock.monotonic()
        self._running.start()

    def close(self) -> None:
        """Adds what this process has recorded, unless that takes too long; the process ends."""
        running = self._running
        if running is not None:
            running.join(LAST_SECONDS)
        elif not self._noted:
            return
        with suppress(SwitchboardError):
            roll_up(self._database, seconds=LAST_SECONDS)

    def _run(self) -> None:
        # A database that cannot is told of by /readyz; the facts stay where they are.
        with suppress(SwitchboardError):
            roll_up(self._database)
        with self._lock:
            self._running = None
