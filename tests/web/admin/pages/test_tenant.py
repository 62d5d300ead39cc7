"""One tenant's page: reading, limits, block, clear, forget, export, and a page that grew stale."""

from __future__ import annotations

import json

import pytest
from flask import Flask

from tests.conftest import MakeApp, services_of
from tests.fakes import FakeModel, echo_model
from tests.web.admin.conftest import audit_of, messages_of, talk
from tests.web.admin.person import Person, form_to, sign_in, sign_in_again
from webapp.accounts.audit import Actor
from webapp.agent import ModelRequest
from webapp.agent.summarizing import ASKED
from webapp.tenants.restrictions.change import TenantChange


def test_the_page_shows_what_was_said_escaped(make_app: MakeApp) -> None:
    app = make_app(model=echo_model())
    alice = sign_in(app, "alice", "owner")
    talk(app, "user-a", "My name is <script>Alice</script>")
    page = alice.read("/admin/tenants/user-a")
    assert "You said: My name is &lt;script&gt;Alice&lt;/script&gt;" in page
    assert "<script>Alice" not in page


def test_a_long_conversation_comes_in_pages_newest_first(app: Flask, alice: Person) -> None:
    talk(app, "user-a", *[f"Question {number}." for number in range(20)])
    page = alice.read("/admin/tenants/user-a")
    assert "Question 19." in page
    assert "Question 4." not in page
    earlier = page.split('href="', 1)[1]
    address = next(
        part.split('"')[0].replace("&amp;", "&")
        for part in page.split('href="')
        if part.startswith("/admin/tenants/user-a/conversation")
    )
    assert earlier
    fragment = alice.read(address)
    assert "Question 0." in fragment
    assert "Question 4." in fragment
    assert "Question 19." not in fragment


def test_a_cursor_of_another_tenant_is_refused(app: Flask, alice: Person) -> None:
    talk(app, "user-a", *["Hello"] * 20)
    talk(app, "user-b", *["Hello"] * 20)
    page = alice.read("/admin/tenants/user-a")
    cursor = page.split("cursor=")[1].split('"')[0].split("&")[0]
    address = "/admin/tenants/{}/conversation?session_id=default&cursor=" + cursor
    assert alice.open(address.format("user-a")).status_code == 200
    assert alice.open(address.format("user-b")).status_code == 400


def test_each_session_can_be_read(app: Flask, alice: Person) -> None:
    talk(app, "user-a", "In the first")
    talk(app, "user-a", "In the second", session_id="second & last")
    assert "In the second" in alice.read("/admin/tenants/user-a")
    page = alice.read("/admin/tenants/user-a?session_id=default")
    first = page.split('id="conversation"')[1].split("</section>")[0]
    assert "In the first" in first
    assert "In the second" not in first


@pytest.mark.parametrize("page", ["", "/clear", "/forget", "/export", "/conversation"])
def test_an_unknown_tenant_is_a_plain_page_and_none_is_made(
    app: Flask, alice: Person, page: str
) -> None:
    answer = alice.open(f"/admin/tenants/nobody{page}")
    assert answer.status_code == 404
    assert "There is no such tenant." in answer.text
    assert services_of(app).directory.find("nobody") is None


@pytest.mark.parametrize(
    "name", ["مرحبا", "x" * 255, "a b", "100%", "?q=1#x", "clear", "😀", "a+b&c"]
)
def test_every_id_has_its_page(app: Flask, alice: Person, name: str) -> None:
    talk(app, name)
    listed = alice.read("/admin/tenants")
    address = listed.split('class="uid cut" dir="auto" href="')[1].split('"')[0]
    assert alice.open(address.replace("&amp;", "&")).status_code == 200


