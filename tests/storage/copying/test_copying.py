"""An installation moved into another database: row by row the same, whatever comes between."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import MakeApp, services_of
from tests.storage.copying.installation import PASSWORD, live, rows_of_sqlite, talk
from webapp.accounts.audit import VerifiedChain
from webapp.errors import Conflict, SchemaOutOfDate, StorageUnavailable
from webapp.storage import Database, open_database
from webapp.storage.copying import copy
from webapp.storage.unfinished import require_no_unfinished_copy
from webapp.tenants import store as tenants

KEY = "hV7q2_RkZp9sXw4TnB8yLcJ3-mD6gF5aQeU1oIxz"

Open = Callable[[str], Database]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens a database of a name; nothing is made yet."""
    made: list[Database] = []

    def make(name: str) -> Database:
        made.append(open_database(f"sqlite:///{tmp_path / name}"))
        return made[-1]

    yield make
    for database in made:
        database.close()


@pytest.fixture
def talked(opened: Open) -> Database:
    """A source of some thousand rows."""
    database = opened("source.db")
    database.upgrade()
    talk(database, 300)
    return database


def test_everything_is_the_same_and_goes_on(
    tmp_path: Path, opened: Open, make_app: MakeApp
) -> None:
    source = live(make_app(USER_ID_KEY=KEY)).database
    before = rows_of_sqlite(tmp_path / "switchboard.db")
    assert [name for name, rows in before.items() if not rows] == [], "let `live` fill it"
    report = copy(source, opened("target.db"))
    assert rows_of_sqlite(tmp_path / "target.db") == before
    assert {table.name: table.rows for table in report.tables} == {
        name: len(rows) for name, rows in before.items()
    }
    moved_app = make_app(USER_ID_KEY=KEY, DATABASE_URL=f"sqlite:///{tmp_path / 'target.db'}")
    moved = services_of(moved_app)
    moved.require_sound_database()
    with moved.database.read() as connection:
        assert isinstance(moved.audit.verify(connection), VerifiedChain)
    moved.sign_in.with_password("olga", PASSWORD, address="127.0.0.1")
    found = moved.directory.get("bob")
    assert moved.database.examine(thorough=True) == []
    # The number of the tenant that was forgotten is not given again.
    number = moved.database.write(lambda connection: tenants.ensure(connection, "new", 1))
    assert number == source.write(lambda connection: tenants.ensure(connection, "new", 1))
    client = moved_app.test_client()
    assert client.post("/chat", json={"user_id": "bob", "message": "Hi"}).status_code == 200
    assert moved.directory.get("bob").message_count == found.message_count + 2


DIES = """
import os, signal, sys
from webapp.storage import open_database
from webapp.storage.copying import copy
what, rows = sys.argv[3], int(sys.argv[4])
def progress(now, done, total):
    if (now, done) == (what, rows or total):
        os.kill(os.getpid(), signal.SIGKILL)
copy(open_database(sys.argv[1]), open_database(sys.argv[2]), progress)
"""


@pytest.mark.parametrize("moment", [("Copying", 1000), ("Copying", 3000), ("Verifying", 0)])
def test_a_copy_that_was_killed_is_no_database_until_it_is_finished(
    tmp_path: Path, opened: Open, talked: Database, moment: tuple[str, int]
) -> None:
    what, rows = moment
    target = opened("target.db")
    command = [sys.executable, "-c", DIES, talked.url, target.url, what, str(rows)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    with pytest.raises(StorageUnavailable, match="unfinished copy"):
        require_no_unfinished_copy(target)
    with pytest.raises(StorageUnavailable, match=r"The source: .*unfinished copy"):
        copy(target, opened("third.db"))
    other = opened("other.db")
    other.upgrade()
    with pytest.raises(Conflict, match="of another source"):
        copy(other, target)
    report = copy(talked, target)
    assert report.resumed
    assert report.found > 144  # more than a fresh schema holds
    require_no_unfinished_copy(target)
    assert rows_of_sqlite(tmp_path / "target.db") == rows_of_sqlite(tmp_path / "source.db")


def test_what_the_source_is_told_meanwhile_is_copied_behind(
    tmp_path: Path, opened: Open, talked: Database
) -> None:
    other = opened("source.db")
    told: list[bool] = []

    def progress(what: str, done: int, _total: int) -> None:
        if (what, done) == ("Copying", 2000) and not told:
            told.append(True)
            with closing(sqlite3.connect(tmp_path / "source.db")) as connection, connection:
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute("DELETE FROM tenants WHERE id = 7")
                connection.execute("UPDATE messages SET content = 'new' WHERE session = 9")
            talk(other, 302)

    copy(talked, opened("target.db"), progress)
    assert told
    assert rows_of_sqlite(tmp_path / "target.db") == rows_of_sqlite(tmp_path / "source.db")


def test_a_source_that_does_not_come_to_rest_is_said_to_change(
    tmp_path: Path, opened: Open, talked: Database
) -> None:
    other = opened("source.db")
    target = opened("target.db")
    number = iter(range(1000))

    def progress(what: str, done: int, total: int) -> None:
        if what == "Copying" and done == total:
            other.write(lambda connection: tenants.ensure(connection, f"late-{next(number)}", 1))

    with pytest.raises(StorageUnavailable, match="still being written: tenants changed"):
        copy(talked, target, progress)
    assert copy(talked, target).resumed
    assert rows_of_sqlite(tmp_path / "target.db") == rows_of_sqlite(tmp_path / "source.db")


def test_a_finished_copy_is_verified_again_and_nothing_else_is_touched(
    tmp_path: Path, opened: Open, talked: Database
) -> None:
    target = opened("target.db")
    copy(talked, target)
    assert not copy(talked, target).resumed
    target.write(lambda connection: tenants.ensure(connection, "mine", 1))
    before = rows_of_sqlite(tmp_path / "target.db")
    with pytest.raises(Conflict, match="holds something already, in tenants"):
        copy(talked, target)
    assert rows_of_sqlite(tmp_path / "target.db") == before


def test_what_is_no_installation_of_this_version_is_refused(
    tmp_path: Path, opened: Open, talked: Database
) -> None:
    with pytest.raises(Conflict, match="the same database"):
        copy(talked, opened("source.db"))
    with pytest.raises(SchemaOutOfDate, match="The source is not of this version's form"):
        copy(opened("none.db"), opened("target.db"))
    assert not (tmp_path / "target.db").exists()
    with closing(sqlite3.connect(tmp_path / "foreign.db")) as connection, connection:
        connection.execute("CREATE TABLE notes (text TEXT)")
    with pytest.raises(StorageUnavailable, match=r"The target: .* another application"):
        copy(talked, opened("foreign.db"))
    old = opened("old.db")
    old.upgrade()
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection, connection:
        connection.execute("DELETE FROM _sqlite_migrations WHERE name = 'm015_turns'")
    with pytest.raises(SchemaOutOfDate, match="The target is not of this version's form"):
        copy(talked, old)


def test_a_table_that_only_one_side_has_is_not_left_behind(
    tmp_path: Path, opened: Open, talked: Database
) -> None:
    with closing(sqlite3.connect(tmp_path / "source.db")) as connection, connection:
        connection.execute("CREATE TABLE later (id INTEGER PRIMARY KEY)")
        connection.execute("ALTER TABLE admins ADD COLUMN later TEXT")
    with pytest.raises(StorageUnavailable, match=r"only one of them has later, admins\.later"):
        copy(talked, opened("target.db"))
