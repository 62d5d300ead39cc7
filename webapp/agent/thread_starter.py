"""Starts threads for who may not wait: `Thread.start` waits until the new thread has run, which
takes long when hundreds of others want to."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable


class ThreadStarter:
    """Has one thread of its own, from the first call on, which starts the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = 0
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()

    def start(self, work: Callable[[], None], failed: Callable[[RuntimeError], None]) -> None:
        """Runs `work` in a thread of its own soon; `failed` when the system gives no thread."""
        with self._lock:
            if self._process != os.getpid():  # a process that was forked has none of its threads
                self._jobs = queue.SimpleQueue()
                self._process = os.getpid()
                threading.Thread(
                    target=_start_each, args=(self._jobs,), name="turn starter", daemon=True
                ).start()
        self._jobs.put((work, failed))


_Job = tuple[Callable[[], None], Callable[[RuntimeError], None]]


def _start_each(jobs: queue.SimpleQueue[_Job]) -> None:
    while True:
        work, failed = jobs.get()
        try:
            threading.Thread(target=work, name="turn", daemon=True).start()
        except RuntimeError as error:
            failed(error)
        del work, failed  # nothing is kept of a turn until the next one comes