def test_clearing_asks_first_and_says_what_went(app: Flask, bob: Person) -> None:
    talk(app, "user-a", "One", "Two")
    question = bob.read("/admin/tenants/user-a/clear")
    assert "Clear 4\xa0messages" in question
    sent = form_to(question, "/admin/tenants/user-a/clear").with_fields()
    answer = bob.client.post("/admin/tenants/user-a/clear", data=sent)
    assert "Cleared 4\xa0messages." in bob.follow(answer)
    assert messages_of(app, "user-a") == 0
    entry = audit_of(app, "clear_tenant")[0]
    assert (entry["actor"], entry["role"], entry["before"]) == (
        "admin:bob",
        "operator",
        {"messages": 4},
    )
    assert entry["request_id"] == answer.headers["X-Request-Id"]


def test_a_form_sent_twice_clears_once(app: Flask, bob: Person) -> None:
    talk(app, "user-a", "One", "Two")
    page = bob.read("/admin/tenants/user-a/clear")
    sent = form_to(page, "/admin/tenants/user-a/clear").with_fields()
    bob.client.post("/admin/tenants/user-a/clear", data=sent)
    talk(app, "user-a", "Three")
    again = bob.client.post("/admin/tenants/user-a/clear", data=sent)
    assert "Cleared 4\xa0messages." in bob.follow(again)
    assert messages_of(app, "user-a") == 2
    assert len(audit_of(app, "clear_tenant")) == 1


def test_forgetting_says_what_went_and_a_second_time_says_the_same(app: Flask, bob: Person) -> None:
    talk(app, "user-a", "One", "Two")
    page = bob.read("/admin/tenants/user-a/forget")
    sent = form_to(page, "/admin/tenants/user-a/forget").with_fields()
    sentence = "Forgotten: 4\xa0messages, 1\xa0session and the records of 2 requests are gone."
    for _ in range(2):
        answer = bob.client.post("/admin/tenants/user-a/forget", data=sent)
        assert sentence in bob.follow(answer)
    assert services_of(app).directory.find("user-a") is None
    assert len(audit_of(app, "forget_tenant")) == 1


def test_a_page_whose_tenant_is_gone_says_so(app: Flask, alice: Person, bob: Person) -> None:
    talk(app, "user-a")
    page = bob.read("/admin/tenants/user-a/clear")
    form = form_to(page, "/admin/tenants/user-a/clear").with_fields()
    alice.submit("/admin/tenants/user-a/forget")
    answer = bob.client.post("/admin/tenants/user-a/clear", data=form)
    assert answer.status_code == 404
    assert "There is no such tenant." in answer.text
    assert services_of(app).directory.find("user-a") is None


def test_a_block_holds_at_once_and_is_taken_back(app: Flask, bob: Person) -> None:
    talk(app, "user-a")
    client = app.test_client()
    for blocked, status in (("yes", 403), ("no", 200)):
        answer = bob.submit("/admin/tenants/user-a", "/admin/tenants/user-a/block", blocked=blocked)
        assert answer.status_code == 303
        body = {"user_id": "user-a", "message": "Hello"}
        assert client.post("/chat", json=body).status_code == status
    assert audit_of(app, "block_tenant")
    assert audit_of(app, "unblock_tenant")


def test_own_limits_are_checked_saved_and_taken_away(app: Flask, bob: Person) -> None:
    talk(app, "user-a")
    page, form = "/admin/tenants/user-a", "/admin/tenants/user-a/limit"
    wrong = bob.submit(page, form, rate_limit="lots", token_budget="")
    assert wrong.status_code == 400
    assert 'value="lots"' in wrong.text
    assert "must look like" in wrong.text
    assert bob.submit(page, form, rate_limit="", token_budget="much").status_code == 400
    bob.submit(page, form, rate_limit="2/minute", token_budget="1000/day")
    row = services_of(app).directory.get("user-a")
    assert (row.rate_limit, row.token_budget) == ("2/minute", "1000/day")
    bob.submit(page, form, rate_limit=" ", token_budget="")
    assert services_of(app).directory.get("user-a").rate_limit is None


