"""The pages of a tenant's sessions: searched and paged, one read, renamed, cleared, forgotten."""

from __future__ import annotations

import re

import pytest
from flask import Flask

from tests.conftest import MakeApp, services_of
from tests.web.admin.conftest import audit_of, messages_of, talk
from tests.web.admin.person import Person, form_to, sign_in
from webapp.session_state.values import fields_of
from webapp.session_state.versions import ANY

PAGE = "/admin/tenants/user-a/sessions"


def test_sessions_are_listed_searched_and_paged(app: Flask, alice: Person) -> None:
    for number in range(60):
        talk(app, "user-a", f"Question {number:02}", session_id=f"s{number:02}")
    first = alice.read(f"{PAGE}?sort=title")
    assert "Question 00" in first
    assert "Question 55" not in first
    assert "50 of 60\xa0sessions" in first
    following = re.search(r'rel="next" href="([^"]+)"', first)
    assert following is not None
    assert "Question 55" in alice.read(following[1].replace("&amp;", "&"))
    found = alice.read(f"{PAGE}?search=question+4")
    assert "Question 42" in found
    assert "Question 52" not in found
    assert "No session matches" in alice.read(f"{PAGE}?search=nothing")
    assert "Question 59" in alice.read("/admin/tenants/user-a")
    assert "All 60" in alice.read("/admin/tenants/user-a")


def test_a_session_is_read_and_renamed_escaped(app: Flask, bob: Person) -> None:
    talk(app, "user-a", "Hello <b>agent</b>", session_id="one & only")
    talk(app, "user-a", "Something else", session_id="two")
    page = "/admin/tenants/user-a/sessions/one%20&%20only"
    shown = bob.read(page)
    assert "Hello &lt;b&gt;agent&lt;/b&gt;" in shown
    assert "Something else" not in shown
    answer = bob.submit(page, f"{page}/title", title=" Invoice <i>")
    assert "Invoice &lt;i&gt;" in bob.follow(answer)
    refused = bob.submit(page, f"{page}/title", title="x" * 201)
    assert refused.status_code == 400
    assert "title too long" in refused.text
    back = bob.submit(page, f"{page}/title", title="")
    assert "Hello &lt;b&gt;agent&lt;/b&gt;</bdi></h1>" in bob.follow(back)
    assert len(audit_of(app, "rename_session")) == 2


def test_the_state_is_shown_escaped_and_cut_with_a_word(app: Flask, bob: Person) -> None:
    talk(app, "user-a", "Hello", session_id="s")
    assert 'id="state"' not in bob.read(f"{PAGE}/s")
    fields = fields_of({"cart": ["<b>tea</b>"], "n": 1, "ä": "ö"})
    services_of(app).states.put("user-a", "s", fields, ANY)
    shown = bob.read(f"{PAGE}/s")
    assert "&lt;b&gt;tea&lt;/b&gt;" in shown
    assert "&#34;ä&#34;: &#34;ö&#34;" in shown
    assert "Version 1." in shown
    assert "are not shown" not in shown
    services_of(app).states.put("user-a", "s", fields_of({"long": "x" * 21_000}), ANY)
    assert "The last 1,016 characters are not shown" in bob.read(f"{PAGE}/s").replace("\xa0", " ")


def test_clearing_and_forgetting_a_session_ask_first_and_act_once(app: Flask, bob: Person) -> None:
    talk(app, "user-a", "One", "Two", session_id="s")
    talk(app, "user-a", "Other")
    question = bob.read(f"{PAGE}/s/clear")
    assert "Clear 4\xa0messages" in question
    sent = form_to(question, f"{PAGE}/s/clear").with_fields()
    for _ in range(2):
        answer = bob.client.post(f"{PAGE}/s/clear", data=sent)
        assert "Cleared 4\xa0messages." in bob.follow(answer)
    assert messages_of(app, "user-a") == 2
    assert "The memory of this session is empty" in bob.read(f"{PAGE}/s")
    answer = bob.submit(f"{PAGE}/s/forget")
    assert "The session is forgotten: 0\xa0messages are gone." in bob.follow(answer)
    assert bob.open(f"{PAGE}/s").status_code == 404
    assert bob.open(f"{PAGE}/s/clear").status_code == 404
    assert messages_of(app, "user-a") == 2
    assert len(audit_of(app, "clear_session")) == len(audit_of(app, "forget_session")) == 1


@pytest.mark.parametrize("page", ["", "/s", "/s/clear", "/s/forget"])
def test_an_unknown_tenant_or_session_is_a_plain_page(app: Flask, alice: Person, page: str) -> None:
    answer = alice.open(f"/admin/tenants/nobody/sessions{page}")
    assert answer.status_code == 404
    talk(app, "user-b", "Hello", session_id="s")
    if page:
        talk(app, "user-a", "Hello")
        assert alice.open(f"{PAGE}{page}").status_code == 404
    assert services_of(app).directory.find("nobody") is None


def test_titles_are_hidden_with_conversations(make_app: MakeApp) -> None:
    app = make_app(HIDE_CONVERSATIONS="true")
    talk(app, "user-a", "divorce", session_id="s")
    owner = sign_in(app, "carol", "owner")
    for path in ("", "/s"):
        assert owner.open(f"{PAGE}{path}").status_code == 403
    assert owner.post(f"{PAGE}/s/title", title="x").status_code == 403
    for path in ("clear", "forget"):
        assert "divorce" not in owner.read(f"{PAGE}/s/{path}")
    assert "divorce" not in owner.follow(owner.submit(f"{PAGE}/s/clear"))


def test_the_tenants_page_says_that_sessions_went(make_app: MakeApp) -> None:
    app = make_app(TENANT_MAX_SESSIONS="1")
    talk(app, "user-a", "One", session_id="one")
    talk(app, "user-a", "Two", session_id="two")
    page = sign_in(app, "carol", "viewer").read("/admin/tenants/user-a")
    assert "1\xa0session of this tenant went" in page
