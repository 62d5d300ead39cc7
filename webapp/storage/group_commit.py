"""Lets units of work that are ready at the same moment share one durable commit; engine-free.

A durable commit costs a flush of the disk; a unit of work costs a tenth of that. So the first
unit that arrives leads: it lets whoever is ready join, runs all of them in one transaction, each
behind its own savepoint, and commits once. Nobody is told "done" before that commit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

MAX_BATCH = 128

Batch = TypeVar("Batch")


class Unit:
    """One unit of work, and what became of it."""

    __slots__ = ("error", "finished", "leads", "ready", "result", "work")

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self.work = work
        self.result: Any = None
        self.error: BaseException | None = None
        self.finished = False
        self.leads = False
        self.ready = threading.Event()


class GroupCommit(Generic[Batch]):
    """Queues units and has one of the waiting threads run them in batches."""

    def __init__(self, run_batch: Callable[[list[Unit]], None]) -> None:
        """`run_batch` must set `result` or `error` of every unit, and not raise for their sake."""
        self._run_batch = run_batch
        self._lock = threading.Lock()
        self._waiting: list[Unit] = []
        self._led = False

    def submit(self, work: Callable[[Any], Any]) -> Any:
        """Runs `work` in some batch; returns its result or raises its error."""
        unit = Unit(work)
        with self._lock:
            self._waiting.append(unit)
            unit.leads = not self._led
            self._led = True
        if not unit.leads:
            unit.ready.wait()
        if unit.leads:
            try:
                time.sleep(0)  # whoever is ready now joins this batch
            finally:
                self._lead()
        if unit.error is not None:
            raise unit.error
        return unit.result

    def _lead(self) -> None:
        with self._lock:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
        try:
            self._run_batch(batch)
        finally:
            with self._lock:
                heir = self._waiting[0] if self._waiting else None
                self._led = heir is not None
            for unit in batch:
                if not unit.finished and unit.error is None:
                    unit.error = RuntimeError("the commit was interrupted")
                unit.ready.set()
            if heir is not None:
                heir.leads = True
                heir.ready.set()
