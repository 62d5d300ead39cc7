"""Limits bite on every way in, count together over several processes' storage, and reset."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import MakeApp, services_of
from webapp.accounts.audit import Actor
from webapp.web.limits import EXTENSION as LIMITS_EXTENSION

JWT_SECRET = "Rt8wLm4cYq1zXe6u-signs-VbKp9GfJd3ShNa5T"


def turn(client: FlaskClient, user_id: str | None = "alice", **more: Any) -> TestResponse:
    headers = more.pop("headers", {})
    body = {"message": "Hello", **({} if user_id is None else {"user_id": user_id}), **more}
    return client.post("/chat", json=body, headers=headers)


def key(app: Flask, role: str = "chat", users: str = "*") -> dict[str, str]:
    made = services_of(app).keys.create("k", role=role, users=users, by=Actor.command_line())
    return {"Authorization": f"Bearer {made.secret}"}


@pytest.fixture
def limited(make_app: MakeApp) -> Flask:
    return make_app(RATE_LIMIT="3/hour", JWT_SECRET=JWT_SECRET)


def test_every_way_in_counts_for_the_same_tenant(limited: Flask) -> None:
    client = limited.test_client()
    holder = key(limited)
    token = client.post("/api/tokens", json={"user_id": "alice"}, headers=holder).json
    assert token is not None
    bearer = {"Authorization": f"Bearer {token['token']}"}
    assert turn(client).status_code == 200
    assert turn(client, stream=True, headers=holder).status_code == 200
    assert turn(client, None, headers=bearer).status_code == 200
    ways = [
        turn(client),
        turn(client, headers=holder),
        turn(client, stream=True),
        turn(client, stream=True, headers=holder),
        turn(client, None, headers=bearer),
        turn(client, None, headers=bearer, stream=True),
        turn(client, session_id="another"),
    ]
    for answer in ways:
        assert answer.status_code == 429
        assert answer.json is not None
        assert answer.json["code"] == "rate_limited"
        assert 3590 <= int(answer.headers["Retry-After"]) <= 3600
        assert answer.headers["X-RateLimit-Limit"] == "3"
        assert answer.headers["X-RateLimit-Remaining"] == "0"
    assert turn(client, "bob").status_code == 200, "another tenant, made on the fly"


def test_remaining_and_reset_are_right_at_each_step(limited: Flask) -> None:
    client = limited.test_client()
    ends = set()
    for remaining in ("2", "1", "0"):
        answer = turn(client)
        assert answer.headers["X-RateLimit-Remaining"] == remaining
        assert "Retry-After" not in answer.headers
        ends.add(answer.headers["X-RateLimit-Reset"])
    refused = turn(client)
    ends.add(refused.headers["X-RateLimit-Reset"])
    assert len(ends) == 1
    until = int(ends.pop())
    assert abs(until - time.time() - int(refused.headers["Retry-After"])) <= 1.5


def test_a_tenants_own_limit_holds_at_once_and_the_default_again(limited: Flask) -> None:
    client = limited.test_client()
    assert turn(client).status_code == 200
    path = "/api/tenants/alice"
    assert client.patch(path, json={"rate_limit": "1/hour"}).status_code == 200
    assert [turn(client).status_code for _ in range(2)] == [200, 429]
    assert client.patch(path, json={"rate_limit": "1000/hour"}).status_code == 200
    assert [turn(client).status_code for _ in range(5)] == [200] * 5
    assert client.patch(path, json={"rate_limit": None}).status_code == 200
    assert turn(client).headers["X-RateLimit-Limit"] == "3"


def test_a_limit_resets_when_it_says(make_app: MakeApp) -> None:
    client = make_app(RATE_LIMIT="2/second").test_client()
    for _ in range(2):
        answers = [turn(client) for _ in range(3)]
        codes = [answer.status_code for answer in answers]
        assert codes == [200, 200, 429]
        assert answers[2].headers["Retry-After"] == "1"
        while time.time() < int(answers[2].headers["X-RateLimit-Reset"]):
            time.sleep(0.02)


def test_two_applications_over_one_storage_let_exactly_the_limit_through(
    make_app: MakeApp, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'limits.db'}"
    apps = [make_app(RATE_LIMIT="20/hour", RATE_LIMIT_STORAGE_URL=url) for _ in range(2)]

    def attempt(number: int) -> int:
        return turn(apps[number % 2].test_client()).status_code

    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(attempt, range(40)))
    assert codes.count(200) == 20
    assert codes.count(429) == 20


def test_a_request_that_is_wrong_or_refused_uses_up_nobodys_limit(limited: Flask) -> None:
    client = limited.test_client()
    mallory = key(limited, users="mallory")
    for _ in range(5):
        assert turn(client, headers=mallory).status_code == 403
        assert client.post("/chat", json={"user_id": "alice"}).status_code == 400
    assert [turn(client).status_code for _ in range(4)] == [200, 200, 200, 429]


def test_bad_keys_are_stopped_by_address(make_app: MakeApp) -> None:
    client = make_app(AUTH="required").test_client()
    bad = {"Authorization": "Bearer sb_000000000000_" + "A" * 43}
    codes = [turn(client, headers=bad).status_code for _ in range(25)]
    assert codes[:20] == [401] * 20
    assert codes[20:] == [429] * 5


def test_a_good_credential_works_whatever_others_at_its_address_do(make_app: MakeApp) -> None:
    app = make_app(AUTH="required", JWT_SECRET=JWT_SECRET)
    client, holder = app.test_client(), key(app)
    token = client.post("/api/tokens", json={"user_id": "alice"}, headers=holder).json
    assert token is not None
    bad = ["sb_000000000000_" + "A" * 43, "a.b.c", token["token"] + "x", "x" * 5000, "é"]
    codes = [
        turn(client, headers={"Authorization": f"Bearer {bad[number % 5]}"}).status_code
        for number in range(60)
    ]
    assert codes == [401] * 20 + [429] * 40
    assert turn(client, headers=holder).status_code == 200
    assert (
        turn(client, None, headers={"Authorization": f"Bearer {token['token']}"}).status_code == 200
    )
    refused = turn(client, headers={"Authorization": "Bearer a.b.c"})
    assert 1 <= int(refused.headers["Retry-After"]) <= 60


def test_a_flood_of_bad_credentials_writes_nothing_once_it_is_over_the_limit(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(AUTH="required")
    strategy = app.extensions[LIMITS_EXTENSION].limiter.limiter
    hits: list[object] = []
    real = strategy.hit

    def counted(*arguments: Any) -> bool:
        hits.append(arguments)
        return bool(real(*arguments))

    monkeypatch.setattr(strategy, "hit", counted)
    for _ in range(100):
        turn(app.test_client(), headers={"Authorization": "Bearer invented"})
    assert len(hits) == 20


def test_one_household_of_ipv6_is_one_address(make_app: MakeApp) -> None:
    client = make_app(AUTH="required", TRUSTED_PROXIES="1").test_client()

    def bad(address: str) -> int:
        headers = {"Authorization": "Bearer invented", "X-Forwarded-For": address}
        return turn(client, headers=headers).status_code

    assert [bad(f"2001:db8:1:2::{number:x}") for number in range(25)] == [401] * 20 + [429] * 5
    assert bad("2001:db8:1:3::1") == 401
    mixed = ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1:4711", "[::ffff:c000:201]:99")
    assert [bad(mixed[number % 4]) for number in range(25)] == [401] * 20 + [429] * 5


def test_a_forwarded_address_is_not_believed_without_trusted_proxies(make_app: MakeApp) -> None:
    client = make_app(AUTH="required").test_client()
    codes = [
        turn(
            client,
            headers={
                "Authorization": "Bearer invented",
                "X-Forwarded-For": f"198.51.100.{number}",
                "X-Real-IP": f"198.51.100.{number}",
                "Forwarded": f"for=198.51.100.{number}",
            },
        ).status_code
        for number in range(25)
    ]
    assert codes[20:] == [429] * 5


def test_a_storage_that_is_down_lets_through_and_shows(make_app: MakeApp, tmp_path: Path) -> None:
    lost = f"sqlite:///{tmp_path / 'no' / 'such' / 'folder' / 'limits.db'}"
    app = make_app(RATE_LIMIT="1/hour", RATE_LIMIT_STORAGE_URL=lost)
    client = app.test_client()
    assert [turn(client).status_code for _ in range(3)] == [200] * 3
    ready = client.get("/readyz")
    assert ready.json is not None
    assert ready.json["checks"]["limiter"] == "down"
    assert ready.json["limiter_failures"] == 3


def test_a_blocked_tenant_is_refused_at_once_on_every_way_in(make_app: MakeApp) -> None:
    app = make_app(JWT_SECRET=JWT_SECRET)
    client = app.test_client()
    holder = key(app)
    token = client.post("/api/tokens", json={"user_id": "alice"}, headers=holder).json
    assert token is not None
    bearer = {"Authorization": f"Bearer {token['token']}"}
    assert turn(client).status_code == 200
    assert client.patch("/api/tenants/alice", json={"blocked": True}).status_code == 200
    for answer in (
        turn(client),
        turn(client, stream=True),
        turn(client, headers=holder),
        turn(client, None, headers=bearer),
    ):
        assert answer.status_code == 403
        assert answer.json is not None
        assert answer.json["code"] == "tenant_blocked"
    assert client.patch("/api/tenants/alice", json={"blocked": False}).status_code == 200
    assert turn(client).status_code == 200
