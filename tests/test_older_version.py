"""A server beside the schema of the next version, as during an upgrade without a stop."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask

from tests.conftest import services_of
from webapp.errors import SchemaTooNew
from webapp.storage.steps import in_the_way
from webapp.tenant_data.consistency.comparison import compare


def upgrade_to_the_next_version(path: Path, *steps: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for table in ("tenants", "sessions", "messages", "requests", "api_keys", "audit"):
            connection.execute(f"ALTER TABLE {table} ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm'")
        connection.execute(
            "CREATE TABLE moods (tenant_id INTEGER PRIMARY KEY REFERENCES tenants"
            " ON DELETE CASCADE, mood TEXT) STRICT"
        )
        connection.execute("CREATE INDEX messages_by_mood ON messages (mood)")
        connection.execute("INSERT INTO moods SELECT id, 'calm' FROM tenants")
        for step in steps:
            connection.execute(
                "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
                " VALUES ('switchboard', ?, '2027-01-01')",
                (step,),
            )


def test_a_server_goes_on_beside_steps_that_only_add(app: Flask, tmp_path: Path) -> None:
    client = app.test_client()
    body = {"user_id": "alice", "message": "Hello"}
    assert client.post("/chat", json=body).status_code == 200
    upgrade_to_the_next_version(tmp_path / "switchboard.db", "m998_adds_moods", "m999_adds_more")
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json and ready.json["checks"]["schema"]) == (200, "ok")
    assert client.post("/chat", json=body).status_code == 200
    exported = client.get("/api/tenants/alice/export")
    assert exported.status_code == 200
    assert all(json.loads(line) for line in exported.text.splitlines())
    brought = client.post(
        "/api/tenants/bob/import",
        data=exported.data,
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert brought.status_code == 200, brought.text
    assert client.delete("/api/tenants/alice/messages").json == {"cleared": 4}
    assert client.delete("/api/tenants/alice").status_code == 200
    services = services_of(app)
    assert services.upgrade_database() == [], "an older version has nothing to do there"
    assert compare(services.database, services.clock.now_ms()).count == 0


def test_it_refuses_steps_that_do_more(app: Flask, tmp_path: Path) -> None:
    upgrade_to_the_next_version(tmp_path / "switchboard.db", "m998_adds_moods", "m999_moods")
    with pytest.raises(SchemaTooNew, match="m999_moods"):
        services_of(app).database.check()


def test_only_the_whole_name_is_the_promise() -> None:
    names = (
        "m1_adds_a",
        "m1_add_a",
        "adds_a",
        "m1_readds_a",
        "m_adds_a",
        "m12_adds_",
        "m1_adds_a b",
    )
    assert in_the_way(names) == names[1:]
