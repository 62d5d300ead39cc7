"""Runs a blocking call without holding up the other greenlets, when there are any."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


def in_native_thread(work: Callable[[], Result]) -> Result:
    """Under the gevent worker `work` runs in a real thread of its pool; elsewhere it runs here.

    Asks `sys.modules`, so that a process that never patched itself does not import gevent.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return work()
    from gevent import get_hub

    outcome: _Outcome[Result] = _Outcome(work)
    get_hub().threadpool.apply(outcome.find)
    return outcome.get()


def to_its_end(work: Callable[[], None]) -> BaseException | None:
    """The same for work that must not be left alone: an end of this greenlet waits until it is
    done, and is given back for the caller to raise in its own time."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        work()
        return None
    from gevent import get_hub

    interruption: BaseException | None = None
    outcome = _Outcome(work)
    running = get_hub().threadpool.spawn(outcome.find)
    while not running.ready():
        try:
            running.wait()
        except BaseException as error:  # noqa: BLE001  # a kill or a time-out, kept for later
            interruption = error
    outcome.get()
    return interruption


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
