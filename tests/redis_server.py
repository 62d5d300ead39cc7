"""A real redis-server of a test's own, which can die, hang, fill up and come back; no test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from benchmarks.processes import free_port
from tests.fakes import until


class RedisServer:
    """One server on a port of its own, which it has again when it is started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> redis.Redis:
        """Another client than the application's, for what an administrator does."""
        return redis.Redis(port=self.port, protocol=2, retry=Retry(NoBackoff(), 0))

    def start(self) -> None:
        """Starts it, empty, and returns when it answers."""
        self.process = subprocess.Popen(
            [
                *("redis-server", "--bind", "127.0.0.1", "--port", str(self.port)),
                *("--save", "", "--dir", str(self.folder), *self.options),
            ],
            stdout=subprocess.DEVNULL,
        )
        until(self._answers, 10)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def hang(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def set(self, **values: Any) -> None:
        with self.client as client:
            for name, value in values.items():
                client.config_set(name, value)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None
        try:
            with self.client as client:
                client.ping()
        except redis.AuthenticationError:
            return True
        except redis.ConnectionError:
            return False
        return True


def require_redis() -> None:
    """Skips the test where there is no redis-server; fails it where there must be one."""
    if shutil.which("redis-server") is None:
        if os.environ.get("REQUIRE_SERVERS") == "1":
            pytest.fail("redis-server is missing")
        pytest.skip("redis-server is missing")


@contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[RedisServer]:
    """A server for the length of the block."""
    require_redis()
    server = RedisServer(folder, *options)
    server.start()
    try:
        yield server
    finally:
        server.kill()
