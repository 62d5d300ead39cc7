"""Every address of the console against every role, and against whoever is not signed in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask import Flask

from tests.conftest import MakeApp
from tests.web.admin.conftest import messages_of, talk
from tests.web.admin.person import Person, sign_in
from webapp.accounts.roles import ADMIN_ROLES, Permission, check_role, may
from webapp.web.admin.routes import ROUTES, Route

VALUES = {
    "<user_id>": "user-a",
    "<int:session_id>": "999",
    "<session_id>": "default",
    "<run_id>": "run-1",
    "<int:version>": "1",
    "<key_id>": "0123456789ab",
    "<name>": "nobody",
}
OPEN = {"/login", "/login/link", "/theme"}


def address(route: Route) -> str:
    path = route.path
    for part, value in VALUES.items():
        path = path.replace(part, value)
    return f"/admin{path}"


def named(route: Route) -> str:
    return f"{route.method} {route.path}"


GUARDED = [route for route in ROUTES if route.permission is not None]


def test_every_rule_under_admin_is_in_the_table(app: Flask) -> None:
    listed = {(route.method, f"/admin{route.path}") for route in ROUTES}
    served = {
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/admin")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert served == listed


def test_only_the_door_itself_is_open() -> None:
    assert {route.path for route in ROUTES if route.permission is None} == OPEN


def test_whoever_is_not_signed_in_gets_the_sign_in_page(app: Flask) -> None:
    client = app.test_client()
    for route in GUARDED:
        answer = client.open(address(route), method=route.method)
        if route.method == "GET":
            assert answer.status_code == 303, named(route)
            assert answer.headers["Location"].startswith("/admin/login")
        else:
            assert answer.status_code == 401, named(route)


@pytest.mark.parametrize("role", ADMIN_ROLES)
def test_each_role_reaches_what_it_may_and_nothing_else(make_app: MakeApp, role: str) -> None:
    app = make_app()
    sign_in(app, "alice", "owner")
    person = sign_in(app, "carol", role)
    for route in GUARDED:
        talk(app, "user-a")
        if route.path == "/logout" or "everywhere" in route.path:
            continue  # they end the session that this test looks with; tested in test_sign_in
        assert route.permission is not None
        answer = (
            person.open(address(route))
            if route.method == "GET"
            else person.post(address(route), user_id="user-a", action="block")
        )
        if may(check_role(role), route.permission):
            assert answer.status_code not in (401, 403, 500), named(route)
        else:
            assert answer.status_code == 403, named(route)
            assert "Your role does not allow this" in answer.text


def test_a_post_without_a_token_does_nothing(app: Flask, alice: Person) -> None:
    talk(app, "user-a")
    for route in ROUTES:
        if route.method == "POST":
            answer = alice.client.post(address(route), data={"confirm": "clear all tenants"})
            assert answer.status_code == 403, named(route)
            assert "nothing was done" in answer.text
    assert messages_of(app, "user-a") == 2


def test_a_wrong_method_is_refused_with_the_right_ones(app: Flask, alice: Person) -> None:
    for route in GUARDED:
        answer = alice.client.put(address(route))
        assert answer.status_code == 405, named(route)
        assert route.method in answer.headers["Allow"]
        assert "Not in this way" in answer.text or "method_not_allowed" in answer.text


def test_what_a_viewer_may_not_do_is_not_shown(app: Flask, mallory: Person, alice: Person) -> None:
    talk(app, "user-a")
    shown, hidden = mallory.read("/admin/tenants/user-a"), alice.read("/admin/tenants/user-a")
    for words in ("/clear", "/forget", "/block", "/limit", "/export", "/playground", "/keys"):
        assert words not in shown
        assert words in hidden
    assert "/admin/clear-all" not in mallory.read("/admin/tenants")
    assert 'name="user_id"' not in mallory.read("/admin/tenants")


def test_an_operator_is_not_shown_what_acts_on_all(app: Flask, bob: Person) -> None:
    talk(app, "user-a")
    assert "/admin/clear-all" not in bob.read("/admin/tenants")
    assert "Save for the next turn" not in bob.read("/admin/agent")


def test_every_permission_of_the_console_is_one_that_exists() -> None:
    assert {route.permission for route in GUARDED} <= set(Permission)


def test_templates_ask_for_permissions_that_exist() -> None:
    known = {permission.value for permission in Permission}

    for path in Path("templates").rglob("*.html"):
        for name in re.findall(r"can\('([^']+)'\)", path.read_text(encoding="utf-8")):
            assert name in known, f"{path}: {name}"
