"""Runs in a database: what is kept of them, who owns one, and what a clear leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.fakes import FakeModel, HandClock, said
from webapp.agent import Agent
from webapp.errors import NotFound, PlaceLost, RunInterrupted, RunUnderWay, StepFailed
from webapp.memory import SQLiteMemory
from webapp.memory.clearing.parts import clear
from webapp.memory.states import store as states
from webapp.memory.workflow_runs import store as runs
from webapp.storage import Database
from webapp.storage.narrowing import narrow
from webapp.tenants import store as tenants
from webapp.workflow import ExecutionContext, Parallel, Step, Workflow
from webapp.workflow.events import StepResult
from webapp.workflow.journal import NewRun, StepRecord
from webapp.workflow.stored import StoredWorkflows
from webapp.workflow.stored_journal import StoredJournal

ALICE: dict[str, Any] = {"user_id": "alice", "session_id": "s"}


@pytest.fixture
def store(database: Database) -> Iterator[StoredWorkflows]:
    opened = StoredWorkflows(database)
    yield opened
    opened.close()


def counted(context: ExecutionContext) -> int:
    count: int = context.session_state.change("count", lambda number: number + 1, 0)
    return count


def number_of(database: Database, user_id: str = "alice") -> int:
    with database.read() as connection:
        number = tenants.number_of(connection, user_id)
    assert number is not None
    return number


def state_of(database: Database, session_id: str = "s") -> str | None:
    tenant = number_of(database)
    with database.read() as connection:
        narrow(connection, tenant)
        return states.find(connection, tenant, session_id).text


def test_a_run_is_kept_with_its_steps_and_the_state(
    store: StoredWorkflows, database: Database
) -> None:
    agent = Agent(name="agent", model=FakeModel(otherwise=said("hi", 3, 4)))

    def place(name: str) -> Callable[[ExecutionContext], None]:
        return lambda context: context.session_state.set(name, len(name))

    both = Parallel("both", [Step("one", place("one")), Step("three", place("three"))])
    workflow = Workflow("w", [agent, both, counted], store=store)
    output = workflow.run("hello", **ALICE)
    kept = workflow.get_run(output.run_id, user_id="alice")
    assert (kept.status, kept.input, kept.content) == ("completed", "hello", 1)
    assert kept.usage.total_tokens == 7
    assert {step.path for step in kept.steps} == {step.path for step in output.steps}
    assert state_of(database) == '{"one":3,"three":5,"count":1}'
    assert workflow.run(["a", 1], **ALICE).session_state["count"] == 2
    assert [run.input for run in workflow.runs(user_id="alice")] == [["a", 1], "hello"]


def test_fifty_runs_at_once_on_one_session_leave_fifty_records(store: StoredWorkflows) -> None:
    workflow = Workflow("w", [counted], store=store)
    with ThreadPoolExecutor(50) as pool:
        outputs = list(pool.map(lambda _: workflow.run("go", **ALICE), range(50)))
    assert sorted(output.content for output in outputs) == list(range(1, 51))
    found = workflow.runs(**ALICE, limit=100)
    assert {run.run_id for run in found} == {output.run_id for output in outputs}
    page = workflow.runs(**ALICE, limit=10, before=found[9].run_id)
    assert [run.run_id for run in page] == [run.run_id for run in found[10:20]]


def test_two_users_with_the_same_session_see_nothing_of_each_other(
    store: StoredWorkflows,
) -> None:
    workflow = Workflow("w", [counted], store=store)
    first = workflow.run("go", **ALICE)
    assert workflow.run("go", user_id="bob", session_id="s").content == 1
    assert len(workflow.runs(user_id="bob", session_id="s")) == 1
    for act in (
        lambda: workflow.get_run(first.run_id, user_id="bob"),
        lambda: workflow.resume(first.run_id, user_id="bob"),
        lambda: workflow.get_run(first.run_id, user_id="nobody"),
    ):
        with pytest.raises(NotFound):
            act()
    assert workflow.runs(user_id="bob", before=first.run_id) == []


def test_the_newest_runs_of_a_user_are_kept(database: Database) -> None:
    store = StoredWorkflows(database, runs_per_user=3)
    workflow = Workflow("w", [counted], store=store)
    ids = [workflow.run("go", **ALICE).run_id for _ in range(6)]
    bobs = workflow.run("go", user_id="bob").run_id
    assert [run.run_id for run in workflow.runs(user_id="alice")] == ids[:2:-1]
    assert [run.run_id for run in workflow.runs(user_id="bob")] == [bobs]
    store.close()


def test_a_run_that_another_took_up_writes_nothing_any_more(database: Database) -> None:
    """As if this process had stood still for longer than its lease, and woke up."""
    began, go_on = threading.Event(), threading.Event()
    failures: list[Exception] = []

    def slow(context: ExecutionContext) -> str:
        if not began.is_set():
            began.set()
            assert go_on.wait(10)
            context.session_state.set("who", "the first")
            return "the first"
        context.session_state.set("who", "the second")
        return "the second"

    stores = [StoredWorkflows(database), StoredWorkflows(database)]
    first, second = (Workflow("w", [counted, slow], store=store) for store in stores)

    def run() -> None:
        try:
            first.run("go", **ALICE, run_id="run-1")
        except PlaceLost as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert began.wait(10)
    tenant = number_of(database)
    with database.read() as connection:
        row = runs.find(connection, tenant, "run-1")
    assert row is not None
    with (
        pytest.raises(RunUnderWay),
        stores[1].taken(tenant, row, "alice"),
    ):
        pass  # its owner lives
    stores[0]._lines.close()  # what its ticket is worth when the lease is over
    output = second.resume("run-1", user_id="alice")
    assert output.content == "the second"
    go_on.set()
    thread.join()
    assert len(failures) == 1
    assert second.get_run("run-1", user_id="alice").content == "the second"
    assert state_of(database) == '{"count":1,"who":"the second"}'
    for store in stores:
        store.close()


def test_a_clear_takes_the_runs_and_a_run_under_way_brings_nothing_back(
    store: StoredWorkflows, database: Database
) -> None:
    def clears(context: ExecutionContext) -> str:
        tenant = number_of(database)

        def work(connection: Any) -> None:
            narrow(connection, tenant)
            clear(connection, tenant)

        database.write(work)
        return "cleared"

    workflow = Workflow("w", [counted], store=store)
    for _ in range(3):
        workflow.run("go", **ALICE)
    with pytest.raises(PlaceLost):
        Workflow("c", [clears], store=store).run("go", **ALICE)
    assert workflow.runs(user_id="alice") == []


def test_an_agents_turn_that_is_stored_already_is_not_asked_for_again(
    store: StoredWorkflows, database: Database
) -> None:
    """The process ended between the agent's memory and the journal."""
    model = FakeModel.of("the answer", otherwise="another answer")
    agent = Agent(name="agent", model=model, memory=SQLiteMemory(database))
    fails = [True]

    workflow = Workflow("w", [agent, Step("end", lambda context: context.text)], store=store)
    add = StoredJournal.add

    def lost(journal: StoredJournal, record: Any) -> None:
        if fails[0]:
            raise PlaceLost("The process ends here.")
        add(journal, record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoredJournal, "add", lost)
        with pytest.raises(PlaceLost):
            workflow.run("go", **ALICE, run_id="run-1")
        fails[0] = False
        output = workflow.resume("run-1", user_id="alice")
    assert output.content == "the answer"
    assert len(model.requests) == 1
    assert agent.memory.size(**ALICE) == 2


