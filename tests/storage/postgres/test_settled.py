"""Which requests are settled while transactions are open: a lower number may still come."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from webapp.storage import Connection, Database, open_database
from webapp.storage.settled import settled_through
from webapp.tenant_data.consistency.comparison import compare
from webapp.tenant_data.storing import store_request
from webapp.tenants import store as tenants
from webapp.usage.records import RequestRecord
from webapp.usage.rollup import store
from webapp.usage.rollup.worker import roll_up

NOW = 1_795_471_966_062


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    with closing(open_database(postgres_url)) as opened:
        yield opened


def request_of(user: str) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        number = tenants.ensure(connection, user, NOW)
        assert store_request(
            connection, number, RequestRecord(NOW, "chat", 502, 5, "req", "model_error")
        )

    return work


@contextmanager
def left_open(database: Database, work: Callable[[Connection], None]) -> Iterator[None]:
    """The work is done and not yet committed inside of the block."""
    done, over = threading.Event(), threading.Event()

    def hold(connection: Connection) -> None:
        work(connection)
        connection.execute("SELECT 1")  # what was put off is sent
        done.set()
        assert over.wait(20)

    thread = threading.Thread(target=lambda: database.write(hold))
    thread.start()
    assert done.wait(20)
    try:
        yield
    finally:
        over.set()
        thread.join(20)


def in_sums(database: Database) -> int:
    with database.read() as connection:
        found = connection.execute(
            "SELECT COALESCE(SUM(requests), 0) FROM usage"
            " WHERE tenant_id = 0 AND period = 'day' AND measure = 'request'"
        )
        return int(found.fetchone()[0])


def step(database: Database) -> None:
    while database.write_long(store.step):
        pass


def test_a_number_that_comes_late_is_not_left_out(database: Database) -> None:
    database.write(request_of("before"))
    with left_open(database, request_of("slow")):
        database.write(request_of("quick"))  # has the higher number, and is seen first
        step(database)
        step(database)
        assert in_sums(database) <= 1
    step(database)
    step(database)
    assert in_sums(database) == 3
    assert compare(database, NOW).count == 0


def test_two_that_are_open_are_waited_for_and_later_ones_are_not(database: Database) -> None:
    with left_open(database, request_of("one")), left_open(database, request_of("two")):
        for number in range(5):
            database.write(request_of(f"user {number}"))
            step(database)
        assert in_sums(database) == 0
    with left_open(database, request_of("much later")):
        # The mark that was set then is settled, although somebody is under way now.
        step(database)
        assert in_sums(database) >= 5
    assert roll_up(database)
    step(database)
    assert in_sums(database) == 8


def test_a_mark_of_another_server_is_no_mark(database: Database) -> None:
    database.write(request_of("one"))
    database.write(
        lambda connection: connection.execute(
            "UPDATE usage_rollup SET mark = 99, mark_xid = 9000000000"
        )
    )
    with left_open(database, request_of("slow")):
        step(database)
    step(database)
    assert in_sums(database) == 2
    with database.read() as connection:
        assert settled_through(connection) >= 2


def test_many_writers_and_two_who_roll_up_lose_nothing(database: Database) -> None:
    over = threading.Event()

    def roll() -> None:
        while not over.is_set():
            database.write_long(lambda connection: store.step(connection, most=7))

    rolling = [threading.Thread(target=roll) for _ in range(2)]
    writing = [
        threading.Thread(
            target=lambda user=user: [database.write(request_of(user)) for _ in range(40)]
        )
        for user in ("a", "b", "c", "d")
    ]
    for thread in (*rolling, *writing):
        thread.start()
    for thread in writing:
        thread.join(60)
    over.set()
    for thread in rolling:
        thread.join(20)
    step(database)
    step(database)
    assert in_sums(database) == 160
    assert compare(database, NOW).count == 0
