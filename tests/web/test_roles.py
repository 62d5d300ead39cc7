"""Every REST route against every role: what one may not do is refused, and nothing is forgotten."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import MakeApp, services_of
from webapp.accounts.audit import Actor
from webapp.accounts.principal import Principal
from webapp.accounts.user_pattern import UserPattern

EVERYBODY = frozenset({"nobody", "chat", "viewer", "operator", "owner"})
TURNS = frozenset({"chat", "operator", "owner"})
LOOKING = frozenset({"viewer", "operator", "owner"})
ACTING = frozenset({"operator", "owner"})
OWNER = frozenset({"owner"})

# Written by hand from the contract, so that a change of the code's own table shows here.
EXPECTED: dict[tuple[str, str], frozenset[str]] = {
    ("GET", "/"): EVERYBODY,
    ("GET", "/healthz"): EVERYBODY,
    ("GET", "/readyz"): EVERYBODY,
    ("GET", "/openapi.json"): EVERYBODY,
    ("GET", "/docs"): EVERYBODY,
    ("POST", "/chat"): TURNS,
    ("POST", "/api/tokens"): TURNS,
    ("GET", "/api/tenants/<user_id>/sessions/<session_id>/state"): TURNS,
    ("PUT", "/api/tenants/<user_id>/sessions/<session_id>/state"): TURNS,
    ("DELETE", "/api/tenants/<user_id>/sessions/<session_id>/state"): TURNS,
    ("GET", "/workflows"): TURNS,
    ("POST", "/workflows/<name>/runs"): TURNS,
    ("GET", "/api/tenants/<user_id>/workflow-runs"): LOOKING,
    ("GET", "/api/tenants/<user_id>/workflow-runs/<run_id>"): LOOKING,
    ("GET", "/metrics"): LOOKING,
    ("GET", "/api/metrics"): LOOKING,
    ("GET", "/api/tenants"): LOOKING,
    ("GET", "/api/tenants/<user_id>"): LOOKING,
    ("GET", "/api/tenants/<user_id>/sessions"): LOOKING,
    ("GET", "/api/tenants/<user_id>/sessions/<session_id>"): LOOKING,
    ("PATCH", "/api/tenants/<user_id>/sessions/<session_id>"): ACTING,
    ("DELETE", "/api/tenants/<user_id>/sessions/<session_id>"): ACTING,
    ("DELETE", "/api/tenants/<user_id>/sessions/<session_id>/messages"): ACTING,
    ("GET", "/api/tenants/<user_id>/messages"): LOOKING,
    ("GET", "/api/tenants/<user_id>/metrics"): LOOKING,
    ("PATCH", "/api/tenants/<user_id>"): ACTING,
    ("DELETE", "/api/tenants/<user_id>/messages"): ACTING,
    ("DELETE", "/api/tenants/<user_id>"): ACTING,
    ("GET", "/api/tenants/<user_id>/export"): ACTING,
    ("POST", "/api/tenants/<user_id>/import"): OWNER,
    ("DELETE", "/api/tenants/messages"): OWNER,
    ("GET", "/api/export"): OWNER,
    ("POST", "/api/import"): OWNER,
}


def rest_routes(app: Flask) -> Iterator[tuple[str, str]]:
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith(("/admin", "/static")):
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                yield method, rule.rule


@pytest.fixture
def guarded(make_app: MakeApp) -> Flask:
    return make_app(AUTH="required", JWT_SECRET="Qm5zXc8vLw2kTy7r-tokens-NpJb4HsGd9FuAe3")


def key(app: Flask, role: str, users: str = "*") -> dict[str, str]:
    made = services_of(app).keys.create(
        f"{role} {users}", role=role, users=users, by=Actor.command_line()
    )
    return {"Authorization": f"Bearer {made.secret}"}


def ask(client: FlaskClient, route: tuple[str, str], headers: dict[str, str], user: str) -> int:
    method, rule = route
    body = {"user_id": user, "message": "hi"} if rule == "/chat" else {}
    if rule == "/api/tokens":
        body = {"user_id": user}
    path = rule.replace("<user_id>", user).replace("<session_id>", "default")
    return client.open(path, method=method, json=body or None, headers=headers).status_code


def test_every_route_has_its_line_in_the_table(app: Flask) -> None:
    assert set(rest_routes(app)) == set(EXPECTED)


@pytest.mark.parametrize("role", ["nobody", "chat", "viewer", "operator", "owner"])
def test_each_role_may_do_what_it_may_and_nothing_else(guarded: Flask, role: str) -> None:
    client = guarded.test_client()
    headers = {} if role == "nobody" else key(guarded, role)
    for route, allowed in EXPECTED.items():
        status = ask(client, route, headers, "alice")
        if role in allowed:
            assert status not in (401, 403), (route, status)
        else:
            assert status == (401 if role == "nobody" else 403), (route, status)


@pytest.mark.parametrize("role", ["chat", "viewer", "operator", "owner"])
def test_a_key_outside_its_pattern_gets_403_for_turns_and_404_for_data(
    guarded: Flask, role: str
) -> None:
    client = guarded.test_client()
    client.post(
        "/chat", json={"user_id": "bob", "message": "hi"}, headers=key(guarded, "chat", "bob")
    )
    headers = key(guarded, role, "org-acme-*")
    for route, allowed in EXPECTED.items():
        if role not in allowed or "nobody" in allowed:
            continue
        status = ask(client, route, headers, "bob")
        if route[1] in ("/chat", "/api/tokens"):
            assert status == 403, (route, status)
        elif "<user_id>" in route[1]:
            assert status == 404, (route, status)


def test_a_key_lists_only_the_tenants_of_its_pattern(guarded: Flask) -> None:
    client = guarded.test_client()
    everyone = key(guarded, "operator")
    for user in ("org-acme-1", "org-acme-2", "bob"):
        client.post("/chat", json={"user_id": user, "message": "hi"}, headers=everyone)
    listed = client.get("/api/tenants", headers=key(guarded, "viewer", "org-acme-*")).json
    assert listed is not None
    assert {tenant["user_id"] for tenant in listed["tenants"]} == {"org-acme-1", "org-acme-2"}


def test_a_token_speaks_for_its_user_and_no_other(guarded: Flask) -> None:
    client = guarded.test_client()
    made = services_of(guarded).keys.create(
        "backend", role="chat", users="*", by=Actor.command_line()
    )
    issuer = Principal("key", made.key.id, "chat", UserPattern.all())
    token = services_of(guarded).tokens.issue("alice", by=issuer).token
    headers = {"Authorization": f"Bearer {token}"}
    own = client.post("/chat", json={"message": "hi"}, headers=headers)
    assert own.json is not None
    assert own.json["user_id"] == "alice"
    same = client.post("/chat", json={"user_id": "alice", "message": "hi"}, headers=headers)
    assert same.status_code == 200
    other = client.post("/chat", json={"user_id": "bob", "message": "hi"}, headers=headers)
    assert other.status_code == 403
    for route in EXPECTED:
        if route[1].endswith("/state"):
            assert ask(client, route, headers, "alice") not in (401, 403, 404), route
            assert ask(client, route, headers, "bob") == 404, route
        elif route[1].startswith("/api"):
            assert ask(client, route, headers, "alice") == 403, route


def test_a_revoked_key_is_refused_at_once(guarded: Flask) -> None:
    client = guarded.test_client()
    keys = services_of(guarded).keys
    made = keys.create("backend", role="chat", users="*", by=Actor.command_line())
    headers = {"Authorization": f"Bearer {made.secret}"}
    body = {"user_id": "alice", "message": "hi"}
    assert client.post("/chat", json=body, headers=headers).status_code == 200
    keys.revoke(made.key.id, by=Actor.command_line())
    assert client.post("/chat", json=body, headers=headers).status_code == 401
