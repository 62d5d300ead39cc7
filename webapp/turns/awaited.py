"""A turn's way to its place and thread, for who may not block: it waits without a thread."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from webapp.locks import BriefLock
from webapp.turns.queue import Cancellation, Load, Place, TurnQueue
from webapp.turns.seats import Seat, Seats
from webapp.turns.standing import place_lost


class AwaitedPlace(ABC):
    """One turn's place, and the `TurnQueue` in which it is the only one.

    `come` is called when the turn has its seat and may start its thread: in whichever thread that
    happens, perhaps before the maker returns. It must neither wait nor raise.
    """

    def __init__(self, queue: TurnQueue, come: Callable[[], None]) -> None:
        self._queue = queue
        self._come = come
        self._mutex = BriefLock()
        self._stores = False
        self._is_over = False
        self.seat: Seat | None = None

    @property
    def load(self) -> Load:
        """See `TurnQueue.load`."""
        return self._queue.load

    def close(self) -> None:  # noqa: B027 - there is nothing to close
        """See `TurnQueue.close`: the queue is others' as well."""

    @abstractmethod
    def place(
        self,
        tenant: str,
        *,
        waiting_limit: int | None = None,
        cancel: Cancellation | None = None,
    ) -> AbstractContextManager[Place | None]:
        """See `TurnQueue.place`; for the turn's own thread, which does not wait for its seat."""
        ...

    def give_up(self) -> bool:
        """Nobody wants the turn any more, which stores nothing from here on and is not waited for
        by the next one; False when it is too late, because the turn is being stored."""
        with self._mutex:
            if self._stores:
                return False
            self._is_over = True
        self.step_out()
        return True

    def leave(self) -> None:
        """The turn's thread has ended, or there will be none."""
        self.step_out()
        if self.seat is not None:
            self.seat.leave()

    @abstractmethod
    def step_out(self) -> None:
        """The next turn of the user may begin; it may be called again, in any thread."""

    def begin_storing(self) -> None:
        """From here on it is too late to give up; raises `PlaceLost` after somebody has."""
        with self._mutex:
            if self._is_over:
                raise place_lost()
            self._stores = True

    def ask_for_seat(self, seats: Seats) -> None:
        """The thread may start when one of the seats is free."""
        self.seat = Seat(seats, self._come)
        self.seat.ask()


class PlaceInThread(AwaitedPlace):
    """In a queue that can only be waited in by a thread: the seat comes first."""

    def __init__(self, queue: TurnQueue, seats: Seats, come: Callable[[], None]) -> None:
        super().__init__(queue, come)
        self.ask_for_seat(seats)

    @contextmanager
    def place(
        self,
        tenant: str,
        *,
        waiting_limit: int | None = None,
        cancel: Cancellation | None = None,
    ) -> Iterator[Place | None]:
        if self._is_over:
            yield None
            return
        with self._queue.place(tenant, waiting_limit=waiting_limit, cancel=cancel) as place:
            yield None if place is None or self._is_over else Fenced(self, place)

    def step_out(self) -> None:
        """The thread leaves the line when it sees that it was called off."""


class Fenced:
    """A place at which a turn can be given up until it stores."""

    __slots__ = ("_owner", "_place")

    def __init__(self, owner: AwaitedPlace, place: Place) -> None:
        self._owner = owner
        self._place = place

    def require_held(self, transaction: Any = None) -> None:
        """See `Place.require_held`."""
        self._owner.begin_storing()
        self._place.require_held(transaction)
