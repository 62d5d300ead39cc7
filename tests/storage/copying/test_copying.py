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
from tests.databases.postgres import PostgresServer
from tests.storage.copying.installation import PASSWORD, live, rows_of, talk
from webapp.accounts.audit import VerifiedChain
from webapp.errors import Conflict, SchemaOutOfDate, StorageUnavailable
from webapp.storage import Connection, Database, open_database
from webapp.storage.copying import copy, statements
from webapp.storage.copying.engines import engine_of
from webapp.storage.copying.tables import pairs
from webapp.storage.unfinished import require_no_unfinished_copy
from webapp.tenants import store as tenants
from webapp.usage.rollup.worker import roll_up

KEY = "hV7q2_RkZp9sXw4TnB8yLcJ3-mD6gF5aQeU1oIxz"

Open = Callable[[str], Database]
DIRECTIONS = ["sqlite to sqlite", "sqlite to postgres", "postgres to sqlite"]


@pytest.fixture(params=DIRECTIONS)
def engines(request: pytest.FixtureRequest) -> tuple[str, str]:
    source, _, target = request.param.partition(" to ")
    return source, target


@pytest.fixture
def url_of(
    engines: tuple[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], str]]:
    """The URL of a new database of a name: `source` is on the one engine, all others on the
    other. Nothing is made yet."""
    urls: dict[str, str] = {}
    server: PostgresServer | None = None
    if "postgres" in engines:
        server = request.getfixturevalue("postgres")

    def make(name: str) -> str:
        if name not in urls:
            on_server = engines[name != "source"] == "postgres"
            file = f"sqlite:///{tmp_path / name}.db"
            urls[name] = server.create_database() if server and on_server else file
        return urls[name]

    yield make
    for url in urls.values():
        if server and url.startswith("postgresql://"):
            server.drop_database(url)


@pytest.fixture
def opened(url_of: Callable[[str], str]) -> Iterator[Open]:
    """Opens the database of a name, as another process would each time."""
    made: list[Database] = []

    def make(name: str) -> Database:
        made.append(open_database(url_of(name)))
        return made[-1]

    yield make
    for database in made:
        database.close()


@pytest.fixture
def talked(opened: Open) -> Database:
    """A source of some thousand rows."""
    database = opened("source")
    database.upgrade()
    talk(database, 150)
    return database


only_files = pytest.mark.parametrize("engines", [("sqlite", "sqlite")])


def test_everything_is_the_same_and_goes_on(
    opened: Open, url_of: Callable[[str], str], make_app: MakeApp
) -> None:
    source = live(make_app(USER_ID_KEY=KEY, DATABASE_URL=url_of("source"))).database
    before = rows_of(source.url)
    assert [name for name, rows in before.items() if not rows] == [], "let `live` fill it"
    report = copy(source, opened("target"))
    assert rows_of(url_of("target")) == before
    assert {table.name: table.rows for table in report.tables} == {
        name: len(rows) for name, rows in before.items()
    }
    moved_app = make_app(USER_ID_KEY=KEY, DATABASE_URL=url_of("target"))
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
    roll_up(moved.database)
    with moved.database.read() as connection:
        sums = connection.execute(
            "SELECT (SELECT SUM(requests) FROM usage WHERE tenant_id = 0 AND period = 'minute'),"
            " (SELECT COUNT(*) FROM requests)",
            {},
        ).fetchone()
    assert sums[0] >= sums[1]


DIES = """
import os, signal, sys
from webapp.storage import open_database
from webapp.storage.copying import copy, statements
from webapp.storage.copying.engines import engine_of
from webapp.storage.copying.tables import pairs
what, rows = sys.argv[3], int(sys.argv[4])
def progress(now, done, total):
    if (now, done) == (what, rows or total):
        os.kill(os.getpid(), signal.SIGKILL)
copy(open_database(sys.argv[1]), open_database(sys.argv[2]), progress)
"""


