"""Bounds how many turns run in threads of their own; who waits for a seat holds no thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from webapp.locks import BriefLock

THREADS = 256


class Seats:
    """So many seats, given in order of asking."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._mutex = BriefLock()
        self._waiting: deque[Seat] = deque()

    def ask(self, seat: Seat) -> None:
        """Gives it when one is free, perhaps at once."""
        with self._mutex:
            if not seat.is_over:
                self._waiting.append(seat)
                self._hand_out()

    def leave(self, seat: Seat) -> None:
        """The seat is free again, or is not wanted any more; it may be called again."""
        with self._mutex:
            if seat.is_over:
                return
            seat.is_over = True
            if seat.is_given:
                # One that is lent was made free when it was.
                self._free += 0 if seat.borrowers else 1
                seat.borrowers = 0
            elif seat in self._waiting:
                self._waiting.remove(seat)
            self._hand_out()

    def lend(self, seat: Seat) -> None:
        """The turn waits for another one, and somebody else may have its seat meanwhile."""
        with self._mutex:
            if not seat.is_over:
                seat.borrowers += 1
                if seat.borrowers == 1:
                    self._free += 1
                    self._hand_out()

    def take_back(self, seat: Seat) -> None:
        """It goes on, at once: for a while there may be one more than there are seats."""
        with self._mutex:
            if not seat.is_over and seat.borrowers:
                seat.borrowers -= 1
                if not seat.borrowers:
                    self._free -= 1

    def _hand_out(self) -> None:
        # The collector may end an abandoned stream, and so come here, in the middle of these lines.
        while self._free > 0 and self._waiting:
            seat = self._waiting.popleft()
            self._free -= 1
            seat.is_given = True
            seat.given()


class Seat:
    """One turn's seat: `given` is called when it may be taken, in whichever thread, and must
    neither wait nor raise. `borrowers` are the turns inside of it that it waits for."""

    __slots__ = ("_seats", "borrowers", "given", "is_given", "is_over")

    def __init__(self, seats: Seats, given: Callable[[], None]) -> None:
        self._seats = seats
        self.given = given
        self.is_given = False
        self.is_over = False
        self.borrowers = 0

    def ask(self) -> None:
        self._seats.ask(self)

    def leave(self) -> None:
        self._seats.leave(self)

    def lend(self) -> None:
        self._seats.lend(self)

    def take_back(self) -> None:
        self._seats.take_back(self)


# The seat of the turn that the code running here is part of; it goes along with the context.
SEAT: ContextVar[Seat | None] = ContextVar("switchboard_seat", default=None)


@contextmanager
def lent() -> Iterator[None]:
    """For the time that a turn waits for another one: were its seat kept, turns that wait for each
    other's users could hold all the seats, and the turns that they wait for would get none."""
    seat = SEAT.get()
    if seat is None:
        yield
        return
    seat.lend()
    try:
        yield
    finally:
        seat.take_back()
