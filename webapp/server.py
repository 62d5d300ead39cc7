"""Configuration of gunicorn, given to it as `-c python:webapp.server`; no code of the application.

One worker class is used everywhere: gevent, which holds a thousand waiting turns for half the CPU
of threads (figures in benchmarks/README.md). It patches the standard library in the worker before
anything of the application is imported, which is why the application is not preloaded.
"""

from __future__ import annotations

import os
import resource
import signal
from typing import Any

wsgi_app = "webapp.wsgi:app"
worker_class = "webapp.server_worker.Worker"
logger_class = "webapp.server_worker.Log"
workers = 1
# More than the turns that run at once: a connection that waits for its next request holds a place
# as well, and the liveness check must find one when a thousand turns wait for the model.
worker_connections = 4000
backlog = 2048
keepalive = 75
timeout = 60
graceful_timeout = 30
limit_request_line = 8190
errorlog = "-"
loglevel = "warning"
accesslog = None
control_socket_disable = True
preload_app = False
# X-Forwarded-* are judged by the application, which knows how many proxies are trusted.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}

MOST_OPEN_FILES = 65_536
EMBEDDED_MODEL_PID = "EMBEDDED_MODEL_PID"
READY_LINE = "READY_LINE"
DEV_SERVER = "DEV_SERVER"


def is_dev_server() -> bool:
    """Whether this worker's parent is what `switchboard dev` became: it left its number, which an
    inherited or written-down variable cannot have."""
    number = os.environ.get(DEV_SERVER)  # noqa: TID251  # from our own command, not a setting
    return number == str(os.getppid())


def raise_open_files() -> None:
    """Lets this process and its workers open as many files as the system permits.

    A turn takes two, and many systems begin with 1024: half of a thousand turns would fail.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
    if soft not in (wanted, resource.RLIM_INFINITY) and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def on_starting(_server: Any) -> None:
    """Before the workers are made, which inherit it."""
    raise_open_files()


def when_ready(_server: Any) -> None:
    """Says where the server listens; called once the sockets are open."""
    line = os.environ.get(READY_LINE)  # noqa: TID251  # from our own command, not a setting
    if line:
        print(line, flush=True)  # noqa: T201  # this is the terminal's line


def worker_exit(_server: Any, worker: Any) -> None:
    """Puts the database's file in order, in the worker, when its last turn has ended."""
    app = getattr(worker, "wsgi", None)
    extensions = getattr(app, "extensions", {})  # there are none when the worker could not start
    if "switchboard" in extensions:
        extensions["switchboard"].close()


def on_exit(_server: Any) -> None:
    """Stops the embedded model; it would also notice by itself, half a second later."""
    pid = os.environ.get(EMBEDDED_MODEL_PID)  # noqa: TID251  # as above
    if pid:
        try:
            os.kill(int(pid), signal.SIGTERM)
        except (ProcessLookupError, ValueError):
            return
