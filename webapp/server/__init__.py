"""Configuration of gunicorn, given to it as `-c python:webapp.server`; no code of the application.

One worker class is used everywhere: gevent, which holds a thousand waiting turns for half the CPU
of threads (figures in benchmarks/README.md). It patches the standard library in the worker before
anything of the application is imported, so the application is not preloaded.
"""

from __future__ import annotations

import functools
import json
import logging
from typing import Any

from webapp.environment import embedded_model, is_dev_itself, ready_line, server_log_format
from webapp.local_model.keeper import Keeper
from webapp.observability.logs import formatter
from webapp.server.capacity import raise_open_files
from webapp.server.closing import stop_softly
from webapp.worker_figures import WorkerFigures, inherit

wsgi_app = "webapp.wsgi:app"
worker_class = "webapp.server.worker.Worker"
logger_class = "webapp.server.log.Log"
workers = 1
# More than the turns that run at once, see capacity.py; `dev` and `serve` set it.
worker_connections = 4000
backlog = 2048
keepalive = 75
timeout = 60
graceful_timeout = 195  # as long as a turn may take; `dev` and `serve` set it
limit_request_line = 8190
# What is refused must not depend on whether gunicorn's parser in C happens to be installed.
http_parser = "python"
errorlog = "-"
loglevel = "warning"
accesslog = None
control_socket_disable = True
preload_app = False
# X-Forwarded-* are judged by the application, which knows how many proxies are trusted.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}

TELLING_SECONDS = 5  # of the graceful timeout, for telling those whose turn is cut


def nworkers_changed(server: Any, new_value: int, _old_value: int | None) -> None:
    """Before the first worker, and when SIGTTIN or SIGTTOU change their number."""
    _figures(server).wanted = new_value


def pre_fork(server: Any, worker: Any) -> None:
    """Gives the worker its part of the memory in which all of them count."""
    taken = {other.figures_part for other in server.WORKERS.values()}
    figures = _figures(server)
    worker.figures_part = figures.part_beside(taken)
    if worker.figures_part is not None:
        figures.release(worker.figures_part)  # the end of the one before may not have been heard


def post_fork(server: Any, worker: Any) -> None:
    """In the worker, before it loads the application."""
    if worker.figures_part is not None:
        inherit(_figures(server).own(worker.figures_part, worker.pid))


def child_exit(server: Any, worker: Any) -> None:
    """In the first process, when a worker has ended, however it did."""
    if worker.figures_part is not None:
        _figures(server).release(worker.figures_part)


def _figures(server: Any) -> WorkerFigures:
    if not hasattr(server, "figures"):
        server.figures = WorkerFigures()
    figures: WorkerFigures = server.figures
    return figures


def on_starting(server: Any) -> None:
    """Before the workers are made, which inherit the number of files."""
    raise_open_files()
    left = embedded_model()
    if left is not None and is_dev_itself():
        server.embedded_model = Keeper(*left, server.log.warning)
        server.embedded_model.start()


def when_ready(server: Any) -> None:
    """Says where the server listens; called once the sockets are open."""
    server.stop = functools.partial(stop_softly, server, server.stop)
    line = ready_line()
    if line and server_log_format() == "json":
        fields = {"name": "switchboard.server", "levelname": "INFO", "msg": "ready"}
        record = logging.makeLogRecord({**fields, **json.loads(line)})
        line = formatter("json").format(record)
    if line:
        print(line, flush=True)  # noqa: T201  # this is the terminal's line


def post_worker_init(worker: Any) -> None:
    """In a worker that is about to serve: not in a process that only tries whether one could."""
    worker.wsgi.extensions["switchboard"].connect()


def worker_exit(_server: Any, worker: Any) -> None:
    """Puts the database's file in order, in the worker, when its last turn has ended."""
    app = getattr(worker, "wsgi", None)
    extensions = getattr(app, "extensions", {})  # there are none when the worker could not start
    if "switchboard" in extensions:
        extensions["switchboard"].close()
    tracing = extensions.get("switchboard-tracing")
    if tracing is not None:
        tracing.close()


def on_exit(server: Any) -> None:
    """Stops the embedded model; it would also notice by itself, half a second later."""
    keeper = getattr(server, "embedded_model", None)
    if keeper is not None:
        keeper.stop()
