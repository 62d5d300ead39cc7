"""Tests of the SQLite database on good days and bad ones."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from webapp.errors import ConfigurationError, SchemaOutOfDate, StorageUnavailable
from webapp.storage import Connection, open_database
from webapp.storage.sqlite.connecting import LOCK_PATIENCE_SECONDS
from webapp.storage.sqlite.database import SQLiteDatabase


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.db"


@pytest.fixture
def database(path: Path) -> Iterator[SQLiteDatabase]:
    database = SQLiteDatabase(path, lock_patience=0.2)
    database.upgrade()
    database.write(
        lambda connection: connection.execute(
            "CREATE TABLE noted (id INTEGER PRIMARY KEY, text TEXT UNIQUE, part INTEGER)"
        )
    )
    yield database
    database.close()


def put(text: str, part: int = 0) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        connection.execute(
            "INSERT INTO noted (text, part) VALUES (:text, :part)", {"text": text, "part": part}
        )

    return work


def notes(database: SQLiteDatabase) -> list[str]:
    with database.read() as connection:
        return [row[0] for row in connection.execute("SELECT text FROM noted ORDER BY id")]


class Batch:
    """Several units that go into one batch, behind a unit that holds the database up."""

    def __init__(self, database: SQLiteDatabase) -> None:
        self.outcomes: dict[int, Any] = {}
        self._database = database
        self._held, self._hold = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=database.write, args=(self._block,))]
        self._threads[0].start()
        assert self._held.wait(10)

    def _block(self, _: Connection) -> None:
        self._held.set()
        assert self._hold.wait(10)

    def run(self, *works: Callable[[Connection], Any]) -> dict[int, Any]:
        """What each unit returned or raised."""
        for index, work in enumerate(works):
            thread = threading.Thread(target=self._submit, args=(index, work))
            self._threads.append(thread)
            thread.start()
            deadline = time.monotonic() + 10
            while len(self._database._writer._commits._waiting) < index + 1:
                assert time.monotonic() < deadline
                time.sleep(0.001)
        self._hold.set()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        return self.outcomes

    def _submit(self, index: int, work: Callable[[Connection], Any]) -> None:
        try:
            self.outcomes[index] = self._database.write(work)
        except BaseException as error:  # noqa: BLE001 - the test looks at whatever it is
            self.outcomes[index] = error


def test_what_was_written_is_read_and_is_there_after_the_file_is_opened_again(
    database: SQLiteDatabase, path: Path
) -> None:
    database.write(put("one"))
    assert notes(database) == ["one"]
    database.close()
    assert notes(SQLiteDatabase(path)) == ["one"]


def test_the_file_is_its_owners_alone(database: SQLiteDatabase, path: Path) -> None:
    database.write(put("one"))
    for name in (path, path.with_name("test.db-wal")):
        assert name.stat().st_mode & 0o077 == 0


def test_every_commit_waits_for_the_disk(database: SQLiteDatabase) -> None:
    def work(connection: Connection) -> tuple[Any, ...]:
        return tuple(
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys")
        )

    assert database.write(work) == ("wal", 2, 1)


def test_upgrading_twice_is_upgrading_once(database: SQLiteDatabase) -> None:
    assert database.upgrade() == []
    database.check()


def test_a_missing_file_and_an_empty_one_need_an_upgrade(path: Path) -> None:
    with pytest.raises(SchemaOutOfDate, match="does not exist"):
        SQLiteDatabase(path).check()
    path.touch()
    with pytest.raises(SchemaOutOfDate, match="is old"):
        SQLiteDatabase(path).check()
    assert SQLiteDatabase(path).upgrade()


def test_two_processes_may_upgrade_at_once(path: Path) -> None:
    program = (
        "import sys; from webapp.storage import open_database;"
        " print(len(open_database('sqlite:///' + sys.argv[1]).upgrade()) > 0)"
    )
    upgrades = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outcomes = [upgrade.communicate(timeout=60) for upgrade in upgrades]
    assert sorted(out for out, _ in outcomes) == ["False\n", "True\n"], outcomes
    SQLiteDatabase(path).check()


def test_a_read_sees_one_moment_and_cannot_write(database: SQLiteDatabase) -> None:
    database.write(put("before"))
    with database.read() as connection:
        count = "SELECT COUNT(*) FROM noted"
        assert connection.execute(count).fetchone() == (1,)
        database.write(put("meanwhile"))
        assert connection.execute(count).fetchone() == (1,)
    assert notes(database) == ["before", "meanwhile"]
    with pytest.raises(StorageUnavailable), database.read() as connection:
        connection.execute("DELETE FROM noted")
    assert notes(database) == ["before", "meanwhile"]


def test_an_error_in_a_read_is_the_callers_and_leaves_the_connection_clean(
    database: SQLiteDatabase,
) -> None:
    def fail() -> None:
        with database.read() as connection:
            connection.execute("SELECT * FROM noted").fetchone()
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    database.write(put("one"))
    assert notes(database) == ["one"]


def test_reads_may_nest(database: SQLiteDatabase) -> None:
    with database.read() as one, database.read() as other:
        assert one is not other


def test_a_unit_that_fails_stores_nothing_and_the_error_is_its_callers(
    database: SQLiteDatabase,
) -> None:
    def work(connection: Connection) -> None:
        put("half")(connection)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        database.write(work)
    assert notes(database) == []


def test_a_failing_unit_in_a_batch_takes_back_its_own_rows_alone(
    database: SQLiteDatabase,
) -> None:
    def fails_late(connection: Connection) -> None:
        put("half")(connection)
        raise KeyError("mine")

    def breaks_a_rule(connection: Connection) -> None:
        put("also half")(connection)
        put("first")(connection)

    outcomes = Batch(database).run(put("first"), fails_late, breaks_a_rule, put("last"))
    assert outcomes[0] is None
    assert outcomes[3] is None
    assert isinstance(outcomes[1], KeyError)
    assert isinstance(outcomes[2], StorageUnavailable)
    assert notes(database) == ["first", "last"]


def test_many_writers_that_read_before_they_write_lose_nothing(database: SQLiteDatabase) -> None:
    database.write(put("counter"))

    def count_up(connection: Connection) -> None:
        (part,) = connection.execute("SELECT part FROM noted").fetchone()
        connection.execute("UPDATE noted SET part = :part", {"part": part + 1})

    def talk() -> None:
        for _ in range(50):
            database.write(count_up)

    threads = [threading.Thread(target=talk) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with database.read() as connection:
        assert connection.execute("SELECT part FROM noted").fetchone() == (400,)


HOLD_THE_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute('BEGIN IMMEDIATE')
print('locked', flush=True)
sys.stdin.readline()
connection.execute('COMMIT')
"""


