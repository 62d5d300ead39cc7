"""Workflows over REST: they run as turns do, keep tenants apart, and go on in another worker."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask, current_app
from flask.testing import FlaskClient

from tests.conftest import MakeApp, services_of
from tests.fakes import FakeModel, said, until
from tests.web.api.test_chat import events
from webapp.chat.idempotency import fingerprint
from webapp.chat.values import ChatTurn
from webapp.errors import ModelError
from webapp.memory.states import store as states
from webapp.memory.workflow_runs import store as runs
from webapp.served_workflows.left_behind import TOGETHER
from webapp.storage.narrowing import narrow
from webapp.tenant_data.consistency.comparison import compare
from webapp.tenants import store as tenants
from webapp.usage.rollup.worker import roll_up
from webapp.workflow import Condition, ExecutionContext, Parallel, Step, Workflow
from webapp.workflow.journal import NewRun
from webapp.workflow.stored import StoredWorkflows

RUN = "/workflows/support/runs"
ALICE = {"user_id": "alice", "input": "Where is my parcel?"}
gate = threading.Event()


def count(context: ExecutionContext) -> None:
    context.session_state.change("runs", lambda number: number + 1, 0)


def put_meanwhile(context: ExecutionContext) -> None:
    """Somebody else puts what the input says under the key that the next step changes."""
    put = current_app.test_client().put
    path = "/api/tenants/alice/sessions/default/state"
    assert put(path, json={"state": context.input}).status_code == 200


def wait(context: ExecutionContext) -> str:
    assert gate.wait(20)
    return context.text


def breaks(context: ExecutionContext) -> None:
    raise RuntimeError("secret words")


def support(**changes: Any) -> Workflow:
    team = [Step("refunds", instructions="Refunds."), Step("delivery", instructions="Delivery.")]
    steps: list[Any] = [
        Step("triage", instructions="Triage."),
        Parallel("team", team),
        Step("summary", instructions="Summarise."),
        count,
    ]
    return Workflow("support", steps, description="Answers customers.", version="1", **changes)


FLOWS = (
    support(),
    Workflow("waiting", [wait]),
    Workflow("met", [count, put_meanwhile, Step("again", count)]),
    Workflow("broken", [count, Condition("if", lambda context: True, breaks)]),
)


@pytest.fixture
def model() -> FakeModel:
    return FakeModel(otherwise=said("an answer", 5, 2))


@pytest.fixture
def app(make_app: MakeApp) -> Iterator[Flask]:
    gate.set()
    yield make_app(workflows=FLOWS)
    gate.set()


def figures(client: FlaskClient, user: str = "alice") -> tuple[int, int, int]:
    tenant = client.get(f"/api/tenants/{user}").get_json()
    return tenant["request_count"], tenant["error_count"], tenant["total_tokens"]


def state_of(app: Flask, user: str = "alice") -> str | None:
    database = services_of(app).database
    with database.read() as connection:
        number = tenants.number_of(connection, user)
        assert number is not None
        narrow(connection, number)
        return states.find(connection, number, "default").text


def test_a_run_is_answered_with_its_steps_and_kept(
    app: Flask, client: FlaskClient, model: FakeModel
) -> None:
    listed = client.get("/workflows").get_json()["workflows"]
    assert listed[0] == {
        "name": "support",
        "description": "Answers customers.",
        "steps": ["triage", "team", "summary", "count"],
    }
    answer = client.post(RUN, json=ALICE)
    body = answer.get_json()
    assert answer.status_code == 200
    assert (body["output"], body["status"], body["workflow"]) == (
        "an answer",
        "completed",
        "support",
    )
    assert (body["user_id"], body["session_id"]) == ("alice", "default")
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert body["usage"] == {"input_tokens": 20, "output_tokens": 8, "total_tokens": 28}
    assert {step["path"] for step in body["steps"]} == {
        *("triage", "team/refunds", "team/delivery", "team", "summary", "count"),
    }
    assert [message.content for message in model.seen[0]] == ["Triage.", "Where is my parcel?"]
    assert model.seen[3][-1].content == "refunds:\nan answer\n\ndelivery:\nan answer"
    kept = client.get(f"/api/tenants/alice/workflow-runs/{body['run_id']}").get_json()
    assert (kept["status"], kept["input"], kept["output"]) == (
        "completed",
        ALICE["input"],
        "an answer",
    )
    assert kept["steps"] == body["steps"]
    assert figures(client) == (1, 0, 28)
    assert state_of(app) == '{"runs":1}'
    assert client.get("/api/tenants/alice/messages").get_json()["messages"] == []


def test_a_streamed_run_tells_each_step(client: FlaskClient) -> None:
    answer = client.post(RUN, json={**ALICE, "stream": True})
    told = events(answer.get_data(as_text=True))
    names = [name for name, _ in told]
    assert (names[0], names[-1]) == ("run", "done")
    assert set(names) == {"run", "step", "delta", "done"}
    started = [
        data["path"] for name, data in told if name == "step" and data["status"] == "started"
    ]
    ended = [data["path"] for name, data in told if name == "step" and data["status"] != "started"]
    assert sorted(started) == sorted(ended)
    assert "".join(d["text"] for n, d in told if n == "delta" and d["path"] == "summary") == (
        "an answer"
    )
    assert told[-1][1]["run_id"] == told[0][1]["run_id"]
    assert figures(client) == (1, 0, 28)


def test_runs_are_listed_by_session_and_page_and_are_nobody_elses(client: FlaskClient) -> None:
    for session in ("a", "b", "a", "a"):
        client.post(RUN, json={**ALICE, "session_id": session})
    mine = client.post(RUN, json={"user_id": "bob", "input": "x", "session_id": "a"}).get_json()
    runs = client.get("/api/tenants/alice/workflow-runs").get_json()
    assert [run["session_id"] for run in runs["runs"]] == ["a", "a", "b", "a"]
    first = client.get("/api/tenants/alice/workflow-runs?session_id=a&limit=2").get_json()
    rest = client.get(
        f"/api/tenants/alice/workflow-runs?session_id=a&limit=2&cursor={first['next_cursor']}"
    ).get_json()
    assert (len(first["runs"]), len(rest["runs"]), rest["next_cursor"]) == (2, 1, None)
    assert (
        client.get(f"/api/tenants/bob/workflow-runs?cursor={first['next_cursor']}").status_code
        == 400
    )
    for path in (
        f"alice/workflow-runs/{mine['run_id']}",
        f"nobody/workflow-runs/{mine['run_id']}",
        "alice/workflow-runs/run-unknown",
    ):
        assert client.get(f"/api/tenants/{path}").status_code == 404
    assert client.get("/api/tenants/nobody/workflow-runs").get_json()["runs"] == []


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (RUN, {"user_id": "alice", "input": " "}, 400),
        (RUN, {"user_id": "alice", "input": "x" * 40_000}, 400),
        (RUN, {"user_id": "alice", "input": 3}, 400),
        (RUN, {"user_id": "alice"}, 400),
        (RUN, {"input": "x"}, 400),
        (RUN, {"user_id": "a/b", "input": "x"}, 400),
        (RUN, {"user_id": "alice", "input": "x", "other": 1}, 400),
        ("/workflows/nothing/runs", ALICE, 404),
    ],
)
def test_bad_input_is_refused_and_makes_nothing(
    client: FlaskClient, path: str, body: dict[str, Any], status: int
) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == status
    assert "message" not in answer.get_json().get("fields", {})
    assert client.get("/api/tenants/alice/workflow-runs").get_json()["runs"] == []


def test_a_run_keeps_to_the_limits_of_turns(app: Flask, client: FlaskClient) -> None:
    client.post("/chat", json={"user_id": "carl", "message": "hi"})
    client.patch("/api/tenants/carl", json={"rate_limit": "1/day"})
    assert client.post(RUN, json={"user_id": "carl", "input": "x"}).status_code in (200, 429)
    assert client.post(RUN, json={"user_id": "carl", "input": "x"}).status_code == 429
    client.patch("/api/tenants/carl", json={"blocked": True})
    refused = client.post(RUN, json={"user_id": "carl", "input": "x"})
    assert (refused.status_code, refused.get_json()["code"]) == (403, "tenant_blocked")
    client.post("/chat", json={"user_id": "dora", "message": "hi"})
    client.patch("/api/tenants/dora", json={"token_budget": "1/day"})
    assert client.post(RUN, json={"user_id": "dora", "input": "x"}).status_code == 429


def test_sessions_that_runs_make_keep_to_the_limit_of_a_tenant(make_app: MakeApp) -> None:
    app = make_app(workflows=FLOWS, TENANT_MAX_SESSIONS="2")
    client = app.test_client()
    for name in ("a", "b", "c", "d"):
        assert client.post(RUN, json={**ALICE, "session_id": name}).status_code == 200
    listed = client.get("/api/tenants/alice/sessions?sort=session_id").get_json()["sessions"]
    assert sorted(one["session_id"] for one in listed) == ["c", "d"]
    kept = client.get("/api/tenants/alice/workflow-runs").get_json()["runs"]
    assert [one["session_id"] for one in kept] == ["d", "c"]
    assert client.get("/api/tenants/alice").get_json()["dropped_session_count"] == 2


def test_runs_and_turns_of_one_tenant_wait_for_each_other(make_app: MakeApp) -> None:
    gate.clear()
    app = make_app(workflows=FLOWS, TENANT_QUEUE="1")
    body = {"user_id": "alice", "input": "x"}

    def post(path: str, body: dict[str, Any]) -> int:
        return app.test_client().post(path, json=body).status_code

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(post, "/workflows/waiting/runs", body)
        until(lambda: services_of(app).chat.load.running == 1)
        second = pool.submit(post, "/chat", {"user_id": "alice", "message": "hi"})
        until(lambda: services_of(app).chat.load.waiting == 1)
        assert post("/workflows/waiting/runs", body) == 429
        assert post("/workflows/support/runs", {**body, "user_id": "bob"}) == 200
        gate.set()
        assert (first.result(), second.result()) == (200, 200)


def test_the_same_key_gives_the_first_run_again(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "key-1"}
    first = client.post(RUN, json=ALICE, headers=headers).get_json()
    assert client.post(RUN, json=ALICE, headers=headers).get_json() == first
    assert client.post(RUN, json={**ALICE, "input": "y"}, headers=headers).status_code == 422
    other = client.post(RUN, json={**ALICE, "user_id": "bob"}, headers=headers).get_json()
    assert other["run_id"] != first["run_id"]
    assert figures(client) == (3, 0, 28)
    client.delete("/api/tenants/alice/messages")
    assert client.post(RUN, json=ALICE, headers=headers).get_json()["run_id"] != first["run_id"]


def test_a_failed_step_is_told_without_its_words_and_counted(
    make_app: MakeApp, client: FlaskClient
) -> None:
    answer = client.post("/workflows/broken/runs", json=ALICE)
    body = answer.get_json()
    assert (answer.status_code, body["code"]) == (500, "step_failed")
    assert "if/breaks" in body["error"]
    assert "secret" not in answer.get_data(as_text=True)
    (run,) = client.get("/api/tenants/alice/workflow-runs").get_json()["runs"]
    assert (run["status"], run["code"]) == ("failed", "step_failed")
    assert figures(client) == (1, 1, 0)
    failing = FakeModel(otherwise=ModelError("The model's server failed."))
    other = make_app(workflows=FLOWS, model=failing).test_client()
    answer = other.post(RUN, json=ALICE)
    assert (answer.status_code, answer.get_json()["code"]) == (502, "model_error")


def test_a_step_does_not_undo_what_another_put_into_the_state_meanwhile(
    app: Flask, client: FlaskClient
) -> None:
    path = "/workflows/met/runs"
    answer = client.post(path, json={"user_id": "alice", "input": {"runs": 10}})
    assert (answer.status_code, answer.get_json()["code"]) == (409, "state_conflict")
    assert state_of(app) == '{"runs":10}'
    (run,) = client.get("/api/tenants/alice/workflow-runs").get_json()["runs"]
    assert (run["status"], run["code"]) == ("failed", "state_conflict")
    # What is under other keys stays, and what the run itself has stored is no conflict.
    answer = client.post(path, json={"user_id": "alice", "input": {"runs": 11, "x": 1}})
    assert (answer.status_code, state_of(app)) == (200, '{"runs":12,"x":1}')


def left_behind(app: Flask, workflow: Workflow, user: str = "alice", **key: Any) -> str:
    """A run whose worker ended behind its first step."""
    services = services_of(app)
    store = StoredWorkflows(services.database, user_ids=services.user_ids)
    run = NewRun("run-1", user, "default", workflow.name, workflow.digest, "x")
    stored_id = services.user_ids.stored(user)
    tenant = services.database.write(lambda connection: tenants.ensure(connection, stored_id, 1))
    with store.made(tenant, run, **key) as journal:
        assert journal.number
    store.close()
    return "run-1"


def test_a_run_that_was_left_behind_goes_on_in_another_worker(
    app: Flask, client: FlaskClient
) -> None:
    run_id = left_behind(app, support())
    path = f"/api/tenants/alice/workflow-runs/{run_id}"
    assert client.get(path).get_json()["status"] == "running"
    services_of(app).left_behind.look()
    until(lambda: client.get(path).get_json()["status"] != "running")
    run = client.get(path).get_json()
    assert (run["status"], run["output"]) == ("completed", "an answer")
    assert figures(client) == (1, 0, 28)


def test_a_forgotten_tenant_does_not_come_back_with_a_run_of_its(
    app: Flask, client: FlaskClient
) -> None:
    run_id = left_behind(app, support())
    services = services_of(app)
    with services.database.read() as connection:
        (found,) = runs.interrupted(connection, 0, 10)
    assert client.delete("/api/tenants/alice").status_code == 200
    assert not services.workflows.go_on_with(found, "alice")
    assert client.get("/api/tenants/alice").status_code == 404
    # The same user as a new tenant has nothing of the old one's, and its own run stays its own.
    assert left_behind(app, support()) == run_id
    assert not services.workflows.go_on_with(found, "alice")
    (run,) = client.get("/api/tenants/alice/workflow-runs").get_json()["runs"]
    assert run["status"] == "running"


def test_a_run_that_was_interrupted_too_often_has_failed(
    app: Flask, client: FlaskClient, model: FakeModel
) -> None:
    run_id = left_behind(app, support())
    count_up = "UPDATE workflow_runs SET interruptions = 5"
    services_of(app).database.write(lambda connection: connection.execute(count_up, {}).rowcount)
    services_of(app).left_behind.look()
    path = f"/api/tenants/alice/workflow-runs/{run_id}"
    until(lambda: client.get(path).get_json()["status"] != "running")
    run = client.get(path).get_json()
    assert (run["status"], run["code"], len(model.requests)) == ("failed", "interrupted", 0)
    until(lambda: not services_of(app).left_behind.busy)
    assert figures(client) == (1, 1, 0)


def test_runs_under_way_do_not_hide_those_that_were_left_behind(
    app: Flask, client: FlaskClient
) -> None:
    """More of them than are looked at together, all with lower numbers."""
    gate.clear()
    busy = [f"busy-{number}" for number in range(TOGETHER + 1)]
    with ThreadPoolExecutor(len(busy)) as pool:
        for user in busy:
            pool.submit(
                app.test_client().post,
                "/workflows/waiting/runs",
                json={"user_id": user, "input": "x"},
            )
        until(lambda: services_of(app).chat.load.running == len(busy), 20)
        until(lambda: all(steps_begun(client, user) for user in busy), 20)
        left_behind(app, support())
        path = "/api/tenants/alice/workflow-runs/run-1"

        def looked() -> bool:
            services_of(app).left_behind.look()
            until(lambda: not services_of(app).left_behind.busy)
            return bool(client.get(path).get_json()["status"] == "completed")

        assert looked() or looked()
        gate.set()


def steps_begun(client: FlaskClient, user: str) -> bool:
    return bool(client.get(f"/api/tenants/{user}/workflow-runs").get_json()["runs"])


def test_a_run_that_a_stopping_server_cuts_goes_on_in_another_one(
    make_app: MakeApp, model: FakeModel
) -> None:
    gate.clear()
    flow = Workflow("cut", [Step("ask", instructions="Ask."), wait], version="1")
    stopping, other = make_app(workflows=[flow]), make_app(workflows=[flow])
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(
            lambda: stopping.test_client().post("/workflows/cut/runs", json=ALICE).get_json()
        )
        until(lambda: len(model.requests) == 1 and bool(steps_of(other)))
        services_of(stopping).stopping.cut()
        assert asked.result()["code"] == "server_stopping"
    assert figures(other.test_client()) == (1, 1, 0)
    gate.set()
    services_of(other).left_behind.look()
    until(lambda: not services_of(other).left_behind.busy)
    (run,) = other.test_client().get("/api/tenants/alice/workflow-runs").get_json()["runs"]
    assert (run["status"], run["output"]) == ("completed", "an answer")
    assert len(model.requests) == 1
    assert figures(other.test_client()) == (2, 1, 7)


def steps_of(app: Flask, user: str = "alice") -> list[Any]:
    """The steps of the tenant's only run, so far."""
    client = app.test_client()
    listed = client.get(f"/api/tenants/{user}/workflow-runs").get_json()["runs"]
    if not listed:
        return []
    path = f"/api/tenants/{user}/workflow-runs/{listed[0]['run_id']}"
    steps: list[Any] = client.get(path).get_json()["steps"]
    return steps


