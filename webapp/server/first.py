"""Gunicorn's first process, run as `python -m webapp.server.first` by `dev` and `serve`."""

from __future__ import annotations

import logging
import queue
import signal
import subprocess  # nosec B404  # for our own program
import sys
import time

from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.arbiter import Arbiter

from webapp.environment import LOG_FORMAT, environment
from webapp.server.log import LINES
from webapp.server.stopped import holds_up_others

AGAIN_SECONDS = 1.0
START_SECONDS = 60.0
HELD_UP_SECONDS = 5.0  # as long as a write waits for another's before it is refused
FAULT = 4  # what webapp/wsgi.py ends with


class First(Arbiter):
    """Hears a stop during a reload as well, which waits as long as the old workers' turns do."""

    _reloading = False
    _told: int | None = None
    _told_at = 0.0

    def handle_hup(self) -> None:
        """Reloads, unless the new workers could not start: then the old ones go on."""
        fault = _fault()
        if fault:
            logging.getLogger(LINES).error(
                "The reload is refused, and nothing has changed: %s", fault
            )
        else:
            super().handle_hup()

    def reload(self) -> None:
        self._reloading = True
        try:
            super().reload()
        finally:
            self._reloading = False

    def murder_workers(self) -> None:
        """Called by gunicorn each second; it gives a worker a minute to show that it is alive."""
        super().murder_workers()
        for pid, worker in list(self.WORKERS.items()):
            try:
                silent = time.monotonic() - worker.tmp.last_update()
            except (OSError, ValueError):
                continue  # it ends just now
            if silent > HELD_UP_SECONDS and holds_up_others(pid):
                logging.getLogger(LINES).error(
                    "Worker %s was stopped while it wrote, and nobody else can: it is ended.", pid
                )
                self.kill_worker(pid, signal.SIGKILL)

    def reap_workers(self) -> None:
        """Called by gunicorn again and again while it waits."""
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


def _fault() -> str:
    """Why a worker could not start now; nothing when it could."""
    tried = subprocess.run(  # nosec B603  # our own program
        [sys.executable, "-c", "import webapp.wsgi"],
        env={**environment(), LOG_FORMAT: "console"},
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    if tried.returncode == 0:
        return ""
    # What is not a sentence of ours is a trace, which would help nobody here.
    return tried.stderr.strip() if tried.returncode == FAULT else "a worker cannot start."


if __name__ == "__main__":
    First(WSGIApplication("%(prog)s [OPTIONS]", prog="switchboard")).run()
