"""Runs the branches of a Parallel together, in threads, and hands on their events as they come."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Generator
from queue import Empty, Full, Queue
from typing import Generic, TypeVar

from webapp.turns import Cancellation
from webapp.workflow.events import WorkflowEvent

Scope = TypeVar("Scope")
Begin = Callable[[int, Cancellation], tuple[Scope, Generator[WorkflowEvent, None, None]]]

MAX_TOGETHER = 16
EVENTS_AHEAD = 256
POLL_SECONDS = 0.2


class CallOff:
    """A `Cancellation` that is set when an outer one is, or by `set`."""

    def __init__(self, outer: Cancellation | None) -> None:
        self._outer = outer
        self._own = threading.Event()

    def set(self) -> None:
        self._own.set()

    def is_set(self) -> bool:
        return self._own.is_set() or (self._outer is not None and self._outer.is_set())


def run_branches(
    number: int, begin: Begin[Scope], cancel: Cancellation | None, called_off: type[Exception]
) -> Generator[WorkflowEvent, None, list[Scope]]:
    """The scopes of all branches, in their order; at most `MAX_TOGETHER` run at once.

    The failure of one calls the others off, and is raised when all have ended; of several the
    first in the order of the branches. Closing the generator calls all off and waits for none.
    """
    branches = _Branches(number, begin, cancel, called_off)
    branches.start()
    try:
        yield from branches.events()
    finally:
        branches.abandon()
    return branches.scopes()


class _Branches(Generic[Scope]):
    def __init__(
        self,
        number: int,
        begin: Begin[Scope],
        cancel: Cancellation | None,
        called_off: type[Exception],
    ) -> None:
        self._begin = begin
        self._called_off = called_off
        self._stop = CallOff(cancel)
        self._waiting = deque(range(number))
        self._scopes: list[Scope | None] = [None] * number
        self._failures: dict[int, BaseException] = {}
        self._events: Queue[WorkflowEvent | None] = Queue(EVENTS_AHEAD)
        self._at_work = min(number, MAX_TOGETHER)
        self._lock = threading.Lock()
        self._abandoned = False

    def start(self) -> None:
        for _ in range(self._at_work):
            # Each thread has its own copy of the context, which names the request in the log.
            threading.Thread(
                target=contextvars.copy_context().run,
                args=(self._work,),
                name="workflow branch",
                daemon=True,
            ).start()

    def events(self) -> Generator[WorkflowEvent, None, None]:
        while True:
            event = self._events.get()
            if event is None:
                return
            yield event

    def abandon(self) -> None:
        """Nobody listens any more; what has not begun does not begin."""
        self._abandoned = True
        self._stop.set()
        while True:
            try:
                self._events.get_nowait()
            except Empty:
                return

    def scopes(self) -> list[Scope]:
        """After the last event; raises what a branch has raised."""
        for index in sorted(self._failures):
            if not isinstance(self._failures[index], self._called_off):
                raise self._failures[index]
        if self._failures:
            raise self._failures[min(self._failures)]
        return [scope for scope in self._scopes if scope is not None]

    def _work(self) -> None:
        try:
            while True:
                try:
                    index = self._waiting.popleft()
                except IndexError:
                    return
                self._run(index)
        finally:
            with self._lock:
                self._at_work -= 1
                last = not self._at_work
            if last:
                self._tell(None)

    def _run(self, index: int) -> None:
        try:
            scope, events = self._begin(index, self._stop)
            for event in events:
                self._tell(event)
            self._scopes[index] = scope
        except BaseException as error:  # noqa: BLE001 - it is raised where the branches meet
            self._failures[index] = error
            self._stop.set()

    def _tell(self, event: WorkflowEvent | None) -> None:
        while not self._abandoned:
            try:
                self._events.put(event, timeout=POLL_SECONDS)
            except Full:
                continue
            return
