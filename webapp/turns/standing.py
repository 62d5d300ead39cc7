"""A turn's place while it stands in a line, and which places the code running here is inside of."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from webapp.errors import PlaceLost, TenantBusy, TurnUnderWay
from webapp.turns.queue import Cancellation

CANCEL_POLL_SECONDS = 0.1


class Gate(Protocol):
    """What is told that a place is the first in its line; a `threading.Event` is one."""

    def set(self) -> None: ...


@dataclass(slots=True, eq=False)
class StandingPlace:
    """One turn's place in a line of one process; `held` from the moment its turn has come until it
    leaves. Who finds the line empty needs no `gate`; it is opened when the turn has come, or never
    will: then the place is `lost`."""

    queue: object
    tenant: str
    ticket: int = 0
    gate: Gate | None = None
    held: bool = False
    lost: bool = False

    def require_held(self, transaction: Any = None) -> None:  # noqa: ARG002 - nothing to look up
        """See `Place.require_held`."""
        if not self.held or self.lost:
            raise place_lost()


def place_lost() -> PlaceLost:
    """What a turn is told whose place went to another."""
    return PlaceLost("This turn has lost its place; nothing was stored, so try again.")


def tenant_busy() -> TenantBusy:
    """What one more turn is told when the line is full."""
    return TenantBusy("Too many messages of this user are waiting already; try again in a moment.")


# The places that the code running here stands inside of. The context goes along into the threads
# in which an agent runs its tools, so a tool that asks for its own user's turn is seen there too.
# A stream may be closed in another context than it began in: that a place is left is noted in the
# place itself, and the tuple may name it for a while longer.
_inside: ContextVar[tuple[StandingPlace, ...]] = ContextVar("switchboard_turns", default=())


def require_outside(queue: object, tenant: str) -> None:
    """Raises `TurnUnderWay` inside a block of the same tenant in the same queue."""
    for place in _inside.get():
        if place.held and place.queue is queue and place.tenant == tenant:
            raise TurnUnderWay(
                "A turn of this user is under way and asked for another turn of the same user,"
                " which would wait for it for ever; use another user_id, or an agent with a queue"
                " of its own."
            )


def enter(place: StandingPlace) -> None:
    """The place is held from here on."""
    place.held = True
    _inside.set((*(other for other in _inside.get() if other.held), place))


def leave(place: StandingPlace) -> None:
    """It is not any more; possibly in another thread than it was entered in."""
    if place.held:
        place.held = False
        _inside.set(tuple(other for other in _inside.get() if other.held))


def opened(gate: threading.Event, cancel: Cancellation | None) -> bool:
    """Waits for the gate to open; False when the run is called off first."""
    if cancel is None:
        return gate.wait()
    while not cancel.is_set():
        if gate.wait(CANCEL_POLL_SECONDS):
            return True
    return False
