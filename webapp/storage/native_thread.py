"""Runs blocking calls in native threads, so that they do not stop the greenlets."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from _queue import SimpleQueue

    from gevent.hub import Waiter

Result = TypeVar("Result")


class NativeThreads:
    """A pool of native threads for one purpose, of a bounded number.

    gevent's own pool of ten is left to look-ups of names: a silent DNS server would otherwise
    hold up the database, and a long act of the database every connection to the model. Without
    gevent's patches, which `sys.modules` tells, the work runs where it is asked for.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._crew: _Crew | None = None

    def run(self, work: Callable[[], Result]) -> Result:
        """Runs `work` and gives its result; it goes on alone when this greenlet is ended."""
        crew = self._threads()
        if crew is None:
            return work()
        job = crew.begin(work)
        job.wait()
        return job.get()

    def run_to_its_end(self, work: Callable[[], None]) -> BaseException | None:
        """The same for work that must not be left alone: an end of this greenlet waits until it
        is done, and is given back for the caller to raise in its own time."""
        crew = self._threads()
        if crew is None:
            work()
            return None
        interruption: BaseException | None = None
        job = crew.begin(work)
        while not job.done:
            try:
                job.wait()
            except BaseException as error:  # noqa: BLE001  # a kill or a time-out, kept for later
                interruption = error
        job.get()
        return interruption

    def _threads(self) -> _Crew | None:
        """Made at the first use, which is in the worker that was forked and patched by then."""
        monkey = sys.modules.get("gevent.monkey")
        if monkey is None or not monkey.is_module_patched("threading"):
            return None
        if self._crew is None:
            self._crew = _Crew(self._most)
        return self._crew


class _Job(Generic[Result]):
    """One piece of work, and what it gave or raised.

    `done` is set in the event loop's thread, which is where the waiter is.
    """

    def __init__(self, work: Callable[[], Result], waiter: Waiter[None]) -> None:
        self._work = work
        self._waiter = waiter
        self._result: list[Result] = []
        self._error: BaseException | None = None
        self.done = False

    def do(self) -> None:
        try:
            self._result.append(self._work())
        except BaseException as error:  # noqa: BLE001  # raised again by `get`
            self._error = error

    def finish(self) -> None:
        self.done = True
        self._waiter.switch(None)  # only remembered when nobody waits any more

    def wait(self) -> None:
        self._waiter.get()

    def get(self) -> Result:
        if self._error is not None:
            raise self._error
        return self._result[0]


class _Crew:
    """The threads, started as they are needed, and the one signal by which they wake the loop.

    gevent's `ThreadPool` does the same and makes a signal, two locks and a semaphore of each
    call: twice the time, which every durable commit of a server with one turn at a time waits
    for. Everything but `_work` runs in the loop's thread, so that the counts need no lock.
    """

    def __init__(self, most: int) -> None:
        from gevent import get_hub
        from gevent.hub import Waiter
        from gevent.monkey import get_original

        self._waiter: Callable[[], Waiter[None]] = Waiter
        self._most = most
        self._begun = 0
        self._under_way = 0
        self._jobs: SimpleQueue[_Job[Any]] = get_original("queue", "SimpleQueue")()
        self._finished: deque[_Job[Any]] = deque()
        self._start_thread = get_original("_thread", "start_new_thread")
        # Its types leave out `ref`, by which a watcher keeps the loop from ending.
        self._signal: Any = get_hub().loop.async_(ref=False)
        self._signal.start(self._hand_back)

    def begin(self, work: Callable[[], Result]) -> _Job[Result]:
        job = _Job(work, self._waiter())
        self._under_way += 1
        # A loop with nothing to wait for ends, and only a job under way is something.
        self._signal.ref = True
        if self._under_way > self._begun and self._begun < self._most:
            self._begun += 1
            self._start_thread(self._work, ())
        self._jobs.put(job)
        return job

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            job.do()
            self._finished.append(job)
            del job  # nothing of it is kept alive until the next one comes
            self._signal.send()

    def _hand_back(self) -> None:
        while self._finished:
            job = self._finished.popleft()
            self._under_way -= 1
            if not self._under_way:
                self._signal.ref = False
            job.finish()