class Locker:
    """Another process that holds the database's write lock."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", HOLD_THE_LOCK, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "locked\n"

    def let_go(self) -> None:
        self._process.communicate("\n", timeout=10)


def test_a_database_locked_by_another_process_is_a_clear_error_and_passes(
    database: SQLiteDatabase, path: Path
) -> None:
    database.write(put("before"))
    locker = Locker(path)
    try:
        with pytest.raises(StorageUnavailable, match="locked by another process"):
            database.write(put("refused"))
        assert notes(database) == ["before"]
    finally:
        locker.let_go()
    database.write(put("after"))
    assert notes(database) == ["before", "after"]


def test_a_lock_that_is_let_go_in_time_is_waited_for(path: Path, database: SQLiteDatabase) -> None:
    patient = SQLiteDatabase(path, lock_patience=20)
    locker = Locker(path)
    begun = threading.Event()

    def write() -> None:
        begun.set()
        patient.write(put("waited"))

    writer = threading.Thread(target=write)
    writer.start()
    assert begun.wait(10)
    assert writer.is_alive()
    locker.let_go()
    writer.join(20)
    assert notes(patient) == ["waited"]
    patient.close()


def test_a_full_disk_is_a_clear_error_and_the_rest_stays_whole(database: SQLiteDatabase) -> None:
    database.write(put("before"))

    def no_more_pages(connection: Connection) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    database.write(no_more_pages)
    large = "x" * 1_000_000
    with pytest.raises(StorageUnavailable, match="disk of the database is full"):
        database.write(put(large))
    outcomes = Batch(database).run(put("small"), put(large), put("last"))
    assert isinstance(outcomes[1], StorageUnavailable)
    # SQLite takes back the whole transaction then; whoever was told "done" has to be there.
    told = [text for index, text in ((0, "small"), (2, "last")) if outcomes[index] is None]
    assert notes(database) == ["before", *told]
    for outcome in outcomes.values():
        assert outcome is None or "disk of the database is full" in str(outcome)
    database.write(lambda connection: connection.execute("PRAGMA max_page_count = 1000000"))
    database.write(put(large))
    assert notes(database)[-1] == large


def test_a_file_that_is_no_database_is_a_clear_error(path: Path) -> None:
    path.write_bytes(b"This is not a database. " * 1000)
    before = path.read_bytes()
    database = SQLiteDatabase(path)
    for act in (database.upgrade, database.check, lambda: database.write(put("one"))):
        with pytest.raises(StorageUnavailable, match="damaged"):
            act()
    assert path.read_bytes() == before


def test_a_damaged_page_is_a_clear_error_and_the_process_goes_on(
    database: SQLiteDatabase, path: Path
) -> None:
    for index in range(200):
        database.write(put(f"{index} " + "x" * 1000))
    database.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: 4096 * 60] + b"\xff" * (len(whole) - 4096 * 60))
    with pytest.raises(StorageUnavailable, match="damaged"):
        notes(database)
    with pytest.raises(StorageUnavailable, match="damaged"):
        database.write(lambda connection: connection.execute("UPDATE noted SET text = text || 'y'"))
    database.close()
    path.write_bytes(whole)
    assert len(notes(database)) == 200


def test_a_file_that_was_cut_to_nothing_in_use_is_damaged_and_not_locked(
    database: SQLiteDatabase, path: Path
) -> None:
    database.write(put("one"))
    assert notes(database) == ["one"]
    path.write_bytes(b"")
    other = SQLiteDatabase(path, lock_patience=0.2)
    began = time.monotonic()
    with pytest.raises(StorageUnavailable) as caught:
        other.check()
    assert caught.value.part == "damaged"
    with pytest.raises(StorageUnavailable) as caught:
        other.write(put("two"))
    assert caught.value.part == "damaged"
    assert time.monotonic() - began < LOCK_PATIENCE_SECONDS, "it was waited for"
    other.close()
    database._state.failed(StorageUnavailable("Something failed before.", part="locked"))
    with pytest.raises(StorageUnavailable) as caught:
        database.require_writable()
    assert caught.value.part == "damaged", "the next trial sees it as well"


def test_a_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnavailable, match="cannot be created"):
        SQLiteDatabase(tmp_path / "file" / "test.db").upgrade()


def test_names_with_odd_characters_are_files_like_others(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/ä b%20?c#d.db")
    database.upgrade()
    database.close()
    assert (tmp_path / "ä b%20?c#d.db").exists()


def test_a_foreign_database_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        open_database("mysql://localhost/x")


def test_a_long_read_gives_its_result_and_its_error(database: SQLiteDatabase) -> None:
    database.write(put("one"))
    assert database.read_long(lambda c: c.execute("SELECT COUNT(*) FROM noted").fetchone()) == (1,)
    with pytest.raises(StorageUnavailable):
        database.read_long(lambda connection: connection.execute("SELECT * FROM nowhere"))


def test_a_long_write_is_a_write(database: SQLiteDatabase) -> None:
    database.write_long(put("one"))
    with pytest.raises(StorageUnavailable):
        database.write_long(put("one"))
    database.write(put("two"))
    assert notes(database) == ["one", "two"]


# While a long write runs, other greenlets read; their writes wait and are not lost, even when
# the greenlet that asked for the long write is ended in the middle of it; then that stores nothing.
LONG_WRITES = """
from gevent import monkey
monkey.patch_all()
import sys, threading, time
from pathlib import Path
import gevent
from webapp.storage.sqlite.database import SQLiteDatabase
real_sleep = monkey.get_original('time', 'sleep')
database = SQLiteDatabase(Path(sys.argv[1]))
COUNT = 'SELECT COUNT(*) FROM noted'

