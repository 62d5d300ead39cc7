"""A network namespace: a host of its own for one server, with one link to this one.

The link carries what goes to the database alone. Clients and the upstream meet the server inside,
on its own loopback, with sockets that are made there: a thread may change its namespace, and a
socket stays in the one it was made in. So the link can be cut without cutting off the clients.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.server.running import Answer, Server

CLONE_NEWNET = 0x40000000
HERE = Path("/proc/thread-self/ns/net")
NOBODY = "02:00:00:00:00:01"  # an address of the link layer that no host has
_LIBC = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """One namespace and its link: `host` is this machine's address on it, `guest` the other's."""

    def __init__(self) -> None:
        number = os.getpid() % 2**14
        self.name = f"bad-day-{number}"
        self._outer, self._inner = f"bad{number}h", f"bad{number}g"
        # Two addresses of the range that is kept free for benchmarks.
        first = (198 << 24) + (18 << 16) + 4 * number
        self.network, self.host, self.guest = _dotted(first), _dotted(first + 1), _dotted(first + 2)

    def open(self) -> None:
        _ip("netns", "add", self.name)
        _ip("link", "add", self._outer, "type", "veth", "peer", self._inner, "netns", self.name)
        _ip("address", "add", f"{self.host}/30", "dev", self._outer)
        _ip("link", "set", self._outer, "up")
        # What is sent when the link is gone must not leave this machine another way.
        _ip("route", "add", "blackhole", f"{self.network}/30", "metric", "9999")
        self._inside("address", "add", f"{self.guest}/30", "dev", self._inner)
        self._inside("link", "set", "lo", "up")
        self._inside("link", "set", self._inner, "up")

    def close(self) -> None:
        """Removes the namespace and its link, also when they were made in part alone."""
        for arguments in (
            ("link", "delete", self._outer),
            ("netns", "delete", self.name),
            ("route", "delete", "blackhole", f"{self.network}/30", "metric", "9999"),
        ):
            subprocess.run(["ip", *arguments], check=False, stderr=subprocess.DEVNULL)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets and processes of this thread are made inside, for the length of the block."""
        with HERE.open() as back, Path("/run/netns", self.name).open() as inside:
            _enter(inside.fileno())
            try:
                yield
            finally:
                _enter(back.fileno())

    @contextmanager
    def link_down(self) -> Iterator[None]:
        """As a cable that is pulled: both ends know it."""
        self._inside("link", "set", self._inner, "down")
        try:
            yield
        finally:
            self._inside("link", "set", self._inner, "up")

    @contextmanager
    def silent(self) -> Iterator[None]:
        """As a switch that drops everything: the link is up, and nothing arrives either way."""
        lost = ("lladdr", NOBODY, "nud", "permanent", "dev")
        _ip("neighbour", "replace", self.guest, *lost, self._outer)
        self._inside("neighbour", "replace", self.host, *lost, self._inner)
        try:
            yield
        finally:
            _ip("neighbour", "delete", self.guest, "dev", self._outer)
            self._inside("neighbour", "delete", self.host, "dev", self._inner)

    def _inside(self, *arguments: str) -> None:
        _ip("-netns", self.name, *arguments)


class Guest(Server):
    """A server inside of a namespace, asked from inside of it."""

    namespace: Namespace

    def request(self, *arguments: Any, **named: Any) -> Answer:
        with self.namespace.entered():
            return super().request(*arguments, **named)

    def run(self, *arguments: str) -> str:
        with self.namespace.entered():
            return super().run(*arguments)

    def launch_serve(self, *arguments: str) -> None:
        with self.namespace.entered():
            super().launch_serve(*arguments)


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _dotted(address: int) -> str:
    return ".".join(str(address >> shift & 255) for shift in (24, 16, 8, 0))
