"""Lets units of work that are ready at the same moment share one durable commit; engine-free.

A durable commit costs a flush of the disk; a unit of work costs a tenth of that. So the thread of
the first unit becomes the leader: it lets the others that are ready join, runs all units in one
transaction, each behind its own savepoint, and commits once. Nobody is told "done" before that
commit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from webapp.errors import StorageUnavailable
from webapp.locks import BriefLock

MAX_BATCH = 128
# How long somebody waits behind a batch that does not end: the disk stalls, or an act is long.
QUEUE_PATIENCE_SECONDS = 30.0


class Unit:
    """One unit of work, and what became of it."""

    __slots__ = ("arrived", "error", "fault", "is_leader", "long", "ready", "result", "work")

    def __init__(self, work: Callable[[Any], Any], *, long: bool = False) -> None:
        self.work = work
        self.long = long
        self.result: Any = None
        self.error: BaseException | None = None
        self.fault = False  # the error says that the database is at fault, not the work
        self.is_leader = False
        self.ready = threading.Event()
        self.arrived = time.monotonic()


class GroupCommit:
    """Queues units and has one of the waiting threads run them in batches."""

    def __init__(self, run_batch: Callable[[list[Unit]], BaseException | None]) -> None:
        """`run_batch` must set `result` or `error` of every unit, and not raise for their sake.

        It gives back what would have ended the leader while it could not be interrupted.
        """
        self._run_batch = run_batch
        self._lock = BriefLock()
        self._waiting: list[Unit] = []
        self._has_leader = False
        self._running: int | None = None

    def submit(self, work: Callable[[Any], Any], *, long: bool = False) -> Any:
        """Runs `work` in some batch; returns its result or raises its error.

        `long` is only passed on, to `run_batch`.
        """
        unit = Unit(work, long=long)
        with self._lock:
            if self._running == threading.get_ident():
                raise RuntimeError("a unit of work cannot wait for another one")
            self._waiting.append(unit)
            unit.is_leader = not self._has_leader
            self._has_leader = True
        try:
            if unit.is_leader:
                time.sleep(0)  # units that are ready now join this batch
            elif not unit.ready.wait(QUEUE_PATIENCE_SECONDS):
                self._give_up(unit)
        except BaseException:
            self._leave(unit)
            raise
        if unit.is_leader:
            self._lead()
        if unit.error is not None:
            raise unit.error
        return unit.result

    def _lead(self) -> None:
        with self._lock:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            self._running = threading.get_ident()
        late: BaseException | None = None
        try:
            late = self._run_batch(batch)
        except BaseException as error:
            # The leader's thread is being ended. Its followers learn that they must try again.
            for unit in batch:
                unit.error = unit.error or _interrupted(error)
            raise
        finally:
            with self._lock:
                self._running = None
                successor = self._choose_leader()
            for unit in batch:
                unit.ready.set()
            if successor is not None:
                successor.ready.set()
        if late is not None:
            raise late

    def _leave(self, unit: Unit) -> None:
        """Takes back a unit whose caller was ended while it waited (a greenlet was killed).

        Without this a later leader would hand the queue to a thread that is no longer there.
        """
        successor = None
        with self._lock:
            if unit in self._waiting:
                self._waiting.remove(unit)
                if unit.is_leader:
                    successor = self._choose_leader()
        if successor is not None:
            successor.ready.set()

    def _give_up(self, unit: Unit) -> None:
        """Raises when the unit has not begun yet; one that has must be waited for."""
        with self._lock:
            begun = unit.is_leader or unit not in self._waiting
            if not begun:
                self._waiting.remove(unit)
        if not begun:
            raise StorageUnavailable(
                "The database is busy for too long; nothing was stored.", part="stalled"
            )
        unit.ready.wait()

    def _choose_leader(self) -> Unit | None:
        """The next leader, if a unit waits; the caller holds the lock, and wakes it after releasing
        that."""
        successor = self._waiting[0] if self._waiting else None
        self._has_leader = successor is not None
        if successor is not None:
            successor.is_leader = True
        return successor


def _interrupted(cause: BaseException) -> StorageUnavailable:
    error = StorageUnavailable("The database was interrupted; nothing was stored.")
    error.__cause__ = cause
    return error