def test_a_run_is_not_taken_from_a_worker_that_lives(app: Flask) -> None:
    gate.clear()
    client = app.test_client()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(
            lambda: app.test_client().post("/workflows/waiting/runs", json=ALICE).get_json()
        )
        until(lambda: services_of(app).chat.load.running == 1)
        until(lambda: bool(client.get("/api/tenants/alice/workflow-runs").get_json()["runs"]))
        for _ in range(3):
            services_of(app).left_behind.look()
        until(lambda: not services_of(app).left_behind.busy)
        gate.set()
        assert asked.result()["output"] == ALICE["input"]
    (run,) = client.get("/api/tenants/alice/workflow-runs").get_json()["runs"]
    assert run["status"] == "completed"


def test_a_changed_definition_is_refused_with_a_sentence(
    make_app: MakeApp, app: Flask, client: FlaskClient
) -> None:
    run_id = left_behind(app, Workflow("support", [count]))
    services_of(app).left_behind.look()
    path = f"/api/tenants/alice/workflow-runs/{run_id}"
    until(lambda: client.get(path).get_json()["status"] != "running")
    run = client.get(path).get_json()
    assert (run["status"], run["code"]) == ("failed", "workflow_changed")
    assert "was changed since" in run["error"]


def test_who_asks_again_with_the_key_of_a_killed_worker_gets_its_run(
    app: Flask, client: FlaskClient
) -> None:
    turn = ChatTurn(
        "alice", json.dumps(["support", "x"]), "", 0, route="workflow", idempotency_key="key-1"
    )
    mark = fingerprint(turn)
    assert mark is not None
    run_id = left_behind(app, support(), key=(mark.key, mark.body))
    answer = client.post(
        RUN, json={"user_id": "alice", "input": "x"}, headers={"Idempotency-Key": "key-1"}
    )
    assert (answer.status_code, answer.get_json()["run_id"]) == (200, run_id)


