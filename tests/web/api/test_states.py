"""The state of a session over REST: its versions, its bounds, and whose it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import MakeApp, services_of
from webapp.accounts.audit import Actor
from webapp.memory.states import store as states
from webapp.tenant_data import session_states

Ask = Callable[..., TestResponse]


def path(user: str = "alice", session: str = "default") -> str:
    return f"/api/tenants/{user}/sessions/{session}/state"


def key(app: Flask, role: str, users: str = "*") -> dict[str, str]:
    made = services_of(app).keys.create(
        f"{role} {users}", role=role, users=users, by=Actor.command_line()
    )
    return {"Authorization": f"Bearer {made.secret}"}


def tenants(client: FlaskClient) -> list[str]:
    return [tenant["user_id"] for tenant in (client.get("/api/tenants").json or {})["tenants"]]


def put(client: FlaskClient, body: object, match: str | None = None, **who: str) -> TestResponse:
    headers = {} if match is None else {"If-Match": match}
    return client.put(path(**who), json=body, headers=headers)


def test_it_is_put_read_and_removed_and_each_change_has_a_version(client: FlaskClient) -> None:
    state = {"cart": ["tea", {"n": 1}], "n": 10**20, "f": 1.0, "ä": None, "deep": {"": []}}
    made = put(client, {"state": state})
    assert (made.status_code, made.headers["ETag"]) == (200, '"1"')
    assert made.json == {
        "user_id": "alice",
        "session_id": "default",
        "state": state,
        "version": 1,
    }
    read = client.get(path())
    assert (read.json, read.headers["ETag"]) == (made.json, '"1"')
    assert '"f":1.0,"n":100000000000000000000' in read.get_data(as_text=True)
    assert client.get(path(session="other")).json == {
        "user_id": "alice",
        "session_id": "other",
        "state": {},
        "version": 0,
    }
    assert put(client, {"state": {}}).headers["ETag"] == '"2"'
    gone = client.delete(path())
    assert (gone.status_code, gone.headers["ETag"]) == (200, '"3"')
    assert client.get(path()).json == {**(gone.json or {}), "state": {}, "version": 3}
    assert client.delete(path()).headers["ETag"] == '"3"'
    assert put(client, {"state": {"again": 1}}).headers["ETag"] == '"4"'


def test_what_was_read_can_be_sent_back_and_an_object_without_state_is_one(
    client: FlaskClient,
) -> None:
    assert (put(client, {"cart": [1]}).json or {})["state"] == {"cart": [1]}
    read = client.get(path()).json or {}
    assert put(client, {**read, "state": {"cart": [2]}}).status_code == 200
    lost = put(client, {**read, "state": {"cart": [3]}})
    assert (lost.status_code, (lost.json or {})["code"]) == (409, "state_conflict")
    assert (client.get(path()).json or {})["state"] == {"cart": [2]}
    for wrong in ({"user_id": "bob"}, {"session_id": "other"}, {"cart": 1}, {"version": -1}):
        assert put(client, {"state": {}, **wrong}).status_code == 400
    assert put(client, {"state": "open"}).status_code == 400


def test_reading_and_removing_make_nobody_known_and_a_refused_write_neither(
    client: FlaskClient,
) -> None:
    assert client.get(path("mallory")).status_code == 200
    assert client.delete(path("mallory")).json == {
        "user_id": "mallory",
        "session_id": "default",
        "state": {},
        "version": 0,
    }
    assert client.delete(path("mallory"), headers={"If-Match": "*"}).status_code == 409
    assert put(client, {"state": {"a": 1}}, '"1"', user="mallory").status_code == 409
    assert put(client, {"state": {"a": "\0"}}, user="mallory").status_code == 400
    assert tenants(client) == []
    assert put(client, {"state": {"a": 1}}, user="new").status_code == 200
    assert tenants(client) == ["new"]


def test_a_match_is_written(client: FlaskClient) -> None:
    put(client, {"a": 1})
    for version, match in enumerate(['"1"', 'W/"2"', "3", "*", '"9", "5"', ' "6" '], start=1):
        written = put(client, {"a": version}, match)
        assert written.headers["ETag"] == f'"{version + 1}"', match


def test_another_version_is_a_lost_update(client: FlaskClient) -> None:
    put(client, {"a": 1})
    put(client, {"a": 2})
    for match in ('"1"', "1", '"0"', 'W/"3"', '"abc"', '""', '"1", "3"', '"02"'):
        for lost in (
            put(client, {"a": 3}, match),
            client.delete(path(), headers={"If-Match": match}),
        ):
            assert lost.status_code == 409, match
            assert (lost.json or {})["code"] == "state_conflict"
            assert "version is 2" in (lost.json or {})["error"]
    assert (client.get(path()).json or {})["state"] == {"a": 2}


def test_what_is_no_tag_is_refused(client: FlaskClient) -> None:
    put(client, {"a": 1})
    for match in ("", "abc", '"1', "1;2", "*, 1", "-1", '"1",', "9" * 2000):
        refused = put(client, {"a": 2}, match)
        assert refused.status_code == 400, match
        assert "If-Match" in (refused.json or {})["fields"]


def test_a_state_can_be_made_only_if_there_is_none(client: FlaskClient) -> None:
    only_new = {"If-None-Match": "*"}
    assert put(client, {"a": 1}, '"0"').status_code == 200
    assert client.put(path(), json={"a": 2}, headers=only_new).status_code == 409
    client.delete(path())
    assert client.put(path(), json={"a": 3}, headers=only_new).status_code == 200
    assert put(client, {"a": 1}, "*", user="nobody").status_code == 409
    assert client.put(path(), json={}, headers={"If-None-Match": '"1"'}).status_code == 400


def nested(levels: int) -> str:
    return '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


NO_STATES: tuple[tuple[str | bytes, int, str], ...] = (
    ("[1]", 400, "invalid_input"),
    ('"text"', 400, "invalid_input"),
    ("null", 400, "invalid_input"),
    ('{"state": [1]}', 400, "invalid_input"),
    ('{"state": null}', 400, "invalid_input"),
    ('{"a": NaN}', 400, "invalid_json"),
    ('{"a": -Infinity}', 400, "invalid_json"),
    ('{"a": 1e999}', 400, "invalid_state"),
    ('{"a": 1, "a": 2}', 400, "invalid_input"),
    ('{"state": {"b": {"a": 1, "a": 2}}}', 400, "invalid_input"),
    (r'{"a": "\u0000"}', 400, "invalid_state"),
    (r'{"a": {"\ud800": 1}}', 400, "invalid_state"),
    (r'{"state": {"a": "\udfff"}}', 400, "invalid_state"),
    ("{", 400, "invalid_json"),
    ("", 400, "invalid_json"),
    (b'{"a": "\xff"}', 400, "invalid_json"),
    ('{"a": %s}' % ("9" * 5000), 400, "invalid_json"),
    (nested(65), 400, "invalid_state"),
    (nested(100_000), 400, "invalid_json"),
    ('{"a": "%s"}' % ("x" * 993), 413, "state_too_large"),
    ('{"a": "%s"}' % ("ä" * 500), 413, "state_too_large"),
    ('{"a": [%s1]}' % ("1," * 20_000), 413, "too_many_fields"),
)


def test_what_is_no_state_is_refused_with_a_word(make_app: MakeApp) -> None:
    client = make_app(STATE_MAX_BYTES="1000").test_client()
    put(client, {"kept": 1})
    for body, status, code in NO_STATES:
        refused = client.put(path(), data=body, content_type="application/json")
        assert (refused.status_code, (refused.json or {})["code"]) == (status, code), body[:50]
    assert (client.get(path()).json or {})["state"] == {"kept": 1}


def test_64_levels_and_all_bytes_are_taken(make_app: MakeApp) -> None:
    client = make_app(STATE_MAX_BYTES="1000").test_client()
    deep = client.put(path(), data=nested(64), content_type="application/json")
    assert deep.status_code == 200
    assert put(client, {"state": {"a": "x" * 992}}).status_code == 200
    assert put(client, {"state": {"a": "x" * 993}}).status_code == 413


def test_a_hundred_writers_that_try_again_lose_nothing(app: Flask) -> None:
    def count(_: int) -> int:
        client, tries = app.test_client(), 0
        while tries < 1000:
            tries += 1
            read = client.get(path())
            state = (read.json or {})["state"]
            body = {"state": {"count": state.get("count", 0) + 1}}
            if put(client, body, read.headers["ETag"]).status_code == 200:
                break
        return tries

    with ThreadPoolExecutor(8) as pool:
        tries = sum(pool.map(count, range(100)))
    assert app.test_client().get(path()).json == {
        "user_id": "alice",
        "session_id": "default",
        "state": {"count": 100},
        "version": 100,
    }
    assert tries >= 100


def test_of_many_who_make_it_at_once_one_does(app: Flask) -> None:
    def make(number: int) -> int:
        only_new = {"If-None-Match": "*"}
        return app.test_client().put(path(), json={"by": number}, headers=only_new).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(make, range(16))) == [200, *[409] * 15]


def test_states_make_sessions_up_to_a_number(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_states, "MAX_ALONE", 3)
    monkeypatch.setattr(session_states, "MAX_ONCE_ALONE", 5)
    client.post("/chat", json={"user_id": "alice", "session_id": "talk", "message": "hi"})

    def make(number: int) -> int:
        return put(app.test_client(), {"n": number}, session=f"s-{number}").status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(make, range(8))) == [200] * 3 + [409] * 5
    made = [
        each for each in range(8) if (client.get(path(session=f"s-{each}")).json or {})["state"]
    ]
    assert len(made) == 3
    refused = put(client, {"a": 1}, session="fresh")
    assert (refused.status_code, (refused.json or {})["code"]) == (409, "too_many_sessions")
    assert "3 sessions" in (refused.json or {})["error"]
    sessions = client.get("/api/tenants/alice/sessions").json or {}
    assert len(sessions["sessions"]) == 4
    assert put(client, {"a": 1}, user="bob", session="fresh").status_code == 200
    # Those that are there are written as before, and nothing is counted for it.
    with monkeypatch.context() as patched:
        patched.delattr(states, "alone")
        for session in ("talk", f"s-{made[0]}"):
            assert put(client, {"a": 2}, session=session).status_code == 200
    # To talk in one, to forget one and to remove a state make room; of removed ones not for ever.
    body = {"user_id": "alice", "session_id": f"s-{made[0]}", "message": "hi"}
    assert client.post("/chat", json=body).status_code == 200
    assert put(client, {"a": 1}, session="a").status_code == 200
    assert client.delete(f"/api/tenants/alice/sessions/s-{made[1]}").status_code == 200
    assert put(client, {"a": 1}, session="b").status_code == 200
    client.delete(path(session="b"))
    for session in ("c", "d", "e"):
        last = put(client, {"a": 1}, session=session)
        client.delete(path(session=session))
    assert (last.status_code, (last.json or {})["code"]) == (409, "too_many_sessions")


def test_everyone_reaches_the_states_of_their_own_users_alone(make_app: MakeApp) -> None:
    app = make_app(AUTH="required", JWT_SECRET="Qm5zXc8vLw2kTy7r-tokens-NpJb4HsGd9FuAe3")
    client, backend = app.test_client(), key(app, "chat", "org-a-*")
    token = client.post("/api/tokens", json={"user_id": "org-a-1"}, headers=backend).json or {}
    mine = {"Authorization": f"Bearer {token['token']}"}
    for user in ("org-a-1", "org-a-2", "org-b-1"):
        state = {"of": user}
        client.put(path(user, "s"), json=state, headers=key(app, "chat", user))
    for headers, allowed in ((mine, {"org-a-1"}), (backend, {"org-a-1", "org-a-2"})):
        for user in ("org-a-1", "org-a-2", "org-b-1"):
            seen = client.get(path(user, "s"), headers=headers)
            if user in allowed:
                assert (seen.json or {})["state"] == {"of": user}
                continue
            assert seen.status_code == 404
            assert client.put(path(user, "s"), json={}, headers=headers).status_code == 404
            assert client.delete(path(user, "s"), headers=headers).status_code == 404
    everyone = key(app, "owner")
    assert (client.get(path("org-b-1", "s"), headers=everyone).json or {})["version"] == 1


def test_where_conversations_are_hidden_only_programs_that_users_talk_through_see_it(
    make_app: MakeApp,
) -> None:
    app = make_app(AUTH="required", HIDE_CONVERSATIONS="true")
    client, program = app.test_client(), key(app, "chat")
    assert client.put(path(), json={"a": 1}, headers=program).status_code == 200
    hidden = client.get(path(), headers=key(app, "owner"))
    assert (hidden.status_code, (hidden.json or {})["code"]) == (403, "conversations_hidden")


def test_of_a_blocked_user_it_is_read_and_not_written(client: FlaskClient) -> None:
    put(client, {"a": 1})
    client.patch("/api/tenants/alice", json={"blocked": True})
    for refused in (put(client, {"a": 2}), client.delete(path())):
        assert (refused.status_code, (refused.json or {})["code"]) == (403, "tenant_blocked")
    assert (client.get(path()).json or {})["state"] == {"a": 1}


def test_a_clear_leaves_it_and_to_be_forgotten_takes_it(client: FlaskClient) -> None:
    client.post("/chat", json={"user_id": "alice", "message": "hi"})
    put(client, {"a": 1})
    client.delete("/api/tenants/alice/messages")
    assert (client.get(path()).json or {})["state"] == {"a": 1}
    client.delete("/api/tenants/alice")
    assert (client.get(path()).json or {}) == {
        "user_id": "alice",
        "session_id": "default",
        "state": {},
        "version": 0,
    }


def test_pages_of_other_origins_may_use_versions(make_app: MakeApp) -> None:
    client = make_app(AUTH="required", CORS_ORIGINS="https://app.example").test_client()
    answer = client.options(
        path(),
        headers={
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "if-match",
        },
    )
    allowed: dict[str, Any] = dict(answer.headers)
    assert "If-Match" in allowed["Access-Control-Allow-Headers"]
    assert "If-None-Match" in allowed["Access-Control-Allow-Headers"]
    assert "ETag" in allowed["Access-Control-Expose-Headers"]
    assert "PUT" in allowed["Access-Control-Allow-Methods"]


def test_ids_in_the_address_are_checked(client: FlaskClient) -> None:
    for bad in (
        path("alice", "%20x"),
        path("al%00ice"),
        path(session="x" * 256),
        path(session=".."),
    ):
        assert client.get(bad).status_code in (400, 404), bad
    assert client.get(f"{path()}?user_id=bob").status_code == 400
    assert json.loads(client.post(path(), json={}).data)["code"] == "method_not_allowed"
