"""Log lines: a static event name and fields, as text for a person or as JSON for a collector."""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure_logging(form: Literal["console", "json"], level: str) -> None:
    """Sends the lines of `switchboard.*` to standard output, and warnings of libraries too."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter(form))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("switchboard").setLevel(level)
    # These repeat what our own lines say, and flask-limiter's names the key.
    for name in ("werkzeug", "flask-limiter", "httpx2", "httpcore2", "openai"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # This one repeats, as errors with their trace, what servers send; ours say which is at fault.
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    # Finding out where a line was written costs more than writing it.
    logging.logThreads = logging.logMultiprocessing = False  # gunicorn's lines name the process
    logging._srcfile = None  # the documented way, see logging's HOWTO


def formatter(form: str) -> logging.Formatter:
    """The formatter of log lines: an object for `json`, else words for a person."""
    return _Json() if form == "json" else _Console()


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """The fields given as `extra`, without those that are None."""
    return {
        name: value
        for name, value in vars(record).items()
        if name not in _STANDARD and value is not None
    }


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        line = {
            "at": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **fields_of(record),
        }
        return json.dumps(line, ensure_ascii=False, default=str)


class _Console(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = _clock_time(int(record.created))
        fields = fields_of(record)
        trace = fields.pop("trace", None)
        words = [f"{moment}Z", record.levelname.ljust(7), record.getMessage()]
        words += [f"{name}={_plain(value)}" for name, value in fields.items()]
        return " ".join(words) + (f"\n{trace}" if trace else "")


@lru_cache(maxsize=4)
def _clock_time(second: int) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(second))


def _plain(value: object) -> str:
    """One word, with nothing in it that could forge a line or steer a terminal."""
    text = str(value)
    return text if text.isprintable() and " " not in text else json.dumps(text)
