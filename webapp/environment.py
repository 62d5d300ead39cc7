"""The only module that reads the process's environment; the settings' meaning is in settings.py.

`switchboard dev` and `serve` become gunicorn, and hand on what it must know in variables of their
own. Those are no settings: nobody else writes them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

DEV_SERVER = "DEV_SERVER"
EMBEDDED_MODEL = "EMBEDDED_MODEL_OF_DEV"
LOG_FORMAT = "LOG_FORMAT_OF_THE_SERVER"
READY_LINE = "READY_LINE"


def environment() -> Mapping[str, str]:
    """All of it, for reading and for handing on to another program."""
    return os.environ


def is_dev_server() -> bool:
    """Whether this worker's parent is what `switchboard dev` became: it left its number, which an
    inherited or written-down variable cannot have."""
    return os.environ.get(DEV_SERVER) == str(os.getppid())


def is_dev_itself() -> bool:
    """Whether this process is the one that `switchboard dev` became."""
    return os.environ.get(DEV_SERVER) == str(os.getpid())


def embedded_model() -> tuple[int, int, str] | None:
    """The embedded model's process, the descriptor of its port and its key, as `dev` handed them
    over; None without one."""
    left = os.environ.get(EMBEDDED_MODEL, "").split()
    return (int(left[0]), int(left[1]), os.environ["OPENAI_API_KEY"]) if left else None


def ready_line() -> str | None:
    """The line that is printed once the server listens."""
    return os.environ.get(READY_LINE)


def server_log_format() -> str:
    """The form of gunicorn's own lines: `console` or `json`."""
    return os.environ.get(LOG_FORMAT, "console")
