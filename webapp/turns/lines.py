"""What the shared queue asks of the lines that several processes stand in."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

LEASE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """A place in a line: its number there, and the number of the process that took it."""

    number: int
    worker: int


class TurnLines(Protocol):
    """Lines of tickets, in order of arrival over all processes, and keys that one process holds.

    A process that has died, or has not called `renew` for `LEASE_SECONDS`, has lost its tickets
    and keys as soon as another is held up by them. Names of lines are whatever the caller makes of
    tenants. Methods raise `StorageUnavailable`, those that give back excepted: what cannot be given
    back at once is given back later.
    """

    @property
    def worker(self) -> int:
        """The number of this process; it takes another when it had lost everything."""
        ...

    def join(self, line: str, most: int | None) -> Ticket | None:
        """A ticket at the end of the line, numbered 1 for who is alone in it; None when `most`
        stand in it already."""
        ...

    def head(self, line: str) -> Ticket | None:
        """The first of the line, once the tickets of dead processes are removed; None when nobody
        stands in it."""
        ...

    def heads(self, lines: Collection[str], *, living: bool) -> dict[str, Ticket]:
        """The first of each of these lines, in which this process stands; with `living` the
        tickets of dead processes are removed before."""
        ...

    def leave(self, line: str, ticket: Ticket) -> None:
        """Gives the ticket back; one that was lost is no error."""
        ...

    def leave_within(self, transaction: Any, line: str, ticket: Ticket) -> bool:
        """Gives the ticket back together with what the transaction stores, and raises `PlaceLost`
        in it when the ticket is not the first of its line any more; False, and nothing, for lines
        that do not lie in the same database."""
        ...

    def hold_key(self, line: str, key: str, body: str) -> tuple[int, str]:
        """Holds a key for this process, unless another turn holds it.

        Gives the number of this process, or 0 when another turn holds the key, and the body that
        it is held with."""
        ...

    def free_key(self, line: str, key: str, worker: int) -> None:
        """Gives the key back that the process held under this number."""
        ...

    def renew(self) -> None:
        """Says that this process is alive."""
        ...

    def close(self) -> None:
        """Gives everything back; the next call begins anew."""
        ...
