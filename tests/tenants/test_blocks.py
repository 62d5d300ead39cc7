"""A user that is forgotten while it is blocked stays blocked, and nothing else of it stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import services_of
from webapp.storage import open_database
from webapp.tenant_data.encryption import encrypt_user_ids
from webapp.tenants import store
from webapp.tenants.restrictions import blocks
from webapp.tenants.user_ids.encrypted import EncryptedUserIds

USER = "mallory-the-blocked"


@pytest.fixture
def forgotten(client: FlaskClient) -> FlaskClient:
    assert chat(client) == 200
    assert client.patch(f"/api/tenants/{USER}", json={"blocked": True}).status_code == 200
    assert client.delete(f"/api/tenants/{USER}").status_code == 200
    return client


def chat(client: FlaskClient, user: str = USER) -> int:
    return client.post("/chat", json={"user_id": user, "message": "hello"}).status_code


def test_its_turns_are_refused_and_make_no_tenant(forgotten: FlaskClient) -> None:
    assert chat(forgotten) == 403
    assert chat(forgotten, "somebody-else") == 200
    page = forgotten.get("/api/tenants").json
    assert page is not None
    assert [tenant["user_id"] for tenant in page["tenants"]] == ["somebody-else"]


def test_it_is_shown_as_blocked_and_nothing_else_is_known(forgotten: FlaskClient) -> None:
    assert chat(forgotten, "somebody-else") == 200
    shown = forgotten.get(f"/api/tenants/{USER}").json
    assert shown is not None
    assert shown["blocked"] is True
    assert (shown["message_count"], shown["request_count"]) == (0, 0)
    assert forgotten.get(f"/api/tenants/{USER}/metrics").status_code == 404
    messages = forgotten.get(f"/api/tenants/{USER}/messages").json
    assert messages is not None
    assert messages["messages"] == []


def test_the_block_can_be_lifted_and_is_gone_then(forgotten: FlaskClient) -> None:
    assert forgotten.patch(f"/api/tenants/{USER}", json={"blocked": True}).status_code == 200
    assert forgotten.patch(f"/api/tenants/{USER}", json={"rate_limit": "1/day"}).status_code == 404
    lifted = forgotten.patch(f"/api/tenants/{USER}", json={"blocked": False})
    assert lifted.status_code == 200
    assert lifted.json is not None
    assert lifted.json["blocked"] is False
    assert forgotten.get(f"/api/tenants/{USER}").status_code == 404
    assert chat(forgotten) == 200


def test_who_was_not_blocked_is_not_blocked_afterwards(client: FlaskClient) -> None:
    assert chat(client) == 200
    assert client.delete(f"/api/tenants/{USER}").status_code == 200
    assert client.get(f"/api/tenants/{USER}").status_code == 404
    assert chat(client) == 200


def test_an_import_does_not_lift_it(client: FlaskClient) -> None:
    assert chat(client) == 200
    export = client.get(f"/api/tenants/{USER}/export").data
    client.patch(f"/api/tenants/{USER}", json={"blocked": True})
    client.delete(f"/api/tenants/{USER}")
    answer = client.post(
        f"/api/tenants/{USER}/import", data=export, content_type="application/x-ndjson"
    )
    assert answer.status_code == 200
    assert chat(client) == 403
    client.patch(f"/api/tenants/{USER}", json={"blocked": False})
    assert chat(client) == 200


def test_the_id_is_in_no_file(forgotten: FlaskClient, app: Flask, tmp_path: Path) -> None:
    assert chat(forgotten) == 403
    services_of(app).close()
    for file in tmp_path.glob("switchboard.db*"):
        assert USER.encode() not in file.read_bytes(), file


def test_it_holds_where_user_ids_were_encrypted_since(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'switchboard.db'}")
    database.upgrade()
    ids = EncryptedUserIds("hQ7nWc2xRv5mZt9k-ids-LpYb4GsJd8FuTe3Ea", b"r" * 32)
    database.write(lambda connection: blocks.keep(connection, USER, 5))
    encrypt_user_ids(database, ids)
    stored = ids.stored(USER)
    with database.read() as connection:
        standing = store.standing(connection, stored, user_id=USER)
        assert standing is not None
        assert standing.blocked
        other = ids.stored("somebody-else")
        assert store.standing(connection, other, user_id="somebody-else") is None
    database.write(lambda connection: store.ensure(connection, stored, 9, user_id=USER))
    with database.read() as connection:
        standing = store.standing(connection, stored, user_id=USER)
        assert standing is not None
        assert standing.blocked
        assert blocks.kept_since(connection, stored, USER) is None
    database.close()
