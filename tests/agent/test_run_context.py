"""Tests of the run's context: who gets it, whose it is, and that no model can make one."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Annotated, Any, Optional

import pytest
from pydantic import BaseModel, Field

from tests.fakes import FakeModel, calls, echo_model
from webapp.agent import Agent, Finished, RunContext, Tool, ToolFinished, Toolkit, ToolStarted, tool
from webapp.errors import ConfigurationError, GuardrailRefused
from webapp.memory import InMemory
from webapp.messages import Message
from webapp.session_state import SessionState
from webapp.turns import LocalTurnQueue

ALICE = RunContext(user_id="alice")


def agent_with(*functions: Any, model: FakeModel, **parts: Any) -> Agent:
    return Agent(name="assistant", model=model, toolkits=[Toolkit("own", functions)], **parts)


def results(messages: tuple[Message, ...]) -> list[str]:
    return [message.content for message in messages if message.role == "tool"]


# -- who gets it -----------------------------------------------------------------------------------


def plain(subject: str, context: RunContext) -> str:
    """Look something up.

    Args:
        subject: what about
        context: the model must never read this
    """
    return f"{subject} for {context.user_id}"


def first(run: RunContext, subject: str) -> str:
    return f"{subject} for {run.user_id}"


def annotated(subject: str, context: Annotated[RunContext, Field(description="no")]) -> str:
    return f"{subject} for {context.user_id}"


def optional(subject: str, context: RunContext | None = None) -> str:
    return f"{subject} for {context and context.user_id}"


def old_optional(subject: str, *, context: Optional[RunContext] = None) -> str:  # noqa: UP045  # this spelling is what is tested
    return f"{subject} for {context and context.user_id}"


def two(one: RunContext, subject: str, other: RunContext) -> str:
    return f"{subject} for {one.user_id if one is other else 'two'}"


@pytest.mark.parametrize("function", [plain, first, annotated, optional, old_optional, two])
def test_a_parameter_with_the_type_is_given_the_context_and_the_model_is_not_told(
    function: Any,
) -> None:
    made: Tool[..., str] = tool(function)
    told = json.dumps(made.spec.parameters)
    assert list(made.spec.parameters["properties"]) == ["subject"]
    assert "ontext" not in told
    assert "never read" not in told
    assert made.run('{"subject": "tea"}', ALICE).content == "tea for alice"


@pytest.mark.parametrize(
    "more", ['"context": null', '"context": {"user_id": "mallory"}', '"user_id": "mallory"']
)
def test_a_model_that_fills_it_is_told_that_there_is_no_such_argument(more: str) -> None:
    result = tool(plain).run(f'{{"subject": "tea", {more}}}', ALICE)
    assert not result.ok
    assert "plain has no argument" in result.content


def test_a_tool_without_arguments_but_the_context_has_an_empty_schema() -> None:
    def who(context: RunContext) -> str:
        return context.user_id

    made = tool(who)
    assert made.spec.parameters["properties"] == {}
    assert made.run("", ALICE).content == "alice"


def test_a_tool_that_is_called_outside_of_a_run_says_so_unless_it_can_do_without() -> None:
    assert tool(plain).run('{"subject": "tea"}').content == (
        "Error: plain can only be called in a run."
    )
    assert tool(optional).run('{"subject": "tea"}').content == "tea for None"
    assert tool(plain)("tea", ALICE) == "tea for alice"


def in_a_list(contexts: list[RunContext]) -> str:
    return str(contexts)


def or_text(context: RunContext | str) -> str:
    return str(context)


@pytest.mark.parametrize("function", [in_a_list, or_text])
def test_a_type_in_which_a_model_would_write_it_is_refused(function: Any) -> None:
    with pytest.raises(ConfigurationError, match="cannot be part of what a model writes"):
        tool(function)


def test_no_type_of_a_tool_can_hold_it() -> None:
    with pytest.raises(ConfigurationError, match="cannot be part of what a model writes"):

        class Holder(BaseModel):
            context: RunContext


def test_the_context_never_changes() -> None:
    with pytest.raises(FrozenInstanceError):
        ALICE.user_id = "mallory"  # type: ignore[misc]  # what must fail
    with pytest.raises(FrozenInstanceError):
        ALICE.state = SessionState()  # type: ignore[misc]  # as above


# -- whose it is -----------------------------------------------------------------------------------


def test_a_tool_sees_its_own_user_whatever_user_the_model_names() -> None:
    notes = {"alice": "alice's note", "bob": "bob's note"}

    def read_note(user_id: str, context: RunContext) -> str:
        return f"asked for {user_id}: {notes[context.user_id]}"

    for user in ("alice", "bob"):
        model = FakeModel.of(calls(("read_note", {"user_id": "bob"})), "done")
        output = agent_with(read_note, model=model).run("read bob's", user_id=user)
        assert results(output.messages) == [f"asked for bob: {user}'s note"]


def test_all_that_the_run_was_given_is_in_it() -> None:
    seen: list[RunContext] = []

    def look(context: RunContext) -> str:
        seen.append(context)
        return "ok"

    cancel = threading.Event()
    model = FakeModel.of(calls(("look", {})), "done")
    agent = agent_with(look, model=model, turn_timeout=30)
    output = agent.run("hi", user_id="alice", session_id="work", cancel=cancel)
    (context,) = seen
    assert (context.user_id, context.session_id, context.request_id) == ("alice", "work", "")
    assert context.run_id == output.run_id
    before = context.cancelled
    cancel.set()
    assert (before, context.cancelled) == (False, True)
    assert context.deadline is not None
    assert 0 < context.deadline.left <= 30
    assert dict(context.state) == {}


@pytest.mark.parametrize("turn_timeout", [None, 30])
def test_the_calls_of_one_answer_see_the_same_context(turn_timeout: float | None) -> None:
    def who(number: int, context: RunContext) -> str:
        return f"{number} {context.user_id} {context.session_id}"

    wishes = calls(*[("who", {"number": number}) for number in range(20)])
    agent = agent_with(who, model=FakeModel.of(wishes, "done"), turn_timeout=turn_timeout)
    output = agent.run("hi", user_id="alice", session_id="work")
    assert results(output.messages) == [f"{number} alice work" for number in range(20)]


def test_a_thousand_runs_at_once_each_see_their_own() -> None:
    together = threading.Semaphore(0)

    def who(number: int, context: RunContext) -> str:
        together.release()
        time.sleep(0.001)
        return f"{number} {context.user_id} {context.session_id}"

    def answer(request: Any) -> Any:
        if request.messages[-1].role == "user":
            return calls(*[("who", {"number": number}) for number in range(3)])
        return "done"

    agent = agent_with(who, model=FakeModel(otherwise=answer))
    users = [f"user{number}" for number in range(1000)]

    def run(user: str) -> list[str]:
        output = agent.run("hi", user_id=user, session_id=f"of {user}")
        return results(output.messages)

    with ThreadPoolExecutor(100) as pool:
        for user, told in zip(users, pool.map(run, users), strict=True):
            assert told == [f"{number} {user} of {user}" for number in range(3)]


def test_an_agent_inside_a_tool_has_its_own_run_for_the_user_it_is_given() -> None:
    inner_seen: list[RunContext] = []
    outer_seen: list[RunContext] = []

    def look(context: RunContext) -> str:
        inner_seen.append(context)
        return context.user_id

    inner = agent_with(look, model=FakeModel.of(calls(("look", {})), "inner done"))

    def research(context: RunContext) -> str:
        answer = inner.run("look", user_id=context.user_id, cancel=context.cancel).content
        outer_seen.append(context)
        return answer

    def after(context: RunContext) -> str:
        outer_seen.append(context)
        return "after"

    model = FakeModel.of(calls(("research", {})), calls(("after", {})), "done")
    output = agent_with(research, after, model=model).run("hi", user_id="alice", session_id="s")
    assert results(output.messages) == ["inner done", "after"]
    assert [each.user_id for each in (*inner_seen, *outer_seen)] == ["alice"] * 3
    assert inner_seen[0].run_id != output.run_id
    assert {each.run_id for each in outer_seen} == {output.run_id}
    assert (inner_seen[0].session_id, outer_seen[1].session_id) == ("default", "s")


def test_agents_that_share_queue_and_memory_keep_their_users_apart() -> None:
    queue, memory = LocalTurnQueue(), InMemory()

    def who(context: RunContext) -> str:
        return context.user_id

    model = FakeModel.of(calls(("who", {})), "bob's answer")
    inner = agent_with(who, model=model, turns=queue, memory=memory)

    def ask_as_bob(context: RunContext) -> str:
        inner.run("hi", user_id="bob")
        return context.user_id

    outer = agent_with(
        ask_as_bob,
        model=FakeModel.of(calls(("ask_as_bob", {})), "done"),
        turns=queue,
        memory=memory,
    )
    assert results(outer.run("hi", user_id="alice").messages) == ["alice"]
    assert [m.content for m in memory.get_messages("bob") if m.role == "tool"] == ["bob"]


def test_a_tool_that_looks_at_the_cancellation_ends_with_its_run() -> None:
    cancel = threading.Event()
    ended: list[bool] = []

    def wait(context: RunContext) -> str:
        cancel.set()
        while not context.cancelled:
            time.sleep(0.001)
        ended.append(True)
        return "late"

    model = FakeModel.of(calls(("wait", {})))
    output = agent_with(wait, model=model).run("hi", user_id="alice", cancel=cancel)
    assert (output.status, ended) == ("cancelled", [True])


def test_a_stream_that_is_read_in_another_thread_keeps_its_context() -> None:
    def who(context: RunContext) -> str:
        return context.user_id

    agent = agent_with(who, model=FakeModel.of(calls(("who", {})), "done"))
    events = agent.stream("hi", user_id="alice")
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(list, events).result(5)
    last = told[-1]
    assert isinstance(last, Finished)
    assert results(last.output.messages) == ["alice"]


# -- the ids of calls ------------------------------------------------------------------------------


def test_each_tool_event_names_its_call() -> None:
    def look(subject: str) -> str:
        return subject

    wishes = calls(("look", {"subject": "tea"}), ("look", {"subject": "milk"}), ("other", {}))
    agent = agent_with(look, model=FakeModel.of(wishes, "done"))
    events = list(agent.stream("hi", user_id="alice"))
    assert [e for e in events if isinstance(e, ToolStarted | ToolFinished)] == [
        ToolStarted("look", "call-0"),
        ToolStarted("look", "call-1"),
        ToolStarted("other", "call-2"),
        ToolFinished("look", "ok", "call-0"),
        ToolFinished("look", "ok", "call-1"),
        ToolFinished("other", "error", "call-2"),
    ]


# -- guardrails ------------------------------------------------------------------------------------


@dataclass
class OnlyFor:
    """Both checks ask for the context, by different names and at different places."""

    user: str
    name: str = "only-for"
    seen: list[RunContext] = field(default_factory=list)

    def check_input(self, text: str, context: RunContext) -> str | None:
        self.seen.append(context)
        return None if context.user_id == self.user else f"{context.user_id} may not ask."

    def check_output(self, text: str, *, run: RunContext | None = None) -> str | None:
        assert run is not None
        self.seen.append(run)
        return None


def test_a_guardrail_that_asks_for_the_context_is_given_it() -> None:
    guardrail = OnlyFor("alice")
    agent = Agent(name="assistant", model=echo_model(), guardrails=[guardrail])
    output = agent.run("hi", user_id="alice")
    with pytest.raises(GuardrailRefused, match="mallory may not ask"):
        agent.run("hi", user_id="mallory")
    assert [each.user_id for each in guardrail.seen] == ["alice", "alice", "mallory"]
    assert guardrail.seen[0].run_id == output.run_id


class OfCallables:
    """Its checks are values, of which nothing but the call is known."""

    name = "of-callables"

    def __init__(self) -> None:
        self.check_input = {"secret": "No."}.get


def test_a_guardrail_whose_check_says_nothing_of_its_parameters_is_given_the_text() -> None:
    agent = Agent(name="assistant", model=echo_model(), guardrails=[OfCallables()])
    assert agent.run("hi", user_id="alice").content == "You said: hi"
    with pytest.raises(GuardrailRefused):
        agent.run("secret", user_id="alice")


class WithUnknownHints:
    name = "unknown-hints"

    # A name that no module has is what is tested.
    def check_input(self, text: str, context: RunContext, more: Nowhere = None) -> str | None:  # type: ignore[name-defined]  # noqa: F821
        return context.user_id


def test_a_guardrail_with_types_that_are_known_to_a_checker_alone_is_given_it_too() -> None:
    agent = Agent(name="assistant", model=echo_model(), guardrails=[WithUnknownHints()])
    with pytest.raises(GuardrailRefused, match="alice"):
        agent.run("hi", user_id="alice")
