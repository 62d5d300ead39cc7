"""What a queue of turns promises; how it keeps that is in local.py and shared.py."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol


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
        place as used. Lines that lie elsewhere cannot be looked up in it, so the server's store
        also counts the tenant's turns and stores one only as the next of those that it saw; see
        tenant_data/storing.py. Either way, a process that was stopped for a minute, and whose
        place was given to another meanwhile, cannot write when it wakes up.
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
