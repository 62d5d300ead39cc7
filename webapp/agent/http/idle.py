"""The pool of idle connections; nothing is sent on them here."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque

from webapp.agent.http.connection import Connection, Origin
from webapp.locks import BriefLock

IDLE_SECONDS = 30.0
MAX_IDLE = 1024


class IdleConnections:
    """Gives the last one put back, whatever their number, and closes those that wait too long.

    A thread closes them when no call comes that would find them old; it is there only while
    some wait. Beyond `most` in all, one more is closed instead of kept.
    """

    def __init__(self, *, seconds: float = IDLE_SECONDS, most: int = MAX_IDLE) -> None:
        self._seconds = seconds
        self._most = most
        self._lock = BriefLock()
        self._waiting: dict[Origin, deque[tuple[Connection, float]]] = {}
        self._number = 0
        self._reaping = False

    def __len__(self) -> int:
        return self._number

    def take(self, origin: Origin) -> Connection | None:
        """One that can be used, or None; those found to be closed by the server are closed."""
        while True:
            with self._lock:
                line = self._waiting.get(origin)
                if not line:
                    return None
                connection, since = line.pop()
                self._number -= 1
            if time.monotonic() - since < self._seconds and _is_silent(connection):
                return connection
            connection.close()

    def put(self, origin: Origin, connection: Connection) -> None:
        """Keeps it for the next call, or closes it."""
        with self._lock:
            kept = self._number < self._most
            if kept:
                line = self._waiting.setdefault(origin, deque())
                line.append((connection, time.monotonic()))
                self._number += 1
                starts, self._reaping = not self._reaping, True
        if not kept:
            connection.close()
        elif starts:
            threading.Thread(target=self._reap, name="idle connections", daemon=True).start()

    def close(self) -> None:
        """Closes all that wait."""
        self._close_before(time.monotonic() + 1)

    def _reap(self) -> None:
        while True:
            time.sleep(self._seconds / 4)
            self._close_before(time.monotonic() - self._seconds)
            with self._lock:
                if not self._number:
                    self._reaping = False
                    return

    def _close_before(self, moment: float) -> None:
        old: list[Connection] = []
        with self._lock:
            for origin, line in list(self._waiting.items()):
                while line and line[0][1] < moment:
                    old.append(line.popleft()[0])
                if not line:
                    del self._waiting[origin]
            self._number -= len(old)
        for connection in old:
            connection.close()


def _is_silent(connection: Connection) -> bool:
    """Nothing was sent on the kept connection since its last answer, not even its end.

    What the server says before it is asked belongs to an earlier request, so to another user.
    """
    try:
        connection.sock.settimeout(0)
        # Not the method of a TLS socket, which refuses to look without taking.
        socket.socket.recv(connection.sock, 1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
