"""Counters for the limiter in Redis or Valkey, exact over processes and hosts.

One script counts all limits of a request, in one step and one round trip. Windows are kept by
Redis' clock alone. Importing this module makes the `limits` package use these classes for its
URLs of Redis and Valkey: what they add is the script, and that nothing waits for long.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from limits import RateLimitItem
from limits.storage.redis import RedisStorage
from limits.storage.redis_cluster import RedisClusterStorage
from limits.storage.redis_sentinel import RedisSentinelStorage

# What a call may wait for an answer, and for a connection. The URL's query may say otherwise.
PATIENCE_SECONDS = 0.5

# The counters are in KEYS, those that are to be looked at first in front; ARGV has for each its
# limit and the milliseconds of its window. The answer is the number of the counter that is full,
# or 0 when all were counted; then hits and milliseconds left of that counter, or of the first.
_TAKE = """
local first
for number, key in ipairs(KEYS) do
  local limit, window = tonumber(ARGV[2 * number - 1]), tonumber(ARGV[2 * number])
  local hits = tonumber(redis.call('GET', key) or '0')
  local full = hits >= limit
  if not full then hits = redis.call('INCR', key) end
  local left = redis.call('PTTL', key)
  if left < 0 then
    redis.call('PEXPIRE', key, window)
    left = window
  end
  if full then return {number, hits, left} end
  first = first or {0, hits, left}
end
return first
"""
_WORDS = {
    "AuthenticationError": "refuses the password",
    "NoPermissionError": "refuses what this user asks",
    "ReadOnlyError": "is read-only",
    "OutOfMemoryError": "is full",
    "BusyLoadingError": "is still loading",
    "TimeoutError": "does not answer",
    "ConnectionError": "cannot be reached",
}


class InOneStep(RedisStorage):
    """What all kinds of Redis have in common here."""

    def take(self, items: Sequence[RateLimitItem], *identifiers: str) -> tuple[int, int, float]:
        """Counts one hit in each, unless one is full: then in none behind that one.

        Gives the place in `items` of the one that is full, or -1; then the hits of that one, or
        of the first, and the seconds until its window ends.
        """
        keys = [self.prefixed_key(_same_slot(item.key_for(*identifiers))) for item in items]
        bounds = [bound for item in items for bound in (item.amount, item.get_expiry() * 1000)]
        full, hits, left = self._take(keys, bounds)
        return full - 1, hits, left / 1000

    def check(self) -> bool:
        """Writes a little, because one that is read-only or full answers a PING all the same."""
        client: Any = self.get_connection()
        client.set(self.prefixed_key("written"), "1", px=1000)
        return True

    def initialize_storage(self, _uri: str) -> None:
        super().initialize_storage(_uri)
        self._take: Any = self.get_connection().register_script(_TAKE.encode())


class RedisCounters(InOneStep):
    """`redis://`, `rediss://` and their like: one server."""

    STORAGE_SCHEME = RedisStorage.STORAGE_SCHEME

    def __init__(self, uri: str, **options: Any) -> None:
        super().__init__(uri, **_bounds(uri), **options)


class SentinelCounters(InOneStep, RedisSentinelStorage):
    """`redis+sentinel://`: whichever server the sentinels name."""

    STORAGE_SCHEME = RedisSentinelStorage.STORAGE_SCHEME

    def __init__(self, uri: str, **options: Any) -> None:
        bounds = _bounds(uri)
        # Each sentinel is asked in its turn; the retries are of one of them.
        super().__init__(uri, sentinel_kwargs=dict(bounds), **bounds, **options)


class ClusterCounters(InOneStep, RedisClusterStorage):
    """`redis+cluster://`: a tenant's counters are on one server of it, by the key's braces."""

    STORAGE_SCHEME = RedisClusterStorage.STORAGE_SCHEME

    def __init__(self, uri: str, **options: Any) -> None:
        bounds = {name: value for name, value in _bounds(uri).items() if name != "retry"}
        super().__init__(uri, **bounds, cluster_error_retry_attempts=1, **options)


def reason(error: BaseException) -> str:
    """What is wrong with the storage, in words that go behind its name and hold nothing of it."""
    text = str(error)
    for kind in type(error).__mro__:
        if kind.__name__ in _WORDS:
            return _WORDS[kind.__name__]
    # Before version 7 an error inside a script has its own word in the middle of a sentence.
    return next((_WORDS[kind] for word, kind in _INSIDE if word in text), "failed")


_INSIDE = (
    ("READONLY", "ReadOnlyError"),
    ("OOM ", "OutOfMemoryError"),
    ("NOPERM", "NoPermissionError"),
)


def _bounds(uri: str) -> dict[str, Any]:
    """Options of each connection."""
    package = "valkey" if uri.startswith("valkey") else "redis"
    try:
        retrying = import_module(f"{package}.retry")
        backoff = import_module(f"{package}.backoff")
    except ImportError:
        return {}  # the package of limits says that in its own words
    return {
        "socket_timeout": PATIENCE_SECONDS,
        "socket_connect_timeout": PATIENCE_SECONDS,
        # Who is away is remembered by the limiter; a second try would only make requests wait.
        "retry": retrying.Retry(backoff.NoBackoff(), 0),
        # With protocol 3 a connection that was ended while it was idle is not noticed before it
        # is used, because the server might have sent a notice on it.
        "protocol": 2,
    }


def _same_slot(key: str) -> str:
    """The key with braces around all but the limit, which is the end of three parts."""
    *front, amount, multiples, granularity = key.split("/")
    return f"{{{'/'.join(front)}}}/{amount}/{multiples}/{granularity}"
