"""A stop: who is told what, what is written down of it, and what the log says of streams."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from benchmarks.processes import free_port, tree
from tests.fakes import until
from tests.server.conftest import Script
from tests.server.running import Server
from tests.server.stored import memory
from tests.upstream import Upstream


def serving(folder: Path, model_server: Upstream, *arguments: str) -> Server:
    server = Server(
        folder, free_port(), model_server.base_url, {"LOG_FORMAT": "json", "WORKERS": "1"}
    )
    return server.serve(*arguments)


def lines(server: Server) -> list[dict[str, Any]]:
    """Every line that it printed; all of them are JSON."""
    return [json.loads(line) for line in server.printed.splitlines()]


def recorded(server: Server) -> list[tuple[int, str]]:
    connection = sqlite3.connect(server.database)
    try:
        return connection.execute("SELECT status, code FROM requests ORDER BY id").fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_turns_that_a_stop_cuts_are_told_and_written_down(
    tmp_path: Path, model_server: Upstream, script: Script, how: signal.Signals
) -> None:
    server = serving(tmp_path, model_server, "--grace", "1s", "--concurrency", "2")
    try:
        with script.holding(), ThreadPoolExecutor() as pool:
            whole = pool.submit(server.chat, "alice", "hold the whole")
            streamed = pool.submit(server.chat, "bob", "hold the stream", stream=True)
            until(lambda: script.held == 2)
            waiting = pool.submit(server.chat, "carol", "echo later")
            until(lambda: b"switchboard_turns_waiting" in page(server) and waits(server))
            os.kill(server.pid, how)
            if how is signal.SIGTERM:
                os.kill(server.pid, how)  # once more changes nothing
            for answer in (whole.result(30), waiting.result(30)):
                assert (answer.status, answer.code) == (503, "server_stopping")
                assert answer.headers["Connection"] == "close"
                assert answer.headers["Retry-After"]
            body = streamed.result(30).body.decode()
            assert body.rstrip().rpartition("\n\n")[2].startswith("event: error\ndata: ")
            assert '"code": "server_stopping"' in body
            assert server.process is not None
            assert server.process.wait(20) == 0
        assert recorded(server) == [(503, "server_stopping")] * 3
        for user in ("alice", "bob", "carol"):
            assert memory(server.database, user) == []
        ended = [line for line in lines(server) if line.get("route") == "/chat"]
        assert [line["code"] for line in ended] == ["server_stopping"] * 3
        assert sorted(line.get("outcome", line["status"]) for line in ended) == [503] * 3
    finally:
        server.kill_group()


def page(server: Server) -> bytes:
    return server.request("GET", "/metrics").body


def waits(server: Server) -> bool:
    (line,) = [
        line
        for line in page(server).decode().splitlines()
        if line.startswith("switchboard_turns_waiting{")
    ]
    return line.endswith(" 1.0")


def test_a_reload_loses_no_turn_and_takes_new_ones_at_once(
    tmp_path: Path, model_server: Upstream, script: Script
) -> None:
    server = serving(tmp_path, model_server)
    try:
        with script.holding(), ThreadPoolExecutor() as pool:
            old = server.worker
            held = pool.submit(server.chat, "alice", "hold it")
            until(lambda: script.held == 1)
            os.kill(server.pid, signal.SIGHUP)
            until(lambda: len(tree(server.pid)) == 3, 30)
            answers = [server.chat(f"user-{number}", "echo on").status for number in range(20)]
            assert answers == [200] * 20
            script.release.set()
            assert held.result(20).status == 200
        until(lambda: old not in tree(server.pid), 20)
        assert memory(server.database, "alice")
        assert lines(server)
    finally:
        server.kill_group()


def test_a_reload_with_a_fault_in_the_settings_changes_nothing(
    tmp_path: Path, model_server: Upstream
) -> None:
    budget = tmp_path / "budget"
    budget.write_text("1000/day")
    server = Server(
        tmp_path, free_port(), model_server.base_url, {"LOG_FORMAT": "json", "WORKERS": "1"}
    )
    server.settings["TOKEN_BUDGET_FILE"] = str(budget)
    server.serve()
    try:
        worker = server.worker
        budget.write_text("lots")
        os.kill(server.pid, signal.SIGHUP)
        until(lambda: "reload is refused" in server.printed, 30)
        assert "SWITCHBOARD_TOKEN_BUDGET" in lines(server)[-1]["event"]
        assert server.worker == worker
        assert server.chat("alice", "echo on").status == 200
    finally:
        server.kill_group()


def test_a_stop_during_a_reload_does_not_wait_for_both(
    tmp_path: Path, model_server: Upstream, script: Script
) -> None:
    server = serving(tmp_path, model_server, "--grace", "60s")
    try:
        with script.holding(), ThreadPoolExecutor() as pool:
            held = pool.submit(server.chat, "alice", "hold it")
            until(lambda: script.held == 1)
            os.kill(server.pid, signal.SIGHUP)
            until(lambda: len(tree(server.pid)) == 3, 30)
            os.kill(server.pid, signal.SIGTERM)
            # The new worker has nothing to do and ends; the old one lets its turn end.
            until(lambda: len(tree(server.pid)) == 2, 20)
            script.release.set()
            assert held.result(20).status == 200
            assert server.process is not None
            assert server.process.wait(20) == 0
    finally:
        server.kill_group()


def test_the_line_of_a_stream_says_how_it_ended(hasty: Server) -> None:
    ends = {"echo it": (200, None), "fail it": (502, "model_error"), "cut it": (502, "model_error")}
    for number, (message, (outcome, code)) in enumerate(ends.items()):
        answer = hasty.request(
            "POST",
            "/chat",
            {"user_id": f"ending-{number}", "message": message, "stream": True},
            {"X-Request-Id": f"ending-{number}"},
        )
        assert answer.status == 200
        line = line_of(hasty, f"ending-{number}")
        assert (line["status"], line.get("outcome", 200), line.get("code")) == (200, outcome, code)
        assert status_of(hasty, f"ending-{number}") == outcome


def test_a_hang_up_is_499_in_the_log_as_it_is_in_the_figures(hasty: Server) -> None:
    connection = hasty.connect()
    body = json.dumps({"user_id": "leaver", "message": "drip", "stream": True}).encode()
    connection.sendall(
        b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"X-Request-Id: leaving\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    assert connection.recv(1000)
    connection.close()
    line = line_of(hasty, "leaving")
    assert (line["outcome"], line["code"]) == (499, "client_closed_request")
    assert status_of(hasty, "leaving") == 499


def line_of(server: Server, request_id: str) -> dict[str, Any]:
    until(lambda: f'"request_id": "{request_id}"' in server.printed, 10)
    (line,) = [
        entry
        for line in server.printed.splitlines()
        if request_id in line and (entry := json.loads(line))["event"] == "request"
    ]
    assert isinstance(line, dict)
    return line


def status_of(server: Server, request_id: str) -> int:
    found: list[tuple[int]] = []
    deadline = time.monotonic() + 10
    while not found and time.monotonic() < deadline:
        connection = sqlite3.connect(server.database)
        asked = (request_id,)
        found = connection.execute(
            "SELECT status FROM requests WHERE request_id = ?", asked
        ).fetchall()
        connection.close()
    return found[0][0]


def test_every_line_is_json_whatever_happens(tmp_path: Path, model_server: Upstream) -> None:
    server = serving(tmp_path, model_server)
    try:
        for data in (b"\x00\xff\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /healthz\r\n\r\n"):
            with server.connect() as connection:
                connection.sendall(data)
                connection.recv(1000)
        os.kill(server.worker, signal.SIGKILL)  # as the system does when memory is short
        until(lambda: "Perhaps out of memory" in server.printed, 20)
        server.wait()
        assert server.end() == 0
        said = {str(line["event"]) for line in lines(server)}
        assert {"ready", "malformed_request", "request"} <= said
    finally:
        server.kill_group()


@pytest.mark.parametrize(
    ("bind", "word"),
    [
        ("127.0.0.1:99999", "65535"),
        ("127.0.0.1:http", "65535"),
        ("127.0.0.1", "address"),
        ("8080", "address"),
        ("192.0.2.1:8080", "192.0.2.1"),
        ("no.such.host.invalid:8080", "no.such.host.invalid"),
        ("::1:8080", "address"),
        ("unix:/no/such/folder/socket", "/no/such/folder"),
        ("used", "in use"),
    ],
)
def test_where_serve_cannot_listen_is_said_in_one_sentence(
    server: Server, tmp_path: Path, model_server: Upstream, bind: str, word: str
) -> None:
    place = f"127.0.0.1:{server.port}" if bind == "used" else bind
    other = Server(tmp_path, free_port(), model_server.base_url, {"AUTH": "required"})
    other.run("db", "upgrade")
    other.launch_serve("--bind", place)
    assert other.process is not None
    assert other.process.wait(30) != 0
    (sentence,) = other.printed.strip().splitlines()
    assert word in sentence
