"""Tests of a turn that asks for a turn of its own user, which would wait for itself for ever."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from tests.fakes import FakeModel, calls, count_model, echo_model
from webapp.agent import Agent, RunOutput, Toolkit
from webapp.agent.toolkits import calculator
from webapp.errors import TurnUnderWay
from webapp.memory import InMemory
from webapp.turns import LocalTurnQueue


def asking(inner: Callable[[], object], *, times: int = 1, turns: LocalTurnQueue) -> Agent:
    """An agent with a tool that does `inner`, called so many times in one answer."""

    def ask_again() -> str:
        inner()
        return "asked"

    wishes = calls(*[("ask_again", {})] * times)
    return Agent(
        name="outer",
        model=FakeModel.of(wishes, "done", "next"),
        toolkits=[Toolkit("own", [ask_again])],
        turns=turns,
    )


def results(output: RunOutput) -> list[str]:
    return [message.content for message in output.messages if message.role == "tool"]


@pytest.mark.parametrize("times", [1, 3])
def test_a_tool_that_runs_its_own_user_is_told_so(
    times: int, caplog: pytest.LogCaptureFixture
) -> None:
    queue = LocalTurnQueue()
    caught: list[TurnUnderWay] = []

    def again() -> None:
        try:
            agent.run("and this?", user_id="alice", session_id="another")
        except TurnUnderWay as error:
            caught.append(error)
            raise

    agent = asking(again, times=times, turns=queue)
    output = agent.run("ask", user_id="alice")
    assert (output.content, len(caught), queue.load.running) == ("done", times, 0)
    assert caught[0].code == "turn_under_way"
    assert all("asked for another turn of the same user" in each for each in results(output))
    assert "ask_again raised TurnUnderWay" in caplog.text
    assert agent.run("again", user_id="alice").content == "next"


def test_a_nested_agent_of_the_same_queue_is_told_so_and_one_of_its_own_runs() -> None:
    queue = LocalTurnQueue()
    shared = Agent(name="inner", model=echo_model(), turns=queue)
    outer = asking(lambda: shared.run("hi", user_id="alice"), turns=queue)
    assert "same user" in results(outer.run("ask", user_id="alice"))[0]
    own = Agent(name="inner", model=echo_model())
    outer = asking(lambda: own.run("hi", user_id="alice"), turns=queue)
    assert results(outer.run("ask", user_id="alice")) == ["asked"]
    assert own.memory.size(user_id="alice") == 2


def test_a_tool_may_run_another_user_who_may_not_run_the_first() -> None:
    queue = LocalTurnQueue()
    memory = InMemory()
    first: list[Agent] = []
    second = asking(lambda: first[0].run("hi", user_id="alice"), turns=queue)
    first.append(
        Agent(
            name="first",
            model=FakeModel.of(calls(("ask_bob", {})), "done"),
            memory=memory,
            toolkits=[Toolkit("own", [lambda_ask(second)])],
            turns=queue,
        )
    )
    output = first[0].run("ask", user_id="alice")
    assert results(output) == ["done"]
    assert memory.size(user_id="alice") == 4
    assert "same user" in second.memory.get_messages(user_id="bob")[2].content


def lambda_ask(agent: Agent) -> Callable[[], str]:
    def ask_bob() -> str:
        return agent.run("hi", user_id="bob").content

    return ask_bob


def test_whoever_reads_a_stream_cannot_run_its_user_meanwhile() -> None:
    agent = Agent(name="assistant", model=echo_model())
    events = agent.stream("one", user_id="alice")
    next(events)
    with pytest.raises(TurnUnderWay):
        agent.run("two", user_id="alice")
    assert agent.run("two", user_id="bob").content == "You said: two"
    list(events)
    assert agent.run("two", user_id="alice").content == "You said: two"


def test_a_stream_that_is_dropped_holds_nothing_up() -> None:
    agent = Agent(name="assistant", model=count_model())
    next(agent.stream("one", user_id="alice"))
    assert agent.run("two", user_id="alice").content == "I see 1 messages in history"


def test_a_failing_tool_is_logged_with_its_name_its_exception_and_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def look_up(name: str) -> str:
        """Look up a name."""
        return {"known": "yes"}[name]

    agent = Agent(
        name="assistant",
        model=FakeModel.of(calls(("look_up", {"name": "hunter2"})), "done"),
        toolkits=[calculator(), Toolkit("own", [look_up])],
    )
    with caplog.at_level(logging.WARNING):
        agent.run("look", user_id="alice")
    (record,) = caplog.records
    fields = vars(record)
    assert record.getMessage() == f"tool failed: look_up raised KeyError at {fields['place']}"
    assert fields["place"].startswith("test_reentry.py:")
    assert (fields["tool"], fields["error_type"]) == ("look_up", "KeyError")
    assert "hunter2" not in caplog.text
