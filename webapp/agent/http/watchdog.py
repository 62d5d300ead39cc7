"""Breaks the connections of calls that are over before their answer; no call is made here."""

from __future__ import annotations

import socket
import threading
import time

from webapp.agent.http.call import Call
from webapp.locks import BriefLock

LOOK_SECONDS = 0.25
LOOKS_IN_VAIN = 40


class Watchdog:
    """Asks from one thread whether calls that are under way may go on.

    A thread that waits for the model's server cannot ask by itself, and until its call ends the
    tenant's next turn waits: for a client that has hung up long ago, or for a server that sends a
    byte a second and so never lets a socket's own time-out run out. The thread is there only
    while there are calls, and some seconds more.
    """

    def __init__(self) -> None:
        self._lock = BriefLock()
        self._calls: dict[Call, socket.socket] = {}
        self._looking = False

    def watch(self, call: Call, connection: socket.socket) -> None:
        """Breaks the connection when the call is over, until `leave`; a later one replaces it."""
        self._calls[call] = connection
        if not self._looking:
            with self._lock:
                started, self._looking = self._looking, True
            if not started:
                threading.Thread(target=self._look, name="watchdog", daemon=True).start()

    def leave(self, call: Call) -> None:
        """From here on the connection is not touched: it may serve another run."""
        if call in self._calls:
            with self._lock:
                self._calls.pop(call, None)

    def _look(self) -> None:
        in_vain = 0
        while True:
            time.sleep(LOOK_SECONDS)
            for call in list(self._calls):
                if call.is_over():
                    self._break(call)
            with self._lock:
                in_vain = 0 if self._calls else in_vain + 1
                if in_vain > LOOKS_IN_VAIN:
                    self._looking = False
                    if not self._calls:
                        return
                    self._looking = True  # a call came in between and found this thread here

    def _break(self, call: Call) -> None:
        with self._lock:
            connection = self._calls.get(call)
            if connection is None:
                return
            try:
                # Not the method of a TLS socket, which would first take its reader's session away.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            except OSError:
                return  # it is broken already
            finally:
                # Only now: until its key is gone `leave` waits, and nobody else has the connection.
                del self._calls[call]