def test_a_failed_run_goes_on_behind_its_last_finished_step(store: StoredWorkflows) -> None:
    fails = [True]

    def fragile(context: ExecutionContext) -> int:
        if fails[0]:
            raise OSError
        return context.attempt

    workflow = Workflow("w", [counted, fragile], store=store)
    with pytest.raises(StepFailed) as caught:
        workflow.run("go", **ALICE)
    fails[0] = False
    output = workflow.resume(caught.value.run_id, user_id="alice")
    assert (output.content, output.session_state) == (2, {"count": 1})
    steps = workflow.get_run(output.run_id, user_id="alice").steps
    assert [(step.path, step.status) for step in steps] == [
        ("counted", "completed"),
        ("fragile", "failed"),
        ("fragile", "completed"),
    ]
    with pytest.raises(RunUnderWay, match="complete"):
        workflow.resume(output.run_id, user_id="alice")


def test_runs_that_nobody_has_touched_for_long_are_dropped(
    database: Database, clock: HandClock
) -> None:
    store = StoredWorkflows(database, clock=clock)
    workflow = Workflow("w", [counted], store=store)
    workflow.run("go", **ALICE)
    clock.advance(60)
    with store.begin(_new("run-2")) as journal:
        assert journal is not None
    before = clock.now_ms() - 1000
    assert database.write(lambda connection: runs.drop_older(connection, before, 10)) == 1
    assert [run.run_id for run in workflow.runs(user_id="alice")] == ["run-2"]
    with database.read() as connection:
        (found,) = runs.interrupted(connection, 0, 10)
    assert (found.run_id, found.workflow) == ("run-2", "w")
    store.close()


