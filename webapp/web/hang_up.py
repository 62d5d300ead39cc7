"""Notices that the client of a turn is gone."""

from __future__ import annotations

import errno
import socket
import threading
import time

from flask import request

_TCP_ESTABLISHED = 1
FRESH_SECONDS = 0.003


class HangUp:
    """Set once the client is gone; a `Cancellation` of the agent.

    `closed` is set when the answer is closed. Beside that the kernel is asked for the connection's
    state, which takes nothing from the socket, and not again within `FRESH_SECONDS`: a turn asks
    at each of its steps. Without a TCP socket, or on a system that cannot be asked, only `closed`
    tells.
    """

    def __init__(self, connection: object) -> None:
        self.closed = threading.Event()
        self._ask = getattr(connection, "getsockopt", None)
        self._whole_until = 0.0

    @classmethod
    def of_request(cls) -> HangUp:
        """Of the current request's client."""
        environ = request.environ
        return cls(environ.get("gunicorn.socket") or environ.get("werkzeug.socket"))

    def is_set(self) -> bool:
        """Whether the client is gone."""
        if self.closed.is_set():
            return True
        info = getattr(socket, "TCP_INFO", None)
        now = time.monotonic()
        if self._ask is None or info is None or now < self._whole_until:
            return False
        try:
            state: bytes = self._ask(socket.IPPROTO_TCP, info, 1)
        except OSError as error:
            return error.errno == errno.EBADF  # other faults mean "not TCP"
        gone = state[0] != _TCP_ESTABLISHED
        self._whole_until = 0.0 if gone else now + FRESH_SECONDS
        return gone
