"""The log beside the database: emptied in time, and refused when it is another file's."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from webapp.errors import StorageUnavailable
from webapp.storage import Connection
from webapp.storage.sqlite import wal
from webapp.storage.sqlite.database import SQLiteDatabase

MIB = 1024 * 1024

# Writes notes, with many pages and few, until it is killed; says how many are on disk.
SERVE = """
import sys
from pathlib import Path
from webapp.storage.sqlite.database import SQLiteDatabase
database = SQLiteDatabase(Path(sys.argv[1]))
database.upgrade()
database.write(lambda c: c.execute('CREATE TABLE IF NOT EXISTS noted (text TEXT UNIQUE)'))
for line in sys.stdin:
    for _ in range(int(line)):
        database.write(lambda c: c.execute('INSERT INTO noted VALUES (hex(randomblob(2000)))'))
    print(line.strip(), flush=True)
"""


class Serving:
    """Another process over the database, which never ends well."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def write(self, notes: int) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{notes}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == f"{notes}\n"

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


def notes(path: Path) -> int:
    database = SQLiteDatabase(path)
    try:
        with database.read() as connection:
            return int(connection.execute("SELECT COUNT(*) FROM noted").fetchone()[0])
    finally:
        database.close()


def by_backup(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)


def by_vacuum(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as live:
        live.execute("VACUUM INTO ?", (str(target),))


def by_copying_the_file(source: Path, target: Path) -> None:
    shutil.copy(source, target)


@pytest.mark.parametrize("before", [3, 400])
@pytest.mark.parametrize("after", [3, 900])
@pytest.mark.parametrize("way", [by_backup, by_vacuum])
def test_a_backup_put_back_over_a_left_log_is_refused_and_stays_whole(
    tmp_path: Path, way: Callable[[Path, Path], None], before: int, after: int
) -> None:
    path, copy = tmp_path / "test.db", tmp_path / "copy.db"
    serving = Serving(path)
    serving.write(before)
    way(path, copy)
    serving.write(after)
    serving.kill()
    assert wal.wal_bytes(path) > 0
    shutil.copy(copy, path)
    content = path.read_bytes()
    database = SQLiteDatabase(path)
    for act in (database.check, database.upgrade, database.require_writable):
        with pytest.raises(StorageUnavailable, match="does not belong to") as caught:
            act()
        assert caught.value.part == "foreign"
    database.close()
    assert path.read_bytes() == content
    for left in ("test.db-wal", "test.db-shm"):
        (tmp_path / left).unlink()
    assert notes(path) == before


def test_an_old_copy_of_the_file_alone_is_refused_beside_a_newer_log(tmp_path: Path) -> None:
    path, copy = tmp_path / "test.db", tmp_path / "copy.db"
    serving = Serving(path)
    serving.write(1500)
    by_copying_the_file(path, copy)
    serving.write(1500)
    serving.kill()
    shutil.copy(copy, path)
    with pytest.raises(StorageUnavailable):
        SQLiteDatabase(path).check()


@pytest.mark.parametrize("parts", [(1,), (1, 1), (900,), (900, 900), (5, 2000, 5)])
def test_after_kill_nine_the_files_own_log_is_taken(tmp_path: Path, parts: tuple[int, ...]) -> None:
    path = tmp_path / "test.db"
    for part in parts:
        serving = Serving(path)
        serving.write(part)
        serving.kill()
    assert notes(path) == sum(parts)


def test_a_schema_that_changes_under_a_server_leaves_the_log_its_own(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    serving = Serving(path)
    serving.write(5)
    changing = SQLiteDatabase(path)

    def change(connection: Connection) -> None:
        connection.execute("CREATE TABLE more (text TEXT)")
        wal.note_schema_change(connection)  # type: ignore[arg-type]  # it is SQLite's

    changing.write(change)
    serving.write(5)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    serving.write(5)
    serving.kill()
    changing._writer.drop()
    assert notes(path) == 15


def test_the_folder_may_be_copied_elsewhere_with_its_log(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    serving = Serving(tmp_path / "here" / "test.db")
    serving.write(1200)
    serving.kill()
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    assert notes(tmp_path / "there" / "test.db") == 1200


def test_another_process_may_open_it_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    serving = Serving(path)
    total = 0
    for part in (1, 30, 300, 700, 1100):
        serving.write(part)
        total += part
        assert notes(path) == total
    serving.kill()


def test_when_it_is_closed_the_file_alone_holds_everything(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    database = SQLiteDatabase(path)
    database.upgrade()
    other = SQLiteDatabase(path)
    with other.read():  # so that SQLite would not do it by itself
        pass
    database.write(lambda c: c.execute("CREATE TABLE noted (text TEXT)"))
    database.write(lambda c: c.execute("INSERT INTO noted VALUES ('kept')"))
    database.close()
    shutil.copy(path, tmp_path / "alone.db")
    assert notes(tmp_path / "alone.db") == 1
    other.close()


def test_a_log_that_a_long_reader_made_grow_is_cut_off_again(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    database = SQLiteDatabase(path)
    database.upgrade()
    database.write(lambda c: c.execute("CREATE TABLE noted (text TEXT)"))

    def grow(connection: Connection) -> None:
        connection.execute("INSERT INTO noted VALUES (hex(randomblob(200000)))")

    with database.read() as reader:
        reader.execute("SELECT COUNT(*) FROM noted").fetchone()
        for _ in range(80):
            database.write(grow)
        assert wal.wal_bytes(path) > 30 * MIB
    for _ in range(80):
        database.write(grow)
    assert wal.wal_bytes(path) < 10 * MIB
    assert database.empty_log()
    assert wal.wal_bytes(path) == 0
    database.close()


def test_a_log_is_not_emptied_again_and_again_while_a_reader_is_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    database = SQLiteDatabase(path)
    database.upgrade()
    database.write(lambda c: c.execute("CREATE TABLE noted (text TEXT)"))
    emptied = []
    empty = database._writer.log.empty

    def counted(writer: sqlite3.Connection) -> bool:
        emptied.append(writer)
        return empty(writer)

    database._writer.log.empty = counted  # type: ignore[method-assign]  # a counter around it
    with database.read() as reader:
        reader.execute("SELECT COUNT(*) FROM noted").fetchone()
        database.write(lambda c: c.execute("INSERT INTO noted VALUES (hex(randomblob(3000000)))"))
        for _ in range(200):
            database.write(lambda c: c.execute("INSERT INTO noted VALUES ('x')"))
    assert len(emptied) <= 6
    database.close()


def test_a_file_that_makes_no_sense_without_its_log_is_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    database = SQLiteDatabase(path)
    database.upgrade()
    database.write(lambda c: c.execute("CREATE TABLE noted (text TEXT)"))
    database.empty_log()
    database.write(lambda c: c.execute("INSERT INTO noted VALUES (hex(randomblob(100000)))"))
    with database.read() as reader:
        assert reader.execute("SELECT COUNT(*) FROM noted").fetchone()[0] == 1
        # Every page is written again behind the reader, so none of the new ones is moved.
        database.write(lambda c: c.execute("UPDATE noted SET text = hex(randomblob(100000))"))
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        with (
            closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as alone,
            pytest.raises(sqlite3.DatabaseError, match="malformed"),
        ):
            alone.execute("PRAGMA schema_version").fetchone()

        beside = SQLiteDatabase(path)
        beside.require_writable()
        assert beside.write(lambda c: c.execute("UPDATE noted SET text = ''").rowcount) == 1
        beside.close()
    database.close()
