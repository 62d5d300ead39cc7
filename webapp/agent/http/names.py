"""Resolves host names within a time limit; opens no connection."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from dataclasses import dataclass, field

from webapp.agent.http.call import Call

FRESH_SECONDS = 60.0
USABLE_SECONDS = 900.0
# So long an old answer is held back for a new one.
STALE_AFTER = 1.0
LOOK_SECONDS = 0.25
# gevent asks in ten real threads: some are left for other names, such as a key server's.
MOST_LOOKUPS = 6
MOST_NAMES = 256

Address = tuple[socket.AddressFamily, tuple[str, int]]


@dataclass(slots=True, eq=False)
class _Lookup:
    """One question to the name server, which everybody who asks the same waits for."""

    done: threading.Event = field(default_factory=threading.Event)
    found: list[Address] = field(default_factory=list)
    error: Exception | None = None


class Names:
    """Addresses of hosts, kept for a minute, and for longer when there is no new answer.

    The system's own resolver can neither be given a time nor be stopped, so each question has a
    thread, one for a name however many ask: a silent name server costs the calls to that host
    their time and nobody else's.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, int], tuple[list[Address], float]] = {}
        self._lookups: dict[tuple[str, int], _Lookup] = {}

    def find(self, host: str, port: int, call: Call, seconds: float) -> list[Address]:
        """At least one address. Raises `TimeoutError` and other kinds of `OSError`."""
        written = _written_out(host, port)
        if written:
            return [written]
        key = host, port
        known = self._known.get(key)
        age = time.monotonic() - known[1] if known else USABLE_SECONDS
        if known and age < FRESH_SECONDS:
            return known[0]
        usable = known[0] if known and age < USABLE_SECONDS else None
        lookup = self._lookup(key)
        _wait(lookup, call, STALE_AFTER if usable else seconds)
        if lookup.found:
            return lookup.found
        if usable:
            return usable
        if not lookup.done.is_set():
            raise TimeoutError("the name server did not answer in time")
        raise OSError("the host's name cannot be found") from lookup.error

    def _lookup(self, key: tuple[str, int]) -> _Lookup:
        with self._lock:
            lookup = self._lookups.get(key)
            if lookup is not None:
                return lookup
            if len(self._lookups) >= MOST_LOOKUPS:
                raise OSError("too many names are being looked up")
            lookup = self._lookups[key] = _Lookup()
        thread = threading.Thread(target=self._ask, args=(key, lookup), name="names", daemon=True)
        thread.start()
        return lookup

    def _ask(self, key: tuple[str, int], lookup: _Lookup) -> None:
        try:
            answers = socket.getaddrinfo(*key, type=socket.SOCK_STREAM)
            lookup.found = [(family, place) for family, _, _, _, place in answers]  # type: ignore[misc]
        except (OSError, UnicodeError) as error:  # UnicodeError: no name at all
            lookup.error = error
        with self._lock:
            del self._lookups[key]
            if lookup.found:
                self._known.pop(key, None)
                self._known[key] = lookup.found, time.monotonic()
                while len(self._known) > MOST_NAMES:
                    del self._known[next(iter(self._known))]
        lookup.done.set()


def _written_out(host: str, port: int) -> Address | None:
    """The address when the host is one already."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if "%" in host:
        return None  # the zone has a number that only the system knows
    return (socket.AF_INET if address.version == 4 else socket.AF_INET6), (host, port)


def _wait(lookup: _Lookup, call: Call, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if lookup.done.wait(min(left, LOOK_SECONDS)) or call.is_over():
            return
