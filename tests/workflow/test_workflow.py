"""How the parts of a workflow run, in memory: order, state, branches, failures, cancellation."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import BaseModel

from tests.fakes import FakeModel, calls, echo_model, said, until
from webapp.agent import Agent, RunContext, Toolkit
from webapp.agent.executor import MAX_LEFT_RUNNING
from webapp.errors import (
    ConfigurationError,
    InvalidInput,
    ModelError,
    NotFound,
    RunUnderWay,
    StepFailed,
    TurnUnderWay,
)
from webapp.session_state import SessionState
from webapp.workflow import (
    Condition,
    ExecutionContext,
    Loop,
    Parallel,
    Router,
    Step,
    StepFinished,
    StepStarted,
    StepText,
    Workflow,
    WorkflowFinished,
    WorkflowStarted,
)
from webapp.workflow.running import Running

USER: dict[str, Any] = {"user_id": "user-456", "session_id": "session-123"}


def puts(**values: Any) -> Callable[[ExecutionContext], None]:
    def put(context: ExecutionContext) -> None:
        context.session_state.update(values)

    return put


def gives(value: Any) -> Callable[[ExecutionContext], Any]:
    return lambda context: value


def counted(context: ExecutionContext) -> int:
    count: int = context.session_state.change("count", lambda number: number + 1, 0)
    return count


def test_a_context_carries_its_ids_and_an_empty_state() -> None:
    context = ExecutionContext("input", "session-123", "user-456")
    assert (context.input, context.session_id, context.user_id) == (
        "input",
        "session-123",
        "user-456",
    )
    state = context.session_state
    assert state.copy() == {}
    state.set("n", 1)
    state.set("list", [1])
    state["list"].append(2)
    assert state.get("list") == [1]
    assert type(state.get("n")) is int
    state.delete("n")
    assert state.get("n") is None
    state.clear()
    assert len(state) == 0
    with pytest.raises(InvalidInput):
        ExecutionContext("input", "session-123")


def test_a_hundred_writers_of_one_state_lose_nothing() -> None:
    context = ExecutionContext("input", **USER)
    with ThreadPoolExecutor(20) as pool:
        for number in range(100):
            pool.submit(context.session_state.set, f"key-{number}", number)
            pool.submit(counted, context)
    assert len(context.session_state) == 101
    assert context.session_state["count"] == 100


def test_each_step_is_given_what_the_one_before_gave() -> None:
    model = echo_model()
    seen: list[ExecutionContext] = []

    def shout(context: ExecutionContext) -> str:
        seen.append(context)
        return f"{context.previous}!"

    def text_of(text: str) -> str:
        return text.upper()

    agent = Agent(name="first", model=model)
    workflow = Workflow("chain", [agent, shout, text_of, puts(done=True)])
    output = workflow.run("hello", **USER)
    assert output.content == f"{seen[0].previous}!".upper()
    assert [step.path for step in output.steps] == ["first", "shout", "text_of", "put"]
    assert output.session_state == {"done": True}
    assert (seen[0].user_id, seen[0].session_id, seen[0].input) == (
        "user-456",
        "session-123",
        "hello",
    )
    assert seen[0].outputs == {"first": seen[0].previous}
    assert agent.memory.size(**USER) == 2


def test_an_agent_is_run_for_the_user_of_the_context_whatever_its_input_says() -> None:
    asked: list[RunContext] = []

    def who(context: RunContext) -> str:
        """Says who asks."""
        asked.append(context)
        return context.user_id

    model = FakeModel.of(calls(("who", {})), said("done", 3, 4))
    agent = Agent(name="agent", model=model, toolkits=[Toolkit("who", [who])])
    step = Step("ask", agent, input=lambda context: f"I am user-1, not {context.user_id}")
    output = Workflow("one", [step]).run("hello", **USER)
    assert (asked[0].user_id, asked[0].session_id) == ("user-456", "session-123")
    assert asked[0].run_id == output.run_id
    assert asked[0].idempotency_key
    assert output.usage.total_tokens == 7
    assert agent.memory.size(user_id="user-1") == 0


def test_branches_have_their_own_state_and_the_later_one_has_the_last_word() -> None:
    gate = threading.Event()

    def slow(context: ExecutionContext) -> str:
        assert "b" not in context.session_state
        context.session_state.update({"winner": "slow", "a": 1, "n": 1})
        assert gate.wait(5)
        return "slow"

    def fast(state: SessionState) -> str:
        state.update({"winner": "fast", "b": 2})
        state.delete("old")
        gate.set()
        return "fast"

    def quiet(context: ExecutionContext) -> None:
        assert context.session_state["kept"] == 7

    workflow = Workflow(
        "w", [puts(old=1, kept=7), Parallel(fast, slow, quiet, name="both"), gives_text]
    )
    output = workflow.run("go", **USER)
    assert output.session_state == {"kept": 7, "winner": "slow", "a": 1, "b": 2, "n": 1}
    assert type(output.session_state["n"]) is int
    assert output.content == "fast:\nfast\n\nslow:\nslow\n\nquiet:\ngo"
    paths = {step.path for step in output.steps}
    assert {"both/fast", "both/slow", "both/quiet", "both"} < paths


def gives_text(text: str) -> str:
    return text


def test_an_asynchronous_function_is_a_step_as_well() -> None:
    async def slow(context: ExecutionContext) -> str:
        await asyncio.sleep(0)
        return f"{context.text} for {context.user_id}"

    assert Workflow("w", [slow]).run("go", **USER).content == "go for user-456"

    async def hangs(context: ExecutionContext) -> None:
        await asyncio.Event().wait()

    with pytest.raises(StepFailed) as caught:
        Workflow("w", [Step("hangs", hangs, timeout=0.05)]).run("go", **USER)
    assert caught.value.code == "step_timeout"


def test_code_without_a_source_is_told_apart_by_what_it_does() -> None:
    def flow(word: str) -> str:
        names: dict[str, Any] = {}
        exec(f"def say(context):\n    return [w for w in ('{word}', 'x')]", names)  # noqa: S102 - code without a file
        return Workflow("w", [names["say"]]).digest

    assert flow("one") == flow("one")
    assert flow("one") != flow("two")


class Wish(BaseModel):
    """What a customer wants."""

    kind: str


def test_an_answer_of_a_wanted_form_is_a_value_for_the_next_step() -> None:
    model = FakeModel.of('{"kind": "refund"}')
    triage = Agent(name="triage", model=model, output_type=Wish)
    way = Router("way", lambda context: context.previous["kind"], [Step("refund", gives("money"))])
    output = Workflow("w", [triage, way]).run("go", **USER)
    assert (output.content, output.steps[0].output) == ("money", {"kind": "refund"})


def test_a_program_with_an_event_loop_awaits_a_run_and_can_call_it_off() -> None:
    began = threading.Event()

    def waits(context: ExecutionContext) -> None:
        began.set()
        while not context.cancelled:
            time.sleep(0.001)

    quick, slow = Workflow("quick", [counted]), Workflow("slow", [waits, counted])

    async def program() -> None:
        runs = [quick.arun("go", user_id=f"user-{number}") for number in range(20)]
        assert [output.content for output in await asyncio.gather(*runs)] == [1] * 20
        task = asyncio.create_task(slow.arun("go", **USER))
        await asyncio.to_thread(began.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(program())
    until(lambda: [run.status for run in slow.runs(**USER)] == ["cancelled"])


def test_agents_of_two_branches_think_at_the_same_time() -> None:
    together = threading.Barrier(2, timeout=5)

    def answer(_request: object) -> str:
        together.wait()
        return "done"

    agents = [Agent(name=name, model=FakeModel(otherwise=answer)) for name in "ab"]
    base = Agent(name="base", model=FakeModel(otherwise=answer))
    output = Workflow("two", [Parallel(*agents)]).run("go", **USER)
    assert output.content == {"a": "done", "b": "done"}
    same = Parallel("team", [Step("x", instructions="X."), Step("y", instructions="Y.")])
    output = Workflow("same", [same], agent=base).run("go", **USER)
    assert output.content == {"x": "done", "y": "done"}
    assert base.memory.size(**USER) == 0


def test_a_condition_decides_once_and_keeps_state_and_ids() -> None:
    seen: list[str] = []

    def note(context: ExecutionContext) -> str:
        seen.append(f"{context.user_id} {context.session_id} {context.session_state['x']}")
        return "noted"

    def small(context: ExecutionContext) -> bool:
        return bool(context.session_state["x"] < 5)

    condition = Condition("small", small, [note], [gives_text])
    assert Workflow("w", [puts(x=1), condition]).run("go", **USER).content == "noted"
    assert Workflow("w", [puts(x=9), condition]).run("go", **USER).content == "go"
    assert seen == ["user-456 session-123 1"]
    output = Workflow("w", [Condition("never", gives(False), note)]).run("go", **USER)
    assert output.content == "go"
    assert [(step.kind, step.output) for step in output.steps] == [("condition", False)]


def test_a_loop_ends_when_it_is_enough_and_at_its_bound() -> None:
    def enough(context: ExecutionContext) -> bool:
        return bool(context.session_state["count"] >= 3)

    loop = Loop("loop", counted, end_condition=enough, max_iterations=10)
    output = Workflow("w", [loop]).run("go", **USER)
    assert (output.content, output.session_state) == (3, {"count": 3})
    assert [step.path for step in output.steps][:2] == ["loop[1]/counted", "loop[1]"]
    assert Workflow("w", [Loop("loop", [counted], max_iterations=4)]).run("go", **USER).content == 4


def test_a_router_runs_what_its_selector_names() -> None:
    def choices() -> list[Step]:
        return [Step("a", gives("A")), Step("b", gives("B")), Step("c", counted)]

    router = Router("route", lambda context: context.input, choices())
    workflow = Workflow("w", [router])
    assert workflow.run("b", **USER).content == "B"
    several = Router("route", gives(["a", "c"]), choices())
    output = Workflow("w", [several]).run("go", **USER)
    assert [step.path for step in output.steps] == ["route", "route/a", "route/c"]
    with pytest.raises(StepFailed, match="has no such choice") as caught:
        workflow.run("z", **USER)
    assert caught.value.path == "route"


def test_a_workflow_in_a_workflow_has_the_same_run_user_and_state() -> None:
    seen: list[ExecutionContext] = []

    def look(context: ExecutionContext) -> str:
        seen.append(context)
        context.session_state.set("inner", context.session_state["outer"] + 1)
        return f"{context.input}, seen"

    inner = Workflow("inner", [look])
    outer = Workflow("outer", [puts(outer=1), Step("deep", inner), gives_text])
    output = outer.run("go", **USER)
    assert output.content == "go, seen"
    assert output.session_state == {"outer": 1, "inner": 2}
    assert (seen[0].run_id, seen[0].user_id, seen[0].step) == (
        output.run_id,
        "user-456",
        "deep/look",
    )
    assert seen[0].outputs == {}


def test_the_state_of_a_session_stays_for_its_next_run_and_is_no_other_ones() -> None:
    workflow = Workflow("w", [counted])
    assert [workflow.run("go", **USER).content for _ in range(3)] == [1, 2, 3]
    assert workflow.run("go", user_id="bob", session_id="session-123").content == 1
    assert workflow.run("go", user_id="user-456").content == 1
    context = ExecutionContext("go", **USER)
    assert workflow.run(context).content == 1
    assert context.session_state.copy() == {"count": 1}


def test_fifty_runs_at_once_on_one_session_leave_fifty_records() -> None:
    workflow = Workflow("w", [counted])
    with ThreadPoolExecutor(50) as pool:
        outputs = list(pool.map(lambda _: workflow.run("go", **USER), range(50)))
    assert sorted(output.content for output in outputs) == list(range(1, 51))
    runs = workflow.runs(**USER, limit=100)
    assert len(runs) == 50
    assert {run.run_id for run in runs} == {output.run_id for output in outputs}
    assert workflow.runs(user_id="bob", session_id="session-123") == []
    assert workflow.runs(user_id="user-456", session_id="other") == []
    with pytest.raises(NotFound):
        workflow.get_run(runs[0].run_id, user_id="bob")
    page = workflow.runs(**USER, limit=10, before=runs[9].run_id)
    assert [run.run_id for run in page] == [run.run_id for run in runs[10:20]]


def test_a_failed_step_says_which_it_was_and_why() -> None:
    def broken(context: ExecutionContext) -> None:
        raise RuntimeError("secret words")

    workflow = Workflow("w", [Parallel(broken, gives_text, name="both")])
    with pytest.raises(StepFailed) as caught:
        workflow.run("go", **USER)
    assert (caught.value.path, caught.value.status, caught.value.code) == (
        "both/broken",
        500,
        "step_failed",
    )
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "secret" not in str(caught.value)
    run = workflow.get_run(caught.value.run_id, user_id="user-456")
    assert (run.status, run.code) == ("failed", "step_failed")
    agent = Agent(name="agent", model=FakeModel.of(ModelError("The model's server failed.")))
    with pytest.raises(StepFailed, match="The model's server failed") as caught:
        Workflow("w", [agent]).run("go", **USER)
    assert (caught.value.status, caught.value.code) == (502, "model_error")
    with pytest.raises(StepFailed, match="JSON value"):
        Workflow("w", [Step("odd", gives({1, 2}))]).run("go", **USER)


def test_a_step_is_tried_again_and_a_failed_attempt_changes_nothing() -> None:
    attempts: list[ExecutionContext] = []

    def second_time(context: ExecutionContext) -> str:
        attempts.append(context)
        context.session_state.set(f"attempt {context.attempt}", True)
        if len(attempts) == 1:
            raise OSError
        return "done"

    output = Workflow("w", [Step("flaky", second_time, retries=2)]).run("go", **USER)
    assert output.session_state == {"attempt 2": True}
    assert [(s.status, s.attempt) for s in output.steps] == [("failed", 1), ("completed", 2)]
    assert attempts[0].idempotency_key == attempts[1].idempotency_key


def test_a_step_that_takes_too_long_has_failed() -> None:
    gate = threading.Event()
    late: list[Exception] = []

    def hangs(context: ExecutionContext) -> None:
        assert gate.wait(10)
        try:
            context.session_state.set("late", True)
        except InvalidInput as error:
            late.append(error)
        gate.clear()

    workflow = Workflow("w", [Step("hangs", hangs, timeout=0.05)])
    with pytest.raises(StepFailed) as caught:
        workflow.run("go", **USER)
    assert (caught.value.code, caught.value.status) == ("step_timeout", 504)
    gate.set()
    while gate.is_set():
        time.sleep(0.001)
    assert late


def test_a_run_that_is_called_off_says_so_and_runs_no_further_step() -> None:
    cancel = threading.Event()

    def calls_off(context: ExecutionContext) -> None:
        cancel.set()
        assert context.cancelled

    workflow = Workflow("w", [calls_off, Step("never", gives("never"))])
    output = workflow.run("go", cancel=cancel, **USER)
    assert (output.status, output.content) == ("cancelled", None)
    assert [step.path for step in output.steps] == ["calls_off"]
    assert workflow.get_run(output.run_id, user_id="user-456").status == "cancelled"
    assert workflow.run("go", cancel=cancel, **USER).status == "cancelled"
    # It can be taken up again, behind what is done.
    assert workflow.resume(output.run_id, user_id="user-456").content == "never"
    with pytest.raises(RunUnderWay):
        workflow.resume(output.run_id, user_id="user-456")
    with pytest.raises(NotFound):
        workflow.resume(output.run_id, user_id="bob")


def test_events_come_as_they_happen_and_closing_them_calls_the_run_off() -> None:
    agent = Agent(name="agent", model=FakeModel(otherwise="two words"))
    workflow = Workflow("w", [Parallel(agent, gives_text, name="both"), Step("end", gives("end"))])
    events = list(workflow.stream("go", **USER))
    assert isinstance(events[0], WorkflowStarted)
    assert isinstance(events[-1], WorkflowFinished)
    texts = [event.text for event in events if isinstance(event, StepText)]
    assert "".join(texts) == "two words"
    assert len(texts) == 2
    started = [event.path for event in events if isinstance(event, StepStarted)]
    finished = [event.result.path for event in events if isinstance(event, StepFinished)]
    assert sorted(started) == sorted(finished) == ["both", "both/agent", "both/gives_text", "end"]
    stream = workflow.stream("go", **USER)
    first = next(stream)
    assert isinstance(first, WorkflowStarted)
    next(stream)
    stream.close()
    assert workflow.get_run(first.run_id, user_id="user-456").status == "cancelled"
    assert workflow.run("go", **USER).content == "end"


def test_a_step_that_runs_its_own_workflow_for_its_session_is_told_so() -> None:
    def again(context: ExecutionContext) -> Any:
        return workflows[0].run("go", **USER).content

    workflows = [Workflow("w", [again])]
    with pytest.raises(StepFailed) as caught:
        workflows[0].run("go", **USER)
    assert isinstance(caught.value.__cause__, TurnUnderWay)


def test_a_workflow_is_resumed_by_its_own_definition_alone() -> None:
    fails = [True]

    def first(context: ExecutionContext) -> str:
        firsts.append(context.run_id)
        return "first"

    def fragile(context: ExecutionContext) -> str:
        if fails[0]:
            raise OSError
        return "done"

    firsts: list[str] = []
    store = Workflow("w", [first]).store
    workflow = Workflow("w", [first, fragile], store=store)
    with pytest.raises(StepFailed) as caught:
        workflow.run("go", **USER)
    run_id = caught.value.run_id
    for other in (
        Workflow("w", [first, Step("fragile", gives("done"))], store=store),
        Workflow("w", [first, fragile, gives_text], store=store),
        Workflow("w", [first, fragile], version="2", store=store),
        Workflow("w2", [first, fragile], store=store),
    ):
        with pytest.raises(Exception, match=r"was changed since|is one of the workflow"):
            other.resume(run_id, user_id="user-456")
    fails[0] = False
    assert Workflow("w", [first, fragile], store=store).resume(run_id, user_id="user-456").content
    assert len(firsts) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: Workflow("", [gives_text]),
        lambda: Workflow("a/b", [gives_text]),
        lambda: Workflow("..", [gives_text]),
        lambda: Workflow("w", []),
        lambda: Workflow("w", "text"),  # type: ignore[arg-type]  # the fault
        lambda: Workflow("w", [gives_text, gives_text]),
        lambda: Workflow("w", [Parallel(gives_text, name="gives_text")]),
        lambda: Workflow("w", [lambda context: None]),
        lambda: Workflow("w", [42]),  # type: ignore[list-item]  # the fault
        lambda: Workflow("w", [gives_text], agent="agent"),  # type: ignore[arg-type]  # the fault
        lambda: Step("s"),
        lambda: Step("s", gives_text, instructions="Both."),
        lambda: Step("s", gives_text, retries=-1),
        lambda: Step("s", gives_text, timeout=0),
        lambda: Step("s", gives_text, input=gives("x")),
        lambda: Step("s", instructions=" "),
        lambda: Step("s", lambda context: None, name="s"),  # type: ignore[misc]  # the fault
        lambda: Step(" s", gives_text),
        lambda: Step("s", lambda a, b: None),
        lambda: Parallel(name="p"),
        lambda: Loop("l", [gives_text], max_iterations=0),
        lambda: Condition("c", "no function", [gives_text]),  # type: ignore[arg-type]  # the fault
        lambda: Router("r", gives("x"), []),
    ],
)
def test_a_bad_definition_is_refused_when_it_is_made(make: Callable[[], object]) -> None:
    with pytest.raises((ConfigurationError, TypeError)):
        make()


def test_a_step_asks_for_what_it_needs_by_type() -> None:
    def typed(number: int) -> int:
        return number

    with pytest.raises(ConfigurationError, match="'number', which nothing fills"):
        Step("s", typed)

    def several(context: ExecutionContext, run: RunContext, *, state: SessionState) -> str:
        return f"{context.run_id == run.run_id} {len(state)}"

    assert Workflow("w", [several]).run("go", **USER).content == "True 0"
    with pytest.raises(InvalidInput, match="empty"):
        Workflow("w", [several]).run(" ", **USER)
    with pytest.raises(TypeError, match="user_id"):
        Workflow("w", [several]).run("go")


def test_a_function_that_hangs_too_often_is_not_called_until_calls_have_ended() -> None:
    began: list[int] = []
    gate = threading.Event()

    def hangs(context: ExecutionContext) -> str:
        began.append(context.attempt)
        assert gate.wait(20)
        return "done"

    step = Step("hangs", hangs, timeout=0.005, retries=MAX_LEFT_RUNNING + 5)
    with pytest.raises(StepFailed) as caught:
        Workflow("w", [step]).run("go", **USER)
    assert (caught.value.code, caught.value.status) == ("step_unavailable", 503)
    assert "32 calls of it hang" in str(caught.value)
    assert len(began) == MAX_LEFT_RUNNING
    gate.set()
    assert step.function is not None
    left = step.function.left_running
    until(lambda: left.number == 0)
    assert Workflow("w", [step]).run("go", **USER).content == "done"


def test_a_step_that_would_end_the_program_has_failed() -> None:
    def leaves(context: ExecutionContext) -> None:
        raise SystemExit(3)

    for step in (Step("leaves", leaves), Step("leaves", leaves, timeout=20)):
        workflow = Workflow("w", [step])
        with pytest.raises(StepFailed, match="SystemExit"):
            workflow.run("go", **USER)
        (run,) = workflow.runs(user_id=USER["user_id"])
        assert (run.status, run.code) == ("failed", "step_failed")


def test_a_run_that_fails_unexpectedly_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    workflow = Workflow("w", [Step("s", gives_text)])
    monkeypatch.delattr(Running, "_step")
    with pytest.raises(AttributeError):
        workflow.run("go", **USER)
    (run,) = workflow.runs(user_id=USER["user_id"])
    assert (run.status, run.code) == ("failed", "internal_error")
