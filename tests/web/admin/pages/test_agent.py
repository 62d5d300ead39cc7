"""The agent's page, the playground, the overview, the metrics; and a database that is away."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from flask import Flask

from tests.conftest import MakeApp, services_of
from tests.fakes import FakeModel, echo_model
from tests.web.admin.conftest import audit_of, messages_of, talk
from tests.web.admin.person import Person, form_to, sign_in
from webapp.errors import ModelError, StorageUnavailable

AGENT = {
    "name": "helper",
    "model": "some-model",
    "instructions": "Speak like a sailor.\r\nAhoy.",
    "context_max_messages": "20",
    "max_loops": "5",
}


def test_new_instructions_hold_from_the_next_turn(
    app: Flask, alice: Person, model: FakeModel
) -> None:
    assert "It holds from the next turn" in alice.follow(alice.submit("/admin/agent", **AGENT))
    talk(app, "user-a")
    assert model.seen[-1][0].content == "Speak like a sailor.\nAhoy."
    entry = audit_of(app, "change_agent")[0]
    assert entry["actor"] == "admin:alice"
    assert entry["after"]["version"] == 1
    assert "sailor" not in json.dumps(entry)


def test_the_page_names_the_tools_and_the_guardrails(alice: Person) -> None:
    page = alice.read("/admin/agent")
    assert "<code>square_root</code>" in page
    assert "<dt>Guardrails</dt>" in page


def test_the_page_says_what_each_guardrail_does(make_app: MakeApp) -> None:
    app = make_app(GUARDRAILS="length(input=4000), personal-data(email)")
    page = sign_in(app, "alice", "owner").read("/admin/agent")
    assert "at most 4,000 characters in a question" in page
    assert "masks email" in page


def test_two_admins_do_not_overwrite_one_another(app: Flask, alice: Person) -> None:
    form = form_to(alice.read("/admin/agent"), "/admin/agent")
    alice.submit("/admin/agent", **AGENT)
    late = alice.client.post(
        "/admin/agent", data=form.with_fields(**{**AGENT, "instructions": "Mine & yours"})
    )
    assert late.status_code == 409
    assert "Mine &amp; yours" in late.text
    assert "Somebody else has changed the agent" in late.text
    again = form_to(late.text, "/admin/agent").with_fields()
    assert alice.client.post("/admin/agent", data=again).status_code == 303


@pytest.mark.parametrize(
    ("field", "typed"),
    [("max_loops", "many"), ("max_loops", "0"), ("name", " "), ("context_max_messages", "-1")],
)
def test_a_bad_agent_is_said_at_its_field(alice: Person, field: str, typed: str) -> None:
    answer = alice.submit("/admin/agent", **{**AGENT, field: typed})
    assert answer.status_code == 400
    assert f'id="f-{field}-fault"' in answer.text
    assert "Speak like a sailor." in answer.text


def test_an_earlier_version_comes_back(app: Flask, alice: Person, model: FakeModel) -> None:
    alice.submit("/admin/agent", **AGENT)
    alice.submit("/admin/agent", **{**AGENT, "instructions": "Be brief."})
    restored = alice.submit("/admin/agent", "/admin/agent/1/restore")
    assert "Version 1 is in force again" in alice.follow(restored)
    talk(app, "user-a")
    assert "sailor" in model.seen[-1][0].content
    assert "1 Jan 1970" not in alice.read("/admin/agent")
    assert alice.post("/admin/agent/1/restore", version="1").status_code == 409
    own = alice.submit("/admin/agent", "/admin/agent/0/restore")
    assert "What the settings say is in force again" in alice.follow(own)
    assert "back to the settings" in alice.read("/admin/agent")
    assert alice.post("/admin/agent/99/restore", version="4").status_code == 404


def test_script_in_the_instructions_stays_text(alice: Person) -> None:
    alice.submit("/admin/agent", **{**AGENT, "instructions": "</textarea><script>x</script>"})
    assert "<script>x" not in alice.read("/admin/agent")


def test_the_playground_streams_a_real_turn(make_app: MakeApp) -> None:
    app = make_app(model=echo_model())
    bob = sign_in(app, "bob", "operator")
    fields: dict[str, Any] = {"user_id": "user-a", "message": "Hello there"}
    answer = bob.post("/admin/playground/stream", **fields)
    assert answer.content_type.startswith("text/event-stream")
    assert "event: done" in answer.text
    assert "You said: Hello there" in answer.text
    assert messages_of(app, "user-a") == 2
    entry = audit_of(app, "playground_turn")[0]
    assert entry["actor"] == "admin:bob"
    assert "Hello" not in json.dumps(entry)


def test_the_playground_works_without_a_script(make_app: MakeApp) -> None:
    app = make_app(model=echo_model())
    bob = sign_in(app, "bob", "operator")
    answer = bob.submit("/admin/playground", user_id="user-a", message="Hello there")
    page = bob.follow(answer)
    assert "You said: Hello there" in page
    assert "tokens in" in page


def test_a_failed_turn_in_the_playground_keeps_what_was_typed(make_app: MakeApp) -> None:
    app = make_app(model=FakeModel.of(ModelError("The model failed.")))
    bob = sign_in(app, "bob", "operator")
    answer = bob.submit("/admin/playground", user_id="user-a", message="Hello there")
    assert answer.status_code == 502
    assert "The model failed." in answer.text
    assert "Hello there" in answer.text
    assert messages_of(app, "user-a") == 0
    assert audit_of(app, "playground_turn")


def test_limits_and_blocks_hold_in_the_playground(make_app: MakeApp) -> None:
    app = make_app(RATE_LIMIT="1/minute")
    bob = sign_in(app, "bob", "operator")
    fields: dict[str, Any] = {"user_id": "user-a", "message": "Hello"}
    assert bob.post("/admin/playground/stream", **fields).status_code == 200
    refused = bob.post("/admin/playground/stream", **fields)
    assert refused.status_code == 429
    assert refused.get_json()["code"] == "rate_limited"
    page = bob.submit("/admin/playground", **fields)
    assert page.status_code == 429
    assert int(page.headers["Retry-After"]) > 0


@pytest.mark.parametrize("fields", [{"user_id": "", "message": "x"}, {"user_id": "a/b"}, {}])
def test_a_bad_playground_form_is_an_error_of_the_api(bob: Person, fields: dict[str, Any]) -> None:
    answer = bob.post("/admin/playground/stream", **fields)
    assert answer.status_code == 400
    assert "user_id" in answer.get_json()["error"]


def test_the_overview_counts_what_happened(app: Flask, alice: Person) -> None:
    talk(app, "user-a", "One", "Two")
    for window in ("1h", "24h", "7d", "30d"):
        page = alice.read(f"/admin/?window={window}")
        assert "user-a" in page
        assert re.search(r"<dt>Requests</dt>\s*<dd class=\"figure\">2", page)
    assert alice.open("/admin/?window=2y").status_code == 400


def test_the_metrics_rank_and_find_tenants(app: Flask, alice: Person) -> None:
    talk(app, "user-a", "One", "Two")
    talk(app, "user-b")
    page = alice.read("/admin/metrics?sort=requests")
    assert page.index('title="user-b"') < page.index('title="user-a"')
    found = alice.read("/admin/metrics?search=user-b")
    assert 'title="user-a"' not in found
    assert "user_id,requests" in alice.read("/admin/metrics.csv")
    assert alice.open("/admin/metrics?sort=user_id").status_code == 400
    assert alice.open("/admin/metrics?cursor=zz").status_code == 400


def test_a_database_that_is_away_is_a_page(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk(app, "user-a")

    def away() -> None:
        raise StorageUnavailable("The database is locked by another process; try again.")

    monkeypatch.setattr(type(services_of(app).database), "read", lambda self: away())
    for path in ("/admin/", "/admin/tenants/user-a", "/admin/audit"):
        answer = alice.open(path)
        assert answer.status_code == 503
        assert "locked by another process" in answer.text
        assert "Request id" in answer.text


def test_a_defect_of_ours_is_a_page_that_gives_nothing_away(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False

    def broken(self: object, user_id: str) -> None:
        raise RuntimeError("a secret of the stack")

    monkeypatch.setattr(type(services_of(app).directory), "get", broken)
    answer = alice.open("/admin/tenants/user-a")
    assert answer.status_code == 500
    assert "a secret of the stack" not in answer.text
    assert "Something broke here" in answer.text


def test_the_overview_says_since_when_turns_are_refused(
    app: Flask, alice: Person, model: FakeModel
) -> None:
    def give_up(_request: object) -> str:
        raise ModelError("The model's server failed.", server_failed=True)

    model.otherwise = give_up
    client = app.test_client()
    for number in range(11):
        answer = client.post("/chat", json={"user_id": f"user-{number}", "message": "Hello"})
    assert answer.status_code == 503
    page = alice.read("/admin/")
    assert re.search(r'<li class="bad">.*?<strong>Model</strong> <span>([^<]*)<time', page)
    assert "failed again and again, so turns are refused at once; the next one tries it in" in page


def test_another_model_begins_with_a_closed_breaker(app: Flask, alice: Person) -> None:
    services = services_of(app)
    talk(app, "user-a")
    for number in range(10):
        services.served_agent.breaker.begin(f"u{number}").failed()
    opened = services.served_agent.breaker.state
    alice.submit("/admin/agent", **AGENT)
    services.warm_up()  # as the first turn that tries it does
    assert (opened.name, services.served_agent.breaker.state.name) == ("open", "closed")
    talk(app, "user-a")
