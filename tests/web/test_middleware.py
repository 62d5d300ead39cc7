"""The chain that every request goes through: ids, hosts, headers, limits, origins, its order."""

from __future__ import annotations

import json
import logging

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from tests.conftest import MakeApp
from webapp.web.middleware import MIDDLEWARE


def test_the_chain_has_its_order() -> None:
    assert [use.__name__ for use in MIDDLEWARE] == [
        "trusted_proxies",
        "request_ids",
        "access_log",
        "count_requests",
        "hosts",
        "addresses",
        "body_limit",
        "cors",
        "security_headers",
        "compression",
        "callers",
        "recovery",
    ]


def test_a_sane_request_id_is_kept_and_others_are_replaced(client: FlaskClient) -> None:
    assert client.get("/healthz", headers={"X-Request-Id": "abc-1"}).headers["X-Request-Id"] == (
        "abc-1"
    )
    for bad in ("a b", "x" * 129, "", "é", "<script>"):
        answer = client.get("/healthz", headers={"X-Request-Id": bad})
        assert answer.headers["X-Request-Id"].startswith("req-")


def test_every_answer_has_its_id_and_safe_headers(client: FlaskClient) -> None:
    for path in ("/healthz", "/nope", "/chat"):
        answer = client.get(path)
        assert answer.headers["X-Request-Id"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080"])
def test_an_open_server_answers_under_loopback_names(client: FlaskClient, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1"]
)
def test_an_open_server_answers_under_no_other_name(client: FlaskClient, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 421


def test_allowed_hosts_are_the_only_ones(make_app: MakeApp) -> None:
    client = make_app(AUTH="required", ALLOWED_HOSTS="chat.example, .inner.example").test_client()
    for host, status in (
        ("chat.example", 200),
        ("CHAT.example:443", 200),
        ("a.inner.example", 200),
        ("evilchat.example", 421),
        ("localhost", 421),
    ):
        assert client.get("/healthz", headers={"Host": host}).status_code == status


def test_origins_that_are_named_may_call_and_others_may_not(make_app: MakeApp) -> None:
    client = make_app(CORS_ORIGINS="https://app.example").test_client()
    asked = {"Access-Control-Request-Method": "POST", "Origin": "https://app.example"}
    preflight = client.options("/chat", headers=asked)
    assert preflight.status_code == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    body = {"user_id": "alice", "message": "hi"}
    answer = client.post("/chat", json=body, headers={"Origin": "https://app.example"})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
    for origin in ("https://evil.example", "null", "https://app.example.evil.example"):
        foreign = client.get("/healthz", headers={"Origin": origin})
        assert "Access-Control-Allow-Origin" not in foreign.headers
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_without_origins_nothing_is_said_of_them(client: FlaskClient) -> None:
    answer = client.get("/healthz", headers={"Origin": "https://app.example"})
    assert not [name for name in answer.headers.keys() if name.startswith("Access-Control")]  # noqa: SIM118


def test_a_defect_of_ours_is_a_500_without_detail(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    said = (
        f"planted-{len(caplog.records)}-word"  # the traceback may show this line, but not its value
    )

    @app.get("/defect")
    def defect() -> str:
        raise RuntimeError(said)

    app.config["PROPAGATE_EXCEPTIONS"] = False
    answer = app.test_client().get("/defect")
    assert answer.status_code == 500
    assert answer.json is not None
    assert answer.json["code"] == "internal_error"
    assert said not in answer.text
    assert said not in json.dumps([vars(r) for r in caplog.records], default=str)


def test_one_line_a_request_without_names_or_content(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="switchboard.access")
    client.post("/chat", json={"user_id": "alice-planted", "message": "planted-word"}).close()
    lines = [r for r in caplog.records if r.name == "switchboard.access"]
    assert len(lines) == 1
    fields = vars(lines[0])
    assert (fields["route"], fields["status"], fields["method"]) == ("/chat", 200, "POST")
    assert "planted" not in json.dumps(fields, default=str)


def test_proxies_are_believed_only_when_they_are_trusted(make_app: MakeApp) -> None:
    for hops, expected in (("0", "127.0.0.1"), ("1", "10.9.9.9")):
        app = make_app(TRUSTED_PROXIES=hops)
        seen: list[str | None] = []

        app.get("/address")(lambda seen=seen: seen.append(request.remote_addr) or "")
        app.test_client().get("/address", headers={"X-Forwarded-For": "6.6.6.6, 10.9.9.9"})
        assert seen == [expected]
