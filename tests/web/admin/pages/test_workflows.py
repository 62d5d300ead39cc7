"""The console's pages of workflows: what is on, a tenant's runs, one run with its steps."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.conftest import MakeApp
from tests.fakes import FakeModel, said
from tests.web.admin.person import Person, sign_in
from webapp.workflow import ExecutionContext, Step, Workflow


def breaks(context: ExecutionContext) -> None:
    raise KeyError("secret words")


FLOWS = (
    Workflow("greeting", [Step("greet", instructions="Greet.")], description="Greets <people>."),
    Workflow("broken", [breaks]),
)


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(workflows=FLOWS, model=FakeModel(otherwise=said("Good <day>", 1200, 34)))


def run(app: Flask, name: str, user: str = "user-a") -> str:
    client = app.test_client()
    body = {"user_id": user, "input": "Hello <there>", "session_id": "work"}
    client.post(f"/workflows/{name}/runs", json=body)
    listed = client.get(f"/api/tenants/{user}/workflow-runs").get_json()
    run_id: str = listed["runs"][0]["run_id"]
    return run_id


def test_the_workflows_that_are_on_are_listed(alice: Person) -> None:
    page = alice.open("/admin/workflows").text
    for text in ("greeting", "Greets &lt;people&gt;.", "greet", "broken"):
        assert text in page


def test_a_tenants_runs_are_listed_and_shown_with_each_step(app: Flask, alice: Person) -> None:
    run_id, failed = run(app, "greeting"), run(app, "broken")
    run(app, "greeting", "user-b")
    for address in ("/admin/tenants/user-a", "/admin/tenants/user-a/workflow-runs"):
        page = alice.open(address).text
        assert f"/workflow-runs/{run_id}" in page
        assert page.count("/workflow-runs/run-") == 2
    page = alice.open(f"/admin/tenants/user-a/workflow-runs/{run_id}").text
    for text in ("greet", "agent", "Completed", "Good &lt;day&gt;", "Hello &lt;there&gt;", "1,234"):
        assert text in page
    page = alice.open(f"/admin/tenants/user-a/workflow-runs/{failed}").text
    for text in ("breaks", "Failed", "it raised KeyError", "step failed"):
        assert text in page
    assert "secret" not in page


def test_another_tenants_run_is_not_found(app: Flask, alice: Person) -> None:
    run_id = run(app, "greeting")
    run(app, "greeting", "user-b")
    assert alice.open(f"/admin/tenants/user-b/workflow-runs/{run_id}").status_code == 404
    assert alice.open("/admin/tenants/nobody/workflow-runs").status_code == 404


def test_hidden_conversations_hide_what_runs_hold(make_app: MakeApp) -> None:
    app = make_app(workflows=FLOWS, model=FakeModel(otherwise="Good day"))
    run_id = run(app, "greeting")
    hiding = make_app(workflows=FLOWS, HIDE_CONVERSATIONS="true")
    alice = sign_in(hiding, "alice", "owner")
    for address in ("", "/workflow-runs", f"/workflow-runs/{run_id}"):
        page = alice.open(f"/admin/tenants/user-a{address}").text
        assert "Completed" in page
        for text in ("Hello &lt;there&gt;", "Good day", "work</bdi>"):
            assert text not in page
