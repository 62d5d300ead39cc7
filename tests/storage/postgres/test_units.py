"""Units of work on a real PostgreSQL: transactions, what goes wrong, and where a pooler stands."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.databases.pgbouncer import PgBouncer
from tests.databases.postgres import PostgresServer
from tests.fakes import until
from webapp.errors import (
    ConfigurationError,
    InvalidInput,
    SchemaOutOfDate,
    SchemaTooNew,
    StorageUnavailable,
)
from webapp.storage import Connection, Database, meta, open_database
from webapp.storage.postgres import database as engine
from webapp.storage.postgres.translation import statement_of


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    with closing(open_database(postgres_url)) as opened:
        yield opened


def put(database: Database, name: str, value: str) -> None:
    database.write(lambda connection: meta.put(connection, name, value))


def value(database: Database, name: str) -> str | None:
    with database.read() as connection:
        return meta.value(connection, name)


def refusal(database: Database) -> str | None:
    try:
        put(database, "refusal", "")
    except StorageUnavailable as error:
        return error.part
    return None


def test_sql_is_translated_outside_of_texts_names_and_comments() -> None:
    sql = """SELECT ':no', "a:no", x::bigint, :one /* :no */ + :two * :one /*pg AND t = :three */"""
    found = statement_of(sql)
    assert found.names == ("one", "two", "three")
    assert found.sql.decode() == (
        """SELECT ':no', "a:no", x::bigint, $1 /* :no */ + $2 * $1 AND t = $3 """
    )


def test_values_come_back_as_they_went_in(database: Database) -> None:
    row = (2**62, -1, None, "naïve ☃ '\"\\{}", "", b"\0\xff", 1.5, True)
    with database.read() as connection:
        asked = {f"v{number}": one for number, one in enumerate(row)}
        texts = ", ".join(f":v{number}" for number in range(len(row)) if number != 2)
        found = connection.execute(f"SELECT NULL, {texts}", asked).fetchone()
        sql = "SELECT SUM(x), SUM(x) + 0.5 FROM (VALUES (:a), (:a)) AS v (x)"
        total = connection.execute(sql, {"a": 2**61}).fetchone()
    assert found == (None, 2**62, -1, "naïve ☃ '\"\\{}", "", b"\0\xff", 1.5, 1)
    assert total == (2**62, 2**62 + 0.5)


def test_a_nul_is_refused_and_takes_nothing_else_along(database: Database) -> None:
    def work(connection: Connection) -> None:
        meta.put(connection, "whole", "1")
        meta.put(connection, "nul", "a\0b")

    with pytest.raises(InvalidInput):
        database.write(work)
    assert value(database, "whole") is None


def test_what_a_unit_raises_goes_on_and_nothing_of_it_is_stored(database: Database) -> None:
    def work(connection: Connection) -> None:
        meta.put(connection, "name", "1")
        raise LookupError

    for _ in range(30):  # more often than there are connections
        with pytest.raises(LookupError):
            database.write(work)
    assert value(database, "name") is None


def test_reads_are_of_one_moment_and_change_nothing(database: Database) -> None:
    put(database, "name", "before")
    with database.read() as connection:
        assert meta.value(connection, "name") == "before"
        put(database, "name", "after")
        assert meta.value(connection, "name") == "before"
    assert value(database, "name") == "after"
    with pytest.raises(StorageUnavailable) as refused, database.read() as connection:
        meta.put(connection, "name", "never")
    assert refused.value.part == "read_only"


def test_two_that_wait_for_each_other_are_both_done(database: Database) -> None:
    put(database, "one", "0")
    put(database, "two", "0")
    both_have_one = threading.Barrier(2)

    def adding(first: str, second: str) -> Callable[[], None]:
        met: list[bool] = []

        def work(connection: Connection) -> None:
            for name in (first, second):
                meta.put(connection, name, str(int(meta.value(connection, name) or 0) + 1))
                if not met:
                    met.append(True)
                    both_have_one.wait(10)

        return lambda: database.write(work)

    threads = [
        threading.Thread(target=adding(*names)) for names in (("one", "two"), ("two", "one"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (value(database, "one"), value(database, "two")) == ("2", "2")


def test_a_statement_that_takes_too_long_is_given_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(database, "name", "1")
    held, over = threading.Event(), threading.Event()

    def hold(connection: Connection) -> None:
        meta.put(connection, "name", "2")
        held.set()
        over.wait(20)

    holding = threading.Thread(target=lambda: database.write_long(hold))
    holding.start()
    held.wait(10)
    with monkeypatch.context() as patched:
        patched.setattr(engine, "STATEMENT_SECONDS", 0.2)
        with pytest.raises(StorageUnavailable) as stalled:
            put(database, "name", "3")
    over.set()
    holding.join(10)
    assert stalled.value.part == "stalled"
    assert value(database, "name") == "2"


def test_no_more_connections_than_were_asked_for(
    postgres: PostgresServer, postgres_url: str
) -> None:
    name = postgres.database_of(postgres_url)
    seen: list[int] = []
    with closing(open_database(postgres_url, 3)) as database:

        def look(connection: Connection) -> None:
            connection.execute("SELECT pg_sleep(0.02)")
            asked = {"name": name}
            sql = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = :name"
            seen.append(connection.execute(sql, asked).fetchone()[0])

        threads = [threading.Thread(target=lambda: database.write(look)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert len(seen) == 20
    assert max(seen) <= 3


def test_the_server_restarts_and_the_next_unit_is_done() -> None:
    with (
        closing(PostgresServer()) as server,
        closing(open_database(server.create_database())) as database,
    ):
        database.upgrade()
        put(database, "name", "before")
        server.restart()
        assert value(database, "name") == "before"
        put(database, "name", "after")
        server.kill()
        until(lambda: refusal(database) is not None)  # its processes outlive it for a moment
        for ask in (database.require_writable, database.check):
            with pytest.raises(StorageUnavailable):
                ask()
        server.start()
        database.require_writable()
        assert value(database, "name") == "after"
        put(database, "name", "again")
        with server.read_only():
            until(lambda: refusal(database) == "read_only")  # the server is told in its own time
            value(database, "name")
        until(lambda: refusal(database) is None)


def test_through_a_pooler_in_transaction_mode(pgbouncer: PgBouncer, postgres_url: str) -> None:
    with closing(open_database(pgbouncer.url(postgres_url))) as database:
        database.check()
        threads = [
            threading.Thread(target=lambda number=number: put(database, f"name{number}", "x"))
            for number in range(40)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert [value(database, f"name{number}") for number in range(40)] == ["x"] * 40


# -- the schema ---------------------------------------------------------------------------------


def test_several_upgrade_at_once_and_one_does_it(empty_postgres_url: str) -> None:
    databases = [open_database(empty_postgres_url) for _ in range(5)]
    with pytest.raises(SchemaOutOfDate):
        databases[0].check()
    done: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda one=one: done.append(one.upgrade())) for one in databases
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(done) == 5
    assert sum(bool(steps) for steps in done) == 1
    for database in databases:
        database.check()
        database.close()


def test_a_newer_schema_and_a_foreign_one_are_refused(
    database: Database, postgres: PostgresServer, empty_postgres_url: str
) -> None:
    database.write(
        lambda connection: connection.execute(
            "INSERT INTO switchboard_schema (name) VALUES ('p999_of_the_future')"
        )
    )
    for ask in (database.check, database.upgrade):
        with pytest.raises(SchemaTooNew, match="p999_of_the_future"):
            ask()
    postgres.execute("CREATE TABLE theirs (x INT)", postgres.database_of(empty_postgres_url))
    with closing(open_database(empty_postgres_url)) as foreign:
        for ask in (foreign.check, foreign.upgrade):
            with pytest.raises(StorageUnavailable) as refused:
                ask()
            assert refused.value.part == "foreign"


def test_the_audit_log_only_grows(database: Database) -> None:
    for sql in ("UPDATE audit SET actor = ''", "DELETE FROM audit", "TRUNCATE audit"):

        def work(connection: Connection, sql: str = sql) -> Any:
            connection.execute(
                "INSERT INTO audit (id, at, actor, role, address, action, previous_hash, hash)"
                " VALUES (1, 0, 'a', 'r', 'x', 'act', 'p', 'h')"
            )
            return connection.execute(sql)

        with pytest.raises(StorageUnavailable):
            database.write(work)


def test_without_the_extension_a_search_reads_every_id(
    postgres: PostgresServer, postgres_url: str
) -> None:
    name = postgres.database_of(postgres_url)
    postgres.execute("DROP EXTENSION pg_trgm CASCADE", name)
    with closing(open_database(postgres_url)) as database:
        assert any("pg_trgm" in doubt for doubt in database.doubts())
        assert database.upgrade() == []
        assert not any("pg_trgm" in doubt for doubt in database.doubts())


@pytest.mark.parametrize(
    "url", ["postgresql://[h/db", "postgresql://u:p@h/db?secret=1", "postgresql://%zz/"]
)
def test_a_url_that_is_none_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        open_database(url)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_wrong_password_is_told_and_not_shown(postgres_url: str) -> None:
    wrong = postgres_url.replace("not-a-secret", "hunter2hunter2")
    with closing(open_database(wrong)) as database, pytest.raises(StorageUnavailable) as refused:
        database.check()
    assert "password" in refused.value.message
    text = f"{refused.value} {refused.value.__cause__!r} {database!r} {vars(database)}"
    assert "hunter2" not in text.replace(wrong, "")
