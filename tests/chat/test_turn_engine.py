"""The turn engine over the server's store: the run's context, and the place that is checked when a
turn is stored."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask

from tests.conftest import MakeApp, services_of, settings_for
from tests.fakes import FakeModel, calls, echo_model, said
from webapp import create_app
from webapp.agent import Agent, RunContext, TextDelta, Toolkit
from webapp.agent.turn import Started
from webapp.chat.service import ChatService
from webapp.chat.values import ChatAnswer, ChatTurn
from webapp.errors import PlaceLost
from webapp.turn_room import SeatedQueue, TurnRoom
from webapp.turns import Cancellation, LocalTurnQueue, Place


def turn(user_id: str, message: str = "hi", **options: Any) -> ChatTurn:
    return ChatTurn(user_id, message, f"req-{user_id}", time.monotonic(), **options)


def messages(app: Flask, user_id: str) -> list[dict[str, Any]]:
    answer = app.test_client().get(f"/api/tenants/{user_id}/messages").json
    assert answer is not None
    found: list[dict[str, Any]] = answer.get("messages", [])
    return found


# -- the context -----------------------------------------------------------------------------------


def who(context: RunContext) -> str:
    """Say for whom this is."""
    return f"{context.user_id} {context.session_id} {context.request_id}"


def asks_who(request: Any) -> Any:
    return calls(("who", {})) if request.messages[-1].role == "user" else said("done")


@pytest.fixture
def served(tmp_path: Any) -> Iterator[ChatService]:
    """The service over a database, whose agent has the tool `who`."""
    app = create_app(
        settings_for(tmp_path, CONCURRENCY="100"),
        model=FakeModel(otherwise=asks_who),
        toolkits=[Toolkit("own", [who])],
    )
    services = services_of(app)
    services.upgrade_database()
    yield services.chat
    services.close()


def told(service: ChatService, user: str, *, streaming: bool) -> str:
    """What the tool `who` said in a turn of the user."""
    asked = turn(user, session_id=f"of {user}")
    if streaming:
        assert isinstance(list(service.stream(asked))[-1], ChatAnswer)
    else:
        service.reply(asked)
    with service._database.read() as connection:
        row = connection.execute(
            "SELECT content FROM messages WHERE role = 'tool' AND session = (SELECT id FROM"
            " sessions WHERE session_id = :session)",
            {"session": f"of {user}"},
        ).fetchone()
    return str(row[0])


@pytest.mark.parametrize("streaming", [False, True])
def test_a_tool_of_the_served_agent_sees_user_session_and_request(
    served: ChatService, streaming: bool
) -> None:
    assert told(served, "alice", streaming=streaming) == "alice of alice req-alice"


def test_turns_of_many_tenants_at_once_each_see_their_own(served: ChatService) -> None:
    users = [f"user{number}" for number in range(150)]
    with ThreadPoolExecutor(30) as pool:
        results = pool.map(lambda user: told(served, user, streaming=len(user) % 2 == 0), users)
        assert list(results) == [f"{user} of {user} req-{user}" for user in users]


def test_a_stream_that_is_closed_in_another_thread_frees_its_place(make_app: MakeApp) -> None:
    app = make_app(model=FakeModel.of("one two three", otherwise="later"))
    service = services_of(app).chat
    events = service.stream(turn("alice"))
    assert isinstance(next(events), Started)
    assert isinstance(next(events), TextDelta)
    closer = threading.Thread(target=events.close)
    closer.start()
    closer.join(5)
    assert messages(app, "alice") == []
    assert service.load.running == 0
    assert service.reply(turn("alice")).reply == "later"


def test_a_stream_that_nobody_closes_frees_its_place_when_it_is_collected(
    make_app: MakeApp,
) -> None:
    app = make_app(model=FakeModel.of("one two three", otherwise="later"))
    service = services_of(app).chat
    events = service.stream(turn("alice"))
    next(events)
    next(events)
    del events
    assert service.load.running == 0
    assert service.reply(turn("alice")).reply == "later"


# -- the place -------------------------------------------------------------------------------------


class CheckedPlace:
    """As a queue over a database has it: it looks in the transaction that stores the turn."""

    def __init__(self, lost: bool) -> None:
        self.lost = lost
        self.asked: list[str] = []

    def require_held(self, transaction: Any = None) -> None:
        if transaction is not None:
            (count,) = transaction.execute("SELECT count(*) FROM messages").fetchone()
            inside = transaction.in_transaction
            self.asked.append(f"{count} messages, in a transaction: {inside}")
        if self.lost:
            raise PlaceLost("This turn has lost its place; nothing was stored, so try again.")


class CheckedQueue(LocalTurnQueue):
    def __init__(self, *, lost: bool) -> None:
        super().__init__()
        self.place_of_all = CheckedPlace(lost)

    @contextmanager
    def place(
        self, tenant: str, *, waiting_limit: int | None = None, cancel: Cancellation | None = None
    ) -> Iterator[Place | None]:
        with super().place(tenant, waiting_limit=waiting_limit, cancel=cancel) as place:
            yield self.place_of_all if place is not None else None


def over(app: Flask, queue: LocalTurnQueue) -> ChatService:
    service = services_of(app).chat
    service._places = SeatedQueue(queue, TurnRoom(10))
    return service


def test_the_place_is_checked_in_the_transaction_that_stores_the_turn(make_app: MakeApp) -> None:
    app, queue = make_app(model=echo_model()), CheckedQueue(lost=False)
    over(app, queue).reply(turn("alice"))
    assert queue.place_of_all.asked == ["0 messages, in a transaction: True"]
    assert len(messages(app, "alice")) == 2


@pytest.mark.parametrize("streaming", [False, True])
def test_a_turn_that_lost_its_place_stores_nothing_and_is_counted(
    make_app: MakeApp, streaming: bool
) -> None:
    app, queue = make_app(model=FakeModel.of(otherwise=said("no", 5, 2))), CheckedQueue(lost=True)
    service = over(app, queue)
    asked = turn("alice", idempotency_key="once")
    with pytest.raises(PlaceLost) as refusal:
        list(service.stream(asked)) if streaming else service.reply(asked)
    assert (refusal.value.status, refusal.value.code) == (503, "place_lost")
    assert messages(app, "alice") == []
    figures = app.test_client().get("/api/tenants/alice").json
    assert figures is not None
    assert (figures["message_count"], figures["request_count"]) == (0, 1)
    queue.place_of_all.lost = False
    assert service.reply(asked).reply == "no"


def test_an_agent_whose_place_is_lost_stores_nothing() -> None:
    agent = Agent(name="assistant", model=echo_model(), turns=CheckedQueue(lost=True))
    with pytest.raises(PlaceLost):
        agent.run("hi", user_id="alice")
    assert list(agent.memory.users()) == []


def test_a_place_that_was_left_is_no_longer_held() -> None:
    with LocalTurnQueue().place("alice") as place:
        assert place is not None
        place.require_held()
    with pytest.raises(PlaceLost):
        place.require_held()
