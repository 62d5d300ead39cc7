"""Breaks the connections of calls whose run was called off; what is said on them is not here."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from webapp.turns import Cancellation

LOOK_SECONDS = 0.25
LOOKS_IN_VAIN = 40


class Lookout:
    """Asks from one thread whether calls that are under way are still wanted.

    A thread that waits for the model's server cannot ask by itself, and until its call ends the
    tenant's next turn waits: for a client that has hung up long ago. The thread is there only
    while there are calls, and some seconds more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[Hashable, tuple[Cancellation, socket.socket]] = {}
        self._looking = False
        self._local = threading.local()

    @contextmanager
    def calling(self, cancel: Cancellation | None) -> Iterator[None]:
        """The calls that this thread begins in the block belong to this run."""
        self._local.cancel = cancel
        try:
            yield
        finally:
            self._local.cancel = None

    @property
    def cancel(self) -> Cancellation | None:
        """What may call off the call that this thread begins now."""
        return getattr(self._local, "cancel", None)

    def watch(self, key: Hashable, cancel: Cancellation | None, connection: socket.socket) -> None:
        """Breaks the connection when `cancel` is set, until `leave` is called with the key."""
        if cancel is None:
            return
        self._calls[key] = (cancel, connection)
        if not self._looking:
            with self._lock:
                started, self._looking = self._looking, True
            if not started:
                threading.Thread(target=self._look, name="lookout", daemon=True).start()

    def leave(self, key: Hashable) -> None:
        """From here on the connection is not touched: it may serve another run."""
        if key in self._calls:
            with self._lock:
                self._calls.pop(key, None)

    def _look(self) -> None:
        in_vain = 0
        while True:
            time.sleep(LOOK_SECONDS)
            for key, (cancel, _) in list(self._calls.items()):
                if cancel.is_set():
                    self._break(key)
            with self._lock:
                in_vain = 0 if self._calls else in_vain + 1
                if in_vain > LOOKS_IN_VAIN:
                    self._looking = False
                    if not self._calls:
                        return
                    self._looking = True  # a call came in between and found this thread here

    def _break(self, key: Hashable) -> None:
        with self._lock:
            call = self._calls.get(key)
            if call is None:
                return
            try:
                # Not the method of a TLS socket, which would first take its reader's session away.
                socket.socket.shutdown(call[1], socket.SHUT_RDWR)
            except OSError:
                return  # it is broken already
            finally:
                # Only now: until its key is gone `leave` waits, and nobody else has the connection.
                del self._calls[key]
