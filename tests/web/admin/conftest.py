"""Fixtures of the console's tests: alice owns it, bob operates, mallory may only look."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask

from tests.conftest import services_of
from tests.web.admin.person import Person, sign_in


@pytest.fixture
def alice(app: Flask) -> Person:
    return sign_in(app, "alice", "owner")


@pytest.fixture
def bob(app: Flask, alice: Person) -> Person:
    return sign_in(app, "bob", "operator")


@pytest.fixture
def mallory(app: Flask, alice: Person) -> Person:
    return sign_in(app, "mallory", "viewer")


def talk(app: Flask, user_id: str, *messages: str, session_id: str = "default") -> None:
    """Turns of a tenant through the REST API."""
    client = app.test_client()
    for message in messages or ("Hello",):
        body = {"user_id": user_id, "message": message, "session_id": session_id}
        answer = client.post("/chat", json=body)
        assert answer.status_code == 200, answer.text


def messages_of(app: Flask, user_id: str) -> int:
    row = services_of(app).directory.find(user_id)
    return 0 if row is None else row.message_count


def audit_of(app: Flask, action: str) -> list[dict[str, Any]]:
    """The entries of an action, the newest first."""
    with services_of(app).database.read() as connection:
        rows = connection.execute(
            "SELECT actor, role, tenant_id, before, after, request_id FROM audit"
            " WHERE action = :action ORDER BY id DESC",
            {"action": action},
        ).fetchall()
    names = ("actor", "role", "tenant_id", "before", "after", "request_id")
    entries = [dict(zip(names, row, strict=True)) for row in rows]
    for entry in entries:
        entry["before"], entry["after"] = json.loads(entry["before"]), json.loads(entry["after"])
    return entries