def insert(connection):
    connection.execute("INSERT INTO noted (text) VALUES (hex(randomblob(8)))")

def long_work(connection):
    insert(connection)
    real_sleep(0.3)
    insert(connection)

def count():
    with database.read() as connection:
        return connection.execute(COUNT).fetchone()[0]

for kill, expected in ((False, 7), (True, 12)):
    long = gevent.spawn(database.write_long, long_work)
    gevent.sleep(0.1)
    begun = time.monotonic()
    before = count()
    assert time.monotonic() - begun < 0.1, 'the read waited'
    writers = [gevent.spawn(database.write, insert) for _ in range(5)]
    gevent.sleep(0.01)
    assert not any(writer.ready() for writer in writers)
    if kill:
        long.kill(block=False)
    gevent.joinall([long, *writers], timeout=10)
    assert all(writer.successful() for writer in writers), [w.exception for w in writers]
    deadline = time.monotonic() + 5
    while count() != expected and time.monotonic() < deadline:
        gevent.sleep(0.01)
    assert count() == expected, count()
print('well')
"""


def test_a_long_write_does_not_hold_up_other_greenlets(
    database: SQLiteDatabase, path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LONG_WRITES, str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "well\n", done.stderr


# A disk that stalls: its flush is stood in for by a commit that waits. Reads and whatever else
# the process does go on; what comes meanwhile is refused without a wait; then all goes on.
STALLED_DISK = """
from gevent import monkey
monkey.patch_all()
import sys, time
from pathlib import Path
import gevent
from webapp.errors import StorageUnavailable
from webapp.storage.sqlite import writer as sqlite
from webapp.storage.sqlite.database import SQLiteDatabase
Event = monkey.get_original('threading', 'Event')
goes_on = Event()
database = SQLiteDatabase(Path(sys.argv[1]), lock_patience=0.2)
insert = "INSERT INTO noted (text) VALUES (hex(randomblob(8)))"
database.write(lambda c: c.execute(insert))
commit = sqlite._commit

