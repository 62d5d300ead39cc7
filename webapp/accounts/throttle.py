"""Counts failures by whoever failed, in this process and in bounded memory; tells when to wait."""

from __future__ import annotations

import ipaddress
import math
import re
import threading
from collections import OrderedDict

from webapp.clock import Clock, SystemClock
from webapp.errors import RateLimited

MAX_ENTRIES = 10_000


class FailureThrottle:
    """After `limit` failures of one key within `window_seconds` it is refused until they are over.

    When the memory is full the key that has been still
    for longest is dropped: to push one out takes thousands of others, each from an address that
    has a limit of its own.
    """

    def __init__(
        self,
        limit: int,
        window_seconds: float,
        *,
        clock: Clock | None = None,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        self._limit = limit
        self._window = window_seconds
        self._clock = clock or SystemClock()
        self._max_entries = max_entries
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def enter(self, key: str) -> int:
        """Begins a try and gives the failures before it; `RateLimited` when they are too many.

        The try counts as failed until it is said to have succeeded, so that a thousand tries
        at once are not all let in before the first of them has failed.
        """
        with self._lock:
            count, since = self._current(key)
            if count < self._limit:
                self._failures[key] = (count + 1, since if count else self._clock.monotonic())
                self._failures.move_to_end(key)
                if len(self._failures) > self._max_entries:
                    self._failures.popitem(last=False)
                return count
            wait = since + self._window - self._clock.monotonic()
        raise RateLimited(
            "Too many failed tries; wait a while and try again.",
            retry_after=math.ceil(wait),
            code="too_many_failures",
        )

    def forgive(self, key: str) -> None:
        """The try succeeded: it does not count, and the failures before it still do."""
        with self._lock:
            count, since = self._current(key)
            if count:
                self._failures[key] = (count - 1, since)

    def clear(self, key: str) -> None:
        """The try succeeded, and nothing before it counts any longer."""
        with self._lock:
            self._failures.pop(key, None)

    def _current(self, key: str) -> tuple[int, float]:
        count, since = self._failures.get(key, (0, 0.0))
        if count and self._clock.monotonic() - since >= self._window:
            del self._failures[key]
            return 0, 0.0
        return count, since


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_WITH_PORT = re.compile(r"\[(?P<six>[^\]]+)\](?::\d+)?|(?P<four>[\d.]+):\d+", re.ASCII)


def address_group(address: str) -> str:
    """The address as limits should count it: one household has a whole /64 of IPv6.

    An IPv4 address in the clothes of IPv6 is the IPv4 address, and the port that some proxies
    write behind it says nothing.
    """
    bare = _WITH_PORT.fullmatch(address)
    text = (bare["six"] or bare["four"]) if bare else address
    try:
        parsed = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    if parsed in _NAT64:
        return str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
    return str(ipaddress.ip_network((parsed, 64), strict=False))
