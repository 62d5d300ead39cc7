"""Gunicorn's first process, run as `python -m webapp.server.first` by `dev` and `serve`."""

from __future__ import annotations

import queue
import signal
import time

from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.arbiter import Arbiter

AGAIN_SECONDS = 1.0


class First(Arbiter):
    """Hears a stop during a reload as well, which waits as long as the old workers' turns do."""

    _reloading = False
    _told: int | None = None
    _told_at = 0.0

    def reload(self) -> None:
        self._reloading = True
        try:
            super().reload()
        finally:
            self._reloading = False

    def reap_workers(self) -> None:
        """What gunicorn calls again and again while it waits."""
        super().reap_workers()
        if self._reloading:
            self._hear()
        if self._told is not None and time.monotonic() - self._told_at > AGAIN_SECONDS:
            self.kill_workers(self._told)

    def kill_workers(self, sig: int) -> None:
        """A worker that has only just been made does not hear the first time."""
        super().kill_workers(sig)
        if sig in (signal.SIGTERM, signal.SIGQUIT):
            self._told, self._told_at = sig, time.monotonic()

    def _hear(self) -> None:
        others: list[int] = []
        try:
            while True:
                number = self.SIG_QUEUE.get_nowait()
                if number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
                    self._reloading = False
                    if number != signal.SIGTERM:
                        self.stop(False)
                    raise StopIteration
                others.append(number)
        except queue.Empty:
            for number in others:
                self.SIG_QUEUE.put_nowait(number)


if __name__ == "__main__":
    First(WSGIApplication("%(prog)s [OPTIONS]", prog="switchboard")).run()
