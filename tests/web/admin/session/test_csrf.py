"""Forged, missing and reused form tokens, foreign origins, and headers of every page."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.web.admin.conftest import audit_of, messages_of, talk
from tests.web.admin.person import Person, form_to, sign_in_again

CLEAR = "/admin/tenants/user-a/clear"


@pytest.fixture
def tenant(app: Flask) -> str:
    talk(app, "user-a")
    return "user-a"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:8081"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_a_form_from_elsewhere_is_refused_even_with_a_token(
    app: Flask, alice: Person, tenant: str, headers: dict[str, str]
) -> None:
    answer = alice.post(CLEAR, headers=headers)
    assert answer.status_code == 403
    assert "from another site" in answer.text
    assert messages_of(app, tenant) == 2


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Site": "same-site"},
        {"Referer": "https://evil.example/"},
    ],
)
def test_another_sites_link_does_not_write_into_the_audit_log(
    app: Flask, alice: Person, tenant: str, headers: dict[str, str]
) -> None:
    path = "/admin/tenants/user-a/export"
    assert alice.open(path, headers=headers).status_code == 403
    assert audit_of(app, "export_tenant") == []
    assert alice.open(path, headers={"Sec-Fetch-Site": "none"}).status_code == 200
    assert len(audit_of(app, "export_tenant")) == 1


@pytest.mark.parametrize("token", ["", "0" * 64, "é" * 64, "a" * 5000])
def test_a_forged_token_is_refused_and_what_was_typed_is_kept(
    app: Flask, alice: Person, tenant: str, token: str
) -> None:
    answer = alice.client.post(
        "/admin/agent",
        data={"csrf_token": token, "version": "0", "instructions": "Sing <i>.</i>"},
        headers={"Origin": "http://localhost"},
    )
    assert answer.status_code == 403
    assert "Sing &lt;i&gt;.&lt;/i&gt;" in answer.text
    again = form_to(answer.text, "/admin/agent").with_fields(
        name="helper", model="m", context_max_messages="10", max_loops="3"
    )
    assert alice.client.post("/admin/agent", data=again).status_code == 303


def test_a_token_of_another_session_is_refused(app: Flask, alice: Person, tenant: str) -> None:
    other = sign_in_again(app, "alice").token()
    assert alice.client.post(CLEAR, data={"csrf_token": other}).status_code == 403
    assert messages_of(app, tenant) == 2


def test_a_password_is_never_written_back(alice: Person) -> None:
    answer = alice.client.post(
        "/admin/account",
        data={"current": "hunter2hunter2", "password": "next-secret", "again": "next-secret"},
        headers={"Origin": "http://localhost"},
    )
    assert answer.status_code == 403
    assert "hunter2" not in answer.text
    assert "next-secret" not in answer.text


def test_every_page_and_file_has_a_strict_policy(alice: Person) -> None:
    for path in ("/admin/", "/admin/nothing", "/admin/login", "/static/app.css", "/static/nope"):
        headers = alice.open(path, buffered=True).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"


def test_a_page_is_not_cached_and_a_versioned_file_for_ever(alice: Person) -> None:
    page = alice.open("/admin/")
    assert page.headers["Cache-Control"] == "no-store"
    address = page.text.split('rel="stylesheet" href="')[1].split('"')[0]
    assert "?v=" in address
    assert "immutable" in alice.open(address, buffered=True).headers["Cache-Control"]
    old = alice.open("/static/app.css?v=old", buffered=True)
    assert old.headers["Cache-Control"] == "no-cache"


def test_no_page_holds_inline_script_or_style(app: Flask, alice: Person, tenant: str) -> None:
    for path in ("/admin/", "/admin/tenants", "/admin/tenants/user-a", "/admin/agent"):
        page = alice.read(path)
        assert "style=" not in page
        assert "onclick" not in page
        assert "<script>" not in page
