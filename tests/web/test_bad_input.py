"""What no schema thinks of: broken JSON, forged cursors, smuggled headers: clear errors all."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import URLSafeSerializer

from tests.conftest import MakeApp, services_of
from webapp.accounts.audit import Actor
from webapp.tenants.store import number_of

TURN = {"user_id": "alice", "message": "Hello"}
DEEP = 100_000


def turned(app: Flask, user_id: str = "alice") -> bool:
    """Whether the tenant exists, which a refused body must not bring about."""
    with services_of(app).database.read() as connection:
        return number_of(connection, user_id) is not None


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[" * DEEP + b"]" * DEEP, "invalid_json"),
        (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "invalid_json"),
        (b'{"user_id":"alice","message":' + b"[" * DEEP + b"]" * DEEP + b"}", "invalid_json"),
        (b'{"user_id":"alice","message":"x","stream":' + b"9" * 100_000 + b"}", "invalid_json"),
        (b'{"user_id":"alice","message":1e999999}', "invalid_input"),
        (b'{"user_id":"alice","message":NaN}', "invalid_input"),
        (b'{"user_id":"alice","message":"x","stream":-Infinity}', "invalid_input"),
        (b'{"user_id":"bob","user_id":"alice","message":"x"}', "invalid_input"),
        (b'{"user_id":"alice","message":"x","message":"y"}', "invalid_input"),
        (b'{"user_id":"alice\x00","message":"x"}', "invalid_json"),
        (b'{"user_id":"alice","message":"x\\u0000"}', "invalid_input"),
        (b'{"user_id":"alice","message":"\\udc00"}', "invalid_json"),
        (b'{"user_id":"alice","message":"\xed\xa0\x80"}', "invalid_json"),
        (b'\xef\xbb\xbf{"user_id":"alice","message":"x"}', "invalid_json"),
        (json.dumps(TURN).encode("utf-16"), "invalid_json"),
        (json.dumps(TURN).encode() + b" {}", "invalid_json"),
        (b"{/**/}", "invalid_json"),
        (b"null", "invalid_input"),
        (b'"alice"', "invalid_input"),
        (b"", "invalid_json"),
    ],
    ids=lambda value: ascii(value[:40]) if isinstance(value, bytes) else value,
)
def test_a_body_that_is_not_plain_json_is_refused(
    app: Flask, client: FlaskClient, body: bytes, code: str
) -> None:
    answer = client.post("/chat", data=body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.get_json()["code"] == code
    assert len(answer.data) < 1000
    assert not turned(app)


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16", "nonsense"])
def test_whatever_the_charset_says_json_is_utf_8(client: FlaskClient, charset: str) -> None:
    kind = f"application/json; charset={charset}"
    latin = '{"user_id":"älice","message":"x"}'.encode("latin-1")
    assert client.post("/chat", data=latin, content_type=kind).status_code == 400
    plain = json.dumps({"user_id": "älice", "message": "x"}, ensure_ascii=False).encode()
    answer = client.post("/chat", data=plain, content_type=kind)
    assert answer.get_json()["user_id"] == "älice"


def test_other_kinds_of_bodies_are_415(app: Flask, client: FlaskClient) -> None:
    packed = gzip.compress(json.dumps(TURN).encode())
    for path, kind in (
        ("/chat", "application/json"),
        ("/api/tenants/alice/import", "application/x-ndjson"),
    ):
        for coding in ("gzip", "br", "nonsense"):
            headers = {"Content-Encoding": coding}
            answer = client.post(path, data=packed, content_type=kind, headers=headers)
            assert answer.status_code == 415
        form = client.post(path, data={"user_id": "alice", "message": "x"})
        assert form.status_code == 415
        several = client.post(
            path, data={"user_id": "alice", "message": "x"}, content_type="multipart/form-data"
        )
        assert several.status_code == 415
        assert client.post(path, data=json.dumps(TURN), content_type=None).status_code == 415
    assert not turned(app)


# -- who is meant ---------------------------------------------------------------------------------


def test_a_user_id_in_the_query_never_counts(app: Flask, client: FlaskClient) -> None:
    answer = client.post("/chat?user_id=bob", json=TURN)
    assert answer.status_code == 400
    assert list(answer.get_json()["fields"]) == ["user_id"]
    headers = {"X-User-Id": "bob", "X-Forwarded-User": "bob", "Cookie": "user_id=bob"}
    assert client.post("/chat", json=TURN, headers=headers).get_json()["user_id"] == "alice"
    assert not turned(app, "bob")


@pytest.mark.parametrize("key", ["", "x" * 256, "\u00e9", "\u00ff", "a\tb"])
def test_an_idempotency_key_is_printable_ascii(client: FlaskClient, key: str) -> None:
    answer = client.post("/chat", json=TURN, headers={"Idempotency-Key": key})
    assert answer.status_code == 400
    assert list(answer.get_json()["fields"]) == ["Idempotency-Key"]


def test_a_token_and_a_body_that_disagree_are_refused(make_app: MakeApp) -> None:
    app = make_app(AUTH="required", JWT_SECRET="Qm5zXc8vLw2kTy7r-tokens-NpJb4HsGd9FuAe3")
    services = services_of(app)
    key = services.keys.create("backend", role="chat", users="*", by=Actor.command_line())
    backend = {"Authorization": f"Bearer {key.secret}"}
    client = app.test_client()
    token = client.post("/api/tokens", json={"user_id": "alice"}, headers=backend).get_json()
    alice = {"Authorization": f"Bearer {token['token']}"}
    assert client.post("/chat", json={"message": "x"}, headers=alice).status_code == 200
    for user_id in ("bob", "Alice", "alice\u200b", "\u0430lice"):
        answer = client.post("/chat", json={"user_id": user_id, "message": "x"}, headers=alice)
        assert answer.status_code == 403
        assert not turned(app, user_id)


def test_an_address_that_is_no_utf_8_names_nobody(app: Flask, client: FlaskClient) -> None:
    client.post("/chat", json={"user_id": "\ufffd", "message": "x"})
    for odd in ("\xff", "\xed\xa0\x80"):
        # The client of the tests would mend such a path; a server hands it on as it came.
        path = {"PATH_INFO": f"/api/tenants/{odd}"}
        assert client.delete("/", environ_overrides=path).get_json()["code"] == "invalid_address"
    answer = client.get("/api/tenants?search=%ff")
    assert answer.status_code == 400
    assert answer.get_json()["code"] == "invalid_address"
    assert client.get("/api/tenants/%EF%BF%BD").status_code == 200


def test_a_forwarded_address_is_not_believed_without_a_trusted_proxy(make_app: MakeApp) -> None:
    client = make_app(AUTH="required").test_client()

    def try_key(number: int, client: FlaskClient = client) -> int:
        forged = f"203.0.113.{number}"
        headers = {
            "Authorization": "Bearer sb_wrong",
            "X-Forwarded-For": forged,
            "X-Real-IP": forged,
            "Forwarded": f"for={forged}",
        }
        return client.get("/api/tenants", headers=headers).status_code

    assert [try_key(number) for number in range(21)] == [401] * 20 + [429]
    behind = make_app(AUTH="required", TRUSTED_PROXIES="1").test_client()
    statuses = {
        behind.get(
            "/api/tenants",
            headers={
                "Authorization": "Bearer sb_wrong",
                # Only the last one was written by the proxy.
                "X-Forwarded-For": f"198.51.100.{number}, 203.0.113.7",
            },
        ).status_code
        for number in range(25)
    }
    assert statuses == {401, 429}


# -- lists ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=1e9",
        "limit=1000000000",
        "limit=abc",
        "limit=%00",
        "limit=" + "9" * 5000,
        "limit=5&limit=6",
        "cursor=AAAA&cursor=BBBB",
        "cursor=AAAA",
        "cursor=%C3%A9",
        "cursor=" + "A" * 5000,
        "sort=user_id%3B%20DROP%20TABLE%20tenants",
        "unknown=1",
        "unknown=",
    ],
    ids=lambda query: query[:30],
)
@pytest.mark.parametrize("path", ["/api/tenants", "/api/tenants/alice/messages"])
def test_a_bad_query_is_a_400_that_names_its_field(
    client: FlaskClient, path: str, query: str
) -> None:
    client.post("/chat", json=TURN)
    answer = client.get(f"{path}?{query}")
    assert answer.status_code == 400
    assert list(answer.get_json()["fields"]) == [query.partition("=")[0]]


def forged(value: Any, number: Any) -> str:
    """A cursor as somebody who has read the source could make one, without the key."""
    return str(URLSafeSerializer("guessed", serializer=json).dumps([True, value, number]))


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("a", 1),
        ("\ud800", 1),
        (1, 1),
        (None, 1),
        (["a"], 1),
        ("a", 2**70),
        ("a", True),
        ("a", 1.5),
    ],
)
def test_a_forged_cursor_is_refused(client: FlaskClient, value: Any, number: Any) -> None:
    answer = client.get(f"/api/tenants?sort=user_id&cursor={forged(value, number)}")
    assert answer.status_code == 400
    assert list(answer.get_json()["fields"]) == ["cursor"]


def test_a_cursor_from_elsewhere_is_refused(client: FlaskClient) -> None:
    for user_id in ("alice", "bob"):
        client.post("/chat", json={"user_id": user_id, "message": "x"})
    tenants = client.get("/api/tenants?limit=1").get_json()["next_cursor"]
    alices = client.get("/api/tenants/alice/messages?limit=1").get_json()["next_cursor"]
    for path in (
        f"/api/tenants?sort=user_id&cursor={tenants}",
        f"/api/tenants?search=a&cursor={tenants}",
        f"/api/tenants?cursor={alices}",
        f"/api/tenants/alice/messages?cursor={tenants}",
        f"/api/tenants/bob/messages?cursor={alices}",
        f"/api/tenants/alice/messages?session_id=other&cursor={alices}",
    ):
        assert client.get(path).status_code == 400


# -- limits and imports ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "limit",
    ["", "x", "0/minute", "-1/minute", "1/second;" * 50, "9" * 30 + "/minute", "\x00"]
    + ["1 per 99999999999999999999 minute", "60/fortnight", "\u0661/minute"],
)
def test_a_limit_that_no_storage_could_hold_is_refused(client: FlaskClient, limit: str) -> None:
    client.post("/chat", json=TURN)
    answer = client.patch("/api/tenants/alice", json={"rate_limit": limit})
    assert answer.status_code == 400
    assert list(answer.get_json()["fields"]) == ["rate_limit"]
    assert client.post("/chat", json=TURN).status_code == 200


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("message", {"created_at": "0001-01-01T00:00:00+14:00"}),
        ("message", {"created_at": "9999-12-31T23:59:59-14:00"}),
        ("message", {"created_at": 10**30}),
        ("message", {"content": "\ud800"}),
        ("message", {"role": "root"}),
        ("session", {"state": {"a": float("nan")}}),
        ("session", {"state": {"a": "\ud800"}}),
        ("session", {"state": {"a": 1}, "state_version": 2**63 - 1}),
        ("tenant", {"rate_limit": "rubbish"}),
        ("tenant", {"token_budget": "rubbish"}),
    ],
)
def test_an_import_that_could_not_be_read_again_is_refused(
    app: Flask, client: FlaskClient, kind: str, changes: dict[str, Any]
) -> None:
    client.post("/chat", json=TURN)
    lines = [json.loads(line) for line in client.get("/api/tenants/alice/export").data.splitlines()]
    next(line for line in lines if line["type"] == kind).update(changes)
    body = "\n".join(json.dumps(line) for line in lines)
    path, media = "/api/tenants/mallory/import", "application/x-ndjson"
    answer = client.post(path, data=body, content_type=media)
    assert answer.status_code == 400
    assert not turned(app, "mallory")


# -- methods --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "PUT", "HEAD"])
def test_another_method_is_405_and_told_which_ones_there_are(
    client: FlaskClient, method: str
) -> None:
    answer = client.open("/chat", method=method)
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


def test_a_method_cannot_be_smuggled_in_a_header(app: Flask, client: FlaskClient) -> None:
    client.post("/chat", json=TURN)
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        assert client.get("/api/tenants/alice", headers={name: "DELETE"}).status_code == 200
    assert client.post("/api/tenants/alice?_method=DELETE").status_code == 405
    assert turned(app)
