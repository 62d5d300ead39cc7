"""Lines of turns in PostgreSQL: what lines in a file beside the database do not have."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from tests.fakes import until
from webapp.errors import PlaceLost
from webapp.storage import Connection, meta
from webapp.storage.postgres.database import PostgresDatabase
from webapp.storage.postgres.turn_lines import PostgresTurnLines
from webapp.turns.lines import Ticket
from webapp.turns.shared import SharedTurnQueue

Make = Callable[..., PostgresTurnLines]


@pytest.fixture
def database(postgres_url: str) -> Iterator[PostgresDatabase]:
    with closing(PostgresDatabase(postgres_url, 10)) as opened:
        yield opened


@pytest.fixture
def make_lines(database: PostgresDatabase) -> Iterator[Make]:
    with ExitStack() as opened:

        def make(lease: float = 20.0) -> PostgresTurnLines:
            return opened.enter_context(closing(PostgresTurnLines(database, lease=lease)))

        yield make


def storing(name: str, lines: PostgresTurnLines, ticket: Ticket) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        lines.leave_within(connection, "line", ticket)
        meta.put(connection, name, "stored")

    return work


def stored(database: PostgresDatabase, name: str) -> bool:
    with database.read() as connection:
        return meta.value(connection, name) is not None


def test_a_ticket_is_given_back_with_what_is_stored_or_not_at_all(
    database: PostgresDatabase, make_lines: Make
) -> None:
    lines = make_lines()
    first, second = lines.join("line", None), lines.join("line", None)
    assert first is not None
    assert second is not None
    with pytest.raises(PlaceLost):
        database.write(storing("second", lines, second))
    assert not stored(database, "second")
    assert lines.head("line") == first
    database.write(storing("first", lines, first))
    assert stored(database, "first")
    assert lines.head("line") == second
    with pytest.raises(PlaceLost):
        database.write(storing("again", lines, first))
    assert not stored(database, "again")


def test_who_wakes_up_while_another_turn_runs_stores_nothing(
    database: PostgresDatabase, make_lines: Make
) -> None:
    still = make_lines(lease=0.2)
    ticket = still.join("line", None)
    assert ticket is not None
    queue = SharedTurnQueue(make_lines(), str, lease=20)
    with closing(queue), queue.place("line") as place:  # waits for the lease's end
        assert place is not None
        with pytest.raises(PlaceLost):
            database.write(storing("late", still, ticket))

        def work(connection: Connection) -> None:
            place.require_held(connection)
            meta.put(connection, "in time", "stored")

        database.write(work)
    assert (stored(database, "late"), stored(database, "in time")) == (False, True)
    assert still.head("line") is None


def test_a_line_is_exact_when_many_come_at_once(make_lines: Make) -> None:
    several = [make_lines() for _ in range(4)]
    tickets: list[Ticket | None] = []
    start = threading.Barrier(24)

    def join(number: int) -> None:
        start.wait(10)
        tickets.append(several[number % 4].join("line", 5))

    threads = [threading.Thread(target=join, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    found = sorted(ticket.number for ticket in tickets if ticket is not None)
    assert found == [1, 2, 3, 4, 5]
    assert len(tickets) == 24


def test_a_server_that_has_lost_the_lines_costs_a_turn_and_nothing_else(
    database: PostgresDatabase, make_lines: Make
) -> None:
    lines = make_lines()
    ticket = lines.join("line", None)
    assert ticket is not None
    database.write(lambda connection: connection.execute("TRUNCATE turn_lines, turn_workers"))
    with pytest.raises(PlaceLost):
        database.write(storing("lost", lines, ticket))
    lines.leave("line", ticket)
    lines.renew()
    again = lines.join("line", None)
    assert again is not None
    assert again.worker != ticket.worker
    assert lines.head("line") == again


def test_lines_that_nobody_stands_in_are_swept_away(
    database: PostgresDatabase, make_lines: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.storage.postgres.turn_lines.SWEEP_EVERY", 1)
    lines = make_lines()
    for number in range(20):
        ticket = lines.join(f"line {number}", None)
        assert ticket is not None
        if number:
            lines.leave(f"line {number}", ticket)
    lines.renew()
    with database.read() as connection:
        left = connection.execute("SELECT line FROM turn_lines").fetchall()
    assert left == [("line 0",)]


def test_a_lease_lasts_while_it_is_renewed_and_no_longer(make_lines: Make) -> None:
    lines, other = make_lines(lease=0.3), make_lines(lease=0.3)
    ticket = lines.join("line", None)
    assert other.join("another", None) is not None

    def is_gone() -> bool:
        lines.renew()
        return other.head("another") is None

    until(is_gone)
    assert lines.head("line") == ticket
