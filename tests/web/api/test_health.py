"""GET /readyz names each part, says in a sentence what is wrong with it, and asks for no key."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.conftest import MakeApp


def test_each_part_is_named(client: FlaskClient) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json == {
        "status": "ready",
        "checks": {
            "database": "ok",
            "schema": "ok",
            "turn_lines": "ok",
            "limiter": "ok",
            "model_breaker": "ok",
        },
        "reasons": {},
        "limiter_failures": 0,
    }


@pytest.mark.sqlite
def test_it_writes_to_the_lines_and_leaves_nothing(client: FlaskClient, tmp_path: Path) -> None:
    assert client.get("/readyz").status_code == 200
    lines = sqlite3.connect(tmp_path / "switchboard.db-turns")
    (enrolled,) = lines.execute("SELECT COUNT(*) FROM workers").fetchone()
    (standing,) = lines.execute("SELECT COUNT(*) FROM tickets").fetchone()
    lines.close()
    assert (enrolled, standing) == (1, 0)


@pytest.mark.sqlite
def test_lines_that_cannot_be_used_stop_turns_and_are_named(
    client: FlaskClient, tmp_path: Path
) -> None:
    (tmp_path / "switchboard.db-turns").mkdir()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json is not None
    assert answer.json["checks"]["database"] == "ok"
    assert answer.json["checks"]["turn_lines"] == "down"
    assert answer.json["reason"] == answer.json["reasons"]["turn_lines"]
    assert "lines" in answer.json["reason"]
    turn = client.post("/chat", json={"user_id": "alice", "message": "Hello"})
    assert turn.status_code == 503
    (tmp_path / "switchboard.db-turns").rmdir()
    assert client.get("/readyz").status_code == 200


@pytest.mark.sqlite
def test_an_old_schema_is_named(make_app: MakeApp) -> None:
    answer = make_app(migrated=False).test_client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json is not None
    assert answer.json["checks"]["schema"] == "out_of_date"
    assert answer.json["reasons"]["schema"] == answer.json["reason"]


def test_a_credential_is_not_looked_up(make_app: MakeApp) -> None:
    client = make_app(AUTH="required").test_client()
    for _ in range(30):
        answer = client.get("/readyz", headers={"Authorization": "Bearer sb_unknown_unknown"})
        assert answer.status_code == 200
    answer = client.get("/api/tenants", headers={"Authorization": "Bearer sb_unknown_unknown"})
    assert answer.status_code == 401, "nothing of that was counted as a failure"
