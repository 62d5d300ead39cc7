"""The queue of turns over all processes that use one database; the lines are the storage's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from webapp.errors import StorageUnavailable
from webapp.turns.lines import LEASE_SECONDS, Ticket, TurnLines
from webapp.turns.queue import Cancellation, Load, Place
from webapp.turns.standing import (
    StandingPlace,
    enter,
    leave,
    opened,
    place_lost,
    require_outside,
    tenant_busy,
)

_NOBODY = "nobody"  # the names of tenants' lines are hashes
_PROBES = 8  # with so many in its line, those of dead processes are removed

LOOK_SECONDS = 0.01
LOOK_SHARE = 20  # looking takes at most the twentieth part of the time
CHECK_SECONDS = 0.5
PATIENCE_SECONDS = 5.0  # how long those who wait are kept while the lines cannot be read


@dataclass(slots=True, eq=False)
class _Waiter:
    """A turn of this process that waits; its gate opens when it is the first, or has lost, or
    nobody knows because the lines cannot be read."""

    ticket: Ticket
    gate: threading.Event = field(default_factory=threading.Event)
    lost: bool = False
    fault: StorageUnavailable | None = None


class _LinePlace(StandingPlace):
    """A place whose ticket goes with the turn that is stored, where the lines are beside it."""

    __slots__ = ("_line", "_lines", "_ticket", "given_back")

    def __init__(
        self, queue: object, tenant: str, lines: TurnLines, line: str, ticket: Ticket
    ) -> None:
        super().__init__(queue, tenant)
        self._lines = lines
        self._line = line
        self._ticket = ticket
        self.given_back = False

    def require_held(self, transaction: Any = None) -> None:
        """See `Place.require_held`."""
        super().require_held(transaction)
        if transaction is not None:
            self.given_back = self._lines.leave_within(transaction, self._line, self._ticket)


class SharedTurnQueue:
    """One turn of a tenant at a time, in order of arrival, whichever process each came to.

    A turn takes a ticket of its tenant's line and waits until it is the first. Within a process
    the next turn is told at once; what other processes do is looked up every few milliseconds, by
    one thread for all who wait. The same thread says that this process is alive.
    """

    def __init__(
        self,
        lines: TurnLines,
        name_of: Callable[[str], str],
        *,
        lease: float = LEASE_SECONDS,
    ) -> None:
        """`name_of` makes the name of a tenant's line; nothing else of a tenant goes there."""
        self._lines = lines
        self._name_of = name_of
        self._renew_seconds = lease / 4
        # Reentrant because the collector may end an abandoned stream, and so leave, just here.
        self._mutex = threading.RLock()
        self._waiting: dict[str, list[_Waiter]] = {}
        self._present = 0
        self._wanted = threading.Event()
        self._closed = threading.Event()
        self._keeper: threading.Thread | None = None

    @property
    def load(self) -> Load:
        """See `TurnQueue.load`."""
        with self._mutex:
            waiting = sum(map(len, self._waiting.values()))
            return Load(self._present - waiting, waiting)

    @contextmanager
    def place(
        self,
        tenant: str,
        *,
        waiting_limit: int | None = None,
        cancel: Cancellation | None = None,
    ) -> Iterator[Place | None]:
        """See `TurnQueue.place`; raises `PlaceLost`, and `StorageUnavailable`, as well."""
        require_outside(self, tenant)
        if self._keeper is None:
            self._keep()
        line = self._name_of(tenant)
        ticket = self._lines.join(line, None if waiting_limit is None else waiting_limit + 1)
        if ticket is None:
            raise tenant_busy()
        place = _LinePlace(self, tenant, self._lines, line, ticket)
        self._present += 1
        given_back = False
        try:
            mine = ticket.number == 1 or self._comes(line, ticket, cancel)
            if mine:
                enter(place)
                yield place
                given_back = place.given_back
        finally:
            leave(place)
            self._present -= 1
            self._leave(line, ticket, given_back=given_back)
        if not mine:
            yield None

    def require_usable(self) -> None:
        """Raises `StorageUnavailable` when no turn could take a ticket now: one is taken, in a line
        that is no tenant's, and given back."""
        if self._keeper is None:
            self._keep()
        ticket = self._lines.join(_NOBODY, _PROBES)
        if ticket is not None:
            self._lines.leave(_NOBODY, ticket)

    def close(self) -> None:
        """See `TurnQueue.close`."""
        self._closed.set()
        self._wanted.set()
        self._lines.close()

    def _comes(self, line: str, ticket: Ticket, cancel: Cancellation | None) -> bool:
        """Waits for the turn to be the first; False when it is called off before."""
        waiter = _Waiter(ticket)
        with self._mutex:
            self._waiting.setdefault(line, []).append(waiter)
        try:
            # The one before may have left before this one could be told.
            if self._lines.head(line) == ticket:
                return True
            self._wanted.set()
            if not opened(waiter.gate, cancel):
                return False
            if waiter.fault is not None:
                raise waiter.fault
            if waiter.lost:
                raise place_lost()
            return True
        finally:
            with self._mutex:
                waiters = self._waiting[line]
                waiters.remove(waiter)
                if not waiters:
                    del self._waiting[line]

    def _leave(self, line: str, ticket: Ticket, *, given_back: bool) -> None:
        """Gives the ticket back, and tells the next turn if it waits in this process."""
        if not given_back:
            self._lines.leave(line, ticket)
        waiters = self._waiters(line)
        if waiters:
            with suppress(StorageUnavailable):  # they are told with the next look
                self._tell(waiters, self._lines.head(line))

    def _waiters(self, line: str) -> list[_Waiter]:
        return list(self._waiting.get(line, ()))

    def _tell(self, waiters: list[_Waiter], head: Ticket | None) -> None:
        """Those that waited in a line before its first was looked up: later ones are behind it."""
        for waiter in waiters:
            waiter.lost = (
                waiter.ticket.worker != self._lines.worker
                or head is None
                or head.number > waiter.ticket.number
            )
            if waiter.lost or head == waiter.ticket:
                waiter.gate.set()

    # -- the thread -----------------------------------------------------------------------------

    def _keep(self) -> None:
        with self._mutex:
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._look, name="turn lines", daemon=True)
                self._keeper.start()

    def _look(self) -> None:
        renewed = checked = -self._renew_seconds
        read = time.monotonic()
        while not self._closed.is_set():
            self._wanted.clear()
            began = time.monotonic()
            try:
                if began - renewed >= self._renew_seconds:
                    renewed = began
                    self._lines.renew()
                if self._waiting:
                    check = began - checked >= CHECK_SECONDS
                    checked = began if check else checked
                    self._tell_all(check=check)
                read = began
            except StorageUnavailable as error:
                if began - read >= PATIENCE_SECONDS:
                    self._fail_all(error)
            if self._waiting:
                self._closed.wait(max(LOOK_SECONDS, LOOK_SHARE * (time.monotonic() - began)))
            else:
                self._wanted.wait(self._renew_seconds)

    def _fail_all(self, error: StorageUnavailable) -> None:
        with self._mutex:
            waiting = [waiter for waiters in self._waiting.values() for waiter in waiters]
        for waiter in waiting:
            waiter.fault = StorageUnavailable(error.message, code=error.code, part=error.part)
            waiter.gate.set()

    def _tell_all(self, *, check: bool) -> None:
        """What has changed in the lines that are waited in; `check` also looks for the dead."""
        with self._mutex:
            waiting = {line: list(waiters) for line, waiters in self._waiting.items()}
        heads = self._lines.heads(waiting, living=check)
        for line, waiters in waiting.items():
            self._tell(waiters, heads.get(line))
