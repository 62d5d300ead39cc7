"""Tests of whole turns through `Agent.run`: the behaviour cases AG-01 to AG-25."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial

import pytest

from tests.fakes import (
    FakeModel,
    GatedModel,
    calls,
    count_model,
    echo_model,
    played,
    said,
    taken,
    until,
)
from webapp.agent import Agent, Event, ModelAnswered, RunOutput, Toolkit, tool
from webapp.agent.toolkits import calculator
from webapp.errors import ConfigurationError, InvalidInput, LoopLimitExceeded, ModelError
from webapp.memory import InMemory
from webapp.messages import Message, Usage
from webapp.turns import LocalTurnQueue


def spoken(messages: list[Message]) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in messages]


def has_in_line(queue: LocalTurnQueue, number: int) -> bool:
    load = queue.load
    return load.running + load.waiting == number


def test_each_user_has_an_own_history() -> None:
    memory = InMemory(max_size=100)
    agent = Agent(name="assistant", model=count_model(), memory=memory)
    answers = [agent.run("hello", user_id=user).content for user in ("alice", "bob", "alice")]
    assert answers == [f"I see {n} messages in history" for n in (1, 1, 3)]
    assert (memory.size(user_id="alice"), memory.size(user_id="bob")) == (4, 2)
    memory.clear(user_id="alice")
    assert (memory.size(user_id="alice"), memory.size(user_id="bob")) == (0, 2)


def test_each_session_of_a_user_has_an_own_history() -> None:
    agent = Agent(name="assistant", model=count_model())
    agent.run("hello", user_id="alice")
    assert agent.run("hello", user_id="alice", session_id="other").content.startswith("I see 1 ")
    assert agent.memory.size(user_id="alice") == 2


@pytest.mark.parametrize("model", [None, "", " ", 7, FakeModel, object()])
def test_an_agent_without_a_model_is_refused_at_construction(model: object) -> None:
    with pytest.raises(ConfigurationError, match="needs a model"):
        Agent(name="assistant", model=model)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ConfigurationError, match="needs a model"):
        Agent(name="assistant")


def test_parts_that_do_not_fit_are_refused_at_construction() -> None:
    model = count_model()
    with pytest.raises(ConfigurationError, match="needs a name"):
        Agent(name=" ", model=model)
    with pytest.raises(ConfigurationError, match="max_loops"):
        Agent(name="assistant", model=model, max_loops=0)
    with pytest.raises(ConfigurationError, match="context_max_messages"):
        Agent(name="assistant", model=model, instructions="Be brief.", context_max_messages=1)
    with pytest.raises(ConfigurationError, match="Two tools have the name 'add'"):
        Agent(name="assistant", model=model, toolkits=[calculator(), calculator()])
    with pytest.raises(ConfigurationError, match="in a Toolkit"):
        Agent(name="assistant", model=model, toolkits=[print])  # type: ignore[list-item]


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "a\0b", "\ud800"])
def test_an_input_that_is_blank_or_no_text_is_refused_and_nothing_is_stored(text: str) -> None:
    agent = Agent(name="assistant", model=count_model())
    with pytest.raises(InvalidInput) as refusal:
        agent.run(text, user_id="alice")
    assert "message" in refusal.value.fields
    with pytest.raises(InvalidInput):
        agent.stream(text, user_id="alice")
    assert agent.memory.size(user_id="alice") == 0


@pytest.mark.parametrize("user_id", ["", " alice", "a/b", "..", "x" * 256, None, 5])
def test_a_bad_user_id_is_refused(user_id: str) -> None:
    agent = Agent(name="assistant", model=count_model())
    with pytest.raises(InvalidInput) as refusal:
        agent.run("hello", user_id=user_id)
    assert "user_id" in refusal.value.fields


def test_a_user_id_must_be_given() -> None:
    agent = Agent(name="assistant", model=count_model())
    with pytest.raises(TypeError, match="user_id"):
        agent.run("hello")  # type: ignore[call-arg]


def test_a_tool_call_and_its_result_are_part_of_the_turn() -> None:
    model = FakeModel.of(
        calls(("add", {"a": 5, "b": 3}), usage=Usage(10, 5)), said("The result is 8", 20, 6)
    )
    agent = Agent(name="assistant", model=model, toolkits=[calculator()])
    output = agent.run("What is 5 + 3?", user_id="alice")
    stored = agent.memory.get_messages(user_id="alice")
    assert [m.role for m in stored] == ["user", "assistant", "tool", "assistant"]
    assert stored[1].tool_calls[0].name == "add"
    assert (stored[2].content, stored[2].tool_call_id) == ("8", stored[1].tool_calls[0].id)
    assert tuple(stored) == output.messages
    assert output.content == "The result is 8"
    assert output.status == "completed"
    assert output.run_id.startswith("run-")
    assert output.usage == Usage(30, 11)
    assert output.model_calls == len(model.requests) == 2
    assert model.seen[1] == stored[:3]
    assert "add" in [spec.name for spec in model.requests[0].tools]


def test_the_output_has_the_messages_of_its_own_turn_only() -> None:
    agent = Agent(name="assistant", model=echo_model(), instructions="Be brief.")
    agent.run("one", user_id="alice")
    output = agent.run("two", user_id="alice")
    assert spoken(list(output.messages)) == [("user", "two"), ("assistant", "You said: two")]


def test_a_model_that_always_calls_tools_is_stopped_after_max_loops_calls() -> None:
    ran: list[int] = []

    def count(number: int) -> int:
        ran.append(number)
        return number

    model = FakeModel(otherwise=calls(("count", {"number": 1})))
    agent = Agent(name="assistant", model=model, toolkits=[Toolkit("own", [count])], max_loops=3)
    with pytest.raises(LoopLimitExceeded):
        agent.run("count for ever", user_id="alice")
    assert len(model.requests) == 3
    assert len(ran) == 2
    assert agent.memory.size(user_id="alice") == 0


def test_a_plain_answer_needs_one_loop() -> None:
    agent = Agent(name="assistant", model=FakeModel.of("hello"), max_loops=1)
    assert agent.run("hi", user_id="alice").content == "hello"


def test_a_run_that_is_cancelled_before_it_begins_asks_no_model() -> None:
    cancel = threading.Event()
    cancel.set()
    model = FakeModel.of()
    agent = Agent(name="assistant", model=model)
    output = agent.run("hi", user_id="alice", cancel=cancel)
    assert (output.status, output.content, model.requests) == ("cancelled", "", [])
    assert agent.memory.size(user_id="alice") == 0


def test_a_run_that_is_cancelled_while_the_model_thinks_is_not_stored() -> None:
    cancel = threading.Event()
    model = GatedModel()
    agent = Agent(name="assistant", model=model)
    outputs: list[RunOutput] = []
    thread = threading.Thread(
        target=lambda: outputs.append(agent.run("hi", user_id="alice", cancel=cancel))
    )
    thread.start()
    assert model.entered.acquire(timeout=5)
    cancel.set()
    model.gate.set()
    thread.join(5)
    assert outputs[0].status == "cancelled"
    assert agent.memory.size(user_id="alice") == 0


def test_a_run_that_is_cancelled_by_a_tool_ends_before_the_next_call() -> None:
    cancel = threading.Event()

    @tool
    def stop() -> str:
        """Stop everything."""
        cancel.set()
        return "stopped"

    model = FakeModel.of(calls(("stop", {}), content="Let me see."))
    agent = Agent(name="assistant", model=model, toolkits=[Toolkit("own", [stop])])
    output = agent.run("hi", user_id="alice", cancel=cancel)
    assert (output.status, output.content) == ("cancelled", "Let me see.")
    assert agent.memory.size(user_id="alice") == 0


def test_a_model_failure_after_a_cancellation_is_a_cancellation() -> None:
    cancel = threading.Event()

    def broken_off(request: object) -> str:
        cancel.set()
        raise ModelError("The connection was closed.")

    agent = Agent(name="assistant", model=FakeModel.of(broken_off))
    assert agent.run("hi", user_id="alice", cancel=cancel).status == "cancelled"


def test_a_run_that_is_cancelled_while_it_waits_for_its_place_ends() -> None:
    cancel = threading.Event()
    agent = Agent(name="assistant", model=FakeModel.of())
    with taken(agent.turns, "alice"):
        threading.Timer(0.02, cancel.set).start()
        output = agent.run("hi", user_id="alice", cancel=cancel)
    assert output.status == "cancelled"


def test_the_instructions_are_in_front_and_are_not_stored() -> None:
    model = count_model()
    agent = Agent(name="assistant", model=model, instructions="Be brief.")
    agent.run("hello", user_id="alice")
    assert [m.role for m in model.seen[0]] == ["system", "user"]
    assert [m.role for m in agent.memory.get_messages(user_id="alice")] == ["user", "assistant"]


def test_changed_instructions_hold_from_the_next_turn_of_every_user() -> None:
    model = count_model()
    agent = Agent(name="assistant", model=model, instructions="Be brief.")
    for user in ("alice", "bob"):
        agent.run("hello", user_id=user)
    changed = replace(agent, instructions="Be kind.")
    for user in ("alice", "bob"):
        changed.run("hello", user_id=user)
    assert [seen[0].content for seen in model.seen] == ["Be brief."] * 2 + ["Be kind."] * 2
    assert [len(seen) for seen in model.seen] == [2, 2, 4, 4]
    assert changed.turns is agent.turns


def test_many_users_at_once_keep_their_own_messages() -> None:
    agent = Agent(name="assistant", model=echo_model(), memory=InMemory(max_size=1000))
    users = [f"user-{number}" for number in range(10)]
    threads = [
        threading.Thread(target=agent.run, args=(f"{user} says {n}",), kwargs={"user_id": user})
        for n in range(20)
        for user in users
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for user in users:
        stored = agent.memory.get_messages(user_id=user)
        assert len(stored) == 40
        assert all(f"{user} says" in message.content for message in stored)


def test_concurrent_runs_of_one_user_alternate_in_order_of_arrival() -> None:
    model = GatedModel()
    queue = LocalTurnQueue()
    agent = Agent(name="assistant", model=model, turns=queue)
    threads = []
    for number in range(20):
        thread = threading.Thread(
            target=agent.run, args=(f"question {number}",), kwargs={"user_id": "alice"}
        )
        thread.start()
        threads.append(thread)
        until(partial(has_in_line, queue, number + 1))
    model.gate.set()
    for thread in threads:
        thread.join(20)
    stored = agent.memory.get_messages(user_id="alice")
    assert [m.role for m in stored] == ["user", "assistant"] * 20
    assert [m.content for m in stored[::2]] == [f"question {number}" for number in range(20)]


def test_one_user_that_waits_does_not_hold_up_another() -> None:
    agent = Agent(name="assistant", model=echo_model())
    with agent.turns.place("alice"):
        assert agent.run("hello", user_id="bob").content == "You said: hello"


def test_failed_turns_leave_no_copy_of_the_question() -> None:
    model = FakeModel.of(ModelError("away"), ModelError("away"), "here I am")
    agent = Agent(name="assistant", model=model)
    for _ in range(2):
        with pytest.raises(ModelError):
            agent.run("are you there?", user_id="alice")
    agent.run("are you there?", user_id="alice")
    assert spoken(agent.memory.get_messages(user_id="alice")) == [
        ("user", "are you there?"),
        ("assistant", "here I am"),
    ]
    assert len(model.seen[2]) == 1


@pytest.mark.parametrize("answer", ["", "  \n"])
def test_an_empty_answer_is_the_models_fault(answer: str) -> None:
    agent = Agent(name="assistant", model=FakeModel.of(answer))
    with pytest.raises(ModelError, match="empty answer"):
        agent.run("hi", user_id="alice")
    assert agent.memory.size(user_id="alice") == 0


def test_what_a_failed_turn_cost_is_reported_before_it_fails() -> None:
    model = FakeModel(otherwise=calls(("nothing", {}), usage=Usage(7, 2)))
    agent = Agent(name="assistant", model=model, max_loops=2)
    events: list[Event] = []
    with pytest.raises(LoopLimitExceeded):
        events.extend(played(agent, Message.user("hi"), []))
    spent = sum((e.usage for e in events if isinstance(e, ModelAnswered)), Usage())
    assert spent == Usage(14, 4)


def test_the_loop_stores_nothing() -> None:
    agent = Agent(name="assistant", model=echo_model())
    events = list(played(agent, Message.user("hi"), []))
    assert isinstance(events[-1], ModelAnswered)
    assert list(agent.memory.users()) == []


def test_faulty_calls_become_tool_messages_and_the_turn_goes_on() -> None:
    @tool
    def break_down() -> str:
        """Always fails."""
        raise RuntimeError("password=hunter2")

    wishes = [
        ("add", {"a": 1}),
        ("nowhere", {}),
        ("add", "{not json"),
        ("add", {"a": "x", "b": 2}),
        ("break_down", {}),
        ("add", {"a": 1, "b": 2}),
    ]
    model = FakeModel.of(calls(*wishes), "done")
    agent = Agent(
        name="assistant", model=model, toolkits=[calculator(), Toolkit("own", [break_down])]
    )
    output = agent.run("try", user_id="alice")
    results = [m.content for m in output.messages if m.role == "tool"]
    assert output.content == "done"
    assert len(results) == 6
    assert all(result.startswith("Error: ") for result in results[:5])
    assert results[5] == "3"
    assert "'b'" in results[0]
    assert "nowhere" in results[1]
    assert "JSON" in results[2]
    assert "'a'" in results[3]
    assert "hunter2" not in results[4]
    assert "Traceback" not in "".join(results)


def test_calls_with_missing_or_repeated_ids_get_ids_of_their_own() -> None:
    one = calls(("add", {"a": 1, "b": 1}))
    nameless = replace(one, tool_calls=(replace(one.tool_calls[0], id=""),) * 2)
    agent = Agent(
        name="assistant", model=FakeModel.of(one, one, nameless, "done"), toolkits=[calculator()]
    )
    messages = agent.run("add", user_id="alice").messages
    asked = [call.id for message in messages for call in message.tool_calls]
    assert asked[0] == "call-0"
    assert len(set(asked)) == len(asked) == 4
    assert [m.tool_call_id for m in messages if m.role == "tool"] == asked


def test_a_thousand_threads_may_share_one_agent() -> None:
    agent = Agent(name="assistant", model=echo_model())
    threads = [
        threading.Thread(target=agent.run, args=("hi",), kwargs={"user_id": f"user-{n}"})
        for n in range(1000)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert all(agent.memory.size(user_id=f"user-{n}") == 2 for n in range(1000))