def stalled(writer):
    goes_on.wait(20)
    commit(writer)

sqlite._commit = stalled
hanging = gevent.spawn(database.write, lambda c: c.execute(insert))
gevent.sleep(0.01)
queued = [gevent.spawn(database.write, lambda c: c.execute(insert)) for _ in range(5)]
database._state._proven_at = None
beats = 0
for _ in range(20):
    gevent.sleep(0.01)
    with database.read() as connection:
        assert connection.execute('SELECT COUNT(*) FROM noted').fetchone() == (1,)
    assert database.read_long(lambda c: c.execute('SELECT COUNT(*) FROM noted').fetchone()) == (1,)
    beats += 1
for _ in range(3):
    began = time.monotonic()
    try:
        database.require_writable()
    except StorageUnavailable as error:
        assert error.part == 'stalled', error.part
    else:
        raise AssertionError('it was let through')
assert time.monotonic() - began < 1
assert not hanging.ready()
goes_on.set()
gevent.joinall([hanging, *queued], timeout=10, raise_error=True)
database.require_writable()
with database.read() as connection:
    assert connection.execute('SELECT COUNT(*) FROM noted').fetchone() == (7,)
database.close()
print('well')
"""


def test_a_disk_that_stalls_stops_neither_reads_nor_refusals(
    database: SQLiteDatabase, path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STALLED_DISK, str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "well\n", done.stderr


# A look-up of a name that hangs takes a thread of gevent's own pool, and a long act one of ours.
BUSY_POOL = """
from gevent import monkey
monkey.patch_all()
import sys
from pathlib import Path
import gevent
from webapp.storage.sqlite.database import SQLiteDatabase
sleep = monkey.get_original('time', 'sleep')
database = SQLiteDatabase(Path(sys.argv[1]))
pool = gevent.get_hub().threadpool
hanging = [pool.spawn(sleep, 3) for _ in range(pool.maxsize)]
insert = "INSERT INTO noted (text) VALUES (hex(randomblob(8)))"
with gevent.Timeout(2):
    database.write_long(lambda c: c.execute(insert))
    database.write(lambda c: c.execute(insert))
    assert database.read_long(lambda c: c.execute('SELECT COUNT(*) FROM noted').fetchone()) == (2,)
