"""Limits of a tenant's sessions and messages, and of the age of messages: whole ones go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import MakeApp, services_of
from tests.fakes import HandClock
from webapp.memory.ageing.turns import Aged, first_to_stay
from webapp.messages import Message
from webapp.services import Services
from webapp.storage import Connection
from webapp.storage.slices import ROWS
from webapp.tenant_data.consistency.comparison import compare
from webapp.tenant_data.session_cleanup import SESSIONS_AT_ONCE
from webapp.tenant_data.storing import store_messages
from webapp.tenants import store

DAY = 86_400


class House:
    """An application with such settings, and tenants who talk."""

    def __init__(self, make_app: MakeApp, **settings: str) -> None:
        self.clock = HandClock()
        self.app: Flask = make_app(clock=self.clock, RATE_LIMIT="1000/minute", **settings)
        self.client: FlaskClient = self.app.test_client()
        self.services: Services = services_of(self.app)

    def say(self, session_id: str, user_id: str = "alice", key: str = "") -> Any:
        self.clock.advance(1)
        body = {"user_id": user_id, "message": f"hi {session_id}", "session_id": session_id}
        headers = {"Idempotency-Key": key} if key else {}
        answer = self.client.post("/chat", json=body, headers=headers)
        assert answer.status_code == 200
        return answer.json

    def put(self, user_id: str, session_id: str, *messages: Message) -> None:
        """Stores messages as an import does, whatever the limits say."""

        def work(connection: Connection) -> None:
            number = store.ensure(connection, user_id, self.clock.now_ms())
            store_messages(connection, number, session_id, messages, 0, self.clock.now_ms())

        self.services.database.write(work)

    def sessions(self, user_id: str = "alice") -> dict[str, int]:
        page = self.client.get(f"/api/tenants/{user_id}/sessions?limit=200&sort=session_id").json
        assert page is not None
        return {one["session_id"]: one["message_count"] for one in page["sessions"]}

    def tenant(self, user_id: str = "alice") -> tuple[int, int]:
        row: Any = self.client.get(f"/api/tenants/{user_id}").json
        return row["message_count"], row["dropped_session_count"]

    def agrees(self) -> bool:
        return compare(self.services.database, self.clock.now_ms()).first == []


def test_over_the_limit_of_sessions_the_least_recently_active_goes(make_app: MakeApp) -> None:
    house = House(make_app, TENANT_MAX_SESSIONS="3")
    for name in ("a", "b", "c", "a", "d"):
        house.say(name)
        house.say(name, "bob")
    assert house.sessions() == house.sessions("bob") == {"a": 4, "c": 2, "d": 2}
    assert house.tenant() == (8, 1)
    assert house.agrees()
    assert "switchboard_sessions_dropped_total" in house.client.get("/metrics").text
    assert house.services.dropped.sessions == 2
    assert "1 session of this tenant went" not in house.client.get("/api/tenants/alice").text


def test_a_session_that_a_state_makes_counts_as_well(make_app: MakeApp) -> None:
    house = House(make_app, TENANT_MAX_SESSIONS="2")
    house.say("a")
    house.say("b")
    put = house.client.put("/api/tenants/alice/sessions/c/state", json={"step": 1})
    assert put.status_code in (200, 201)
    assert house.sessions() == {"b": 2, "c": 0}
    assert house.tenant() == (2, 1)
    assert house.agrees()


def test_over_the_limit_of_messages_whole_old_sessions_go_and_never_the_turns_own(
    make_app: MakeApp,
) -> None:
    house = House(make_app, TENANT_MAX_MESSAGES="6")
    first = house.say("a", key="k")
    for name in ("b", "c", "a"):
        house.say(name)
    assert house.sessions() == {"a": 4, "c": 2}
    for _ in range(5):
        house.say("a")
    assert house.sessions() == {"a": 6}, "one session alone keeps to the limit as well"
    house.say("b")
    assert house.sessions() == {"b": 2}
    assert house.tenant() == (2, 3)
    assert house.agrees()
    assert house.say("a", key="k")["request_id"] != first["request_id"]


def test_without_limits_nothing_goes(make_app: MakeApp) -> None:
    house = House(make_app)
    for number in range(5):
        house.say(f"s{number}")
    assert len(house.sessions()) == 5
    assert house.tenant() == (10, 0)


def test_the_clean_up_does_what_no_turn_did(make_app: MakeApp) -> None:
    before = House(make_app)
    for number in range(5):
        before.say(f"s{number}")
    before.say("one", "bob")
    house = House(make_app, TENANT_MAX_SESSIONS="2", TENANT_MAX_MESSAGES="3")
    dry = house.services.session_cleanup.drop_excess(dry_run=True)
    assert len(house.sessions()) == 5
    notes: list[tuple[str, Any]] = []
    done = house.services.session_cleanup.drop_excess(
        audit=lambda _, note: notes.append((note.action, dict(note.before)))
    )
    assert done == dry
    assert (done.sessions, done.messages) == (4, 8)
    assert notes == [("drop_sessions", {"sessions": 4, "messages": 8})]
    assert house.sessions() == {"s4": 2}
    assert house.sessions("bob") == {"one": 2}
    assert house.agrees()


def turns_at(*seconds: int) -> Iterator[Message]:
    for at in seconds:
        yield Message("user", f"asked at {at}", created_at_ms=at * 1000)
        yield Message("assistant", f"answered at {at}", created_at_ms=at * 1000 + 500)


def test_old_turns_go_whole_with_every_count(make_app: MakeApp) -> None:
    house = House(make_app)
    house.put("alice", "old", *turns_at(1, 2))
    house.put("alice", "mixed", *turns_at(1, 2, 3, 4))
    house.put("bob", "mixed", *turns_at(3, 4))
    house.put("bob", "named", *turns_at(1))
    house.client.patch("/api/tenants/bob/sessions/named", json={"title": "Mine"})
    cleanup = house.services.session_cleanup
    dry = cleanup.drop_old(2_600, dry_run=True)
    done = cleanup.drop_old(2_600)
    assert dry == done
    assert (done.sessions, done.messages) == (3, 10)
    assert house.sessions() == {"mixed": 4}
    assert house.sessions("bob") == {"mixed": 4, "named": 0}
    title = house.client.get("/api/tenants/alice/sessions/mixed").json
    assert title is not None
    assert title["title"] == "asked at 3"
    assert (house.tenant()[0], house.tenant("bob")[0]) == (4, 4)
    assert house.agrees()
    assert cleanup.drop_old(2_600).messages == 0


def test_old_turns_of_many_sessions_and_of_a_long_one_go_in_slices(make_app: MakeApp) -> None:
    house = House(make_app)
    house.put("alice", "long", *turns_at(*range(ROWS)))
    for number in range(SESSIONS_AT_ONCE + 5):
        house.put(f"user-{number % 3}", f"s{number}", *turns_at(number % 7))
    cleanup = house.services.session_cleanup
    dry = cleanup.drop_old((ROWS - 10) * 1000, dry_run=True)
    notes: list[Any] = []
    done = cleanup.drop_old((ROWS - 10) * 1000, audit=lambda _, note: notes.append(note.before))
    assert done == dry
    assert (done.sessions, house.sessions()) == (SESSIONS_AT_ONCE + 6, {"long": 20})
    assert len(notes) > 2
    assert sum(note["messages"] for note in notes) == done.messages
    assert sum(note["sessions"] for note in notes) == done.sessions
    assert house.agrees()


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_a_turn_larger_than_a_part_goes_whole(most: int) -> None:
    rows = [Aged(1, "system", 1), Aged(2, "user", 1), Aged(3, "assistant", 2)]
    rows += [Aged(4, "user", 3), Aged(5, "tool", 9), Aged(6, "user", 3)]
    found = first_to_stay(rows[:most], 5, whole=most >= len(rows))
    assert found == ((4, True) if most > 3 else (None, False))


@pytest.mark.parametrize(("before", "end"), [(0, 2), (2, 2), (3, 4), (5, 4), (10, 7)])
def test_a_turn_is_as_old_as_its_newest_message(before: int, end: int) -> None:
    rows = [Aged(1, "system", 1), Aged(2, "user", 1), Aged(3, "assistant", 2)]
    rows += [Aged(4, "user", 3), Aged(5, "assistant", 9), Aged(6, "user", 3)]
    assert first_to_stay(rows, before, whole=True) == (end, True)
    assert first_to_stay(rows, 10, whole=False) == (6, False)
