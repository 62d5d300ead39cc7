"""A database that is locked, full, damaged, gone: 503 and nothing half done, and it comes back."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.processes import free_port
from tests.server.running import Server, running
from tests.server.stored import memory, opened, recorded, require_whole
from tests.upstream import Upstream

STORAGE = "storage_unavailable"


@pytest.fixture
def own(tmp_path: Path, model_server: Upstream) -> Iterator[Server]:
    """A server whose database may be harmed; alice has said something before."""
    with running(tmp_path, model_server.base_url) as server:
        assert server.chat("alice", "echo before").status == 200
        yield server


def test_while_the_database_is_locked_turns_are_refused_and_the_rest_goes_on(
    hasty: Server,
) -> None:
    assert hasty.chat("patient", "echo before").status == 200
    before = memory(hasty.database, "patient")
    with opened(hasty.database) as other, ThreadPoolExecutor() as pool:
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        refused = pool.submit(hasty.chat, "patient", "echo refused")
        while not refused.done():
            asked = time.monotonic()
            assert hasty.request("GET", "/healthz").status == 200
            assert hasty.request("GET", "/api/tenants/patient/messages").status == 200
            assert time.monotonic() - asked < 1
            time.sleep(0.1)
        assert (refused.result().status, refused.result().code) == (503, STORAGE)
        assert 4 < time.monotonic() - began < 12
        began = time.monotonic()
        assert hasty.chat("patient", "echo refused").status == 503
        require_not_ready(hasty, "locked")
        assert time.monotonic() - began < 3, "the first waits for a lock, the next do not"
        assert memory(hasty.database, "patient") == before
    assert hasty.chat("patient", "echo after").status == 200
    # The refused turn is counted as soon as that can be written.
    kept = [(200, ""), (200, ""), (503, STORAGE), (503, STORAGE)]
    assert sorted(recorded(hasty.database, "patient")) == kept
    assert "Traceback" not in hasty.printed
    require_whole(hasty.database)


def test_a_lock_that_is_let_go_in_time_is_only_waited_for(hasty: Server) -> None:
    assert hasty.chat("brief", "echo before").status == 200
    with opened(hasty.database) as other, ThreadPoolExecutor() as pool:
        other.execute("BEGIN IMMEDIATE")
        waiting = pool.submit(hasty.chat, "brief", "echo during")
        time.sleep(0.3)
        assert not waiting.done()
        other.execute("COMMIT")
        assert waiting.result().status == 200


def require_not_ready(server: Server, sentence: str) -> None:
    answer = server.request("GET", "/readyz")
    assert (answer.status, answer.json["checks"]["database"]) == (503, STORAGE)
    assert sentence in answer.json["reason"]


@contextmanager
def no_room_left(server: Server) -> Iterator[None]:
    """The log of the database cannot grow in the worker, as on a full disk."""
    size = log_that_reaches_the_end_of_its_file(server)
    limits = resource.prlimit(server.worker, resource.RLIMIT_FSIZE)
    resource.prlimit(server.worker, resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(server.worker, resource.RLIMIT_FSIZE, limits)


def log_that_reaches_the_end_of_its_file(server: Server) -> int:
    """Its size. What was taken back before leaves room in the file, enough for a small write."""
    log = server.database.with_name("switchboard.db-wal")
    for _ in range(100):
        before = log.stat().st_size
        assert server.chat("filler", "echo more").status == 200
        if log.stat().st_size > before:
            break
    return log.stat().st_size


def test_on_a_full_disk_turns_are_refused_until_there_is_room(
    hasty: Server, model_server: Upstream
) -> None:
    assert hasty.chat("crammed", "echo before").status == 200
    worker, before = hasty.worker, memory(hasty.database, "crammed")
    with no_room_left(hasty):
        for streamed in (False, True, False):
            answer = hasty.chat("crammed", "echo " + "x" * 6000, stream=streamed)
            assert STORAGE in answer.body.decode()
            assert answer.status == 503
        paid = len(model_server.requests)
        for _ in range(10):
            assert hasty.chat("crammed", "echo refused").status == 503
        assert len(model_server.requests) == paid, "nobody pays for what cannot be stored"
        require_not_ready(hasty, "disk")
        assert hasty.request("GET", "/healthz").status == 200
        assert hasty.request("GET", "/api/tenants/alice/messages").status == 200
    assert memory(hasty.database, "crammed") == before
    assert hasty.chat("crammed", "echo after").status == 200
    assert hasty.worker == worker
    assert hasty.request("GET", "/readyz").status == 200
    assert recorded(hasty.database, "crammed").count((503, STORAGE)) == 13
    assert "Traceback" not in hasty.printed
    require_whole(hasty.database)


def test_a_damaged_database_is_a_503_and_stops_the_next_start_with_a_sentence(
    own: Server,
) -> None:
    worker = own.worker
    with own.database.open("r+b") as file:
        file.write(os.urandom(own.database.stat().st_size))
    for user in ("alice", "bob"):
        answer = own.chat(user, "echo refused")
        assert (answer.status, answer.code) == (503, STORAGE)
    assert own.request("GET", "/healthz").status == 200
    assert own.request("GET", "/readyz").status == 503
    assert own.worker == worker
    own.end(signal.SIGKILL)
    own.launch()
    assert own.process is not None
    assert own.process.wait(30) != 0
    last = own.printed.strip().splitlines()[-1]
    assert "database file is damaged" in last
    assert "Traceback" not in own.printed


def test_a_database_that_was_deleted_or_replaced_is_not_written_to(
    hasty: Server, tmp_path: Path
) -> None:
    assert hasty.chat("moved", "echo before").status == 200
    away = tmp_path / "away"
    away.mkdir()
    files = [path for path in hasty.folder.iterdir() if path.name.startswith("switchboard.db")]
    for file in files:
        file.rename(away / file.name)
    answer = hasty.chat("moved", "echo lost")
    assert (answer.status, answer.code) == (503, STORAGE)
    assert hasty.request("GET", "/readyz").status == 503
    assert memory(away / "switchboard.db", "moved") == [
        ("user", "echo before"),
        ("assistant", "You said: echo before"),
    ]
    for file in away.iterdir():
        file.rename(hasty.folder / file.name)
    assert hasty.chat("moved", "echo after").status == 200
    assert len(memory(hasty.database, "moved")) == 4
    require_whole(hasty.database)


@pytest.mark.parametrize("content", [b"not a database at all, but long enough " * 200, b"\0" * 999])
def test_a_file_that_is_no_database_stops_the_start_with_a_sentence(
    tmp_path: Path, model_server: Upstream, content: bytes
) -> None:
    server = Server(tmp_path, free_port(), model_server.base_url)
    server.database.write_bytes(content)
    server.launch()
    assert server.process is not None
    assert server.process.wait(30) != 0
    (sentence,) = server.printed.strip().splitlines()
    assert sentence.endswith("nothing was stored.")
    assert server.database.read_bytes() == content


def test_a_file_that_is_cut_short_is_a_503_and_does_not_end_the_process(
    own: Server, model_server: Upstream
) -> None:
    worker = own.worker
    os.truncate(own.database, 40960)
    time.sleep(1.1)  # as long as the last write is a proof
    paid = len(model_server.requests)
    for _ in range(3):
        answer = own.chat("bob", "echo refused")
        assert (answer.status, answer.code) == (503, STORAGE)
    assert len(model_server.requests) == paid
    require_not_ready(own, "damaged")
    assert own.request("GET", "/healthz").status == 200
    assert own.worker == worker


def test_after_a_stop_the_file_alone_holds_every_turn(own: Server, tmp_path: Path) -> None:
    for number in range(20):
        assert own.chat(f"user-{number % 5}", f"echo {number}").status == 200
    own.end(signal.SIGTERM)
    assert not own.database.with_name("switchboard.db-wal").exists()
    alone = tmp_path / "alone.db"
    shutil.copy(own.database, alone)
    assert sum(len(memory(alone, f"user-{number}")) for number in range(5)) == 40


def test_a_backup_over_a_left_log_stops_the_start_with_a_sentence(
    own: Server, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    with opened(own.database) as live, opened(copy) as target:
        live.backup(target)
    for number in range(10):
        assert own.chat("bob", f"echo {number}").status == 200
    own.end(signal.SIGKILL)
    shutil.copy(copy, own.database)
    content = own.database.read_bytes()
    own.launch()
    assert own.process is not None
    assert own.process.wait(30) != 0
    assert "does not belong to switchboard.db" in own.printed
    assert own.database.read_bytes() == content
