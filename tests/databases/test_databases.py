"""The servers that tests start: they start, are each test's own, and have the bad days wanted."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.databases.pgbouncer import PgBouncer
from tests.databases.postgres import PostgresServer


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """One that may be killed, with a disk that can be filled."""
    server = PostgresServer(fsync=True, disk_mib=96)
    yield server
    server.close()


def value(url: str, statement: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row[0]


def test_each_test_has_a_database_of_its_own(
    postgres: PostgresServer, postgres_url: str, empty_postgres_url: str
) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE own_notes (text TEXT)")
    found = "SELECT count(*) FROM pg_tables WHERE tablename = 'own_notes'"
    assert (value(postgres_url, found), value(empty_postgres_url, found)) == (1, 0)
    assert value(postgres_url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is (
        False
    )


def test_the_pooler_gives_one_connection_to_many_clients(
    pgbouncer: PgBouncer, empty_postgres_url: str
) -> None:
    url = pgbouncer.url(empty_postgres_url)
    clients = [psycopg.connect(url, autocommit=True) for _ in range(8)]
    processes = {client.execute("SELECT pg_backend_pid()").fetchone() for client in clients}
    for client in clients:
        client.close()
    assert len(processes) < len(clients)


def test_a_killed_server_comes_back_with_what_was_committed(own_server: PostgresServer) -> None:
    url = own_server.create_database()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE own_notes AS SELECT 1 AS number")
    with psycopg.connect(url) as connection:
        own_server.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    own_server.start()
    assert value(url, "SELECT number FROM own_notes") == 1
    own_server.restart()
    assert value(url, "SELECT number FROM own_notes") == 1


def test_a_read_only_server_refuses_writes_for_a_while(own_server: PostgresServer) -> None:
    url = own_server.create_database()
    with psycopg.connect(url, autocommit=True) as connection:
        with own_server.read_only(), pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            _until_it_fails(connection)
        connection.execute("SELECT 1")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE later (number INTEGER)")


def _until_it_fails(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    for number in range(1000):  # an open connection hears of it a moment later
        connection.execute(f"CREATE TABLE own_notes_{number} (number INTEGER)".encode())
        time.sleep(0.01)


def test_a_full_disk_stores_nothing_and_can_be_emptied(own_server: PostgresServer) -> None:
    url = own_server.create_database()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE own_notes (text TEXT)")
    insert = "INSERT INTO own_notes SELECT repeat('x', 1000) FROM generate_series(1, 9999)"
    with (
        own_server.disk_full(),
        pytest.raises(psycopg.Error) as caught,
        psycopg.connect(url) as connection,
    ):
        connection.execute(insert)
    assert caught.value.sqlstate in {None, "53100"}  # refused, or it stopped for want of its log
    own_server.restart()
    assert value(url, "SELECT count(*) FROM own_notes") == 0


def test_a_stopped_server_answers_again_when_it_goes_on(own_server: PostgresServer) -> None:
    url = own_server.create_database()
    with own_server.standing_still(), pytest.raises(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=1)
    assert value(url, "SELECT 1") == 1


START = """
import sys, time
from tests.databases.postgres import PostgresServer
server = PostgresServer()
print(server.pid, server.socket_folder, flush=True)
time.sleep(60)
"""


def test_a_server_ends_with_the_test_process_that_is_killed() -> None:
    root = Path(__file__).parents[2]
    test = subprocess.Popen(
        [sys.executable, "-c", START], stdout=subprocess.PIPE, text=True, cwd=root
    )
    assert test.stdout is not None
    server, folder = test.stdout.readline().split()
    test.send_signal(signal.SIGKILL)
    test.wait()
    test.stdout.close()
    until = time.monotonic() + 20
    while _is_running(int(server)):
        assert time.monotonic() < until
        time.sleep(0.05)
    shutil.rmtree(folder)


def _is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
