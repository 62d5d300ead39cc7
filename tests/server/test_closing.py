"""A stop resets no connection that was made: who was connected is answered, the rest is refused."""

from __future__ import annotations

import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.processes import free_port
from tests.fakes import until
from tests.server.running import Server
from webapp.server.closing import make_no_new_connections

ASKERS = 8
ASKED = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Askers:
    """Each connects, asks and reads, over and over, until a connection cannot be made."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.ends: Counter[str] = Counter()
        self.answered = 0
        self.stopped = False
        self._threads = [threading.Thread(target=self._run) for _ in range(ASKERS)]

    def __enter__(self) -> Askers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        self.stopped = failure is not None
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self.stopped:
            try:
                connection = socket.create_connection(("127.0.0.1", self.port), 20)
            except ConnectionRefusedError:
                self.ends["refused"] += 1
                return
            with connection:
                try:
                    connection.sendall(ASKED)
                    answer = connection.recv(65536)
                except OSError as error:
                    self.ends[repr(error)] += 1
                    return
            if not answer.startswith(b"HTTP/1.1 200"):
                self.ends[repr(answer[:60])] += 1
                return
            self.answered += 1


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, free_port(), "http://127.0.0.1:9/v1")
    try:
        yield server
    finally:
        if server.process is not None:
            server.kill_group()


def test_a_stop_resets_nobody(server: Server) -> None:
    server.serve("--workers", "2")
    with Askers(server.port) as askers:
        until(lambda: askers.answered > 200, 20)
        assert server.end(signal.SIGTERM) == 0
    assert askers.ends == {"refused": ASKERS}


def test_who_is_connected_stays_so_and_nobody_else_gets_in() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), 5) as before:
            make_no_new_connections([listener])
            with pytest.raises(TimeoutError):
                socket.create_connection(("127.0.0.1", port), 0.3)
            accepted, _ = listener.accept()
            with accepted:
                before.sendall(b"hello")
                assert accepted.recv(5) == b"hello"
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as other:
            make_no_new_connections([other])
            with pytest.raises(TimeoutError):
                socket.create_connection(other.getsockname()[:2], 0.3)
