"""Pages of what was said: every message once, both ways, and never another tenant's."""

from __future__ import annotations

import pytest

from tests.fakes import HandClock
from webapp.errors import InvalidInput
from webapp.memory.paging.conversation import ConversationPage, conversation
from webapp.messages import Message
from webapp.storage import Connection, Database
from webapp.tenant_data.storing import store_messages
from webapp.tenants import store


@pytest.fixture
def alice(database: Database, clock: HandClock) -> int:
    def work(connection: Connection) -> int:
        for user in ("bob", "alice"):
            number = store.ensure(connection, user, clock.now_ms())
            for session in ("one", "two"):
                said = [Message.user(f"{user} {session} {count}") for count in range(5)]
                store_messages(connection, number, session, said, 0, clock.now_ms())
        return number

    return database.write(work)


def said(page: ConversationPage) -> list[str]:
    return [stored.message.content for stored in page.messages]


EVERYTHING = [f"alice {session} {count}" for session in ("one", "two") for count in range(5)]


@pytest.mark.parametrize("limit", [1, 3, 5, 10, 200])
def test_every_message_comes_once_oldest_first(database: Database, alice: int, limit: int) -> None:
    found: list[str] = []
    place = None
    with database.read() as connection:
        while True:
            page = conversation(connection, alice, limit=limit, place=place)
            found += said(page)
            place = page.later
            if place is None:
                break
    assert found == EVERYTHING


def test_from_the_end_one_reads_backwards(database: Database, alice: int) -> None:
    with database.read() as connection:
        newest = conversation(connection, alice, limit=4, from_end=True)
        assert said(newest) == EVERYTHING[-4:]
        assert newest.later is None
        older = conversation(connection, alice, limit=4, place=newest.earlier)
        assert said(older) == EVERYTHING[2:6]
        oldest = conversation(connection, alice, limit=4, place=older.earlier)
        assert said(oldest) == EVERYTHING[:2]
        assert oldest.earlier is None
        again = conversation(connection, alice, limit=4, place=oldest.later)
        assert said(again) == EVERYTHING[2:6]


def test_one_session_alone(database: Database, alice: int) -> None:
    with database.read() as connection:
        assert said(conversation(connection, alice, "two")) == EVERYTHING[5:]
        assert said(conversation(connection, alice, "three")) == []


def test_bob_gets_nothing_for_a_place_of_alice(database: Database, alice: int) -> None:
    with database.read() as connection:
        bob = store.number_of(connection, "bob")
        assert bob is not None
        place = conversation(connection, alice, limit=1).later
        assert place is not None
        bobs = said(conversation(connection, bob, place=place))
        assert not any(text.startswith("alice") for text in bobs)
        assert said(conversation(connection, alice, "two", place=place)) == EVERYTHING[5:]


@pytest.mark.parametrize("limit", [0, 201, -1])
def test_the_limit_is_held(database: Database, alice: int, limit: int) -> None:
    with database.read() as connection, pytest.raises(InvalidInput, match="limit"):
        conversation(connection, alice, limit=limit)
