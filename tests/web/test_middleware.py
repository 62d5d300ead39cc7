"""The chain that every request goes through: ids, hosts, headers, limits, origins, its order."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from tests.conftest import MakeApp, services_of, settings_for
from webapp import create_app
from webapp.errors import ConfigurationError
from webapp.web.middleware import MIDDLEWARE


def audit_length(app: Flask) -> int:
    with services_of(app).database.read() as connection:
        return int(connection.execute("SELECT count(*) FROM audit").fetchone()[0])


def test_the_chain_has_its_order() -> None:
    assert [use.__name__ for use in MIDDLEWARE] == [
        "trusted_proxies",
        "request_ids",
        "access_log",
        "count_requests",
        "traces",
        "hosts",
        "relative_redirects",
        "addresses",
        "body_limit",
        "field_bounds",
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
    client = make_app(AUTH="required", CORS_ORIGINS="https://app.example").test_client()
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
        app = make_app(AUTH="required", TRUSTED_PROXIES=hops)
        seen: list[str | None] = []

        app.get("/address")(lambda seen=seen: seen.append(request.remote_addr) or "")
        app.test_client().get("/address", headers={"X-Forwarded-For": "6.6.6.6, 10.9.9.9"})
        assert seen == [expected]


def test_the_client_does_not_choose_its_host_behind_a_proxy(make_app: MakeApp) -> None:
    app = make_app(AUTH="required", TRUSTED_PROXIES="1", ALLOWED_HOSTS="good.example")
    client = app.test_client()
    for header in ("X-Forwarded-Host", "X-Host", "X-Original-Host", "Forwarded"):
        value = "host=good.example" if header == "Forwarded" else "good.example"
        forged = {"Host": "evil.example", header: value}
        assert client.get("/healthz", headers=forged).status_code == 421
    kept = {"Host": "good.example", "X-Forwarded-Host": "evil.example"}
    assert client.get("/healthz", headers=kept).status_code == 200
    assert "evil" not in client.get("/admin", headers=kept).headers["Location"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/admin", 308),
        ("/admin?next=//evil.example", 308),
        ("/admin//login", 404),
        ("/admin//", 404),
        ("//evil.example/admin", 404),
        ("//evil.example/%2e%2e/admin", 404),
        ("/\\evil.example/admin", 404),
        ("/api//tenants", 404),
        ("/admin/login/", 404),
    ],
)
def test_nobody_is_sent_to_another_host(make_app: MakeApp, path: str, status: int) -> None:
    client = make_app(AUTH="required").test_client()
    answer = client.open(
        environ_overrides={
            "PATH_INFO": unquote(path.partition("?")[0]),
            "QUERY_STRING": path.partition("?")[2],
            "HTTP_HOST": "evil.example",
        }
    )
    assert answer.status_code == status
    if status == 308:
        target = urlsplit(answer.headers["Location"])
        assert (target.scheme, target.netloc, target.path) == ("", "", "/admin/")
        assert b"evil.example/admin" not in answer.data


def test_open_is_for_the_server_of_dev_alone(tmp_path: Path) -> None:
    loaded = settings_for(tmp_path)
    create_app(loaded)
    with pytest.raises(ConfigurationError, match="AUTH=open works in `switchboard dev` only"):
        create_app(replace(loaded, for_this_machine=False))
    create_app(replace(settings_for(tmp_path, AUTH="required"), for_this_machine=False))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "https://app.example"),
        ("CORS_ORIGINS", "http://localhost:3000 http://localhost.evil.example"),
        ("CORS_ORIGINS", "http://192.168.0.5:3000"),
        ("TRUSTED_PROXIES", "1"),
        ("ALLOWED_HOSTS", "*"),
        ("ALLOWED_HOSTS", "localhost chat.example"),
        ("ALLOWED_HOSTS", ".example"),
        ("ALLOWED_HOSTS", "10.0.0.1"),
    ],
)
def test_what_would_let_others_in_does_not_go_with_open(
    make_app: MakeApp, name: str, value: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"SWITCHBOARD_{name} .*`switchboard dev`"):
        make_app(**{name: value})
    make_app(AUTH="required", **{name: value})


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1:3000"])
def test_a_page_of_this_machine_that_is_named_may_call_an_open_server(
    make_app: MakeApp, origin: str
) -> None:
    client = make_app(CORS_ORIGINS=origin).test_client()
    headers = {"Origin": origin, "Sec-Fetch-Site": "same-site"}
    assert client.get("/api/tenants", headers=headers).status_code == 200


FROM_ELSEWHERE: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-User": "?1"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:3000"},
    {"Origin": "http://[evil"},
    {"Referer": "https://evil.example/page"},
    {"Referer": "http://localhost.evil.example/"},
]
THROUGH_A_PROXY: list[dict[str, str]] = [
    {"X-Forwarded-For": "203.0.113.7"},
    {"X-Forwarded-For": "127.0.0.1"},
    {"X-Forwarded-Host": "localhost"},
    {"X-Forwarded-Proto": "https"},
    {"X-Forwarded-Prefix": "/agent"},
    {"x-forwarded-client-cert": "By=x"},
    {"CF-Ray": "8f1"},
    {"Forwarded": "for=203.0.113.7"},
    {"X-Real-IP": "203.0.113.7"},
    {"CF-Connecting-IP": "203.0.113.7"},
    {"Via": "1.1 tunnel"},
]


@pytest.mark.parametrize("headers", FROM_ELSEWHERE, ids=str)
def test_a_page_of_another_site_does_nothing_in_dev(
    app: Flask, client: FlaskClient, headers: dict[str, str]
) -> None:
    assert client.post("/chat", json={"user_id": "a", "message": "x"}).status_code == 200
    entries = audit_length(app)
    for method, path in (("GET", "export"), ("GET", "messages"), ("DELETE", "messages")):
        answer = client.open(f"/api/tenants/a/{path}", method=method, headers=headers)
        assert answer.status_code == 403
        assert answer.json is not None
        assert answer.json["code"] == "foreign_origin"
    assert audit_length(app) == entries
    assert client.get("/healthz", headers=headers).status_code == 200


@pytest.mark.parametrize("headers", THROUGH_A_PROXY, ids=str)
def test_what_came_through_a_proxy_is_not_this_machine(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    assert client.get("/api/tenants", headers=headers).status_code == 401
    assert client.get("/healthz", headers=headers).status_code == 200


def test_what_came_over_the_network_is_not_this_machine(client: FlaskClient) -> None:
    for address, status in (("127.0.0.9", 200), ("::1", 200), ("::ffff:127.0.0.1", 200)):
        answer = client.get("/api/tenants", environ_base={"REMOTE_ADDR": address})
        assert answer.status_code == status
    for address in ("192.168.0.7", "::ffff:192.168.0.7", "2001:db8::1", ""):
        answer = client.get("/api/tenants", environ_base={"REMOTE_ADDR": address})
        assert answer.status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://localhost"},
        {"Referer": "http://localhost/docs"},
    ],
    ids=str,
)
def test_who_sits_at_this_machine_needs_no_key(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    assert client.get("/api/tenants", headers=headers).status_code == 200
