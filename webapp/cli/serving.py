"""Starts gunicorn in the place of this process, for `dev` and `serve`."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from typing import NoReturn

from webapp.errors import ConfigurationError


def require_free_port(host: str, port: int) -> None:
    """`ConfigurationError` when nothing can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"Port {port} of {host} cannot be used ({error.strerror}); choose another port."
            ) from None


def run_gunicorn(arguments: list[str], environment: Mapping[str, str]) -> NoReturn:
    """Becomes gunicorn: the same process number, so that signals and supervisors reach it."""
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, "-m", "gunicorn", "-c", "python:webapp.server", *arguments]
    inherited = os.environ  # noqa: TID251  # handed on, not read
    os.execve(sys.executable, command, {**inherited, **environment})  # noqa: S606  # nosec B606  # no shell
