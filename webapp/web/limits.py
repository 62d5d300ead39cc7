"""Flask-Limiter as Switchboard uses it: per tenant for turns, per address for bad credentials.

The limiter is asked by name, after binding, because only then the tenant is known: its own hook
runs before the guards, so a stranger could use up somebody else's limit. The headers are ours as
well, because its own send Retry-After with every 200.
"""

from __future__ import annotations

import functools
import logging
import math
import time

from flask import Flask, current_app
from flask_limiter import Limiter
from limits import RateLimitItem, parse, parse_many

import webapp.storage.limits
import webapp.web.limits_memory  # noqa: F401  # both make the limits package know their URLs
from webapp.accounts.address_groups import address_group
from webapp.errors import ConfigurationError, RateLimited
from webapp.web.context import context

logger = logging.getLogger("switchboard.limits")

EXTENSION = "switchboard-limits"
FAILURES = "20/minute"


class Limits:
    """One limiter for one application.

    When its storage is down a request goes through; `storage_failures` counts those, and
    `/readyz` tells.
    """

    def __init__(self, *, default: str, storage_url: str) -> None:
        self.storage_failures = 0
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

    def require_turn(self, reference: str, own_limit: str | None) -> None:
        """Counts one turn of the tenant; `RateLimited` when it is one too many.

        `reference` is the tenant's keyed hash, so that no user id lies in the limiter's storage.
        """
        items = self._items(own_limit) if own_limit else self._default
        strategy = self.limiter.limiter
        try:
            for item in items:
                if not strategy.hit(item, "turns", reference):
                    wait = self._note_headers(item, reference)
                    break
            else:
                self._note_headers(items[0], reference)
                return
        except Exception as error:  # noqa: BLE001  # each storage raises its own kinds
            self._storage_failed(error)
            return
        raise RateLimited("Too many requests of this user; see Retry-After.", retry_after=wait)

    def count_failure(self, address: str) -> None:
        """Counts one bad credential of the address, after it was looked at: a good one never
        comes here, whatever others at its address do. `RateLimited` when it is one too many."""
        place, strategy = address_group(address), self.limiter.limiter
        try:
            # Asked before it is counted: a flood writes nothing more once it is over the limit.
            if strategy.test(self._failures, "failures", place) and strategy.hit(
                self._failures, "failures", place
            ):
                return
            reset = strategy.get_window_stats(self._failures, "failures", place).reset_time
        except Exception as error:  # noqa: BLE001  # as above
            self._storage_failed(error)
            return
        raise RateLimited(
            "Too many bad credentials from this address; see Retry-After.",
            retry_after=math.ceil(reset - time.time()),
        )

    def storage_is_up(self) -> bool:
        try:
            return bool(self.limiter.storage.check())
        except Exception:  # noqa: BLE001  # as above
            return False

    def _note_headers(self, item: RateLimitItem, reference: str) -> int:
        """Tells the caller where it stands in the window; gives the seconds until it ends."""
        stats = self.limiter.limiter.get_window_stats(item, "turns", reference)
        context().limit_headers = {
            "X-RateLimit-Limit": str(item.amount),
            "X-RateLimit-Remaining": str(max(0, stats.remaining)),
            "X-RateLimit-Reset": str(math.ceil(stats.reset_time)),
        }
        return math.ceil(stats.reset_time - time.time())

    def _storage_failed(self, error: Exception) -> None:
        self.storage_failures += 1
        logger.warning("limiter_storage_failed", extra={"exception": type(error).__name__})


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
