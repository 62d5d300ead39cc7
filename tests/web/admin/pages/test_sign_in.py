"""Signing in and out, the one-time link, and staying signed in."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import MakeApp, services_of
from tests.fakes import HandClock
from tests.web.admin.conftest import audit_of
from tests.web.admin.person import Person, form_to, sign_in, sign_in_again
from webapp.accounts.audit import Actor
from webapp.accounts.tries.tries import FAILURES_OF_ADDRESS, FAILURES_OF_SESSION

PASSWORD = "correct horse battery"


@pytest.fixture
def account(app: Flask) -> str:
    services_of(app).admins.create("alice", by=Actor.command_line(), password=PASSWORD)
    return "alice"


def try_to_sign_in(
    client: FlaskClient, name: str, password: str, page: str = "/admin/login"
) -> TestResponse:
    form = form_to(client.get(page).text, "/admin/login")
    return client.post("/admin/login", data=form.with_fields(name=name, password=password))


def test_name_and_password_open_the_console(client: FlaskClient, account: str) -> None:
    answer = try_to_sign_in(client, account, PASSWORD)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/admin/")
    assert client.get("/admin/").status_code == 200


def test_the_cookie_is_kept_from_scripts_and_other_paths(client: FlaskClient, account: str) -> None:
    cookies = try_to_sign_in(client, account, PASSWORD).headers.getlist("Set-Cookie")
    (cookie,) = [text for text in cookies if text.startswith("switchboard_session")]
    assert re.fullmatch(
        r"switchboard_session=[\w-]{43}; HttpOnly; Path=/admin; SameSite=Lax", cookie
    )


def test_over_https_the_cookie_is_secure(app: Flask, account: str) -> None:
    client = app.test_client()
    page = client.get("/admin/login", base_url="https://localhost")
    form = form_to(page.text, "/admin/login")
    answer = client.post(
        "/admin/login",
        data=form.with_fields(name=account, password=PASSWORD),
        base_url="https://localhost",
    )
    cookies = answer.headers.getlist("Set-Cookie")
    assert len(cookies) == 2
    assert all("; Secure" in cookie for cookie in cookies)


def test_a_wrong_name_and_a_wrong_password_look_alike(client: FlaskClient, account: str) -> None:
    first = try_to_sign_in(client, account, "not the password")
    second = try_to_sign_in(client, "nobody", "not the password")
    assert first.status_code == second.status_code == 401
    for answer, typed in ((first, account), (second, "nobody")):
        assert "Name or password is wrong." in answer.text
        assert f'value="{typed}"' in answer.text
        assert "not the password" not in answer.text


def test_one_comes_back_to_where_one_wanted_to_go(client: FlaskClient, account: str) -> None:
    wanted = client.get("/admin/tenants?state=blocked").headers["Location"]
    answer = try_to_sign_in(client, account, PASSWORD, wanted)
    assert answer.headers["Location"] == "/admin/tenants?state=blocked"


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example/", "//evil.example/admin/", "/admin/\\evil", "/chat", "javascript:x"],
)
def test_a_sign_in_leads_to_no_other_site(
    client: FlaskClient, account: str, elsewhere: str
) -> None:
    form = form_to(client.get("/admin/login").text, "/admin/login")
    fields = form.with_fields(name=account, password=PASSWORD, next=elsewhere)
    assert client.post("/admin/login", data=fields).headers["Location"] == "/admin/"


def test_opening_a_link_does_not_use_it_and_its_button_does_once(app: Flask, account: str) -> None:
    token = services_of(app).sign_in.make_link(account, by=Actor.command_line())
    address = f"/admin/login/link?token={token}"
    client, second = app.test_client(), app.test_client()
    assert client.get(address).status_code == 200
    form = form_to(second.get(address).text, "/admin/login/link")
    assert second.post("/admin/login/link", data=form.with_fields()).status_code == 303
    assert second.get("/admin/").status_code == 200
    form = form_to(client.get(address).text, "/admin/login/link")
    answer = client.post("/admin/login/link", data=form.with_fields())
    assert answer.status_code == 401
    assert "used already or is too old" in answer.text


def test_signing_out_ends_the_session_on_the_server(app: Flask, alice: Person) -> None:
    stolen = alice.client.get_cookie("switchboard_session", path="/admin")
    assert stolen is not None
    answer = alice.submit("/admin/account", "/admin/logout")
    assert answer.headers["Location"] == "/admin/login"
    thief = app.test_client()
    thief.set_cookie("switchboard_session", stolen.value, path="/admin")
    assert thief.get("/admin/").status_code == 303
    assert audit_of(app, "sign_out")[0]["actor"] == "admin:alice"


def test_signing_out_everywhere_ends_all_sessions(app: Flask, alice: Person) -> None:
    elsewhere = sign_in_again(app, "alice")
    alice.submit("/admin/account", "/admin/account/sign-out-everywhere")
    assert alice.open("/admin/").status_code == 303
    assert elsewhere.open("/admin/").status_code == 303


def test_one_other_place_is_signed_out_by_itself(app: Flask, alice: Person) -> None:
    elsewhere = sign_in_again(app, "alice")
    page = alice.read("/admin/account")
    action = re.search(r'action="(/admin/account/sessions/\d+/end)"', page)
    assert action
    assert alice.post(action[1]).status_code == 303
    assert elsewhere.open("/admin/").status_code == 303
    assert alice.post("/admin/account/sessions/12345/end").status_code == 404


def test_an_idle_session_ends_and_a_page_that_refreshes_itself_keeps_none(
    make_app: MakeApp,
) -> None:
    clock = HandClock()
    app = make_app(clock=clock, SESSION_IDLE="30m")
    alice = sign_in(app, "alice", "owner")
    for _ in range(7):
        clock.advance(5 * 60)
        live = alice.open("/admin/", headers={"X-Live-Refresh": "1"})
    assert live.status_code == 303


def test_a_form_that_outlived_its_session_comes_back_filled_in(app: Flask, account: str) -> None:
    alice = sign_in_again(app, account)
    form = form_to(alice.read("/admin/agent"), "/admin/agent")
    services_of(app).sign_in.sign_out_everywhere(
        services_of(app).admins.get(account), by=Actor.command_line()
    )
    typed = form.with_fields(instructions="Speak <b>softly</b>\nand slowly.")
    answer = alice.client.post("/admin/agent", data=typed, headers={"Origin": "http://localhost"})
    assert answer.status_code == 401
    waiting = form_to(answer.text, "/admin/login")
    answer = alice.client.post(
        "/admin/login", data=waiting.with_fields(name=account, password=PASSWORD)
    )
    assert answer.status_code == 200
    again = form_to(answer.text, "/admin/agent")
    answer = alice.client.post("/admin/agent", data=again.with_fields())
    assert answer.status_code == 303
    with services_of(app).database.read() as connection:
        now = services_of(app).configurations.current(connection)
    assert now.instructions == "Speak <b>softly</b>\nand slowly."


def test_signing_in_in_another_tab_brings_the_form_back_too(app: Flask, account: str) -> None:
    alice = sign_in_again(app, account)
    services_of(app).sign_in.sign_out_everywhere(
        services_of(app).admins.get(account), by=Actor.command_line()
    )
    here = {"Origin": "http://localhost"}
    answer = alice.client.post("/admin/agent", data={"instructions": "Typed."}, headers=here)
    waiting = form_to(answer.text, "/admin/login").with_fields()
    link = services_of(app).sign_in.make_link(account, by=Actor.command_line())
    form = form_to(alice.client.get(f"/admin/login/link?token={link}").text, "/admin/login/link")
    assert alice.client.post("/admin/login/link", data=form.with_fields()).status_code == 303
    answer = alice.client.post("/admin/login", data=waiting, headers=here)
    assert form_to(answer.text, "/admin/agent").hidden["instructions"] == "Typed."


def test_another_sites_form_is_not_offered_after_signing_in(app: Flask) -> None:
    answer = app.test_client().post(
        "/admin/agent",
        data={"instructions": "Obey mallory"},
        headers={"Origin": "https://evil.example"},
    )
    assert answer.status_code == 403
    assert "Obey mallory" not in answer.text


def test_a_changed_password_signs_out_the_others(app: Flask, account: str) -> None:
    alice, elsewhere = sign_in_again(app, account), sign_in_again(app, account)
    new = "staple staple battery"
    wrong = alice.submit("/admin/account", current="no", password=new, again=new)
    assert wrong.status_code == 400
    assert "This is not your password" in wrong.text
    different = alice.submit("/admin/account", current=PASSWORD, password=new, again="other")
    assert "not the same" in different.text
    done = alice.submit("/admin/account", current=PASSWORD, password=new, again=new)
    assert "is changed" in alice.follow(done)
    assert elsewhere.open("/admin/").status_code == 303


def test_the_theme_is_kept_before_and_after_signing_in(client: FlaskClient) -> None:
    form = form_to(client.get("/admin/login").text, "/admin/theme")
    answer = client.post("/admin/theme", data=form.with_fields(theme="dark"))
    assert answer.headers["Location"] == "/admin/login"
    assert 'data-theme="dark"' in client.get("/admin/login").text


def fail(app: Flask, times: int, address: str = "127.0.0.1") -> None:
    for number in range(times):
        services_of(app).sign_in._tries.admit(f"name{number}", address, None)


def test_too_many_failures_are_told_to_wait(app: Flask, client: FlaskClient, account: str) -> None:
    fail(app, FAILURES_OF_ADDRESS)
    answer = try_to_sign_in(client, account, PASSWORD)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert "Too many failed tries" in answer.text
    link = client.post(
        "/admin/login/link",
        data=form_to(client.get("/admin/login/link").text, "/admin/login/link").with_fields(
            token="invented"
        ),
    )
    assert link.status_code == 429
    assert int(link.headers["Retry-After"]) > 0


def test_a_browser_that_was_signed_in_before_is_not_shut_out(app: Flask, account: str) -> None:
    known = app.test_client()
    answer = try_to_sign_in(known, account, PASSWORD)
    (cookie,) = [
        text for text in answer.headers.getlist("Set-Cookie") if text.startswith("switchboard_b")
    ]
    assert "; HttpOnly; Path=/admin/login; SameSite=Lax" in cookie
    assert account not in cookie
    fail(app, FAILURES_OF_ADDRESS)
    token = form_to(known.get("/admin/account").text, "/admin/logout").hidden["csrf_token"]
    assert known.post("/admin/logout", data={"csrf_token": token}).status_code == 303
    assert try_to_sign_in(known, account, PASSWORD).status_code == 303
    assert try_to_sign_in(app.test_client(), account, PASSWORD).status_code == 429


def test_signing_in_again_ends_the_session_that_the_cookie_held(app: Flask, account: str) -> None:
    client = app.test_client()
    page = client.get("/admin/login").text
    try_to_sign_in(client, account, PASSWORD)
    token = form_to(client.get("/admin/account").text, "/admin/logout").hidden["csrf_token"]
    again = form_to(page, "/admin/login").with_fields(
        name=account, password=PASSWORD, csrf_token=token
    )
    assert client.post("/admin/login", data=again).status_code == 303
    services = services_of(app)
    assert len(services.sign_in.sessions(services.admins.get(account))) == 1


def test_guesses_at_the_current_password_are_stopped(app: Flask, account: str) -> None:
    client = app.test_client()
    try_to_sign_in(client, account, PASSWORD)
    person = Person(client, account)

    def change(current: str) -> TestResponse:
        new = "another long password"
        return person.submit("/admin/account", current=current, password=new, again=new)

    codes = [change(f"guess {number}").status_code for number in range(FAILURES_OF_SESSION + 3)]
    assert codes == [400] * FAILURES_OF_SESSION + [429] * 3
    refused = change(PASSWORD)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0


def test_a_stream_of_who_was_signed_out_gets_the_error_object(client: FlaskClient) -> None:
    answer = client.post("/admin/playground/stream", headers={"Accept": "text/event-stream"})
    assert answer.status_code == 401
    assert answer.get_json()["code"] == "unauthenticated"
