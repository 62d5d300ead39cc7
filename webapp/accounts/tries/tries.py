"""Counts tries to sign in, in the database, and slows or refuses further ones; passwords are not
here.

A strange browser is counted by its address, which is refused after too many failures, and by the
account, which is never refused: its tries come one after the other, further and further apart,
wherever they come from. A browser that is known to the account is counted by itself alone.

A try counts as failed until it is said to have succeeded, so that a thousand tries at once are
not all let in before the first of them has failed.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from webapp.accounts.address_groups import address_group
from webapp.accounts.tries import store
from webapp.accounts.tries.store import Tried
from webapp.clock import Clock
from webapp.errors import RateLimited
from webapp.storage import Connection, Database
from webapp.storage.alone import hold

WINDOW_SECONDS = 900.0
FAILURES_OF_ADDRESS = 30
FAILURES_OF_BROWSER = 10
FAILURES_OF_SESSION = 10
FIRST_DELAY_MS = 100
LONGEST_DELAY_MS = 2_000
# From here on somebody is at it in earnest: 15 minutes hold 90 guesses more, not 450.
STUBBORN_FAILURES = 60
STUBBORN_DELAY_MS = 10_000
LONGEST_WAIT_MS = 5_000
# Names that there are not are counted too, and must not fill the table.
NAME_GROUPS = 4096


@dataclass(frozen=True, slots=True)
class Admitted:
    """A try that may begin after `wait_seconds`; `counted` is where it counts as failed."""

    wait_seconds: float
    counted: tuple[str, ...]
    known: bool


class Tries:
    """The counts, shared by all processes that share the database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def admit(self, account: str, address: str, browser: str | None) -> Admitted:
        """Begins a try. `RateLimited` when the address has failed too often, or when too many
        tries at the account are waiting for their turn already."""
        now = self._clock.now_ms()

        def work(connection: Connection) -> Admitted:
            _begin(connection, now)
            if browser is not None:
                own = f"browser:{browser}"
                tried = _current(connection, own, now)
                if tried.failures < FAILURES_OF_BROWSER:
                    _count(connection, own, tried)
                    return Admitted(0.0, (own,), known=True)
            place, name = f"address:{address_group(address)}", _name_group(account)
            _count_limited(connection, place, FAILURES_OF_ADDRESS, now)
            tried = _current(connection, name, now)
            begins = max(now, min(tried.free_at, now + STUBBORN_DELAY_MS))
            if begins - now > LONGEST_WAIT_MS:
                raise _too_many(begins - now)
            _count(connection, name, tried, free_at=begins + _pause(tried.failures))
            return Admitted((begins - now) / 1000, (place, name), known=False)

        return self._database.write(work)

    def admit_session(self, session_id: int) -> Admitted:
        """Begins a guess at the current password, made in this session."""
        now, own = self._clock.now_ms(), f"session:{session_id}"

        def work(connection: Connection) -> Admitted:
            _begin(connection, now)
            _count_limited(connection, own, FAILURES_OF_SESSION, now)
            return Admitted(0.0, (own,), known=True)

        return self._database.write(work)

    def failed_link(self, address: str) -> None:
        """Counts an invented link, after it was looked at; `RateLimited` when it is one too many.

        A good link is never counted, so a stranger's failures cannot block it.
        """
        now, place = self._clock.now_ms(), f"address:{address_group(address)}"
        with self._database.read() as connection:
            # A flood writes nothing once it is over the limit.
            _require_few(_current(connection, place, now), FAILURES_OF_ADDRESS, now)

        def work(connection: Connection) -> None:
            _begin(connection, now)
            _count_limited(connection, place, FAILURES_OF_ADDRESS, now)

        self._database.write(work)

    def succeeded(self, connection: Connection, admitted: Admitted) -> None:
        """The try counts no longer; the failures before it still do."""
        hold(connection, "tries")
        for who in admitted.counted:
            store.forgive(connection, who)

    def called_off(self, admitted: Admitted) -> None:
        """The password was not looked at after all."""
        self._database.write(lambda connection: self.succeeded(connection, admitted))


_WINDOW_MS = round(WINDOW_SECONDS * 1000)


def _begin(connection: Connection, now: int) -> None:
    hold(connection, "tries")
    store.drop_old(connection, now - _WINDOW_MS)


def _current(connection: Connection, who: str, now: int) -> Tried:
    tried = store.find(connection, who)
    # A moment that is still to come is one of a clock that was set back since.
    if tried is None or not now - _WINDOW_MS < tried.since <= now:
        return Tried(0, now, now)
    return tried


def _count(connection: Connection, who: str, tried: Tried, *, free_at: int | None = None) -> None:
    free = tried.free_at if free_at is None else free_at
    store.put(connection, who, Tried(tried.failures + 1, tried.since, free))


def _count_limited(connection: Connection, who: str, limit: int, now: int) -> None:
    tried = _current(connection, who, now)
    _require_few(tried, limit, now)
    _count(connection, who, tried)


def _require_few(tried: Tried, limit: int, now: int) -> None:
    if tried.failures >= limit:
        raise _too_many(tried.since + _WINDOW_MS - now)


def _pause(failures: int) -> int:
    """The pause between two tries at the account, in milliseconds."""
    if failures >= STUBBORN_FAILURES:
        return STUBBORN_DELAY_MS
    return min(LONGEST_DELAY_MS, FIRST_DELAY_MS << min(failures, 10))


def _name_group(account: str) -> str:
    number = int.from_bytes(hashlib.sha256(account.encode()).digest()[:4], "big") % NAME_GROUPS
    return f"name:{number}"


def _too_many(wait_ms: int) -> RateLimited:
    return RateLimited(
        "Too many failed tries; wait a while and try again.",
        retry_after=math.ceil(wait_ms / 1000),
        code="too_many_failures",
    )