@pytest.mark.parametrize("moment", [("Copying", 1000), ("Verifying", 0)])
def test_a_copy_that_was_killed_is_no_database_until_it_is_finished(
    opened: Open, talked: Database, moment: tuple[str, int]
) -> None:
    what, rows = moment
    target = opened("target")
    command = [sys.executable, "-c", DIES, talked.url, target.url, what, str(rows)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    with pytest.raises(StorageUnavailable, match="unfinished copy"):
        require_no_unfinished_copy(target)
    with pytest.raises(StorageUnavailable, match=r"The source: .*unfinished copy"):
        copy(target, opened("third"))
    other = opened("other")
    other.upgrade()
    with pytest.raises(Conflict, match="of another source"):
        copy(other, target)
    report = copy(talked, target)
    assert report.resumed
    assert report.found > 144  # more than a fresh schema holds
    require_no_unfinished_copy(target)
    assert rows_of(target.url) == rows_of(talked.url)


def test_what_the_source_is_told_meanwhile_is_copied_behind(opened: Open, talked: Database) -> None:
    other = opened("source")
    told: list[bool] = []

    def progress(what: str, done: int, _total: int) -> None:
        if (what, done) == ("Copying", 1000) and not told:
            told.append(True)
            other.write(forget_and_say)
            talk(other, 152)

    def forget_and_say(connection: Connection) -> None:
        connection.execute("DELETE FROM tenants WHERE id = 7", {})
        connection.execute("UPDATE messages SET content = 'new' WHERE session = 9", {})

    target = opened("target")
    copy(talked, target, progress)
    assert told
    assert rows_of(target.url) == rows_of(talked.url)


def test_a_source_that_does_not_come_to_rest_is_said_to_change(
    opened: Open, talked: Database
) -> None:
    other = opened("source")
    target = opened("target")
    number = iter(range(1000))

    def progress(what: str, done: int, total: int) -> None:
        if what == "Copying" and done == total:
            other.write(lambda connection: tenants.ensure(connection, f"late-{next(number)}", 1))

    with pytest.raises(StorageUnavailable, match="still being written: tenants changed"):
        copy(talked, target, progress)
    assert copy(talked, target).resumed
    assert rows_of(target.url) == rows_of(talked.url)


def test_a_finished_copy_is_verified_again_and_nothing_else_is_touched(
    opened: Open, talked: Database
) -> None:
    target = opened("target")
    copy(talked, target)
    assert not copy(talked, target).resumed
    target.write(lambda connection: tenants.ensure(connection, "mine", 1))
    before = rows_of(target.url)
    with pytest.raises(Conflict, match="holds something already, in tenants"):
        copy(talked, target)
    assert rows_of(target.url) == before


@only_files
def test_no_table_is_sorted_to_be_read(talked: Database) -> None:
    """A table may be larger than the memory."""
    engine = engine_of(talked)
    with talked.read() as connection:
        tables = engine.tables(connection)
        for pair in pairs(tables, tables):
            sql = f"EXPLAIN QUERY PLAN {statements.select(pair.source, pair.form)}"
            plan = [row[3] for row in connection.execute(sql, {}).fetchall()]
            assert not any("TEMP B-TREE" in step for step in plan), (pair.name, plan)


@only_files
def test_what_is_no_installation_of_this_version_is_refused(
    tmp_path: Path, opened: Open, talked: Database
) -> None:
    with pytest.raises(Conflict, match="the same database"):
        copy(talked, opened("source"))
    with pytest.raises(StorageUnavailable, match="The source: there is no installation in it"):
        copy(opened("none"), opened("target"))
    assert not (tmp_path / "target.db").exists()
    with closing(sqlite3.connect(tmp_path / "foreign.db")) as connection, connection:
        connection.execute("CREATE TABLE notes (text TEXT)")
    with pytest.raises(StorageUnavailable, match=r"The target: .* another application"):
        copy(talked, opened("foreign"))
    old = opened("old")
    old.upgrade()
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection, connection:
        connection.execute("DELETE FROM _sqlite_migrations WHERE name = 'm015_turns'")
    with pytest.raises(SchemaOutOfDate, match="The target is not of this version's form"):
        copy(talked, old)


@only_files
def test_a_table_that_only_one_side_has_is_not_left_behind(
    tmp_path: Path, opened: Open, talked: Database
) -> None:
    with closing(sqlite3.connect(tmp_path / "source.db")) as connection, connection:
        connection.execute("CREATE TABLE later (id INTEGER PRIMARY KEY)")
        connection.execute("ALTER TABLE admins ADD COLUMN later TEXT")
    with pytest.raises(StorageUnavailable, match=r"only one of them has later, admins\.later"):
        copy(talked, opened("target"))
