"""The queue of turns within one process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from webapp.locks import BriefLock
from webapp.turns.queue import Cancellation, Load, Place
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
    while somebody stands in it, so that a million tenants cost nothing.
    """

    def __init__(self) -> None:
        self._mutex = BriefLock()
        self._lines: dict[str, deque[StandingPlace]] = {}

    @property
    def busy_tenants(self) -> int:
        """How many tenants have a turn running at this moment."""
        return len(self._lines)

    @property
    def load(self) -> Load:
        """See `TurnQueue.load`."""
        with self._mutex:
            lengths = [len(line) for line in self._lines.values()]
        return Load(len(lengths), sum(lengths) - len(lengths))

    def waiting(self, tenant: str) -> int:
        """How many turns of the tenant wait behind the one that runs."""
        return max(0, len(self._lines.get(tenant, ())) - 1)

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
        gate = self._join(place, waiting_limit)
        try:
            mine = gate is None or opened(gate, cancel)
            if mine:
                enter(place)
                yield place
        finally:
            leave(place)
            self._leave(place)
        if not mine:
            yield None

    def _join(self, place: StandingPlace, waiting_limit: int | None) -> threading.Event | None:
        """Puts the place at the end of the line; None when it is the only one, else its gate."""
        with self._mutex:
            while True:
                line = self._lines.setdefault(place.tenant, deque())
                if waiting_limit is not None and len(line) > waiting_limit:
                    raise tenant_busy()
                if line:
                    place.gate = threading.Event()
                line.append(place)
                # A stream that was collected just now may have emptied and removed this line.
                if self._lines.get(place.tenant) is line:
                    return None if line[0] is place else place.gate

    def _leave(self, place: StandingPlace) -> None:
        """Takes the place out of the line and opens the gate at the head, if it is not yet open."""
        with self._mutex:
            line = self._lines[place.tenant]
            line.remove(place)
            if not line:
                self._lines.pop(place.tenant, None)
            elif (gate := line[0].gate) is not None:
                gate.set()
