"""What is forgotten is gone from every table, and ids at rest are unreadable when they should be:
both are looked for as bytes in the files."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import MakeApp, services_of
from webapp.accounts.audit import Actor

PLANTED = "quixotic-zephyr"
MESSAGE = "my secret word is xylophonist"
OWNER = Actor("admin:alice", "owner")


def files_under(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def leave_traces(app: Flask, client: FlaskClient) -> None:
    """Everything that one user can leave behind."""
    services = services_of(app)
    made = services.keys.create("phone", role="chat", users=PLANTED, by=OWNER)
    key = {"Authorization": f"Bearer {made.secret}"}
    body = {"user_id": PLANTED, "message": MESSAGE, "session_id": f"{PLANTED}-session"}
    assert client.post("/chat", json=body, headers=key).status_code == 200
    again = {"Idempotency-Key": f"{PLANTED}-key"}
    assert client.post("/chat", json=body, headers={**key, **again}).status_code == 200
    assert client.post("/chat", json={**body, "stream": True}, headers=key).status_code == 200
    token = client.post("/api/tokens", json={"user_id": PLANTED}, headers=key).json
    assert token is not None
    holder = {"Authorization": f"Bearer {token['token']}"}
    assert client.post("/chat", json={"message": MESSAGE}, headers=holder).status_code == 200
    path = f"/api/tenants/{PLANTED}"
    assert client.patch(path, json={"rate_limit": "77777/minute"}).status_code == 200
    assert client.get(f"{path}/messages").status_code == 200
    assert client.get(f"/api/tenants?search={PLANTED[:5]}").status_code == 200
    assert client.post("/chat", json={**body, "message": ""}, headers=key).status_code == 400


@pytest.fixture
def app(make_app: MakeApp, tmp_path: Path) -> Flask:
    limits = f"sqlite:///{tmp_path / 'limits.db'}"
    return make_app(RATE_LIMIT_STORAGE_URL=limits)


@pytest.mark.sqlite
def test_a_forgotten_user_is_in_no_file_any_more(
    app: Flask, client: FlaskClient, tmp_path: Path
) -> None:
    leave_traces(app, client)
    assert client.post("/chat", json={"user_id": "bob", "message": "Hello"}).status_code == 200
    before = files_under(tmp_path)
    assert PLANTED.encode() in before
    assert MESSAGE.encode() in before

    assert client.delete(f"/api/tenants/{PLANTED}").status_code in (200, 204)
    services_of(app).database.compact()
    after = files_under(tmp_path)
    for word in (PLANTED, "quixotic", "zephyr", MESSAGE, "xylophonist"):
        assert word.encode() not in after, word
    assert b"bob" in after


def test_encrypted_ids_are_in_no_file_and_whole_in_the_api(
    make_app: MakeApp, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    app = make_app(USER_ID_KEY="hQ7nWc2xRv5mZt9k-ids-LpYb4GsJd8FuTe3Ea")
    client = app.test_client()
    body = {"user_id": PLANTED, "message": "Hello"}
    assert client.post("/chat", json=body).status_code == 200
    services_of(app).keys.create("phone", role="chat", users=PLANTED, by=OWNER)
    listed = client.get(f"/api/tenants?search={PLANTED}").json
    assert listed is not None
    assert [tenant["user_id"] for tenant in listed["tenants"]] == [PLANTED]
    shown = client.get(f"/api/tenants/{PLANTED}").json
    assert shown is not None
    assert shown["message_count"] == 2
    assert client.get(f"/api/tenants?search={PLANTED[:8]}").json == {
        "tenants": [],
        "next_cursor": None,
    }
    for word in (PLANTED, "quixotic", "zephyr"):
        assert word.encode() not in files_under(tmp_path), word
        assert word not in caplog.text
