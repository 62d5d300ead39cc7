"""Whatever stands in an address or a form, the answer is a page and never a 500."""

from __future__ import annotations

import sqlite3
import threading
from urllib.parse import quote

import pytest
from flask import Flask

from tests.conftest import services_of
from tests.web.admin.conftest import audit_of, messages_of, talk
from tests.web.admin.person import Person, form_to, sign_in_again

ODD = ("\x00", '" OR 1', "*", "%00", "\u202e", "😀", "-1", "9" * 40, "[]", "../..", "a" * 3000)
QUERIES = {
    "/admin/": ["window"],
    "/admin/tenants": ["search", "state", "active", "sort", "cursor"],
    "/admin/tenants.csv": ["search", "sort"],
    "/admin/tenants/user-a": ["session_id", "window"],
    "/admin/tenants/user-a/conversation": ["session_id", "cursor"],
    "/admin/metrics": ["window", "search", "sort", "cursor"],
    "/admin/audit": ["tenant", "actor", "action", "since", "until", "cursor"],
    "/admin/playground": ["user_id", "session_id"],
    "/admin/login": ["next"],
    "/admin/login/link": ["token"],
}
FORMS = {
    "/admin/keys": ["name", "role", "users", "expires", "once"],
    "/admin/admins": ["name", "role", "password"],
    "/admin/agent": ["version", "name", "model", "instructions", "max_loops"],
    "/admin/tenants/user-a/limit": ["rate_limit", "token_budget"],
    "/admin/tenants/user-a/block": ["blocked"],
    "/admin/selected-tenants": ["action", "user_id", "next", "confirm"],
    "/admin/clear-all": ["confirm"],
    "/admin/playground": ["user_id", "session_id", "message"],
    "/admin/theme": ["theme", "next"],
    "/admin/account": ["current", "password", "again"],
}
SOUND = {
    "version": "0",
    "name": "n",
    "model": "m",
    "context_max_messages": "10",
    "max_loops": "2",
    "users": "*",
    "action": "clear",
    "user_id": "user-a",
    "message": "hi",
}


def test_no_odd_address_is_a_500(app: Flask, alice: Person) -> None:
    talk(app, "user-a")
    for path, names in QUERIES.items():
        for name in names:
            for text in ODD:
                answer = alice.open(f"{path}?{name}={quote(text)}")
                assert answer.status_code < 500, f"{path} {name} {text[:20]!r}"
    for text in ODD:
        assert alice.open(f"/admin/tenants/{quote(text, safe='')}").status_code == 404


def test_no_odd_form_is_a_500(app: Flask, alice: Person) -> None:
    talk(app, "user-a")
    token = alice.token()
    for path, names in FORMS.items():
        for name in names:
            for text in ODD:
                sent = {**SOUND, "csrf_token": token, name: text}
                answer = alice.client.post(path, data=sent)
                assert answer.status_code < 500, f"{path} {name} {text[:20]!r}"
    assert services_of(app).admins.get("alice").role == "owner"


def test_a_form_that_is_too_large_is_a_page(app: Flask, alice: Person) -> None:
    answer = alice.post("/admin/agent", instructions="x" * 2_000_000)
    assert answer.status_code == 413
    assert "Back to the console" in answer.text


def test_two_admins_who_clear_at_once_remove_it_once(app: Flask, alice: Person) -> None:
    talk(app, "user-a", *["Hello"] * 10)
    people = [alice, *[sign_in_again(app, "alice") for _ in range(5)]]
    forms = [
        form_to(person.read("/admin/tenants/user-a/clear"), "/admin/tenants/user-a/clear")
        for person in people
    ]
    together = threading.Barrier(len(people))

    def clear(person: Person, sent: dict[str, list[str]]) -> None:
        together.wait()
        person.client.post("/admin/tenants/user-a/clear", data=sent)

    threads = [
        threading.Thread(target=clear, args=(person, form.with_fields()))
        for person, form in zip(people, forms, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert messages_of(app, "user-a") == 0
    assert sum(entry["before"]["messages"] for entry in audit_of(app, "clear_tenant")) == 20


@pytest.mark.slow
def test_a_locked_database_is_a_page_and_nothing_is_done(app: Flask, alice: Person) -> None:
    talk(app, "user-a")
    page = alice.read("/admin/tenants/user-a/clear")
    sent = form_to(page, "/admin/tenants/user-a/clear").with_fields()
    path = services_of(app).database.url.removeprefix("sqlite:///")
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        assert "user-a" in alice.read("/admin/tenants/user-a")
        answer = alice.client.post("/admin/tenants/user-a/clear", data=sent)
        assert answer.status_code == 503
        assert "locked" in answer.text
        other.execute("ROLLBACK")
    finally:
        other.close()
    assert messages_of(app, "user-a") == 2
    assert alice.client.post("/admin/tenants/user-a/clear", data=sent).status_code == 303
