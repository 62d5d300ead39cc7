"""What a turn asks of the tenants table: numbers and standing."""

from __future__ import annotations

import pytest

from tests.fakes import HandClock
from webapp.storage import Connection, Database
from webapp.tenant_data.forgetting import forget_part
from webapp.tenants import store
from webapp.tenants.restrictions import store as restrictions


def test_a_tenant_is_made_on_first_use_and_keeps_its_number(database: Database) -> None:
    first = database.write(lambda connection: store.ensure(connection, "alice", 1))
    again = database.write(lambda connection: store.ensure(connection, "alice", 2))
    other = database.write(lambda connection: store.ensure(connection, "bob", 2))
    assert first == again != other
    with database.read() as connection:
        assert store.number_of(connection, "alice") == first


def test_asking_for_an_unknown_tenant_makes_none(database: Database) -> None:
    with database.read() as connection:
        assert store.number_of(connection, "mallory") is None
        assert store.standing(connection, "mallory") is None
        assert connection.execute("SELECT COUNT(*) FROM tenants", {}).fetchone() == (0,)


def test_ids_are_told_apart_exactly(database: Database) -> None:
    ids = ["alice", "Alice", "alice\u200b", "\u00e9", "e\u0301"]
    numbers = database.write(
        lambda connection: [store.ensure(connection, user_id, 1) for user_id in ids]
    )
    assert len(set(numbers)) == len(ids)


def test_a_forgotten_tenant_comes_back_under_a_new_number(database: Database) -> None:
    def work(connection: Connection) -> tuple[int, int]:
        old = store.ensure(connection, "alice", 1)
        forget_part(connection, old)
        return old, store.ensure(connection, "alice", 2)

    old, new = database.write(work)
    assert new > old


def test_the_standing_says_what_holds_for_the_next_turn(
    database: Database, clock: HandClock
) -> None:
    def work(connection: Connection) -> None:
        number = store.ensure(connection, "alice", 1)
        restrictions.put(
            connection, number, blocked_at=2, rate_limit="5/minute", token_budget="100/day"
        )

    database.write(work)
    with database.read() as connection:
        standing = store.standing(connection, "alice")
    assert standing is not None
    assert standing.blocked
    assert (standing.rate_limit, standing.token_budget) == ("5/minute", "100/day")
    assert (standing.day_tokens, standing.month_tokens) == (0, 0)


@pytest.mark.sqlite
def test_the_standing_is_one_indexed_read(database: Database) -> None:
    with database.read() as connection:
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT id FROM tenants WHERE user_id = :user", {"user": "alice"}
        ).fetchall()
    assert len(plan) == 1
    assert "SEARCH tenants USING" in plan[0][3]
