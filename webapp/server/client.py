"""A client's connection: its socket, which waits no longer than its patience allows."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import Any

import gevent
import gevent.socket

from webapp.server.connections import Connections
from webapp.server.patience import Patience, Phase

YIELD_BYTES = 256 * 1024
PAUSE_SECONDS = 0.0001  # with 0 the loop would come back here before it looks for others


@dataclass(slots=True)
class Stop:
    """Since when the process is to stop, by the monotonic clock."""

    since: float | None = None


class Client(gevent.socket.socket):
    """The socket of one connection, as gunicorn reads and writes it.

    `waited` is set by every read: a connection without a read since its last request had several
    ready.
    """

    def __init__(
        self,
        accepted: gevent.socket.socket,
        group: str,
        keepalive: float,
        connections: Connections,
        stop: Stop,
    ) -> None:
        family, kind, protocol = accepted.family, accepted.type, accepted.proto
        super().__init__(family, kind, protocol, fileno=accepted.detach())
        self.group = group
        self.patience = Patience(keepalive)
        self.waited = False
        self.request: Any = None  # the one that is being answered
        self._connections = connections
        self._stop = stop
        self._unyielded = 0
        self._held: list[bytes] | None = None

    def recv(self, size: int, flags: int = 0) -> bytes:
        """`TimeoutError` when the client has used up its time."""
        left = self.patience.left(self._stop.since)
        if left <= 0:
            raise TimeoutError("the client is too slow")
        self.settimeout(left)
        self.waited = True
        if self.patience.phase is Phase.BODY:
            data = self._recv_body(size, flags)
        else:
            data = super().recv(size, flags)
        self.patience.came(len(data))
        self._let_others(len(data))
        return bytes(data)

    def _recv_body(self, size: int, flags: int) -> bytes:
        """The connection is silent while it waits for a body."""
        self._connections.silent(self, self.patience.body_since)
        try:
            return bytes(super().recv(size, flags))
        finally:
            self._connections.busy(self)

    def hold(self) -> None:
        """From here on what is sent is gathered, until `release` sends it in one piece."""
        self._held = []

    def release(self) -> None:
        held, self._held = self._held, None
        if held:
            self.sendall(b"".join(held))

    def sendall(self, data: Any, flags: int = 0) -> None:
        """`TimeoutError` when the client reads too slowly."""
        if self._held is not None:
            self._held.append(data)
            return
        allowed = self.patience.may_block()
        if allowed <= 0:
            raise TimeoutError("the client reads too slowly")
        self.settimeout(allowed)
        began = time.monotonic()
        # What fits into the socket's buffer is nearly everything, and then gone with one call.
        sent = self.send(data, flags)
        if sent < len(data):
            super().sendall(memoryview(data)[sent:], flags)
        self.patience.sent(len(data), time.monotonic() - began)
        self._let_others(len(data))

    def _let_others(self, count: int) -> None:
        """Yields to other greenlets now and then, because reads that need no wait never yield."""
        self._unyielded += count
        if self._unyielded > YIELD_BYTES:
            self._unyielded = 0
            gevent.sleep(PAUSE_SECONDS)

    def is_last(self) -> None:
        """The request that is being answered, if there is one, is told to be the last."""
        if self.request is not None:
            self.request.force_close()

    def end(self) -> None:
        """Ends the connection: its reader finds it closed; may be called from the event loop."""
        try:
            # Not gevent's own method, which would raise in the waiting greenlet: it finds an end
            # instead.
            self._sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]  # not in the stubs
        except OSError:
            return  # it is closed already