print('well')
"""


def test_a_name_that_is_looked_up_for_ever_does_not_hold_up_the_database(
    database: SQLiteDatabase, path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUSY_POOL, str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "well\n", done.stderr


# Six threads write pairs of rows; a pair is one unit. What is printed has been committed.
WRITE_PAIRS = """
import sys, threading
from pathlib import Path
from webapp.storage.sqlite.database import SQLiteDatabase
database = SQLiteDatabase(Path(sys.argv[1]))
lock = threading.Lock()

def talk(name):
    for index in range(100000):
        text = f'{sys.argv[2]}.{name}.{index}'
        def work(connection):
            for part in (1, 2):
                connection.execute(
                    'INSERT INTO noted (text, part) VALUES (:text, :part)',
                    {'text': f'{text}/{part}', 'part': part},
                )
        database.write(work)
        with lock:
            print(text, flush=True)

for name in range(6):
    threading.Thread(target=talk, args=(name,)).start()
"""


def test_after_kill_nine_all_that_was_acknowledged_is_there_and_no_unit_is_half_there(
    database: SQLiteDatabase, path: Path
) -> None:
    for attempt in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITE_PAIRS, str(path), str(attempt)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        acknowledged = [child.stdout.readline().strip() for _ in range(100 + 37 * attempt)]
        child.kill()
        acknowledged += [line.strip() for line in child.stdout if line.endswith("\n")]
        child.wait(10)
        child.stdout.close()
        again = SQLiteDatabase(path)
        stored = set(notes(again))
        again.close()
        for text in acknowledged:
            assert f"{text}/1" in stored
            assert f"{text}/2" in stored
        for text in stored:
            unit, part = text.split("/")
            assert f"{unit}/{3 - int(part)}" in stored


# As in the server: greenlets write, read, read long in native threads, and some are ended.
GREENLETS = """
from gevent import monkey
monkey.patch_all()
import sys
from pathlib import Path
import gevent
from webapp.storage.sqlite.database import SQLiteDatabase
database = SQLiteDatabase(Path(sys.argv[1]))
COUNT = 'SELECT COUNT(*) FROM noted'
done = []

def long_read(connection):
    return sum(connection.execute(COUNT).fetchone()[0] for _ in range(20))

def talk(name):
    for index in range(20):
        def work(connection):
            connection.execute('INSERT INTO noted (text) VALUES (:t)', {'t': f'{name}.{index}'})
        database.write(work)
        done.append(f'{name}.{index}')
        with database.read() as connection:
            connection.execute(COUNT).fetchone()
        if index % 5 == 0:
            database.read_long(long_read)

crowd = [gevent.spawn(talk, name) for name in range(40)]
for index in range(0, 40, 4):
    gevent.sleep(0.003)
    crowd[index].kill(block=False)
with gevent.Timeout(30):
    gevent.joinall(crowd)
for index, greenlet in enumerate(crowd):
    assert greenlet.successful(), index
with database.read() as connection:
    stored = {row[0] for row in connection.execute('SELECT text FROM noted')}
assert set(done) <= stored
assert len([text for text in done if int(text.split('.')[0]) % 4]) == 30 * 20
database.write(lambda connection: None)
print('well')
"""


def test_greenlets_write_and_read_long_together(database: SQLiteDatabase, path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GREENLETS, str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "well\n", done.stderr
