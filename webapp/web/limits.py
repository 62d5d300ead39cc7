"""Flask-Limiter as Switchboard uses it: per tenant for turns, per address for bad credentials.

Its checks are called by name, after binding, because only then the tenant is known; its own
headers are off, because it sends Retry-After with every 200.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from flask import Flask, g
from flask_limiter import Limiter, RateLimitExceeded
from limits import RateLimitItem, parse

from webapp.errors import RateLimited
from webapp.web.context import context

logger = logging.getLogger("switchboard.limits")

FAILURES = "20/minute"


class Limits:
    """One limiter, made for one application.

    When its storage is down a request goes through; `storage_failures` counts those, and
    `/readyz` tells.
    """

    def __init__(self, app: Flask, *, default: str, storage_url: str) -> None:
        self.storage_failures = 0
        self._default = default
        self._failures: RateLimitItem = parse(FAILURES)
        self.limiter = Limiter(
            key_func=_key,
            app=app,
            storage_uri=storage_url,
            strategy="fixed-window",
            headers_enabled=False,
            swallow_errors=False,
        )
        self._check: Callable[[], None] = self.limiter.shared_limit(
            _limit_in_force, scope="turns", key_func=_key, exempt_when=_tenant_is_unknown
        )(_passed)

    def require_turn(self, reference: str, own_limit: str | None) -> None:
        """Counts one turn of the tenant; `RateLimited` when it is one too many.

        `reference` is the tenant's keyed hash, so that no user id lies in the limiter's storage.
        """
        g.limit_key = reference
        g.limit_in_force = own_limit or self._default
        try:
            self._check()
            self._note_headers()
        except RateLimitExceeded:
            self._note_headers()
            wait = int(context().limit_headers.get("X-RateLimit-Reset", "0")) - time.time()
            raise RateLimited(
                "Too many requests of this user; see Retry-After.", retry_after=math.ceil(wait)
            ) from None
        except Exception as error:  # noqa: BLE001  # each storage raises its own kinds
            self._storage_failed(error)

    def require_few_failures(self, address: str) -> None:
        """`RateLimited` when the address has shown too many bad credentials in the last minute."""
        try:
            free = self.limiter.limiter.test(self._failures, "failures", address)
            reset = (
                0
                if free
                else self.limiter.limiter.get_window_stats(
                    self._failures, "failures", address
                ).reset_time
            )
        except Exception as error:  # noqa: BLE001  # as above
            self._storage_failed(error)
            return
        if not free:
            raise RateLimited(
                "Too many bad credentials from this address; see Retry-After.",
                retry_after=math.ceil(reset - time.time()),
            )

    def count_failure(self, address: str) -> None:
        """Counts one bad credential of the address."""
        try:
            self.limiter.limiter.hit(self._failures, "failures", address)
        except Exception as error:  # noqa: BLE001  # as above
            self._storage_failed(error)

    def storage_is_up(self) -> bool:
        try:
            return bool(self.limiter.storage.check())
        except Exception:  # noqa: BLE001  # as above
            return False

    def _note_headers(self) -> None:
        current = self.limiter.current_limit
        if current is not None:
            context().limit_headers = {
                "X-RateLimit-Limit": str(current.limit.amount),
                "X-RateLimit-Remaining": str(max(0, current.remaining)),
                "X-RateLimit-Reset": str(math.ceil(current.reset_at)),
            }

    def _storage_failed(self, error: Exception) -> None:
        self.storage_failures += 1
        logger.warning("limiter_storage_failed", extra={"exception": type(error).__name__})


def _tenant_is_unknown() -> bool:
    """Flask-Limiter remembers the route and asks again before the next request is bound."""
    return "limit_key" not in g


def _key() -> str:
    return str(g.limit_key)


def _limit_in_force() -> str:
    return str(g.get("limit_in_force", ""))


def _passed() -> None:
    """What a counted turn calls; the limit is in the decorator around it."""
