"""Flask-Limiter as Switchboard uses it: per tenant for turns, per address for bad credentials.

The limiter is asked by name, after binding, because only then the tenant is known: its own hook
runs before the guards, so a stranger could use up somebody else's limit. The headers are ours as
well, because its own send Retry-After with every 200.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask, current_app
from flask_limiter import Limiter
from limits import RateLimitItem, parse, parse_many
from limits.strategies import FixedWindowRateLimiter, RateLimiter

from webapp.accounts.address_groups import address_group
from webapp.errors import ConfigurationError, RateLimited
from webapp.storage.limits import InOneStep, SQLiteStorage
from webapp.web.context import context
from webapp.web.limits_memory import MemoryCounters
from webapp.web.limits_outage import Away, Outage

EXTENSION = "switchboard-limits"
FAILURES = "20/minute"


class Limits:
    """One limiter for one application.

    When its storage is away a request goes through; `storage_failures` counts those, and
    `/readyz` tells. Bad credentials are then counted in this process.
    """

    def __init__(self, *, default: str, storage_url: str) -> None:
        self._failures: RateLimitItem = parse(FAILURES)
        self._items = functools.lru_cache(maxsize=1024)(_parsed)
        try:
            self._default = self._items(default)
        except ValueError:
            raise ConfigurationError(
                "SWITCHBOARD_RATE_LIMIT must look like 60/minute;2000/day."
            ) from None
        self.limiter = Limiter(
            key_func=_no_key,
            # An application of its own: on ours it would hook into every request, to find nothing.
            app=Flask("limits"),
            storage_uri=storage_url,
            strategy="fixed-window",
            headers_enabled=False,
            swallow_errors=False,
        )
        self._here = FixedWindowRateLimiter(MemoryCounters())
        self._outage = Outage(self.limiter.storage.check)
        # Memory is never away.
        here = isinstance(self.limiter.storage, MemoryCounters)
        self._ask = _now if here else self._outage.ask

    def require_turn(self, reference: str, own_limit: str | None) -> None:
        """Counts one turn of the tenant; `RateLimited` when it is one too many.

        `reference` is the tenant's keyed hash, so that no user id lies in the limiter's storage.
        """
        items = self._items(own_limit) if own_limit else self._default
        try:
            taken = self._ask(lambda: _take(self.limiter.limiter, items, "turns", reference))
        except Away:
            self._outage.count_let_through()
            return
        context().limit_headers = {
            "X-RateLimit-Limit": str(taken.item.amount),
            "X-RateLimit-Remaining": str(max(0, taken.remaining)),
            "X-RateLimit-Reset": str(math.ceil(time.time() + taken.seconds_left)),
        }
        if taken.full:
            raise RateLimited(
                "Too many requests of this user; see Retry-After.",
                retry_after=math.ceil(taken.seconds_left),
            )

    def count_failure(self, address: str) -> None:
        """Counts one bad credential of the address, after it was looked at: a good one never
        comes here, whatever others at its address do. `RateLimited` when it is one too many."""
        place = address_group(address)
        try:
            taken = self._outage.ask(
                lambda: _take_if_free(self.limiter.limiter, self._failures, "failures", place)
            )
        except Away:
            taken = _take_if_free(self._here, self._failures, "failures", place)
        if taken.full:
            raise RateLimited(
                "Too many bad credentials from this address; see Retry-After.",
                retry_after=math.ceil(taken.seconds_left),
            )

    @property
    def storage_failures(self) -> int:
        """How many requests were let through because the storage was away."""
        return self._outage.let_through

    def storage_is_up(self) -> bool:
        """Whether the storage can be written; asked at most once a second while it can."""
        return self._outage.is_up()

    def storage_fault(self) -> str:
        """What was wrong with the storage last, as the end of a sentence about it."""
        return self._outage.fault


@dataclass(frozen=True, slots=True)
class _Taken:
    """Where somebody stands: by the limit that is full, or by the one with the shortest window."""

    item: RateLimitItem
    full: bool
    remaining: int
    seconds_left: float


def _take(strategy: RateLimiter, items: tuple[RateLimitItem, ...], *who: str) -> _Taken:
    """Counts one hit in each, the shortest window first, until one is full."""
    storage = strategy.storage
    if isinstance(storage, InOneStep | SQLiteStorage | MemoryCounters):
        number, hits, left = storage.take(items, *who)
        item = items[max(number, 0)]
        return _Taken(item, number >= 0, item.amount - hits, left)
    for item in items:
        if not strategy.hit(item, *who):
            return _standing(strategy, item, True, *who)
    return _standing(strategy, items[0], False, *who)


def _take_if_free(strategy: RateLimiter, item: RateLimitItem, *who: str) -> _Taken:
    """The same with one limit, looked at before it is counted: a flood writes nothing more once
    it is over the limit."""
    if isinstance(strategy.storage, InOneStep):
        return _take(strategy, (item,), *who)
    free = strategy.test(item, *who) and strategy.hit(item, *who)
    return _standing(strategy, item, not free, *who)


def _standing(strategy: RateLimiter, item: RateLimitItem, full: bool, *who: str) -> _Taken:
    stats = strategy.get_window_stats(item, *who)
    return _Taken(item, full, stats.remaining, stats.reset_time - time.time())


def _now(work: Callable[[], _Taken]) -> _Taken:
    return work()


def limits() -> Limits:
    """The limiter of the current application."""
    found: Limits = current_app.extensions[EXTENSION]
    return found


def _parsed(text: str) -> tuple[RateLimitItem, ...]:
    """The limits in `60/minute;2000/day`, the shortest window first; ValueError on others."""
    return tuple(sorted(parse_many(text)))


def _no_key() -> str:
    """The package requires a key function; every check here passes its own key."""
    return ""
