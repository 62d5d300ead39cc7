"""/api/tenants…: it works, binds strictly, needs a credential, hides other tenants, is audited."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import MakeApp, services_of
from webapp.accounts.audit import Actor
from webapp.tenants.listing.query import SORTS

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NDJSON = "application/x-ndjson"

LISTED = {
    "user_id",
    "message_count",
    "request_count",
    "error_count",
    "rate_limited_count",
    "total_tokens",
    "p95_ms",
    "last_active_at",
    "blocked",
}
SHOWN = LISTED | {
    *("rate_limit", "token_budget", "input_tokens", "output_tokens"),
    *("dropped_session_count", "created_at"),
}


def say(client: FlaskClient, *user_ids: str, session_id: str = "default") -> None:
    for user_id in user_ids:
        body = {"user_id": user_id, "message": f"I am {user_id}", "session_id": session_id}
        assert client.post("/chat", json=body).status_code == 200


def bearer(app: Flask, role: str, users: str = "*") -> dict[str, str]:
    by = Actor("admin:alice", "owner")
    new = services_of(app).keys.create("key", role=role, users=users, by=by)
    return {"Authorization": f"Bearer {new.secret}"}


def got(client: FlaskClient, path: str, **kwargs: Any) -> Any:
    answer = client.get(path, **kwargs)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.json


def actions(app: Flask) -> list[tuple[str, str]]:
    with services_of(app).database.read() as connection:
        rows = connection.execute("SELECT action, actor FROM audit ORDER BY id", {}).fetchall()
    return [(row[0], row[1]) for row in rows if row[0] != "create_key"]


# -- list and one --------------------------------------------------------------------------------


def test_the_list_shows_every_tenant_the_last_active_first(client: FlaskClient) -> None:
    say(client, "alice", "bob", "alice")
    body = got(client, "/api/tenants")
    assert set(body) == {"tenants", "next_cursor"}
    assert body["next_cursor"] is None
    assert [tenant["user_id"] for tenant in body["tenants"]] == ["alice", "bob"]
    alice = body["tenants"][0]
    assert set(alice) == LISTED
    assert (alice["message_count"], alice["request_count"], alice["error_count"]) == (4, 2, 0)
    assert alice["blocked"] is False
    assert ISO.fullmatch(alice["last_active_at"])


def test_an_empty_list_is_a_list(client: FlaskClient) -> None:
    assert got(client, "/api/tenants") == {"tenants": [], "next_cursor": None}


def test_the_list_is_searched_sorted_and_paged(client: FlaskClient) -> None:
    say(client, "org-b", "org-a", "other", "org-c")
    path = "/api/tenants?search=ORG-&sort=user_id&limit=2"
    first = got(client, path)
    assert [tenant["user_id"] for tenant in first["tenants"]] == ["org-a", "org-b"]
    rest = got(client, f"{path}&cursor={first['next_cursor']}")
    assert [tenant["user_id"] for tenant in rest["tenants"]] == ["org-c"]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize("search", ["%00", "a%00bcd", "%22", "%5C", "%27--", "AND"])
def test_odd_searches_find_nothing(client: FlaskClient, search: str) -> None:
    say(client, "alice")
    assert got(client, f"/api/tenants?search={search}")["tenants"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=many", "limit"),
        ("sort=id", "sort"),
        ("cursor=zzz", "cursor"),
        ("search=" + "x" * 256, "search"),
        ("order=asc", "order"),
        ("limit=5&limit=6", "limit"),
        ("blocked=perhaps", "blocked"),
    ],
)
def test_a_wrong_query_names_its_field(client: FlaskClient, query: str, field: str) -> None:
    answer = client.get(f"/api/tenants?{query}")
    assert answer.status_code == 400
    assert answer.json is not None
    assert field in answer.json["fields"]


def test_what_can_be_sorted_can_be_seen_under_the_same_name(client: FlaskClient) -> None:
    say(client, "alice")
    (alice,) = got(client, "/api/tenants")["tenants"]
    assert {sort.removeprefix("-") for sort in SORTS} == set(alice)
    for sort in SORTS:
        assert got(client, f"/api/tenants?sort={sort}")["tenants"] == [alice]


def test_one_tenant_is_shown(client: FlaskClient) -> None:
    say(client, "alice")
    alice = got(client, "/api/tenants/alice")
    assert set(alice) == SHOWN
    assert alice["rate_limit"] is None
    assert ISO.fullmatch(alice["created_at"])


@pytest.mark.parametrize(
    "user_id",
    ["messages", "ملك", "a b", "100%", "x?y", "#1", "😀", "a\u200db", "x" * 255, "..x", "+"],
)
def test_an_id_of_any_script_can_be_named_in_the_path(client: FlaskClient, user_id: str) -> None:
    say(client, user_id)
    path = f"/api/tenants/{quote(user_id, safe='')}"
    assert got(client, path)["user_id"] == user_id
    assert len(got(client, f"{path}/messages")["messages"]) == 2
    if user_id != "messages":
        assert client.delete(path).status_code == 200


@pytest.mark.parametrize("path", ["%20x", "x" * 256, "%00", "a%0Ab"])
def test_a_path_that_holds_no_id_is_wrong_input(client: FlaskClient, path: str) -> None:
    assert client.get(f"/api/tenants/{path}").status_code == 400


@pytest.mark.parametrize("method", ["get", "patch", "delete"])
def test_an_unknown_tenant_is_not_found_and_not_made(client: FlaskClient, method: str) -> None:
    body = {"json": {"blocked": True}} if method == "patch" else {}
    answer = getattr(client, method)("/api/tenants/mallory", **body)
    assert answer.status_code == 404
    assert answer.json["code"] == "not_found"
    assert got(client, "/api/tenants")["tenants"] == []


def test_another_method_is_refused_with_those_that_are_there(client: FlaskClient) -> None:
    answer = client.put("/api/tenants/alice")
    assert answer.status_code == 405
    assert {"GET", "PATCH", "DELETE"} <= set(answer.headers["Allow"].split(", "))


# -- change --------------------------------------------------------------------------------------


def test_a_block_holds_from_the_next_turn_on(app: Flask, client: FlaskClient) -> None:
    say(client, "alice", "bob")
    answer = client.patch("/api/tenants/alice", json={"blocked": True})
    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json["blocked"] is True
    refused = client.post("/chat", json={"user_id": "alice", "message": "Hello"})
    assert refused.status_code == 403
    say(client, "bob")
    client.patch("/api/tenants/alice", json={"blocked": False})
    say(client, "alice")
    assert actions(app) == [("block_tenant", "local"), ("unblock_tenant", "local")]


def test_an_own_limit_bites_at_once_and_goes_again(client: FlaskClient) -> None:
    say(client, "alice")
    answer = client.patch("/api/tenants/alice", json={"rate_limit": "1/day"})
    assert answer.json is not None
    assert answer.json["rate_limit"] == "1/day"
    say(client, "alice")
    assert client.post("/chat", json={"user_id": "alice", "message": "x"}).status_code == 429
    client.patch("/api/tenants/alice", json={"rate_limit": None})
    say(client, "alice")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"blocked": "true"},
        {"blocked": 1},
        {"blocked": None},
        {"rate_limit": 5},
        {"rate_limit": "often"},
        {"rate_limit": ""},
        {"token_budget": "much"},
        {"name": "x"},
        {"blocked": True, "message_count": 0},
        [],
        "blocked",
    ],
)
def test_a_wrong_change_changes_nothing(app: Flask, client: FlaskClient, body: Any) -> None:
    say(client, "alice")
    before = got(client, "/api/tenants/alice")
    answer = client.patch("/api/tenants/alice", json=body)
    assert answer.status_code == 400
    assert got(client, "/api/tenants/alice") == before
    assert actions(app) == []


# -- messages and sessions -----------------------------------------------------------------------


def test_the_memory_is_shown_oldest_first(client: FlaskClient) -> None:
    say(client, "alice", session_id="one")
    say(client, "alice", session_id="two")
    found: list[Any] = []
    cursor = ""
    while True:
        body = got(client, f"/api/tenants/alice/messages?limit=1&cursor={cursor}")
        found += body["messages"]
        cursor = body["next_cursor"]
        if cursor is None:
            break
    assert [(m["session_id"], m["role"]) for m in found] == [
        ("one", "user"),
        ("one", "assistant"),
        ("two", "user"),
        ("two", "assistant"),
    ]
    assert set(found[0]) == {"id", "role", "content", "created_at", "session_id"}
    assert ISO.fullmatch(found[0]["created_at"])
    only = got(client, "/api/tenants/alice/messages?session_id=two")["messages"]
    assert [m["session_id"] for m in only] == ["two", "two"]


def test_bob_gets_nothing_for_a_cursor_of_alice(client: FlaskClient) -> None:
    say(client, "alice", "bob")
    cursor = got(client, "/api/tenants/alice/messages?limit=1")["next_cursor"]
    assert client.get(f"/api/tenants/bob/messages?cursor={cursor}").status_code == 400


def test_an_unknown_tenant_has_no_messages_and_none_to_clear(client: FlaskClient) -> None:
    empty: dict[str, Any] = {"messages": [], "next_cursor": None}
    assert got(client, "/api/tenants/mallory/messages") == empty
    assert client.delete("/api/tenants/mallory/messages").json == {"cleared": 0}
    assert got(client, "/api/tenants/mallory/sessions") == {"sessions": [], "next_cursor": None}
    assert got(client, "/api/tenants")["tenants"] == []


def test_the_sessions_are_listed(client: FlaskClient) -> None:
    say(client, "alice", session_id="one")
    (session,) = got(client, "/api/tenants/alice/sessions")["sessions"]
    assert session["session_id"] == "one"
    assert session["message_count"] == 2
    assert session["has_state"] is False


def test_clearing_one_leaves_the_others(app: Flask, client: FlaskClient) -> None:
    say(client, "alice", "alice", "bob")
    assert client.delete("/api/tenants/alice/messages").json == {"cleared": 4}
    assert got(client, "/api/tenants/alice/messages")["messages"] == []
    assert got(client, "/api/tenants/alice")["request_count"] == 2
    assert len(got(client, "/api/tenants/bob/messages")["messages"]) == 2
    assert actions(app) == [("clear_tenant", "local")]


def test_clearing_all_wants_the_words(app: Flask, client: FlaskClient) -> None:
    say(client, "alice", "bob")
    for body in ({}, {"confirm": "yes"}, {"confirm": "Clear all tenants"}, {"confirm": None}):
        assert client.delete("/api/tenants/messages", json=body).status_code == 400
    assert client.delete("/api/tenants/messages").status_code == 415
    assert len(got(client, "/api/tenants/bob/messages")["messages"]) == 2
    answer = client.delete("/api/tenants/messages", json={"confirm": "clear all tenants"})
    assert answer.status_code == 200
    assert answer.json == {"cleared": 4, "tenants": 2}
    assert got(client, "/api/tenants/bob/messages")["messages"] == []
    assert actions(app) == [("clear_all", "local")]


def test_a_forgotten_tenant_is_gone(app: Flask, client: FlaskClient) -> None:
    say(client, "alice", "bob")
    answer = client.delete("/api/tenants/alice")
    assert answer.json == {"messages": 2, "sessions": 1, "requests": 1}
    assert client.get("/api/tenants/alice").status_code == 404
    assert [t["user_id"] for t in got(client, "/api/tenants")["tenants"]] == ["bob"]
    assert client.delete("/api/tenants/alice").status_code == 404
    assert actions(app) == [("forget_tenant", "local")]


# -- export and import ---------------------------------------------------------------------------


def test_what_was_exported_can_be_imported(app: Flask, client: FlaskClient) -> None:
    say(client, "alice")
    exported = client.get("/api/tenants/alice/export")
    assert exported.status_code == 200
    assert exported.mimetype == NDJSON
    assert "attachment" in exported.headers["Content-Disposition"]
    kinds = [json.loads(line)["type"] for line in exported.data.splitlines()]
    assert kinds[0] == "switchboard-tenant"
    assert kinds[-1] == "end"
    imported = client.post("/api/tenants/bob/import", data=exported.data, content_type=NDJSON)
    assert imported.json == {
        "sessions": 1,
        "messages": 2,
        "messages_left_out": 0,
        "requests": 1,
        "new_tenant": True,
        "note": "",
    }
    assert (
        got(client, "/api/tenants/bob/messages")["messages"]
        == got(client, "/api/tenants/alice/messages")["messages"]
    )
    again = client.post("/api/tenants/bob/import", data=exported.data, content_type=NDJSON)
    assert again.status_code == 409
    assert actions(app) == [("export_tenant", "local"), ("import_tenant", "local")]


def test_all_tenants_go_out_and_in_again(app: Flask, client: FlaskClient) -> None:
    for user in ("alice", "bob"):
        say(client, user)
    exported, chats = client.get("/api/export"), client.get("/api/export?format=openai")
    assert json.loads(exported.data.splitlines()[-1]) == {"type": "end-of-tenants", "tenants": 2}
    assert len(chats.data.splitlines()) == 2
    refused = client.post("/api/import", data=exported.data, content_type=NDJSON)
    assert refused.status_code == 409
    for data, form, requests in ((exported.data, "switchboard", 2), (chats.data, "openai", 0)):
        for user in ("alice", "bob"):
            client.delete(f"/api/tenants/{user}")
        target = f"/api/import?format={form}"
        broken = client.post(target, data=data[:-9], content_type=NDJSON)
        assert (broken.status_code, got(client, "/api/tenants")["tenants"]) == (400, [])
        came = client.post(target, data=data, content_type=NDJSON)
        assert came.json == {
            "tenants": 2,
            "known": 0,
            "sessions": 2,
            "messages": 4,
            "messages_left_out": 0,
            "requests": requests,
        }
    assert actions(app).count(("export_all", "local")) == 2


def test_conversations_go_out_and_in_as_openai_s_messages(client: FlaskClient) -> None:
    say(client, "alice")
    exported = client.get("/api/tenants/alice/export?format=openai")
    (conversation,) = [json.loads(line) for line in exported.data.splitlines()]
    assert [message["role"] for message in conversation["messages"]] == ["user", "assistant"]
    target = "/api/tenants/bob/import?format=openai"
    imported = client.post(target, data=exported.data, content_type=NDJSON)
    assert (imported.json or {})["messages"] == 2
    again = client.post(target, data=exported.data, content_type=NDJSON)
    assert again.status_code == 409
    broken = client.post(target, data=b'{"messages": 5}', content_type=NDJSON)
    assert (broken.status_code, "line 1" in (broken.json or {})["fields"]) == (400, True)
    assert client.get("/api/tenants/alice/export?format=csv").status_code == 400


def test_an_import_may_be_larger_than_other_bodies(make_app: MakeApp) -> None:
    client = make_app(MAX_BODY_BYTES="2000").test_client()
    for _ in range(10):
        say(client, "alice")
    exported = client.get("/api/tenants/alice/export").data
    assert len(exported) > 2000
    answer = client.post("/api/tenants/bob/import", data=exported, content_type=NDJSON)
    assert answer.status_code == 200


def test_an_import_that_is_too_large_is_refused(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.web.api.transfers.MAX_IMPORT_BYTES", 10)
    answer = client.post("/api/tenants/bob/import", data=b"x" * 11, content_type=NDJSON)
    assert answer.status_code == 413


def test_a_faulty_import_makes_no_tenant(client: FlaskClient) -> None:
    say(client, "alice")
    exported = client.get("/api/tenants/alice/export").data
    for body in (b"", b"{}", b"\xff", exported[:-20], exported * 2):
        answer = client.post("/api/tenants/bob/import", data=body, content_type=NDJSON)
        assert answer.status_code == 400
        assert answer.json is not None
        assert "Line " in answer.json["error"]
    assert client.post("/api/tenants/bob/import", json={}).status_code == 415
    assert client.get("/api/tenants/bob").status_code == 404


def test_hidden_conversations_are_hidden_on_every_way_out(make_app: MakeApp) -> None:
    client = make_app(HIDE_CONVERSATIONS="true").test_client()
    say(client, "alice")
    answer = client.get("/api/tenants/alice/messages")
    assert answer.status_code == 403
    assert answer.json is not None
    assert answer.json["code"] == "conversations_hidden"
    assert b"I am alice" not in client.get("/api/tenants/alice/export").data


def test_only_what_users_talk_through_speaks_where_conversations_are_hidden(
    make_app: MakeApp,
) -> None:
    secret = "Rt8wLm4cYq1zXe6u-signs-VbKp9GfJd3ShNa5T"
    seen = make_app(AUTH="required", JWT_SECRET=secret)
    admin, terminal = Actor("admin:ada", "owner"), Actor.command_line()

    def bearer(app: Flask, role: str, by: Actor) -> dict[str, str]:
        made = services_of(app).keys.create("k", role=role, users="*", by=by)
        return {"Authorization": f"Bearer {made.secret}"}

    def token(client: FlaskClient, headers: dict[str, str]) -> dict[str, str]:
        issued = client.post("/api/tokens", json={"user_id": "alice"}, headers=headers)
        assert issued.json is not None
        return {"Authorization": f"Bearer {issued.json['token']}"}

    backend = bearer(seen, "chat", terminal)
    in_their_hands = [bearer(seen, "chat", admin), bearer(seen, "owner", terminal)]
    in_their_hands += [bearer(seen, "operator", admin)]
    in_their_hands += [token(seen.test_client(), headers) for headers in in_their_hands]
    body = {"user_id": "alice", "session_id": "divorce", "message": "my word is xylophonist"}
    first = {**backend, "Idempotency-Key": "one"}
    assert seen.test_client().post("/chat", json=body, headers=first).status_code == 200

    client = make_app(AUTH="required", JWT_SECRET=secret, HIDE_CONVERSATIONS="true").test_client()
    for headers in in_their_hands:
        for stream in (False, True):
            again = {**headers, "Idempotency-Key": "one"}
            answer = client.post("/chat", json={**body, "stream": stream}, headers=again)
            assert answer.status_code == 403
            assert answer.json is not None
            assert answer.json["code"] == "conversations_hidden"
        assert (
            client.post("/api/tokens", json={"user_id": "alice"}, headers=headers).status_code
            == 403
        )
    assert client.post("/chat", json=body, headers=backend).status_code == 200
    assert client.post("/chat", json=body, headers=token(client, backend)).status_code == 200
    owner = in_their_hands[1]
    for path in ("messages", "sessions", "messages?session_id=divorce"):
        hidden = client.get(f"/api/tenants/alice/{path}", headers=owner)
        assert hidden.status_code == 403
        assert hidden.json is not None
        assert hidden.json["code"] == "conversations_hidden"
    for path in ("", "/alice", "/alice/export", "/alice/metrics"):
        shown = client.get(f"/api/tenants{path}", headers=owner)
        assert shown.status_code == 200
        assert "divorce" not in shown.text
        assert "xylophonist" not in shown.text


# -- who may -------------------------------------------------------------------------------------

ROUTES = [
    ("GET", "/api/tenants", "viewer"),
    ("GET", "/api/tenants/alice", "viewer"),
    ("GET", "/api/tenants/alice/messages", "viewer"),
    ("GET", "/api/tenants/alice/sessions", "viewer"),
    ("GET", "/api/tenants/alice/metrics", "viewer"),
    ("GET", "/api/metrics", "viewer"),
    ("PATCH", "/api/tenants/alice", "operator"),
    ("DELETE", "/api/tenants/alice/messages", "operator"),
    ("DELETE", "/api/tenants/alice", "operator"),
    ("GET", "/api/tenants/alice/export", "operator"),
    ("POST", "/api/tenants/alice/import", "owner"),
    ("DELETE", "/api/tenants/messages", "owner"),
]
RANKS = ["chat", "viewer", "operator", "owner"]


@pytest.mark.parametrize(("method", "path", "least"), ROUTES)
def test_each_route_wants_its_role(make_app: MakeApp, method: str, path: str, least: str) -> None:
    app = make_app(AUTH="required")
    client = app.test_client()
    answer = client.open(path, method=method)
    assert answer.status_code == 401
    assert "WWW-Authenticate" in answer.headers
    for role in RANKS:
        status = client.open(path, method=method, headers=bearer(app, role)).status_code
        if RANKS.index(role) < RANKS.index(least):
            assert status == 403, role
        else:
            assert status not in (401, 403, 500), role


def test_a_key_sees_only_the_tenants_of_its_pattern(make_app: MakeApp) -> None:
    app = make_app(AUTH="required")
    client = app.test_client()
    everyone = bearer(app, "owner")
    for user_id in ("org-acme-alice", "org-acme-bob", "mallory"):
        body = {"user_id": user_id, "message": "x"}
        assert client.post("/chat", json=body, headers=everyone).status_code == 200
    for pattern, seen in (
        ("org-acme-*", ["org-acme-alice", "org-acme-bob"]),
        ("org-acme-bob", ["org-acme-bob"]),
        ("org-*", ["org-acme-alice", "org-acme-bob"]),
        ("nobody", []),
    ):
        headers = bearer(app, "operator", pattern)
        for query in ("", "&search=l", "&search=mallory", "&blocked=false"):
            body = got(client, f"/api/tenants?sort=user_id{query}", headers=headers)
            found = [tenant["user_id"] for tenant in body["tenants"]]
            assert set(found) <= set(seen)
            if not query:
                assert found == seen
        for method, path, least in ROUTES:
            if "alice" in path and least != "owner":
                foreign = path.replace("alice", "mallory")
                answer = client.open(foreign, method=method, headers=headers)
                assert answer.status_code == 404, (method, foreign)
        assert client.get("/api/metrics", headers=headers).status_code == 403
        assert client.delete("/api/tenants/messages", headers=headers).status_code == 403
    assert got(client, "/api/tenants/mallory", headers=everyone)["message_count"] == 2


def test_a_cursor_from_another_key_is_no_way_in(make_app: MakeApp) -> None:
    app = make_app(AUTH="required")
    client = app.test_client()
    everyone = bearer(app, "owner")
    for user_id in ("org-a", "org-b", "zed"):
        client.post("/chat", json={"user_id": user_id, "message": "x"}, headers=everyone)
    cursor = got(client, "/api/tenants?sort=user_id&limit=1", headers=everyone)["next_cursor"]
    answer = client.get(
        f"/api/tenants?sort=user_id&cursor={cursor}", headers=bearer(app, "viewer", "org-*")
    )
    assert answer.status_code == 400


def test_encrypted_ids_are_readable_through_the_api(make_app: MakeApp) -> None:
    app = make_app(USER_ID_KEY="hQ7nWc2xRv5mZt9k-ids-LpYb4GsJd8FuTe3Ea")
    client = app.test_client()
    say(client, "alice", "bob")
    listed = got(client, "/api/tenants")["tenants"]
    assert {tenant["user_id"] for tenant in listed} == {"alice", "bob"}
    found = got(client, "/api/tenants?search=alice")["tenants"]
    assert [tenant["user_id"] for tenant in found] == ["alice"]
    assert got(client, "/api/tenants/alice")["user_id"] == "alice"
    assert json.loads(client.get("/api/tenants/alice/export").data.splitlines()[1])["user_id"] == (
        "alice"
    )
