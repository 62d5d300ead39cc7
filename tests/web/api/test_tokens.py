"""POST /api/tokens: it signs for one user, within the caller's rights, and the token works."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import MakeApp, services_of
from webapp.accounts.audit import Actor

JWT_SECRET = "Rt8wLm4cYq1zXe6u-signs-VbKp9GfJd3ShNa5T"


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(AUTH="required", JWT_SECRET=JWT_SECRET)


def bearer(app: Flask, role: str = "chat", users: str = "*") -> dict[str, str]:
    keys = services_of(app).keys
    made = keys.create("k", role=role, users=users, by=Actor.command_line())
    return {"Authorization": f"Bearer {made.secret}"}


def issued(client: FlaskClient, headers: dict[str, str], **body: Any) -> dict[str, Any]:
    answer = client.post("/api/tokens", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json is not None
    found: dict[str, Any] = answer.json
    return found


def test_a_token_lets_its_user_chat_without_being_named(app: Flask, client: FlaskClient) -> None:
    token = issued(client, bearer(app), user_id="alice", ttl_seconds=60)
    assert (token["user_id"], token["expires_in"]) == ("alice", 60)
    left = datetime.fromisoformat(token["expires_at"]) - datetime.now(UTC)
    assert 50 < left.total_seconds() <= 60
    headers = {"Authorization": f"Bearer {token['token']}"}
    answer = client.post("/chat", json={"message": "Hello"}, headers=headers)
    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json["user_id"] == "alice"


def test_a_token_speaks_for_nobody_else_and_issues_nothing(app: Flask, client: FlaskClient) -> None:
    token = issued(client, bearer(app), user_id="alice")
    headers = {"Authorization": f"Bearer {token['token']}"}
    body = {"message": "Hello", "user_id": "bob"}
    assert client.post("/chat", json=body, headers=headers).status_code == 403
    assert client.post("/api/tokens", json={"user_id": "alice"}, headers=headers).status_code == 403


def test_it_needs_a_credential(client: FlaskClient) -> None:
    answer = client.post("/api/tokens", json={"user_id": "alice"})
    assert answer.status_code == 401
    assert answer.json is not None
    assert answer.json["code"] == "unauthenticated"


def test_a_viewer_issues_none_and_a_key_none_out_of_its_pattern(
    app: Flask, client: FlaskClient
) -> None:
    body = {"user_id": "alice"}
    for headers in (bearer(app, "viewer"), bearer(app, "chat", "org-*")):
        assert client.post("/api/tokens", json=body, headers=headers).status_code == 403
    assert issued(client, bearer(app, "operator"), user_id="alice")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user_id": ""},
        {"user_id": "a/b"},
        {"user_id": 5},
        {"user_id": "alice", "ttl_seconds": 0},
        {"user_id": "alice", "ttl_seconds": 86_401},
        {"user_id": "alice", "ttl_seconds": "60"},
        {"user_id": "alice", "ttl_seconds": 60.5},
        {"user_id": "alice", "ttl_seconds": True},
        {"user_id": "alice", "sub": "bob"},
    ],
)
def test_it_binds_strictly(app: Flask, client: FlaskClient, body: dict[str, Any]) -> None:
    answer = client.post("/api/tokens", json=body, headers=bearer(app))
    assert answer.status_code == 400
    assert answer.json is not None
    assert answer.json["fields"]


def test_without_a_secret_it_says_what_to_set(make_app: MakeApp) -> None:
    app = make_app(AUTH="required")
    answer = app.test_client().post("/api/tokens", json={"user_id": "alice"}, headers=bearer(app))
    assert answer.status_code == 409
    assert answer.json is not None
    assert answer.json["code"] == "tokens_not_configured"
    assert "SWITCHBOARD_JWT_SECRET" in answer.json["error"]


def test_in_dev_a_secret_comes_from_the_instance(make_app: MakeApp) -> None:
    app = make_app(AUTH="open")
    client = app.test_client()
    token = issued(client, {}, user_id="alice")["token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert client.post("/chat", json={"message": "Hello"}, headers=headers).status_code == 200


def test_an_answer_with_a_token_is_not_cached(app: Flask, client: FlaskClient) -> None:
    answer = client.post("/api/tokens", json={"user_id": "alice"}, headers=bearer(app))
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_revoked_key_ends_the_tokens_that_it_issued(app: Flask, client: FlaskClient) -> None:
    services = services_of(app)
    made = services.keys.create("k", role="chat", users="*", by=Actor.command_line())
    token = issued(client, {"Authorization": f"Bearer {made.secret}"}, user_id="alice")["token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert client.post("/chat", json={"message": "Hello"}, headers=headers).status_code == 200
    services.keys.revoke(made.key.id, by=Actor.command_line())
    assert client.post("/chat", json={"message": "Hello"}, headers=headers).status_code == 401


def test_a_token_ends_with_the_key_that_was_deleted_when_its_user_was_forgotten(
    app: Flask, client: FlaskClient
) -> None:
    services = services_of(app)
    made = services.keys.create("k", role="chat", users="alice", by=Actor.command_line())
    token = issued(client, {"Authorization": f"Bearer {made.secret}"}, user_id="alice")["token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert client.post("/chat", json={"message": "Hello"}, headers=headers).status_code == 200
    services.acts.forget("alice")
    assert client.post("/chat", json={"message": "Hello"}, headers=headers).status_code == 401
    assert services.directory.find("alice") is None
