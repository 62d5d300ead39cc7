"""Bounds how many turns run at once in this process; the others wait. A tenant's own order is in
turns/, which lets one turn of each tenant come here, so first come, first served is fair."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from webapp.errors import ServerBusy, SwitchboardError
from webapp.locks import BriefLock
from webapp.turns import Cancellation, Load, Place, TurnQueue

PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.5


class TurnRoom:
    """Room for `size` turns at once. As many more may be in the process and wait their time."""

    def __init__(self, size: int, *, patience: float = PATIENCE_SECONDS) -> None:
        self.size = size
        self._patience = patience
        self._present = 0
        self._free = size
        self._mutex = BriefLock()
        self._line: deque[threading.Event] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._line)

    @contextmanager
    def presence(self) -> Iterator[None]:
        """For the whole of a turn, waiting in whatever line included; `ServerBusy` when even the
        lines are full: connections that only wait must not take the places of all others."""
        with self._mutex:
            if self._present >= 2 * self.size:
                raise _busy()
            self._present += 1
        try:
            yield
        finally:
            with self._mutex:
                self._present -= 1

    @contextmanager
    def seat(self, cancel: Cancellation | None = None) -> Iterator[bool]:
        """For the run itself: True with room, False when `cancel` was set before there was any.

        Raises `ServerBusy` when there is none in time.
        """
        gate = self._arrive()
        seated = gate is None
        try:
            if gate is not None:
                seated = self._wait(gate, cancel)
            if seated:
                yield True
        finally:
            self._leave(gate)
        if not seated:
            yield False

    def _arrive(self) -> threading.Event | None:
        """None when there is room; else the gate that opens when there is."""
        with self._mutex:
            if self._free > 0 and not self._line:
                self._free -= 1
                return None
            gate = threading.Event()
            self._line.append(gate)
            return gate

    def _wait(self, gate: threading.Event, cancel: Cancellation | None) -> bool:
        until = time.monotonic() + self._patience
        while (left := until - time.monotonic()) > 0:
            if gate.wait(min(left, POLL_SECONDS) if cancel is not None else left):
                return True
            if cancel is not None and cancel.is_set():
                return False
        raise _busy()

    def _leave(self, gate: threading.Event | None) -> None:
        with self._mutex:
            if gate is not None and gate in self._line:
                self._line.remove(gate)
            else:
                # Its gate was opened, if only for one who had given up just then.
                self._free += 1
            while self._free > 0 and self._line:
                self._free -= 1
                self._line.popleft().set()


Refusal = Callable[[str], SwitchboardError | None]


class SeatedQueue:
    """A `TurnQueue` whose places are at the head of the tenant's line and have room as well.

    `refusal` is asked now and then for those who wait: an error that it gives ends their waiting.
    """

    def __init__(
        self, queue: TurnQueue, room: TurnRoom, refusal: Refusal = lambda _tenant: None
    ) -> None:
        self._queue = queue
        self._room = room
        self._refusal = refusal

    @property
    def load(self) -> Load:
        """See `TurnQueue.load`; a turn without room is waiting."""
        load, without_room = self._queue.load, self._room.waiting
        return Load(load.running - without_room, load.waiting + without_room)

    def close(self) -> None:
        """See `TurnQueue.close`."""
        self._queue.close()

    @contextmanager
    def place(
        self,
        tenant: str,
        *,
        waiting_limit: int | None = None,
        cancel: Cancellation | None = None,
    ) -> Iterator[Place | None]:
        """See `TurnQueue.place`; raises `ServerBusy` and what refuses the tenant as well."""
        waiting = _Waiting(cancel, tenant, self._refusal)
        with (
            self._queue.place(tenant, waiting_limit=waiting_limit, cancel=waiting) as place,
            self._room.seat(waiting) as seated,
        ):
            if waiting.error is not None:
                raise waiting.error
            yield place if seated else None


class _Waiting:
    """A `Cancellation` that is set as well when somebody who waits is refused by now."""

    __slots__ = ("_cancel", "_refusal", "_tenant", "error")

    def __init__(self, cancel: Cancellation | None, tenant: str, refusal: Refusal) -> None:
        self._cancel = cancel
        self._tenant = tenant
        self._refusal = refusal
        self.error: SwitchboardError | None = None

    def is_set(self) -> bool:
        if self._cancel is not None and self._cancel.is_set():
            return True
        if self.error is None:
            self.error = self._refusal(self._tenant)
        return self.error is not None


def _busy() -> ServerBusy:
    return ServerBusy("Too many turns are running; try again in a moment.", retry_after=5)
