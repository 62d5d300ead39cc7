"""Runs blocking calls beside the other greenlets, when there are any, in threads of one's own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from gevent.threadpool import ThreadPool

Result = TypeVar("Result")


class NativeThreads:
    """At most so many real threads, for one purpose each.

    gevent's own pool of ten is left to look-ups of names: a silent DNS server would otherwise
    hold up the database, and a long act of the database every connection to the model. Without
    gevent's patches, which `sys.modules` tells, the work runs where it is asked for.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._pool: ThreadPool | None = None

    def run(self, work: Callable[[], Result]) -> Result:
        """Runs `work` and gives its result; it goes on alone when this greenlet is ended."""
        pool = self._threads()
        if pool is None:
            return work()
        outcome: _Outcome[Result] = _Outcome(work)
        pool.spawn(outcome.find).get()
        return outcome.get()

    def run_to_its_end(self, work: Callable[[], None]) -> BaseException | None:
        """The same for work that must not be left alone: an end of this greenlet waits until it
        is done, and is given back for the caller to raise in its own time."""
        pool = self._threads()
        if pool is None:
            work()
            return None
        interruption: BaseException | None = None
        outcome = _Outcome(work)
        running = pool.spawn(outcome.find)
        while not running.ready():
            try:
                running.wait()
            except BaseException as error:  # noqa: BLE001  # a kill or a time-out, kept for later
                interruption = error
        outcome.get()
        return interruption

    def _threads(self) -> ThreadPool | None:
        """Made at the first use, which is in the worker that was forked and patched by then."""
        monkey = sys.modules.get("gevent.monkey")
        if monkey is None or not monkey.is_module_patched("threading"):
            return None
        if self._pool is None:
            from gevent.threadpool import ThreadPool

            self._pool = ThreadPool(self._most)
        return self._pool


class _Outcome(Generic[Result]):
    """What the work gave or raised. The pool would print a failure's traceback before giving it
    on, and most failures here are foreseen: a locked database, a tenant that is not there."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self._work = work
        self._result: list[Result] = []
        self._error: BaseException | None = None

    def find(self) -> None:
        try:
            self._result.append(self._work())
        except BaseException as error:  # noqa: BLE001  # raised again by `get`
            self._error = error

    def get(self) -> Result:
        if self._error is not None:
            raise self._error
        return self._result[0]
