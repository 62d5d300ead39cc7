"""Tests of the SQL of conversations: forgotten tenants, counters, pages, cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from webapp.errors import InvalidInput
from webapp.memory import store
from webapp.memory.clearing.parts import clear
from webapp.memory.history.store import history
from webapp.memory.paging.store import Position, StoredMessage, message_page
from webapp.memory.sessions.listing.query import SessionQuery
from webapp.memory.sessions.listing.store import page as page_of_sessions
from webapp.memory.sessions.store import SessionSummary
from webapp.messages import Message
from webapp.storage import Connection, Database
from webapp.tenant_data import clearing
from webapp.tenant_data.storing import store_messages
from webapp.tenants import store as tenants


def sessions_of(connection: Connection, tenant: int, limit: int = 50) -> tuple[SessionSummary, ...]:
    return page_of_sessions(connection, tenant, SessionQuery(limit=limit)).rows


def turn(name: object) -> list[Message]:
    return [Message.user(f"u{name}"), Message.assistant(f"a{name}")]


def fill(database: Database, user: str, sessions: dict[str, int]) -> int:
    """A tenant with so many turns in each session; returns its number."""

    tenant = database.write(lambda connection: tenants.ensure(connection, user, 0))
    for session, turns in sessions.items():
        for first in range(0, turns, 100):

            def work(connection: Connection, name: str = session, first: int = first) -> None:
                for index in range(first, min(first + 100, sessions[name])):
                    store_messages(connection, tenant, name, turn(f"{name}{index}"), 0, index)

            database.write(work)
    return tenant


def column(database: Database, sql: str) -> list[Any]:
    with database.read() as connection:
        return [row[0] for row in connection.execute(sql).fetchall()]


def test_a_forgotten_tenant_is_not_brought_back_by_a_turn(database: Database) -> None:
    alice = fill(database, "alice", {"default": 2})
    database.write(
        lambda connection: connection.execute("DELETE FROM tenants WHERE id = :id", {"id": alice})
    )

    def work(connection: Connection) -> None:
        assert store_messages(connection, alice, "default", turn("late"), 100, 0) is None
        assert store_messages(connection, alice, "default", [], 100, 0) is None

    database.write(work)
    for table in ("tenants", "sessions", "messages"):
        assert column(database, f"SELECT COUNT(*) FROM {table}") == [0]


def test_a_turn_that_began_before_a_clear_does_not_bring_the_history_back(
    database: Database,
) -> None:
    alice = fill(database, "alice", {"default": 3})
    assert database.write(lambda connection: clear(connection, alice)) == 6
    database.write(
        lambda connection: store_messages(connection, alice, "default", turn("new"), 100, 0)
    )
    with database.read() as connection:
        messages = history(connection, alice, "default")
    assert [message.content for message in messages] == ["unew", "anew"]


def test_clear_is_one_tenants_and_keeps_session_state(database: Database) -> None:
    alice = fill(database, "alice", {"default": 2, "work": 1})
    bob = fill(database, "bob", {"default": 2})
    database.write(
        lambda connection: connection.execute(
            "UPDATE sessions SET state = '{}', state_version = 3 WHERE session_id = 'work'"
        )
    )
    assert database.write(lambda connection: clear(connection, alice)) == 6
    with database.read() as connection:
        assert [one.session_id for one in sessions_of(connection, alice)] == ["work"]
        assert [one.message_count for one in sessions_of(connection, alice)] == [0]
        assert store.size(connection, bob, "default") == 4
    assert column(database, "SELECT message_count FROM tenants ORDER BY id") == [0, 4]


def test_after_a_clear_a_kept_session_does_not_give_a_place_twice(database: Database) -> None:
    alice = fill(database, "alice", {"default": 2})
    database.write(
        lambda connection: connection.execute("UPDATE sessions SET state = '{}', state_version = 1")
    )
    database.write(lambda connection: clear(connection, alice))
    database.write(lambda connection: store_messages(connection, alice, "default", turn(1), 0, 0))
    assert column(database, "SELECT seq FROM messages") == [5, 6]


def test_clear_all_counts_messages_and_the_tenants_that_had_any(database: Database) -> None:
    fill(database, "alice", {"default": 2, "work": 1})
    fill(database, "bob", {"default": 2})
    fill(database, "carol", {})
    assert clearing.clear_all(database, None) == (10, 2)
    assert clearing.clear_all(database, None) == (0, 0)
    assert column(database, "SELECT message_count FROM tenants") == [0, 0, 0]
    assert column(database, "SELECT COUNT(*) FROM sessions") == [0]


def test_a_lone_surrogate_takes_the_whole_turn_back(database: Database) -> None:
    alice = fill(database, "alice", {"default": 1})
    with pytest.raises(InvalidInput, match="surrogate"):
        database.write(
            lambda connection: store_messages(
                connection,
                alice,
                "default",
                [Message.user("fine"), Message.assistant("\ud83d")],
                100,
                0,
            )
        )
    with database.read() as connection:
        assert store.size(connection, alice, "default") == 2
        assert len(history(connection, alice, "default")) == 2


def test_a_session_knows_when_it_was_active(database: Database) -> None:
    alice = fill(database, "alice", {"default": 3, "work": 1})
    with database.read() as connection:
        found = [(one.session_id, one.last_active_at_ms) for one in sessions_of(connection, alice)]
        assert found == [("default", 2), ("work", 0)]
        assert len(sessions_of(connection, alice, limit=1)) == 1


def pages(
    database: Database, tenant: int, session: str | None, limit: int, newest_first: bool
) -> list[StoredMessage]:
    """All pages, one after the other."""
    found: list[StoredMessage] = []
    position: Position | None = None
    while True:
        with database.read() as connection:
            if newest_first:
                page = message_page(
                    connection, tenant, session, limit, before=position, newest_first=True
                )
            else:
                page = message_page(connection, tenant, session, limit, after=position)
        assert len(page) <= limit
        if not page:
            return found
        found += page
        position = page[-1].position


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("session", [None, "b"])
def test_pages_give_every_message_once_in_order(
    database: Database, limit: int, session: str | None
) -> None:
    alice = fill(database, "alice", {"b": 3, "a": 1, "c": 2})
    fill(database, "mallory", {"b": 2})
    forward = pages(database, alice, session, limit, newest_first=False)
    sessions = {"b": 3, "a": 1, "c": 2} if session is None else {"b": 3}
    assert [stored.message.content for stored in forward] == [
        f"{letter}{name}{index}"
        for name, turns in sessions.items()
        for index in range(turns)
        for letter in "ua"
    ]
    assert {stored.session_id for stored in forward} == set(sessions)
    assert pages(database, alice, session, limit, newest_first=True) == forward[::-1]


def test_a_position_of_another_tenant_gives_nothing_of_its(database: Database) -> None:
    alice = fill(database, "alice", {"default": 2})
    mallory = fill(database, "mallory", {"default": 1})
    with database.read() as connection:
        theirs = message_page(connection, alice, None, 1)[0].position
        own = message_page(connection, mallory, None, 10, after=theirs)
        backward = message_page(
            connection, mallory, None, 10, before=Position(theirs.session, 99), newest_first=True
        )
    assert [stored.message.content for stored in own] == ["udefault0", "adefault0"]
    assert backward == []


def test_paging_goes_on_when_the_cap_took_messages_away(database: Database) -> None:
    alice = fill(database, "alice", {"default": 3})
    with database.read() as connection:
        first = message_page(connection, alice, "default", 2)
    database.write(lambda connection: store_messages(connection, alice, "default", turn(9), 2, 0))
    with database.read() as connection:
        rest = message_page(connection, alice, "default", 9, after=first[-1].position)
    assert [stored.message.content for stored in rest] == ["u9", "a9"]


def best_of(runs: int, work: Callable[[], object]) -> float:
    times = []
    for _ in range(runs):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


@pytest.mark.sqlite
def test_the_cost_of_a_turn_does_not_grow_with_the_session(database: Database) -> None:
    alice = fill(database, "alice", {"small": 50, "large": 10_000})

    def work(connection: Connection) -> None:
        costs = {}
        for session, cap in (("small", 100), ("large", 20_000)):

            def one_turn(session: str = session, cap: int = cap) -> None:
                history(connection, alice, session, 100)
                store_messages(connection, alice, session, turn("x"), cap, 0)

            costs[session] = best_of(50, one_turn)
        # The factor is generous: a scan of the session would make it several dozen.
        assert costs["large"] < 4 * costs["small"]

    database.write(work)
