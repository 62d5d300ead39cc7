"""/api/tenants/{user_id}/sessions…: titles, figures, lists, clear and forget of one session."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import MakeApp, services_of
from tests.fakes import FakeModel, GatedModel, HandClock, echo_model, said
from webapp.memory.sessions.listing.query import SORTS
from webapp.tenant_data.consistency.comparison import compare

ALICE = "/api/tenants/alice/sessions"


def say(
    client: FlaskClient, user_id: str, session_id: str, message: str = "hi", key: str | None = None
) -> Any:
    body = {"user_id": user_id, "message": message, "session_id": session_id}
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = client.post("/chat", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json


def got(client: FlaskClient, path: str) -> Any:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json


def names(client: FlaskClient, query: str = "") -> list[str]:
    return [one["session_id"] for one in got(client, f"{ALICE}?{query}")["sessions"]]


def contents(client: FlaskClient, session_id: str, user_id: str = "alice") -> list[str]:
    path = f"/api/tenants/{user_id}/messages?session_id={session_id}"
    return [message["content"] for message in got(client, path)["messages"]]


def agrees(app: Flask) -> bool:
    services = services_of(app)
    return compare(services.database, services.clock.now_ms()).first == []


def test_a_session_shows_its_title_and_figures(make_app: MakeApp) -> None:
    app = make_app(model=FakeModel.of(otherwise=said("ok", 7, 3)))
    client = app.test_client()
    question = "Where is the invoice of May that I asked for in the last week of April, please?"
    say(client, "alice", "one", question)
    say(client, "alice", "one", "And June?")
    session = got(client, f"{ALICE}/one")
    assert session.pop("created_at") <= session.pop("last_active_at")
    assert session == {
        "session_id": "one",
        "title": "Where is the invoice of May that I asked for in the last…",
        "message_count": 4,
        "turn_count": 2,
        "input_tokens": 14,
        "output_tokens": 6,
        "has_state": False,
    }
    assert got(client, ALICE) == {"sessions": [got(client, f"{ALICE}/one")], "next_cursor": None}


def test_the_title_stays_when_the_first_question_leaves_the_memory(make_app: MakeApp) -> None:
    client = make_app(MEMORY_MAX_MESSAGES="4").test_client()
    for number in range(5):
        say(client, "alice", "one", f"question {number}")
    assert contents(client, "one")[0] == "question 3"
    assert got(client, f"{ALICE}/one")["title"] == "question 0"


def test_a_title_of_a_person_stays_until_it_is_taken_back(client: FlaskClient) -> None:
    say(client, "alice", "one", "first question")
    renamed = client.patch(f"{ALICE}/one", json={"title": "  Invoice of May "})
    assert renamed.status_code == 200
    assert renamed.json == got(client, f"{ALICE}/one")
    assert renamed.json["title"] == "Invoice of May"
    say(client, "alice", "one", "second question")
    assert client.delete(f"{ALICE}/one/messages").json == {"cleared": 4}
    say(client, "alice", "one", "third question")
    assert got(client, f"{ALICE}/one")["title"] == "Invoice of May"
    back = client.patch(f"{ALICE}/one", json={"title": None})
    assert back.json is not None
    assert back.json["title"] == "third question"


@pytest.mark.parametrize(
    "body", [{}, {"title": ""}, {"title": "  "}, {"title": 5}, {"title": "x" * 201}]
)
def test_what_is_no_title_is_refused(client: FlaskClient, body: dict[str, Any]) -> None:
    say(client, "alice", "one")
    assert client.patch(f"{ALICE}/one", json=body).status_code == 400
    assert client.patch(f"{ALICE}/one", json={"title": "a\u0007b"}).status_code == 400
    assert got(client, f"{ALICE}/one")["title"] == "hi"


def test_an_unknown_session_is_not_found_and_never_made(client: FlaskClient) -> None:
    say(client, "bob", "one")
    say(client, "alice", "two")
    for user_id in ("alice", "mallory"):
        path = f"/api/tenants/{user_id}/sessions/one"
        assert client.get(path).status_code == 404
        assert client.patch(path, json={"title": "mine"}).status_code == 404
        assert client.delete(path).status_code == 404
        assert client.delete(f"{path}/messages").json == {"cleared": 0}
    assert names(client) == ["two"]
    assert {t["user_id"] for t in got(client, "/api/tenants")["tenants"]} == {"alice", "bob"}
    assert contents(client, "one", "bob")[0] == "hi"


def test_the_list_is_searched_sorted_and_paged(make_app: MakeApp) -> None:
    clock = HandClock()
    client = make_app(clock=clock, RATE_LIMIT="1000/minute").test_client()
    for number in range(5):
        clock.advance(1)
        say(client, "alice", f"s{number}", f"about {'Invoices' if number % 2 else 'weather'}")
        say(client, "bob", f"s{number}", "about Invoices")
    say(client, "alice", "s1", "again")
    assert sorted(names(client)[:2]) == ["s1", "s4"]
    assert names(client)[2:] == ["s3", "s2", "s0"]
    assert names(client, "search=invoices&sort=session_id") == ["s1", "s3"]
    assert names(client, "search=S2") == ["s2"]
    assert names(client, "search=%25") == []
    assert names(client, "sort=-message_count&limit=1") == ["s1"]
    assert names(client, "sort=title&limit=2") == ["s1", "s3"]
    for sort in SORTS:
        found: list[str] = []
        cursor = ""
        while True:
            page = got(client, f"{ALICE}?sort={sort}&limit=2&cursor={cursor}")
            found += [one["session_id"] for one in page["sessions"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert sorted(found) == ["s0", "s1", "s2", "s3", "s4"]
        assert found == names(client, f"sort={sort}")
    cursor = got(client, f"{ALICE}?limit=2")["next_cursor"]
    assert client.get(f"/api/tenants/bob/sessions?limit=2&cursor={cursor}").status_code == 400
    assert client.get(f"{ALICE}?sort=nonsense").status_code == 400


def test_clearing_one_session_leaves_all_others_and_every_sum_right(
    app: Flask, client: FlaskClient
) -> None:
    first = say(client, "alice", "one", "my secret word", "key")
    say(client, "alice", "two", "another")
    other = say(client, "alice", "two", "another", "other key")
    say(client, "bob", "one", "bob's own")
    assert client.delete(f"{ALICE}/one/messages").json == {"cleared": 2}
    assert contents(client, "one") == []
    assert len(contents(client, "two")) == 4
    assert len(contents(client, "one", "bob")) == 2
    session = got(client, f"{ALICE}/one")
    assert (session["message_count"], session["turn_count"], session["title"]) == (0, 1, None)
    assert got(client, "/api/tenants/alice")["message_count"] == 4
    assert agrees(app)
    again = say(client, "alice", "one", "my secret word", "key")
    assert again["request_id"] != first["request_id"]
    kept = say(client, "alice", "two", "another", "other key")
    assert kept["request_id"] == other["request_id"]
    assert got(client, f"{ALICE}/one")["title"] == "my secret word"
    assert client.delete(f"{ALICE}/nothing/messages").json == {"cleared": 0}


def test_forgetting_one_session_leaves_nothing_of_it(app: Flask, client: FlaskClient) -> None:
    first = say(client, "alice", "one", "my secret word", "key")
    say(client, "alice", "two")
    assert client.delete(f"{ALICE}/one").json == {"messages": 2}
    assert client.get(f"{ALICE}/one").status_code == 404
    assert names(client) == ["two"]
    assert got(client, "/api/tenants/alice")["message_count"] == 2
    assert agrees(app)
    with services_of(app).database.read() as connection:
        rows = connection.execute("SELECT action, before, after FROM audit", {}).fetchall()
    assert [row[0] for row in rows] == ["forget_session"]
    assert "one" not in str(rows[0][1:])
    assert say(client, "alice", "one", "my secret word", "key")["request_id"] != first["request_id"]


def meanwhile(make_app: MakeApp, path: str) -> tuple[Flask, int, Any]:
    """What a turn gets that was under way when its session was cleared or forgotten."""
    gate = GatedModel()
    app = make_app(model=gate)
    client = app.test_client()
    gate.gate.set()
    say(client, "alice", "one", "before")
    say(client, "alice", "two", "elsewhere")
    gate.gate.clear()
    while gate.entered.acquire(blocking=False):
        pass
    answers: list[Any] = []

    def ask() -> None:
        body = {"user_id": "alice", "message": "late", "session_id": "one"}
        answers.append(app.test_client().post("/chat", json=body))

    thread = threading.Thread(target=ask)
    thread.start()
    assert gate.entered.acquire(timeout=10)
    assert client.delete(path).status_code == 200
    gate.gate.set()
    thread.join(10)
    assert agrees(app)
    return app, answers[0].status_code, answers[0].json


@pytest.mark.parametrize("path", [f"{ALICE}/one/messages", "/api/tenants/alice/messages"])
def test_a_turn_under_way_does_not_bring_cleared_history_back(make_app: MakeApp, path: str) -> None:
    app, status, _ = meanwhile(make_app, path)
    assert status == 200
    assert contents(app.test_client(), "one") == ["late", "done"]


def test_a_turn_under_way_does_not_bring_a_forgotten_session_back(make_app: MakeApp) -> None:
    app, status, body = meanwhile(make_app, f"{ALICE}/one")
    assert (status, body["code"]) == (409, "session_forgotten")
    assert names(app.test_client()) == ["two"]


def test_a_turn_of_another_session_does_not_mind(make_app: MakeApp) -> None:
    app, status, _ = meanwhile(make_app, f"{ALICE}/two")
    assert status == 200
    assert contents(app.test_client(), "one") == ["before", "done", "late", "done"]


def test_two_tenants_with_the_same_sessions_stay_apart_while_these_are_cleared(
    make_app: MakeApp,
) -> None:
    app = make_app(model=echo_model(), RATE_LIMIT="10000/minute", TENANT_QUEUE="20")

    def talk(user_id: str, session_id: str) -> None:
        for number in range(6):
            body = {
                "user_id": user_id,
                "message": f"{user_id} {session_id} {number}",
                "session_id": session_id,
            }
            status = app.test_client().post("/chat", json=body).status_code
            assert status in (200, 409), status

    def act(method: str, path: str) -> None:
        for _ in range(6):
            assert app.test_client().open(path, method=method).status_code in (200, 404)

    pairs = [(user_id, session) for user_id in ("alice", "bob") for session in ("one", "two")]
    with ThreadPoolExecutor(len(pairs) + 2) as pool:
        working = [pool.submit(talk, *pair) for pair in pairs]
        working.append(pool.submit(act, "DELETE", f"{ALICE}/one/messages"))
        working.append(pool.submit(act, "DELETE", "/api/tenants/bob/sessions/two"))
        for work in working:
            work.result()
    client = app.test_client()
    for user_id, session in pairs:
        found = contents(client, session, user_id)
        assert all(f"{user_id} {session}" in content for content in found)
    assert len(contents(client, "two")) == len(contents(client, "one", "bob")) == 12
    assert agrees(app)


def test_titles_are_hidden_with_conversations(make_app: MakeApp) -> None:
    client = make_app(HIDE_CONVERSATIONS="true").test_client()
    say(client, "alice", "one", "divorce")
    assert client.get(f"{ALICE}/one").status_code == 403
    assert client.patch(f"{ALICE}/one", json={"title": None}).status_code == 403
    assert client.delete(f"{ALICE}/one/messages").json == {"cleared": 2}
    assert client.delete(f"{ALICE}/one").json == {"messages": 0}
