"""Two servers behind nginx and behind HAProxy: streams come as they are made, and a restart of one
server after the other loses no request and refuses none."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.processes import free_port
from tests.deploy.proxies import DEPLOY, Proxy, certificate, program
from tests.fakes import until
from tests.server.running import Server
from tests.upstream import Answer, saying, streaming, upstream

CLIENTS = 6


def answered(request: dict[str, Any]) -> Answer:
    """The model's server: a streamed answer comes in pieces, with pauses."""
    if request.get("stream"):
        return streaming("one ", "two ", "three", pause=0.5)
    return saying("here", delay=0.02)


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with upstream(answered) as state:
        yield state.base_url


class House:
    """Two servers over one database, and what restarts one of them."""

    def __init__(self, folder: Path, base_url: str) -> None:
        settings = {
            "DATABASE_URL": f"sqlite:///{folder / 'switchboard.db'}",
            "TRUSTED_PROXIES": "1",
            "ALLOWED_HOSTS": "switchboard.example.org,localhost,127.0.0.1",
            "MODEL_MAX_RETRIES": "0",
        }
        self.servers = {
            port: Server(folder / str(port), port, base_url, dict(settings))
            for port in (free_port(), free_port())
        }

    def restart(self, port: int) -> None:
        server = self.servers[port]
        assert server.end(signal.SIGTERM) == 0
        server.launch_serve("--workers", "1")


class Client(threading.Thread):
    """One user that asks again and again, with a new connection each time."""

    def __init__(self, proxy: Proxy, user: str, headers: dict[str, str]) -> None:
        super().__init__()
        self.proxy = proxy
        self.user = user
        self.headers = headers
        self.found: Counter[str] = Counter()
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.is_set():
            connection = connect(self.proxy)
            try:
                status, body = ask(connection, self.user, self.headers)
                self.found["200" if status == 200 else f"{status} {body!r}"] += 1
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self.found[repr(error)] += 1


def connect(proxy: Proxy) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection("localhost", proxy.port, timeout=60, context=proxy.trust)


def ask(
    connection: http.client.HTTPSConnection, user: str, headers: dict[str, str]
) -> tuple[int, bytes]:
    body = json.dumps({"user_id": user, "message": "Hello"})
    connection.request("POST", "/chat", body, {"Content-Type": "application/json", **headers})
    with closing(connection), connection.getresponse() as answer:
        return answer.status, answer.read()


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
def test_streams_come_as_made_and_a_rolling_restart_loses_nothing(
    kind: str, tmp_path: Path, base_url: str
) -> None:
    program(kind)
    house = House(tmp_path, base_url)
    ports = list(house.servers)
    one, two = house.servers.values()
    proxy = Proxy(kind, tmp_path, certificate(tmp_path), ports)
    try:
        one.serve("--workers", "1")
        two.serve("--workers", "1")
        with proxy.running():
            until(lambda: ask(connect(proxy), "zoe", one.credential)[0] == 200, 20)
            require_streaming(proxy, one)
            require_real_address(proxy, one)
            clients = [Client(proxy, f"user{n}", one.credential) for n in range(CLIENTS)]
            for client in clients:
                client.start()
            until(lambda: all(client.found for client in clients), 30)
            try:
                roll(house, tmp_path)
            finally:
                for client in clients:
                    client.stopped.set()
                for client in clients:
                    client.join()
            found = sum((client.found for client in clients), Counter[str]())
            assert set(found) == {"200"}, found
            for client in clients:
                shown = one.request("GET", f"/api/tenants/{client.user}").json
                assert shown["request_count"] == client.found["200"], "none lost, none twice"
    finally:
        for server in house.servers.values():
            if server.process is not None:
                server.kill_group()


def roll(house: House, folder: Path) -> None:
    """Runs the script of deploy/; it asks for each restart through a pipe, and waits for it."""
    asked, done = folder / "asked", folder / "done"
    for pipe in (asked, done):
        os.mkfifo(pipe)
    for port in house.servers:
        command = folder / f"restart-{port}"
        command.write_text(f"#!/bin/sh\necho {port} >{asked}\ncat {done} >{os.devnull}\n")
        command.chmod(0o755)
    script = subprocess.Popen(
        [str(DEPLOY / "rolling-restart"), *map(str, house.servers)],
        env={**os.environ, "RESTART": f"{folder}/restart-", "PAUSE_SECONDS": "2"},
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in house.servers:
        house.restart(int(asked.read_text()))
        done.write_text("done")
    told, _ = script.communicate(timeout=60)
    assert script.returncode == 0
    assert told.splitlines()[-1] == "all are ready"


def require_streaming(proxy: Proxy, server: Server) -> None:
    """A first piece is here while the last one has not been made."""
    connection = connect(proxy)
    body = json.dumps({"user_id": "zoe", "message": "slowly", "stream": True})
    headers = {"Content-Type": "application/json", **server.credential}
    connection.request("POST", "/chat", body, headers)
    pieces = []
    with closing(connection), connection.getresponse() as answer:
        assert answer.status == 200
        while piece := answer.read1(65536):
            pieces.append(piece)
    assert sum(b"event: delta" in piece for piece in pieces) >= 3, "each by itself"


def require_real_address(proxy: Proxy, server: Server) -> None:
    """Bad keys are counted by the client's address, whatever it writes into the header itself."""
    headers = {"Authorization": "Bearer invented"}
    codes = [
        ask(connect(proxy), "zoe", {**headers, "X-Forwarded-For": f"192.0.2.{number}"})[0]
        for number in range(2 * 20 + 1)  # each of the servers counts up to 20 in its memory
    ]
    assert codes[-1] == 429
    assert server.chat("zoe", "Hello").status == 200
