"""Calls that wait for approval: the tenant's page tells of them, the playground decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import services_of, settings_for
from tests.fakes import FakeModel, calls, said
from tests.web.admin.conftest import audit_of
from tests.web.admin.person import forms_of, sign_in
from webapp import create_app
from webapp.agent import Toolkit, tool
from webapp.storage import Connection
from webapp.web.admin.pages import playground, tenant

DECIDE = "/decision"
PAY = calls(("pay", {"to": "<script>"}), usage=said("", 1, 1).usage)


def bank(folder: Path, paid: list[str], **settings: str) -> Any:
    @tool(requires_approval=True)
    def pay(to: str) -> str:
        """Pay."""
        paid.append(to)
        return "paid"

    model = FakeModel.of(PAY, PAY, otherwise=said("As you like.", 1, 1))
    app = create_app(
        settings_for(folder, **settings), model=model, toolkits=[Toolkit("bank", [pay])]
    )
    services_of(app).upgrade_database()
    client = app.test_client()
    for session in ("default", "work"):
        body = {"user_id": "user-a", "message": "Pay.", "session_id": session}
        assert client.post("/chat", json=body).status_code == 200
    return app


def test_a_call_that_waits_is_shown_and_decided(tmp_path: Path) -> None:
    paid: list[str] = []
    app = bank(tmp_path, paid)
    alice = sign_in(app, "alice", "owner")
    page = alice.read("/admin/tenants/user-a")
    assert page.count(" for approval since ") == 2
    place = "/admin/playground?user_id=user-a&session_id=work"
    page = alice.read(place)
    assert "pay waits for approval" in page
    assert "<script>" not in page.partition("<main")[2]
    (form,) = [each for each in forms_of(alice.read(place)) if each.action.endswith(DECIDE)]
    sent = form.with_fields(decision="refuse", reason="no")
    assert alice.client.post(form.action, data=sent).status_code == 303
    assert "As you like." in alice.read(place)
    assert paid == []
    again = alice.client.post(form.action, data=sent)
    assert again.status_code == 404
    assert "There is no call that waits for this approval." in again.text
    place = "/admin/playground?user_id=user-a&session_id=default"
    (form,) = [each for each in forms_of(alice.read(place)) if each.action.endswith(DECIDE)]
    assert alice.client.post(form.action, data=form.with_fields(decision="?")).status_code == 400
    sent = form.with_fields(decision="approve")
    assert alice.client.post(form.action, data=sent).status_code == 303
    assert paid == ["<script>"]
    assert "waits for approval" not in alice.read("/admin/tenants/user-a")
    assert audit_of(app, "playground_turn")[0]["after"] == {"approved": True}
    services_of(app).close()


def test_hidden_conversations_hide_what_the_calls_say(tmp_path: Path) -> None:
    app = bank(tmp_path, [], HIDE_CONVERSATIONS="yes")
    page = sign_in(app, "alice", "owner").read("/admin/tenants/user-a")
    assert "for approval since" in page
    assert "work" not in page.partition("for approval since")[2].partition("</")[0]
    services_of(app).close()


def test_a_tenant_page_lists_the_newest_and_tells_how_many_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenant, "WAITING", 1)
    app = bank(tmp_path, [])
    page = sign_in(app, "alice", "owner").read("/admin/tenants/user-a")
    assert page.count(" for approval since ") == 1
    assert "Waiting sessions in all: 2." in page
    services_of(app).close()


def test_the_playground_is_narrowed_to_its_tenant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrowed: list[int] = []

    def note(_connection: Connection, number: int) -> None:
        narrowed.append(number)

    monkeypatch.setattr(playground, "narrow", note)
    app = bank(tmp_path, [])
    sign_in(app, "alice", "owner").read("/admin/playground?user_id=user-a")
    assert narrowed == [services_of(app).directory.number("user-a")]
    services_of(app).close()