def _new(run_id: str) -> Any:
    return NewRun(run_id, "alice", "s", "w", "digest", "go")


def interrupted(store: StoredWorkflows, run_id: str, record: StepRecord | None = None) -> bool:
    """Takes a run up as a process does that then ends, or goes on by one step before; tells whether
    the run was given up."""
    with store.take_up(run_id, "alice") as journal:
        assert journal is not None
        if record is not None:
            journal.add(record)
        return journal.given_up


def test_a_run_that_ends_its_processes_is_taken_up_five_times(
    store: StoredWorkflows, database: Database
) -> None:
    called: list[str] = []

    def one(context: ExecutionContext) -> str:
        called.append(context.step)
        return "one"

    workflow = Workflow("w", [one], store=store)
    with store.begin(NewRun("run-1", "alice", "s", "w", workflow.digest, "go")) as journal:
        assert journal is not None
    failed = StepRecord(StepResult("one", "one", "function", status="failed"))
    assert not any(interrupted(store, "run-1") for _ in range(3))
    # An attempt that has failed is no step forward, however often there is one.
    assert not interrupted(store, "run-1", failed)
    assert not interrupted(store, "run-1")
    with pytest.raises(RunInterrupted):
        workflow.resume("run-1", user_id="alice")
    run = workflow.get_run("run-1", user_id="alice")
    assert (run.status, run.code, called) == ("failed", "interrupted", [])
    with database.read() as connection:
        assert runs.interrupted(connection, 0, 10) == []
    # A person who resumes it begins anew.
    assert workflow.resume("run-1", user_id="alice").content == "one"


def test_each_finished_step_begins_the_count_anew(store: StoredWorkflows) -> None:
    with store.begin(NewRun("run-1", "alice", "s", "w", "digest", "go")):
        pass
    for number in range(3):
        assert not any(interrupted(store, "run-1") for _ in range(4))
        step = StepResult(f"step-{number}", "step", "function")
        assert not interrupted(store, "run-1", StepRecord(step))
    assert [interrupted(store, "run-1") for _ in range(6)] == [False] * 5 + [True]


def test_runs_that_nobody_goes_on_with_do_not_stay_for_ever(
    database: Database, clock: HandClock
) -> None:
    store = StoredWorkflows(database, runs_per_user=2, clock=clock)
    for number in range(4):
        with store.begin(NewRun(f"left-{number}", "alice", "s", "w", "digest", "go")):
            pass
    workflow = Workflow("w", [counted], store=store)
    workflow.run("go", **ALICE)
    assert len(workflow.runs(user_id="alice")) == 5
    clock.advance(8 * 24 * 3600)
    workflow.run("go", **ALICE)
    assert len(workflow.runs(user_id="alice")) == 2
    store.close()
