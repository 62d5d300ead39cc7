"""The queue in which one tenant's turns wait for each other; not what is done in a turn."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from webapp.errors import PlaceLost, TenantBusy, TurnUnderWay

CANCEL_POLL_SECONDS = 0.1


class Cancellation(Protocol):
    """Says whether the run was called off; a `threading.Event` is one."""

    def is_set(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Load:
    """How many turns run and how many wait behind them, in this process."""

    running: int
    waiting: int


class Place(Protocol):
    """A turn's place at the head of its tenant's line."""

    def require_held(self, transaction: Any = None) -> None:
        """Raises `PlaceLost` when the place is no longer this turn's, which then may store nothing.

        A store calls it inside the transaction that stores the turn, and hands over that
        transaction: a queue that keeps its lines in the same database looks there, and marks the
        place as used. So a process that was stopped for a minute, and whose place was given to
        another meanwhile, cannot write when it wakes up.
        """
        ...


class TurnQueue(Protocol):
    """Lets one turn of a tenant in at a time, in order of arrival."""

    @property
    def load(self) -> Load:
        """How busy it is at this moment."""
        ...

    def place(
        self,
        tenant: str,
        *,
        waiting_limit: int | None = None,
        cancel: Cancellation | None = None,
    ) -> AbstractContextManager[Place | None]:
        """Takes a place in the tenant's line; the block is entered when its turn has come.

        Gives the place then, and None when `cancel` was set before; in that case nothing is held
        and the block must leave at once. At most `waiting_limit` wait behind the running turn (None
        sets no limit); one more raises `TenantBusy` at once. Raises `TurnUnderWay` inside a block
        of the same tenant, in its thread or in one that has a copy of its context.
        """
        ...

    def close(self) -> None:
        """Lets go of what the queue holds outside of this process; it may be called again."""
        ...


@dataclass(slots=True, eq=False)
class _LocalPlace:
    """One turn's place in a line; `held` from the moment its turn has come until it leaves.

    Who finds the line empty needs no `gate`.
    """

    queue: TurnQueue
    tenant: str
    gate: threading.Event | None = None
    held: bool = False

    def require_held(self, transaction: Any = None) -> None:  # noqa: ARG002 - nothing to look up
        """See `Place.require_held`: within a process nobody else gets a place that is held."""
        if not self.held:
            raise PlaceLost("This turn has lost its place; nothing was stored, so try again.")


# The places that the code running here stands inside of. The context goes along into the threads
# in which an agent runs its tools, so a tool that asks for its own user's turn is seen there too.
# A stream may be closed in another context than it began in: that a place is left is noted in the
# place itself, and the tuple may name it for a while longer.
_inside: ContextVar[tuple[_LocalPlace, ...]] = ContextVar("switchboard_turns", default=())


class LocalTurnQueue:
    """The queue within one process; different tenants never wait for one another.

    A tenant's line holds a gate for each turn, the running one at its head. A line exists only
    while somebody stands in it, so that a million tenants cost nothing.
    """

    def __init__(self) -> None:
        # The garbage collector may close an abandoned stream, and so leave a line, in a thread
        # that is just here: a plain lock would then wait for itself for ever.
        self._mutex = threading.RLock()
        self._lines: dict[str, deque[_LocalPlace]] = {}

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
        outer = tuple(place for place in _inside.get() if place.held)
        if any(place.queue is self and place.tenant == tenant for place in outer):
            raise TurnUnderWay(
                "A turn of this user is under way and asked for another turn of the same user,"
                " which would wait for it for ever; use another user_id, or an agent with a queue"
                " of its own."
            )
        place = _LocalPlace(self, tenant)
        gate = self._join(place, waiting_limit)
        try:
            place.held = gate is None or _opened(gate, cancel)
            mine = place.held
            if mine:
                _inside.set((*outer, place))
                yield place
        finally:
            place.held = False
            self._leave(place)
            _inside.set(tuple(other for other in _inside.get() if other.held))
        if not mine:
            yield None

    def _join(self, place: _LocalPlace, waiting_limit: int | None) -> threading.Event | None:
        """Puts the place at the end of the line; None when it is the only one, else its gate."""
        with self._mutex:
            while True:
                line = self._lines.setdefault(place.tenant, deque())
                if waiting_limit is not None and len(line) > waiting_limit:
                    raise TenantBusy(
                        "Too many messages of this user are waiting already; try again in a moment."
                    )
                if line:
                    place.gate = threading.Event()
                line.append(place)
                # A stream that was collected just now may have emptied and removed this line.
                if self._lines.get(place.tenant) is line:
                    return None if line[0] is place else place.gate

    def _leave(self, place: _LocalPlace) -> None:
        """Takes the place out of the line and opens the gate at the head, if it is not yet open."""
        with self._mutex:
            line = self._lines[place.tenant]
            line.remove(place)
            if not line:
                self._lines.pop(place.tenant, None)
            elif (gate := line[0].gate) is not None:
                gate.set()


def _opened(gate: threading.Event, cancel: Cancellation | None) -> bool:
    """Waits for the gate to open; False when the run is called off first."""
    if cancel is None:
        return gate.wait()
    while not cancel.is_set():
        if gate.wait(CANCEL_POLL_SECONDS):
            return True
    return False