def test_the_export_is_everything_and_is_written_down(app: Flask, bob: Person) -> None:
    talk(app, "user-ä", "Keep this")
    answer = bob.open("/admin/tenants/user-ä/export")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines[-1]["type"] == "end"
    assert "Keep this" in answer.text
    assert "filename*=UTF-8''user-%C3%A4.jsonl" in answer.headers["Content-Disposition"]
    assert audit_of(app, "export_tenant")[0]["actor"] == "admin:bob"
    (conversation,) = bob.open("/admin/tenants/user-ä/export?format=openai").text.splitlines()
    assert json.loads(conversation)["messages"][0]["content"] == "Keep this"
    assert "export?format=openai" in bob.read("/admin/tenants/user-ä")


def test_hidden_conversations_are_hidden_everywhere(make_app: MakeApp) -> None:
    app = make_app(HIDE_CONVERSATIONS="yes")
    alice = sign_in(app, "alice", "owner")
    talk(app, "user-a", "A secret")
    assert "A secret" not in alice.read("/admin/tenants/user-a")
    assert "Conversations are hidden" in alice.read("/admin/tenants/user-a")
    assert "A secret" not in alice.read("/admin/tenants/user-a/export")
    assert "format=openai" not in alice.read("/admin/tenants/user-a")
    assert alice.open("/admin/tenants/user-a/export?format=openai").status_code == 403
    for path in ("/admin/tenants/user-a/conversation", "/admin/playground?user_id=user-a"):
        answer = alice.open(path)
        assert answer.status_code == 403
        assert "keeps what tenants say" in answer.text
    answer = alice.post("/admin/playground/stream", user_id="user-a", message="What did I say?")
    assert answer.status_code == 403
    assert "/admin/playground" not in alice.read("/admin/tenants")


def test_names_of_sessions_are_hidden_with_the_conversations(make_app: MakeApp) -> None:
    app = make_app(HIDE_CONVERSATIONS="yes")
    alice = sign_in(app, "alice", "owner")
    talk(app, "user-a", "A secret", session_id="about-my-divorce")
    for path in ("", "/export", "?window=7d"):
        assert "divorce" not in alice.read(f"/admin/tenants/user-a{path}")


def test_no_admin_mints_a_key_that_speaks_where_conversations_are_hidden(make_app: MakeApp) -> None:
    app = make_app(HIDE_CONVERSATIONS="yes", AUTH="required")
    alice = sign_in(app, "alice", "owner")
    refused = alice.submit("/admin/keys", name="mine", role="chat", users="user-a")
    assert refused.status_code == 403
    keys = services_of(app).keys
    assert keys.list() == ()
    made = keys.create("backend", role="chat", users="*", by=Actor.command_line())
    assert alice.submit(f"/admin/keys/{made.key.id}/rotate").status_code == 403
    assert len(keys.list()) == 1
    for role in ("viewer", "operator", "owner"):
        assert alice.submit("/admin/keys", name=role, role=role, users="*").status_code == 200
    assert len(keys.list()) == 4


def test_what_admins_did_to_a_tenant_is_on_its_page(app: Flask, alice: Person) -> None:
    talk(app, "user-a")
    services_of(app).directory.update("user-a", TenantChange(blocked=True))
    alice.submit("/admin/tenants/user-a/clear")
    assert "clear tenant" in alice.read("/admin/tenants/user-a")


def test_a_running_summary_stands_apart_from_the_messages(make_app: MakeApp) -> None:
    def answers(request: ModelRequest) -> str:
        return "notes <b>" if request.messages[0].content == ASKED else "fine"

    settings = {"SUMMARY": "true", "CONTEXT_MAX_MESSAGES": "5"}
    app = make_app(model=FakeModel.of(otherwise=answers), **settings)
    alice = sign_in(app, "alice", "owner")
    talk(app, "user-a", "one", "two", "three")
    page = alice.read("/admin/tenants/user-a")
    assert "Summary of the earlier messages" in page
    assert page.count("notes &lt;b&gt;") == 1
    assert page.count('<article class="msg') == 6
    talk(app, "user-b", "one")
    assert "Summary of the earlier messages" not in alice.read("/admin/tenants/user-b")
    hidden = make_app(model=FakeModel.of(), HIDE_CONVERSATIONS="true", **settings)
    page = sign_in_again(hidden, "alice").read("/admin/tenants/user-a")
    assert "notes" not in page
