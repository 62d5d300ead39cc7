"""Runs a blocking call without holding up the other greenlets, when there are any."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def in_native_thread(work: Callable[[], Result]) -> Result:
    """Under the gevent worker `work` runs in a real thread of its pool; elsewhere it runs here.

    Asks `sys.modules`, so that a process that never patched itself does not import gevent.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return work()
    from gevent import get_hub

    result: Result = get_hub().threadpool.apply(work)
    return result


def to_its_end(work: Callable[[], None]) -> BaseException | None:
    """The same for work that must not be left alone: an end of this greenlet waits until it is
    done, and is given back for the caller to raise in its own time."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        work()
        return None
    from gevent import get_hub

    interruption: BaseException | None = None
    running = get_hub().threadpool.spawn(work)
    while not running.ready():
        try:
            running.wait()
        except BaseException as error:  # noqa: BLE001  # a kill or a time-out, kept for later
            interruption = error
    running.get()
    return interruption
