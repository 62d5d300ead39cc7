"""Starting and stopping: nothing is lost, nothing is left behind, faults are sentences."""

from __future__ import annotations

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.processes import free_port, tree
from tests.fakes import until
from tests.server.conftest import Script
from tests.server.crowd import done_of, parsed
from tests.server.running import Server, running
from tests.server.stored import memory, require_whole, rows
from tests.upstream import Upstream


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_the_turns_under_way_end_and_leaves_nothing_behind(
    tmp_path: Path, model_server: Upstream, script: Script, how: signal.Signals
) -> None:
    with running(tmp_path, model_server.base_url) as server, ThreadPoolExecutor() as pool:
        pids = tree(server.pid)
        idle = server.connect()  # kept open by its client, as a browser does; it holds nothing up
        began = time.monotonic()
        with script.holding():
            whole = pool.submit(server.chat, "alice", "hold the whole")
            streamed = server.say("bob", "hold the stream", stream=True)
            until(lambda: script.held == 2)
            if how is signal.SIGINT:
                os.killpg(server.pid, how)  # as a terminal does on Ctrl-C
            else:
                os.kill(server.pid, how)
            until(lambda: not is_listening(server.port), 10)
            script.release.set()
            finished = how is signal.SIGTERM
            if finished:
                assert whole.result().status == 200
                assert done_of(parsed(read_all(streamed))) is not None
        assert server.process is not None
        assert server.process.wait(20) == 0
        assert time.monotonic() - began < 15
        streamed.close()
        idle.close()
        if finished:
            assert len(memory(server.database, "alice")) == 2
            assert len(memory(server.database, "bob")) == 2
        # All that was recorded is in the sums.
        pending = "SELECT 1 FROM requests WHERE id > (SELECT through FROM usage_rollup)"
        assert rows(server.database, pending) == []
        require_whole(server.database)
        until(lambda: not any(map(is_running, pids)))
        assert "Traceback" not in server.printed
        with socket.create_server(("127.0.0.1", server.port)):
            pass  # the port is free again


def test_who_has_connected_before_a_stop_is_answered_though_nobody_had_taken_him_in(
    tmp_path: Path, model_server: Upstream
) -> None:
    server = Server(tmp_path, free_port(), model_server.base_url)
    server.serve("--workers", "2")
    workers = [pid for pid in tree(server.pid) if pid != server.pid]
    try:
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        # They wait in the kernel's queue, which is lost with the last one who listens.
        waiting = [server.say(f"early-{number}", "echo me") for number in range(40)]
        os.kill(server.pid, signal.SIGTERM)
        for worker in workers:
            os.kill(worker, signal.SIGTERM)
            os.kill(worker, signal.SIGCONT)
        answers = []
        for connection in waiting:
            with connection:
                answers.append(read_all(connection))
        assert {answer[:15] for answer in answers} == {b"HTTP/1.1 200 OK"}
        assert server.process is not None
        assert server.process.wait(20) == 0
        for number in range(40):
            assert len(memory(server.database, f"early-{number}")) == 2
    finally:
        server.kill_group()


def test_a_port_that_is_taken_is_said_in_one_sentence(
    server: Server, tmp_path: Path, model_server: Upstream
) -> None:
    second = Server(tmp_path, server.port, model_server.base_url)
    second.launch()
    assert second.process is not None
    assert second.process.wait(30) != 0
    (sentence,) = second.printed.strip().splitlines()
    assert str(server.port) in sentence
    assert server.request("GET", "/healthz").status == 200


@pytest.mark.parametrize(
    ("settings", "arguments", "word"),
    [
        ({"RATE_LIMITS": "1/minute"}, (), "SWITCHBOARD_RATE_LIMITS"),
        ({"MODEL_TIMEOUT": "soon"}, (), "SWITCHBOARD_MODEL_TIMEOUT"),
        ({"DATABASE_URL": "sqlite:////proc/nowhere/x.db"}, (), "database"),
        ({}, ("--host", "192.0.2.1"), "loopback"),
    ],
)
def test_what_cannot_start_says_why_and_leaves_nothing(
    tmp_path: Path, settings: dict[str, str], arguments: tuple[str, ...], word: str
) -> None:
    server = Server(tmp_path, free_port(), "http://127.0.0.1:9/v1", settings)
    server.launch(*arguments)
    assert server.process is not None
    assert server.process.wait(30) != 0
    (sentence,) = server.printed.strip().splitlines()
    assert word in sentence
    assert not is_listening(server.port)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def read_all(connection: socket.socket) -> bytes:
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
    return data
