"""Starts the embedded model again when its process has ended; what runs in it is in `child`."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable

from webapp.errors import ConfigurationError
from webapp.local_model.process import EmbeddedModel

LOOK_SECONDS = 0.1
# A child that lived so long was sound, and the next one is started at once.
SOUND_SECONDS = 30.0
LONGEST_PAUSE = 30.0


class Keeper:
    """Watches the child that another program left behind when this one took its place by `exec`.

    The next child has the same port and key. A caller is refused while there is none, for about a
    second, and the agent tries again. A child that ends soon again is started after a pause, which
    doubles up to half a minute. `say` is given a sentence for the log.
    """

    def __init__(self, pid: int, descriptor: int, key: str, say: Callable[[str], None]) -> None:
        self._pid = pid
        self._say = say
        self._model = EmbeddedModel(reserved=socket.socket(fileno=descriptor), key=key)
        self._stopping = threading.Event()

    def start(self) -> None:
        """Watches from a thread, until `stop`."""
        threading.Thread(target=self._keep, name="embedded model", daemon=True).start()

    def stop(self) -> None:
        """Ends the child, and starts none again.

        One that is just being started notices by itself that its parent has gone.
        """
        self._stopping.set()
        for pid in {self._pid, self._model.pid}:
            if _runs(pid):
                os.kill(pid, signal.SIGTERM)

    def _keep(self) -> None:
        pause, began = 0.0, time.monotonic()
        while not self._stopping.wait(LOOK_SECONDS):
            if _runs(self._pid):
                continue
            sound = time.monotonic() - began > SOUND_SECONDS
            pause = 0.0 if sound or not pause else min(pause, LONGEST_PAUSE)
            self._say(f"The embedded model has ended; it is started again in {pause:g} seconds.")
            if self._stopping.wait(pause):
                return
            pause, began = max(1.0, pause * 2), time.monotonic()
            self._replace()

    def _replace(self) -> None:
        try:
            self._model.start()
        except ConfigurationError as error:
            self._say(error.message)
        self._pid = self._model.pid


def _runs(pid: int) -> bool:
    """Whether the child is there; one that has ended is collected, here or by gunicorn."""
    try:
        return pid > 0 and os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False
