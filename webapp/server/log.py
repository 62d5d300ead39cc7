"""Gunicorn's own lines and what breaks outside of a request, in the form of all other lines."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import Any

from gunicorn.glogging import Logger

from webapp.environment import server_log_format
from webapp.observability.logs import formatter

LINES = "gunicorn.error"


class Log(Logger):
    """A connection that broke or stood still is one line, not a trace."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        form = formatter(server_log_format())
        for handler in self.error_log.handlers:
            handler.setFormatter(form)
        root = logging.getLogger()
        if not root.handlers:
            # Gunicorn's first process has no other lines than these and Python's warnings.
            root.addHandler(logging.StreamHandler())
            root.handlers[0].setFormatter(form)
        report_strays()

    def exception(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            connection_lost(error)
        elif error is not None:
            report(error)
        else:
            super().exception(msg, *args, **kwargs)


def connection_lost(error: OSError) -> None:
    """A client that went away or stood still is its own business."""
    logging.getLogger("switchboard.errors").info(
        "connection_lost", extra={"exception": type(error).__name__}
    )


def report(error: BaseException, where: str | None = None) -> None:
    """One line for a defect; only where it happened, because its text can quote a user."""
    trace = "".join(traceback.format_tb(error.__traceback__))
    fields = {"exception": type(error).__name__, "where": where, "trace": trace}
    logging.getLogger(LINES).error("unhandled_error", extra=fields)


def report_strays() -> None:
    """Python's own ways of printing what nobody caught, as lines of the log."""

    def of_process(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            report(error.with_traceback(trace))

    def of_thread(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None and arguments.exc_type is not SystemExit:
            report(arguments.exc_value, getattr(arguments.thread, "name", None))

    sys.excepthook = of_process
    threading.excepthook = of_thread
    logging.captureWarnings(True)


def report_of_loop(_context: object, _kind: object, error: Any, _trace: object) -> None:
    """The same for the event loop, in the place of its printing."""
    if isinstance(error, OSError):
        logging.getLogger(LINES).error(
            "cannot_accept", extra={"exception": type(error).__name__, "errno": error.errno}
        )
    elif isinstance(error, BaseException):
        report(error, "event loop")
