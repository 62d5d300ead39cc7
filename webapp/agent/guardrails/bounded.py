"""Waits for somebody's own code no longer than a turn may last; what comes later is thrown away."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable

from webapp.agent.executor import MAX_LEFT_RUNNING
from webapp.agent.run_context import RunContext
from webapp.agent.tools import LeftRunning

CANCEL_POLL_SECONDS = 0.1


class RunCalledOff(Exception):
    """The run was called off while something of it was waited for."""


def within(call: Callable[[], object], context: RunContext, left: LeftRunning) -> object:
    """What the call gives, or the exception that it raises, as a value.

    It runs in a thread of its own with the caller's context variables. Raises `TimeoutError` when
    the run's deadline passes first, and `RunCalledOff` when the run is called off: the thread is
    then left to itself, and counted in `left`. When too many are, the call is not made.
    """
    if left.number >= MAX_LEFT_RUNNING:
        return RuntimeError(f"{MAX_LEFT_RUNNING} calls of it hang")
    attempt = _Attempt(call, left)
    thread = threading.Thread(
        target=contextvars.copy_context().run, args=(attempt.work,), daemon=True
    )
    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:  # the system has none to give
        return error
    deadline = context.deadline
    while not attempt.done.wait(_patience(context)):
        if context.cancelled:
            attempt.leave()
            raise RunCalledOff
        if deadline is not None and deadline.passed:
            attempt.leave()
            raise TimeoutError
    return attempt.outcome


class _Attempt:
    """One call under way."""

    def __init__(self, call: Callable[[], object], left: LeftRunning) -> None:
        self._call = call
        self._left = left
        self._lock = threading.Lock()
        self._is_left = False
        self.outcome: object = None
        self.done = threading.Event()

    def work(self) -> None:
        try:
            self.outcome = self._call()
        except BaseException as error:  # noqa: BLE001 - it is handed to the thread that waits
            self.outcome = error
        finally:
            with self._lock:
                self.done.set()
                if self._is_left:
                    self._left.add(-1)

    def leave(self) -> None:
        """Nobody waits for it any more."""
        with self._lock:
            if not self.done.is_set():
                self._is_left = True
                self._left.add(1)


def _patience(context: RunContext) -> float | None:
    left = None if context.deadline is None else context.deadline.left
    if context.cancel is None:
        return left
    return CANCEL_POLL_SECONDS if left is None else min(left, CANCEL_POLL_SECONDS)