def test_a_client_that_hangs_up_calls_its_run_off(app: Flask, client: FlaskClient) -> None:
    gate.clear()
    answer = client.post("/workflows/waiting/runs", json={**ALICE, "stream": True})
    answer.close()
    path = "/api/tenants/alice/workflow-runs"
    until(lambda: [r["status"] for r in client.get(path).get_json()["runs"]] == ["cancelled"])


def test_every_counter_agrees_with_its_rows_afterwards(app: Flask, client: FlaskClient) -> None:
    for number, (path, body) in enumerate(
        (
            (RUN, ALICE),
            ("/chat", {"user_id": "alice", "message": "hi"}),
            ("/workflows/waiting/runs", ALICE),
            ("/workflows/broken/runs", ALICE),
            (RUN, ALICE),
            (RUN, ALICE),
        )
    ):
        key = "same" if number > 3 else f"key-{number}"
        client.post(path, json=body, headers={"Idempotency-Key": key})
    services = services_of(app)
    services.chat.settle()
    roll_up(services.database)
    found = compare(services.database, services.clock.now_ms()).first
    assert found == []


def test_a_clear_and_a_forget_take_the_runs(client: FlaskClient) -> None:
    for act, gone in (("messages", 200), ("", 200)):
        client.post(RUN, json=ALICE)
        assert client.delete(f"/api/tenants/alice/{act}".rstrip("/")).status_code == gone
        assert client.get("/api/tenants/alice/workflow-runs").get_json()["runs"] == []
