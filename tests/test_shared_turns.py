"""The queue of turns over several processes; real workers are in server/test_several_workers.py."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from webapp.errors import PlaceLost, StorageUnavailable, TenantBusy, TurnUnderWay
from webapp.storage.postgres.database import PostgresDatabase
from webapp.storage.postgres.turn_lines import PostgresTurnLines
from webapp.storage.sqlite import turn_lines
from webapp.storage.sqlite.turn_lines import SQLiteTurnLines
from webapp.turns import shared
from webapp.turns.lines import Ticket, TurnLines
from webapp.turns.shared import SharedTurnQueue

MakeQueue = Callable[..., SharedTurnQueue]
MakeLines = Callable[..., TurnLines]


def name_of(tenant: str) -> str:
    return f"line of {tenant}"


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def until_waiting(queues: list[SharedTurnQueue], number: int) -> None:
    until(lambda: sum(queue.load.waiting for queue in queues) == number)


@pytest.fixture
def make_lines(engine: str, database_url: str) -> Iterator[MakeLines]:
    """Lines as several processes have them: each with connections and a lock of its own."""
    with ExitStack() as opened:

        def make(lease: float = 20.0) -> TurnLines:
            if engine == "sqlite":
                path = Path(database_url.removeprefix("sqlite:///"))
                return opened.enter_context(closing(SQLiteTurnLines(path, lease=lease)))
            database = opened.enter_context(closing(PostgresDatabase(database_url, 4)))
            return opened.enter_context(closing(PostgresTurnLines(database, lease=lease)))

        yield make


@pytest.fixture
def make_queue(make_lines: MakeLines) -> Iterator[MakeQueue]:
    """Queues as several processes have them."""
    with ExitStack() as opened:

        def make(lease: float = 20.0) -> SharedTurnQueue:
            queue = SharedTurnQueue(make_lines(lease), name_of, lease=lease)
            return opened.enter_context(closing(queue))

        yield make


def test_turns_of_one_tenant_come_in_order_over_two_queues(make_queue: MakeQueue) -> None:
    queues = [make_queue(), make_queue()]
    came: list[int] = []
    first = queues[0].place("alice")
    first.__enter__()

    def turn(number: int) -> None:
        with queues[number % 2].place("alice"):
            came.append(number)
            time.sleep(0.005)

    threads = [threading.Thread(target=turn, args=(number,)) for number in range(10)]
    for number, thread in enumerate(threads):
        thread.start()
        until_waiting(queues, number + 1)
    first.__exit__(None, None, None)
    for thread in threads:
        thread.join(10)
    assert came == list(range(10))
    assert [queue.load.running for queue in queues] == [0, 0]


def test_tenants_do_not_wait_for_one_another(make_queue: MakeQueue) -> None:
    one, other = make_queue(), make_queue()
    with one.place("alice"), other.place("bob") as place, one.place("carol"):
        assert place is not None
        place.require_held()
        assert one.load.running == 2


def test_a_full_line_refuses_one_more_in_whichever_process(make_queue: MakeQueue) -> None:
    one, other = make_queue(), make_queue()
    with one.place("alice", waiting_limit=1):
        waiting = threading.Thread(target=lambda: _pass(other, "alice"))
        waiting.start()
        until(lambda: other.load.waiting == 1)
        with pytest.raises(TenantBusy), make_queue().place("alice", waiting_limit=1):
            pass
    waiting.join(10)
    with one.place("alice", waiting_limit=0) as place:
        assert place is not None


def _pass(queue: SharedTurnQueue, tenant: str) -> None:
    with queue.place(tenant):
        pass


def test_a_turn_that_is_called_off_leaves_the_line(make_queue: MakeQueue) -> None:
    one, other = make_queue(), make_queue()
    called_off = threading.Event()
    with one.place("alice"):
        called_off.set()
        with other.place("alice", cancel=called_off) as place:
            assert place is None
    with other.place("alice", waiting_limit=0) as place:
        assert place is not None


def test_a_turn_inside_a_turn_of_its_user_is_refused(make_queue: MakeQueue) -> None:
    queue = make_queue()
    with queue.place("alice"), pytest.raises(TurnUnderWay), queue.place("alice"):
        pass


@pytest.mark.sqlite
def test_a_dead_process_holds_nobody_up(make_queue: MakeQueue, tmp_path: Path) -> None:
    program = (
        "import sys, os, signal\n"
        "from pathlib import Path\n"
        "from webapp.storage.sqlite.turn_lines import SQLiteTurnLines\n"
        "lines = SQLiteTurnLines(Path(sys.argv[1]))\n"
        "lines.join('line of alice', None)\n"
        "lines.hold_key('line of alice', 'key', 'body')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    queue = make_queue()
    with queue.place("bob"):
        subprocess.run([sys.executable, "-c", program, str(tmp_path / "switchboard.db")])
        with queue.place("alice", waiting_limit=0) as place:
            assert place is not None
    lines = SQLiteTurnLines(tmp_path / "switchboard.db")
    worker, body = lines.hold_key("line of alice", "key", "another")
    assert (worker, body) == (lines.worker, "another")
    lines.close()


def test_a_process_that_stood_still_loses_its_places_and_finds_out(
    make_lines: MakeLines, make_queue: MakeQueue
) -> None:
    still = make_lines(lease=0.2)
    queue = make_queue(lease=0.2)
    before = still.join("line of alice", None)
    assert before == Ticket(1, still.worker)
    with queue.place("alice") as place:  # waits for the lease's end
        assert place is not None
        assert still.join("line of alice", None) == Ticket(3, still.worker)
        assert still.worker != before.worker
        still.leave("line of alice", before)
        place.require_held()


@pytest.mark.sqlite
def test_a_waiting_turn_whose_ticket_was_lost_is_told(
    tmp_path: Path, make_queue: MakeQueue
) -> None:
    one, other = make_queue(), make_queue()
    told: list[BaseException] = []

    def wait() -> None:
        try:
            _pass(other, "alice")
        except PlaceLost as error:
            told.append(error)

    with one.place("alice"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        until(lambda: other.load.waiting == 1)
        with closing(sqlite3.connect(tmp_path / "switchboard.db-turns")) as connection:
            connection.execute("DELETE FROM tickets WHERE ticket = 2")
            connection.commit()
    waiting.join(10)
    assert [error.code for error in told if isinstance(error, PlaceLost)] == ["place_lost"]


def test_a_key_is_held_by_one_and_told_with_its_body(make_lines: MakeLines) -> None:
    one, other = make_lines(), make_lines()
    worker, _ = one.hold_key("line", "key", "first")
    assert worker == one.worker
    assert other.hold_key("line", "key", "second") == (0, "first")
    assert other.hold_key("another line", "key", "second") == (other.worker, "second")
    one.free_key("line", "key", worker)
    assert other.hold_key("line", "key", "second")[0] == other.worker
    one.close()
    other.close()


@pytest.mark.sqlite
def test_what_cannot_be_given_back_at_once_is_given_back_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = SQLiteTurnLines(tmp_path / "switchboard.db")
    ticket = lines.join("line", None)
    assert ticket is not None
    with monkeypatch.context() as patched:
        patched.setattr(turn_lines, "patiently", _locked)
        with pytest.raises(StorageUnavailable):
            lines.join("line", None)
        lines.leave("line", ticket)
    assert lines.head("line") == ticket
    lines.renew()
    assert lines.head("line") is None
    lines.close()


def _locked(_work: object) -> None:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    raise error


@pytest.mark.sqlite
def test_a_file_that_was_taken_away_is_made_anew(tmp_path: Path, make_queue: MakeQueue) -> None:
    queue = make_queue()
    _pass(queue, "alice")
    for path in tmp_path.glob("switchboard.db-turns*"):
        path.unlink()
    _pass(queue, "alice")
    assert (tmp_path / "switchboard.db-turns").exists()


@pytest.mark.sqlite
def test_a_damaged_file_of_before_is_of_no_use_and_no_harm(
    tmp_path: Path, make_queue: MakeQueue
) -> None:
    (tmp_path / "switchboard.db-turns").write_bytes(b"no database" * 100)
    _pass(make_queue(), "alice")


@pytest.mark.sqlite
def test_those_who_wait_are_told_when_the_lines_cannot_be_read(
    tmp_path: Path, make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "PATIENCE_SECONDS", 0.05)
    one, other = make_queue(), make_queue()
    told: list[BaseException] = []

    def wait() -> None:
        try:
            _pass(other, "alice")
        except StorageUnavailable as error:
            told.append(error)

    with one.place("alice"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        until(lambda: other.load.waiting == 1)
        for path in tmp_path.glob("switchboard.db-turns*"):
            path.unlink()
        (tmp_path / "switchboard.db-turns").mkdir()
        with monkeypatch.context() as patched:
            patched.setattr(turn_lines, "patiently", _locked)
            waiting.join(10)
    (tmp_path / "switchboard.db-turns").rmdir()
    assert [type(error) for error in told] == [StorageUnavailable]
    _pass(other, "alice")


@pytest.mark.sqlite
def test_the_last_that_closes_leaves_nothing_behind(tmp_path: Path, make_queue: MakeQueue) -> None:
    one, other = make_queue(), make_queue()
    _pass(one, "alice")
    _pass(other, "alice")
    one.close()
    _pass(other, "alice")
    other.close()
    assert [path.name for path in tmp_path.iterdir()] == ["switchboard.db-turns.lock"]


@pytest.mark.sqlite
def test_the_files_are_for_their_owner_alone(tmp_path: Path, make_queue: MakeQueue) -> None:
    with make_queue().place("alice"):
        assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}
