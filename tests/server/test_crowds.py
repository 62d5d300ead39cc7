"""Too many at once: turns wait or are told so, silence is ended, a sign of life is always given."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.processes import free_port
from tests.fakes import until
from tests.server.conftest import Script
from tests.server.running import Server, chat_request, running
from tests.server.stored import memory
from tests.upstream import Upstream

DRIPPED = {
    "head": b"GET /heal",
    "headers": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-",
    "form": b"POST /admin/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n\r\nname=",
    "length": b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b'Content-Length: 5000\r\n\r\n{"',
    "chunks": b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b'Transfer-Encoding: chunked\r\n\r\n1000\r\n{"',
}


@pytest.fixture
def small(tmp_path: Path, model_server: Upstream) -> Iterator[Server]:
    """A server that runs two turns at once, and has two more wait for them."""
    with running(tmp_path, model_server.base_url, CONCURRENCY="2") as server:
        yield server


def test_turns_beyond_the_room_wait_in_order_and_beyond_that_are_told_so(
    small: Server, script: Script
) -> None:
    with ThreadPoolExecutor(4) as pool:
        with script.holding():
            running_turns = [pool.submit(small.chat, f"r{n}", "hold it") for n in range(2)]
            until(lambda: script.held == 2)
            waiting = [pool.submit(small.chat, f"w{n}", "echo waited") for n in range(2)]
            until(lambda: small.metric("switchboard_turns_waiting") == 2)
            refused = small.chat("late", "echo late")
            assert (refused.status, refused.code) == (503, "server_busy")
            assert int(refused.headers["Retry-After"]) >= 1
            for path in ("/healthz", "/readyz", "/api/tenants", "/admin/login", "/metrics"):
                assert small.request("GET", path, timeout=5).status == 200
            assert script.held == 2
        assert [turn.result().status for turn in running_turns + waiting] == [200] * 4
    assert small.chat("late", "echo now").status == 200
    assert memory(small.database, "late") == [
        ("user", "echo now"),
        ("assistant", "You said: echo now"),
    ]


def test_a_streamed_turn_is_refused_with_a_status_as_well(small: Server, script: Script) -> None:
    with script.holding():
        held = [small.say(f"s{n}", "hold it", stream=True) for n in range(2)]
        until(lambda: script.held == 2)
        held += [small.say(f"t{n}", "echo it", stream=True) for n in range(2)]
        until(lambda: small.metric("switchboard_turns_waiting") == 2)
        assert small.chat("u", "echo it", stream=True).code == "server_busy"
    for connection in held:
        connection.close()


def test_who_hangs_up_while_it_waits_for_room_makes_place(small: Server, script: Script) -> None:
    with script.holding():
        held = [small.say(f"h{n}", "hold it") for n in range(2)]
        until(lambda: script.held == 2)
        waiting = [small.say(f"i{n}", "echo it") for n in range(2)]
        until(lambda: small.metric("switchboard_turns_waiting") == 2)
        for connection in waiting:
            connection.close()
        with ThreadPoolExecutor(1) as pool:
            until(lambda: small.metric("switchboard_turns_waiting") == 0)
            later = pool.submit(small.chat, "j", "echo it")
            script.release.set()
            assert later.result(20).status == 200
    for connection in held:
        connection.close()
    until(lambda: memory(small.database, "i0") == [])


def test_more_silent_connections_than_there_are_places_keep_nobody_out(small: Server) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    silent = [small.connect() for _ in range(1500)]  # 1024 is what a small server holds
    try:
        for path in ("/healthz", "/readyz"):
            assert small.request("GET", path, timeout=5).status == 200
        assert small.chat("through", "echo it", timeout=10).status == 200
        assert sum(map(is_open, silent)) <= 1024 + 64
    finally:
        for connection in silent:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "Traceback" not in small.printed


def test_heads_and_bodies_that_drip_are_ended(server: Server) -> None:
    connections = {name: server.connect() for name in DRIPPED}
    silent, opened = server.connect(), time.monotonic()
    for name, beginning in DRIPPED.items():
        connections[name].sendall(beginning)
    answers: dict[str, bytes] = {}
    while len(answers) < len(DRIPPED):
        assert time.monotonic() - opened < 60
        time.sleep(0.5)
        for name, connection in connections.items():
            if name not in answers and (answer := drip(connection)) is not None:
                answers[name] = answer
    for name, answer in answers.items():
        assert answer.startswith(b"HTTP/1.1 408 "), (name, answer[:200])
        assert name == "form" or b'"request_timeout"' in answer  # a form's answer is a page
        assert b"Connection: close\r\n" in answer
    silent.settimeout(1)
    assert silent.recv(1) == b""  # nobody asked, so there is nothing to answer
    for connection in (silent, *connections.values()):
        connection.close()


def drip(connection: socket.socket) -> bytes | None:
    """One more byte; what the server said, once it has."""
    connection.settimeout(0.01)
    try:
        answer = connection.recv(65_536)
    except TimeoutError:
        connection.sendall(b"a")
        return None
    return answer


def is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_many_requests_at_once_on_one_connection_hold_nobody_up(server: Server) -> None:
    with server.connect() as greedy:
        greedy.settimeout(0.05)
        burst = b"GET /api/tenants HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000
        sent = 0
        try:
            while sent < len(burst):
                sent += greedy.send(burst[sent:])
        except TimeoutError:
            pass  # it takes no more than it can answer
        began = time.monotonic()
        assert server.chat("patient", "echo it").status == 200
        assert time.monotonic() - began < 5


def test_few_open_files_are_said_in_a_sentence_and_bound_the_turns(
    tmp_path: Path, model_server: Upstream
) -> None:
    server = Server(tmp_path, free_port(), model_server.base_url)
    server.launch(limit=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400)))
    try:
        server.wait()
        (sentence,) = [line for line in server.printed.splitlines() if "files may be open" in line]
        assert "400" in sentence
        assert "ulimit -n" in sentence
        crowd = [server.connect() for _ in range(300)]
        for number, connection in enumerate(crowd):
            connection.sendall(chat_request(f"user{number % 20}", "echo it"))
        assert server.request("GET", "/healthz", timeout=5).status == 200
        until(lambda: server.chat("through", "echo it").status == 200)
        for connection in crowd:
            connection.close()
        assert "Traceback" not in server.printed
    finally:
        server.kill_group()


def test_too_few_open_files_are_refused(tmp_path: Path, model_server: Upstream) -> None:
    server = Server(tmp_path, free_port(), model_server.base_url)
    server.launch(limit=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)))
    assert server.process is not None
    assert server.process.wait(30) != 0
    (sentence,) = server.printed.strip().splitlines()
    assert "ulimit -n" in sentence
