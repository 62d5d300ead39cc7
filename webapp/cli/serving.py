"""Starts gunicorn in the place of this process, for `dev` and `serve`."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import socket
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import click

from webapp.environment import LOG_FORMAT, READY_LINE
from webapp.environment import environment as own_environment
from webapp.errors import ConfigurationError
from webapp.observability.logs import configure_logging
from webapp.server import TELLING_SECONDS
from webapp.server.capacity import FEWEST_OPEN_FILES, Capacity, capacity, raise_open_files
from webapp.settings import Settings

STORING_SECONDS = 10  # beyond a turn's own time: to be stored, sent and read
CONCURRENCY = "SWITCHBOARD_CONCURRENCY"
WORKERS = "SWITCHBOARD_WORKERS"
CONTROL_GROUPS = Path("/sys/fs/cgroup")

logger = logging.getLogger("switchboard.server")


def usable_cores(most: int) -> int:
    """How many cores this process may use, at most so many: those that it may run on, and in a
    container no more than its share of time comes to."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        cores = os.cpu_count() or 1
    share = share_of_time(CONTROL_GROUPS)
    return max(1, min(cores, most) if share is None else min(cores, most, math.ceil(share)))


def share_of_time(groups: Path) -> float | None:
    """How many cores' time the control group allows; None when it sets no bound."""
    try:
        quota, period = (groups / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota = (groups / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (groups / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
    if not (quota.isdecimal() and period.isdecimal() and int(period)):
        return None  # `max` or -1: no bound
    return int(quota) / int(period)


def require_place(bind: str) -> None:
    """`ConfigurationError` when nothing can listen there."""
    if bind.startswith("unix:"):
        _require_free_path(Path(bind.removeprefix("unix:")))
    elif not bind.startswith("fd://"):
        host, colon, port = bind.rpartition(":")
        if not colon or (":" in host and not (host.startswith("[") and host.endswith("]"))):
            raise ConfigurationError(
                f"--bind {bind} is no address; write 127.0.0.1:8080, [::1]:8080 or unix:/a/path."
            )
        if not (port.isascii() and port.isdecimal() and int(port) <= 65_535):
            raise ConfigurationError(f"--bind {bind} has no port from 1 to 65535.")
        require_free_port(host.strip("[]") or "0.0.0.0", int(port))  # noqa: S104  # nosec B104  # as it was asked


def require_free_port(host: str, port: int) -> None:
    """`ConfigurationError` when nothing can listen there."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        raise ConfigurationError(
            f"The address {host} is not known; give one of this machine."
        ) from None
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            raise ConfigurationError(_why_not(host, port, error)) from None


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use by another program; choose another port."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"This machine has no address {host}; give one that it has, or 0.0.0.0 for all."
    if error.errno == errno.EACCES:
        return f"Port {port} is for privileged programs; choose one from 1024 on."
    return f"Port {port} of {host} cannot be used ({error.strerror}); choose another one."


def _require_free_path(path: Path) -> None:
    if not path.parent.is_dir():
        raise ConfigurationError(f"There is no folder {path.parent} for the socket {path.name}.")
    if not os.access(path.parent, os.W_OK):
        raise ConfigurationError(f"No socket can be made in {path.parent}: it is not writable.")
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise ConfigurationError(f"{path} is there already and is no socket; choose another path.")
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(str(path)) == 0:
            raise ConfigurationError(f"The socket {path} is in use by another program.")


def run_gunicorn(
    arguments: list[str],
    environment: Mapping[str, str],
    settings: Settings,
    *,
    ready: Mapping[str, str],
    ready_text: str,
    concurrency: int | None = None,
    grace: float | None = None,
) -> NoReturn:
    """Becomes gunicorn: the same process number, so that signals and supervisors reach it.

    `ready` is said once it listens: as a line of the log where that is JSON, else as its text.
    A stop waits `grace` seconds for the turns that run, or as long as a turn may take.
    """
    json_log = settings.log_format == "json"
    held = _capacity(concurrency or settings.concurrency, json_log=json_log)
    waited = settings.turn_seconds + STORING_SECONDS if grace is None else grace
    inherited = dict(own_environment())
    line = json.dumps(ready) if json_log else ready_text
    own = {
        **environment,
        CONCURRENCY: str(held.turns),
        LOG_FORMAT: settings.log_format,
        READY_LINE: line,
    }
    for name in own:
        inherited.pop(f"{name}_FILE", None)
    sys.stdout.flush()
    sys.stderr.flush()
    command = [
        *(sys.executable, "-m", "webapp.server.first", "-c", "python:webapp.server", *arguments),
        *("--worker-connections", str(held.connections)),
        *("--graceful-timeout", str(math.ceil(waited) + TELLING_SECONDS)),
    ]
    os.execve(sys.executable, command, {**inherited, **own})  # noqa: S606  # nosec B606  # no shell


def _capacity(turns: int, *, json_log: bool) -> Capacity:
    files = raise_open_files()
    if files < FEWEST_OPEN_FILES:
        raise ConfigurationError(
            f"Only {files} files may be open, and {FEWEST_OPEN_FILES} are needed at least;"
            " raise the limit with: ulimit -n."
        )
    held = capacity(turns, files)
    if held.turns < turns:
        sentence = (
            f"Only {files} files may be open, so a worker runs {held.turns} turns at once"
            f" instead of {turns}; raise the limit with: ulimit -n."
        )
        advise("few_open_files", sentence, json_log=json_log)
    return held


def advise(name: str, sentence: str, *, json_log: bool) -> None:
    """Tells who starts a server what to do about something that does not keep it from starting."""
    if json_log:
        configure_logging("json", "WARNING")
        logger.warning(name, extra={"advice": sentence})
    else:
        click.echo(sentence, err=True)
