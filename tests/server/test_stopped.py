"""A worker that is stopped in the midst of a write is ended, so that the others can write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmarks.processes import free_port, tree
from tests.fakes import until
from tests.server.running import Server
from tests.upstream import Upstream
from webapp.server.stopped import holds_up_others

USER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("CREATE TABLE IF NOT EXISTS t (a)")
connection.execute("BEGIN" if sys.argv[2] == "reads" else "BEGIN IMMEDIATE")
connection.execute("SELECT * FROM t").fetchall()
print("there", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("does", "held_up"), [("reads", False), ("writes", True)])
def test_who_is_stopped_holds_up_others_only_in_a_write(
    tmp_path: Path, does: str, held_up: bool
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", USER, str(tmp_path / "a database.db"), does], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == b"there\n"
        assert not holds_up_others(process.pid)
        process.send_signal(signal.SIGSTOP)
        until(lambda: os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT) is not None)
        assert holds_up_others(process.pid) == held_up
    finally:
        process.kill()
        process.communicate()
    assert not holds_up_others(process.pid)


def test_a_worker_that_is_stopped_in_a_write_is_ended_and_the_others_go_on(
    model_server: Upstream, tmp_path: Path
) -> None:
    server = Server(tmp_path, free_port(), model_server.base_url, {"TOOLS": "off"})
    over, statuses = threading.Event(), []

    def talk(user: str) -> None:
        while not over.is_set():
            try:
                statuses.append((time.monotonic(), server.chat(user, "echo hello", 120).status))
            except OSError:
                continue  # it had asked the one that was killed

    people = [threading.Thread(target=talk, args=(f"user-{number}",)) for number in range(6)]
    try:
        server.serve("--workers", "2")
        for person in people:
            person.start()
        stopped = stop_one_that_writes(server)
        until(lambda: stopped not in tree(server.pid), 30)
        ended = time.monotonic()
        until(lambda: sum(at > ended and status == 200 for at, status in statuses) > 20, 30)
        until(lambda: len(tree(server.pid)) == 3, 30)
        assert f"Worker {stopped} was stopped while it wrote" in server.printed
    finally:
        over.set()
        server.kill_group()
        for person in people:
            if person.ident is not None:
                person.join()
    assert {status for _, status in statuses} <= {200, 503}


def stop_one_that_writes(server: Server) -> int:
    """Stops a worker again and again, each time for a moment, until it holds the lock."""
    worker = tree(server.pid)[1]
    while True:
        os.kill(worker, signal.SIGSTOP)
        until(lambda: Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        if holds_up_others(worker):
            return worker
        os.kill(worker, signal.SIGCONT)
        time.sleep(0.003)
