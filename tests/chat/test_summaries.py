"""The running summary of a session on the server: stored with its turn, kept apart, and cleared."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.conftest import MakeApp, services_of
from tests.fakes import FakeModel
from webapp.agent import ModelReply, ModelRequest
from webapp.agent.summarizing import ASKED, TOLD
from webapp.errors import ModelError
from webapp.memory.summaries import store as summaries
from webapp.memory.summary import Summary
from webapp.messages import Usage
from webapp.storage.narrowing import narrow


class Noting:
    """Answers questions with `fine`, and counts the summaries that it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self, request: ModelRequest) -> ModelReply:
        if request.messages[0].content != ASKED:
            if "fail" in request.messages[-1].content:
                raise ModelError("The model's server failed.")
            return ModelReply("fine", usage=Usage(1, 1))
        self.asked.append(request.messages[1].content)
        self.meanwhile()
        return ModelReply(f"notes {len(self.asked)}", usage=Usage(1000, 100))


@pytest.fixture
def noting() -> Noting:
    return Noting()


@pytest.fixture
def served(make_app: MakeApp, noting: Noting) -> Any:
    model = FakeModel.of(otherwise=noting)
    return make_app(model=model, SUMMARY="on", CONTEXT_MAX_MESSAGES="9"), model


def talk(client: Any, turns: int, user_id: str = "alice", **more: Any) -> None:
    for number in range(turns):
        body = {"user_id": user_id, "message": f"question {number}", **more}
        assert client.post("/chat", json=body).status_code == 200


def summary_of(app: Any, user_id: str = "alice", session_id: str = "default") -> Summary | None:
    services = services_of(app)
    row = services.directory.get(user_id)
    with services.database.read() as connection:
        narrow(connection, row.number)
        return summaries.find(connection, row.number, session_id)


def test_it_is_made_once_told_counted_and_no_message(served: Any, noting: Noting) -> None:
    app, model = served
    client = app.test_client()
    talk(client, 5)
    talk(client, 1, "bob")
    assert len(noting.asked) == 1
    sent = model.seen[-2]
    assert sent[0].content.endswith(f"{TOLD}notes 1")
    assert [m.content for m in sent[1:]] == ["question 3", "fine", "question 4"]
    messages = client.get("/api/tenants/alice/messages").json["messages"]
    assert len(messages) == 10
    assert "notes" not in json.dumps(messages)
    found = summary_of(app)
    assert found is not None
    assert (found.text, found.through) == ("notes 1", messages[5]["id"])
    assert summary_of(app, "bob") is None
    figures = client.get("/api/tenants/alice").json
    assert (figures["input_tokens"], figures["output_tokens"]) == (1005, 105)
    exported = client.get("/api/tenants/alice/export").text
    assert '"summary":{"text":"notes 1"' in exported
    talk(client, 1)
    assert len(noting.asked) == 1


@pytest.mark.parametrize("clear", ["tenant", "session", "all", "forget"])
def test_what_clears_a_session_takes_it(served: Any, noting: Noting, clear: str) -> None:
    app, _ = served
    client = app.test_client()
    client.put("/api/tenants/alice/sessions/default/state", json={"kept": True})
    talk(client, 5)
    acts = {
        "tenant": lambda: client.delete("/api/tenants/alice/messages"),
        "session": lambda: client.delete("/api/tenants/alice/messages?session_id=default"),
        "all": lambda: client.delete(
            "/api/tenants/messages", json={"confirm": "clear all tenants"}
        ),
        "forget": lambda: client.delete("/api/tenants/alice"),
    }
    assert summary_of(app) is not None
    assert acts[clear]().status_code in (200, 204)
    talk(client, 1)
    assert summary_of(app) is None


@pytest.mark.parametrize("state", [False, True])
def test_a_clear_while_it_is_made_does_not_bring_it_back(
    served: Any, noting: Noting, state: bool
) -> None:
    app, _ = served
    client = app.test_client()
    if state:
        client.put("/api/tenants/alice/sessions/default/state", json={"kept": True})
    noting.meanwhile = lambda: app.test_client().delete("/api/tenants/alice/messages")
    talk(client, 5)
    assert len(noting.asked) == 1
    assert summary_of(app) is None
    assert len(client.get("/api/tenants/alice/messages").json["messages"]) == 2


def test_a_turn_that_fails_stores_none_and_one_without_it_still_works(
    served: Any, noting: Noting
) -> None:
    app, _ = served
    client = app.test_client()
    talk(client, 4)
    failed = client.post("/chat", json={"user_id": "alice", "message": "fail"})
    assert failed.status_code == 502
    assert summary_of(app) is None

    def fail() -> None:
        raise ModelError("The model's server failed.")

    noting.meanwhile = fail
    talk(client, 1)
    assert summary_of(app) is None
    assert len(client.get("/api/tenants/alice/messages").json["messages"]) == 10
    figures = client.get("/api/tenants/alice").json
    assert figures["input_tokens"] >= 1005


def test_many_turns_at_once_in_two_servers_make_one_for_each_stretch(
    make_app: MakeApp, noting: Noting
) -> None:
    settings = {"SUMMARY": "on", "CONTEXT_MAX_MESSAGES": "9", "TENANT_QUEUE": "100"}
    servers = [make_app(model=FakeModel.of(otherwise=noting), **settings) for _ in range(2)]
    with ThreadPoolExecutor(12) as pool:
        turns = [pool.submit(talk, servers[n % 2].test_client(), 1) for n in range(12)]
        for turn in turns:
            turn.result(60)
    client: Any = servers[0].test_client()
    assert len(client.get("/api/tenants/alice/messages?limit=200").json["messages"]) == 24
    # After four turns, and then whenever three more do not fit.
    assert len(noting.asked) == 3
    assert [text.count("User: ") for text in noting.asked] == [3, 3, 3]


def test_an_import_brings_it_back(served: Any, noting: Noting) -> None:
    app, model = served
    client = app.test_client()
    talk(client, 5)
    exported = client.get("/api/tenants/alice/export").data
    before = summary_of(app)
    client.delete("/api/tenants/alice")
    imported = client.post(
        "/api/tenants/alice/import", data=exported, content_type="application/jsonl"
    )
    assert imported.status_code == 200, imported.text
    after = summary_of(app)
    assert before is not None
    assert after is not None
    assert (after.text, after.through) == (before.text, before.through)
    talk(client, 1)
    assert len(noting.asked) == 1
    assert "notes 1" in model.seen[-1][0].content


def test_messages_that_are_too_old_take_it_along(served: Any, noting: Noting) -> None:
    app, _ = served
    client = app.test_client()
    talk(client, 5)
    talk(client, 5, "bob")
    services = services_of(app)
    now = services.clock.now_ms()
    services.session_cleanup.drop_old(now - 3_600_000)
    assert summary_of(app) is not None
    first = client.get("/api/tenants/alice/messages").json["messages"][0]
    assert first["content"] == "question 0"
    services.session_cleanup.drop_old(services.clock.now_ms() + 1000)
    assert summary_of(app) is None
    assert summary_of(app, "bob") is None


def test_without_it_nothing_is_made(make_app: MakeApp, noting: Noting) -> None:
    app = make_app(model=FakeModel.of(otherwise=noting), CONTEXT_MAX_MESSAGES="5")
    talk(app.test_client(), 6)
    assert noting.asked == []
    assert summary_of(app) is None
