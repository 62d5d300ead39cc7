"""The queue of turns within one process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

from webapp.errors import ConfigurationError
from webapp.locks import BriefLock
from webapp.turns.awaited import AwaitedPlace, Fenced
from webapp.turns.queue import Cancellation, Load, Place
from webapp.turns.seats import THREADS, Seats, lent
from webapp.turns.standing import (
    StandingPlace,
    enter,
    leave,
    opened,
    require_outside,
    tenant_busy,
)


class LocalTurnQueue:
    """The queue within one process; different tenants never wait for one another.

    A tenant's line holds a gate for each turn, the running one at its head. A line exists only
    while somebody stands in it, so that a million tenants cost nothing. At most `waiting_limit`
    turns of a tenant wait, unless a turn says otherwise; None sets no limit. `threads` bounds how
    many turns of event loops run at once: each has a thread then, and none while it waits.
    """

    def __init__(self, *, waiting_limit: int | None = None, threads: int = THREADS) -> None:
        if waiting_limit is not None and waiting_limit < 0:
            raise ConfigurationError("waiting_limit must be 0 or more, or None.")
        if threads < 1:
            raise ConfigurationError("threads must be at least 1.")
        self._waiting_limit = waiting_limit
        self._seats = Seats(threads)
        self._mutex = BriefLock()
        self._lines: dict[str, deque[StandingPlace]] = {}

    @property
    def load(self) -> Load:
        """See `TurnQueue.load`."""
        with self._mutex:
            lengths = [len(line) for line in self._lines.values()]
        return Load(len(lengths), sum(lengths) - len(lengths))

    def close(self) -> None:
        """See `TurnQueue.close`: all that is held here are the places, and those who hold them
        leave them."""

    @contextmanager
    def place(
        self,
        tenant: str,
        *,
        waiting_limit: int | None = None,
        cancel: Cancellation | None = None,
    ) -> Iterator[Place | None]:
        """See `TurnQueue.place`. The block may be left in another thread than it was entered in."""
        require_outside(self, tenant)
        place = StandingPlace(self, tenant)
        is_first = self._join(place, waiting_limit)
        try:
            mine = is_first or _comes(place, cancel)
            if mine:
                enter(place)
                yield place
        finally:
            leave(place)
            self._leave(place)
        if not mine:
            yield None

    def line_up(self, tenant: str, come: Callable[[], None]) -> AwaitedPlace:
        """Takes a place in the tenant's line, as `place` does, for who may not block."""
        require_outside(self, tenant)
        return _PlaceInLine(self, tenant, come)

    def _join(self, place: StandingPlace, waiting_limit: int | None) -> bool:
        """Puts the place at the end of the line, with a gate if it waits; whether it is the first
        one."""
        limit = self._waiting_limit if waiting_limit is None else waiting_limit
        with self._mutex:
            while True:
                line = self._lines.setdefault(place.tenant, deque())
                if limit is not None and len(line) > limit:
                    raise tenant_busy()
                if line and place.gate is None:
                    place.gate = threading.Event()
                line.append(place)
                # A stream that was collected just now may have emptied and removed this line.
                if self._lines.get(place.tenant) is line:
                    return line[0] is place

    def _leave(self, place: StandingPlace) -> None:
        """Takes the place out of the line and opens the gate at the head, if it is not yet open."""
        with self._mutex:
            line = self._lines[place.tenant]
            line.remove(place)
            if not line:
                self._lines.pop(place.tenant, None)
            elif (gate := line[0].gate) is not None:
                gate.set()


def _comes(place: StandingPlace, cancel: Cancellation | None) -> bool:
    """Waits for the place's turn, while another turn may have the thread's seat."""
    with lent():
        # Another gate than an event is a place's that no thread waits for.
        return opened(cast("threading.Event", place.gate), cancel)


class _PlaceInLine(AwaitedPlace):
    """A place that waits in line first, and then for its seat: a tenant whose turns wait takes the
    seats of no other."""

    def __init__(self, queue: LocalTurnQueue, tenant: str, come: Callable[[], None]) -> None:
        super().__init__(queue, come)
        self._line = queue
        self._has_come = False
        self._has_left = False
        self._standing = StandingPlace(queue, tenant, gate=self)
        if queue._join(self._standing, None):
            self.set()

    def set(self) -> None:
        """The turn is the first in line; it is told so once or more often."""
        with self._mutex:
            told, self._has_come = self._has_come, True
        if not told:
            self.ask_for_seat(self._line._seats)

    @contextmanager
    def place(
        self,
        tenant: str,  # noqa: ARG002 - it is the one whose place this is
        *,
        waiting_limit: int | None = None,  # noqa: ARG002 - it stands in line already
        cancel: Cancellation | None = None,  # noqa: ARG002 - there is nothing to wait for
    ) -> Iterator[Place | None]:
        if self._is_over:
            yield None
            return
        enter(self._standing)
        try:
            yield Fenced(self, self._standing)
        finally:
            self.step_out()

    def step_out(self) -> None:
        with self._mutex:
            left, self._has_left = self._has_left, True
        if not left:
            leave(self._standing)
            self._line._leave(self._standing)
