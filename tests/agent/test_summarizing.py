"""Tests of the running summary of what no longer fits into what a model is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from webapp.agent import Agent, ModelReply, ModelRequest, Replace, output_guardrail
from webapp.agent.model import TextDelta
from webapp.agent.summarizing import ASKED, TOLD
from webapp.errors import ConfigurationError, ModelError
from webapp.memory import InMemory, SQLiteMemory, SummarizedMemory, Summary
from webapp.memory.summary import MAX_CHARS
from webapp.messages import Message, Usage


@dataclass
class Noting:
    """A model that counts its summaries, and answers everything else with a number."""

    notes: Any = None
    name: str = "noting"
    requests: list[ModelRequest] = field(default_factory=list)
    asked: list[ModelRequest] = field(default_factory=list)

    def complete(self, request: ModelRequest) -> ModelReply:
        if request.messages[0].content == ASKED:
            self.asked.append(request)
            if self.notes is not None:
                return ModelReply(self.notes(request), usage=Usage(100, 10))
            return ModelReply(f"notes {len(self.asked)}", usage=Usage(100, 10))
        self.requests.append(request)
        return ModelReply(f"answer {len(self.requests)}", usage=Usage(1, 1))

    def stream(self, request: ModelRequest) -> Iterator[TextDelta | ModelReply]:
        reply = self.complete(request)
        yield TextDelta(reply.content)
        yield reply

    @property
    def sent(self) -> list[str]:
        return [message.content for message in self.requests[-1].messages]


@pytest.fixture(params=["in memory", "sqlite"])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SummarizedMemory]:
    if request.param == "in memory":
        yield InMemory()
        return
    stored = SQLiteMemory(tmp_path / "chats.db")
    yield stored
    stored.close()


def summing(model: Noting, memory: SummarizedMemory | None = None, **more: Any) -> Agent:
    given = {"context_max_messages": 9, "instructions": "Be kind.", **more}
    return Agent(
        name="assistant", model=model, memory=memory or InMemory(), summarize=True, **given
    )


def talk(agent: Agent, turns: int, user_id: str = "alice") -> None:
    for number in range(turns):
        agent.run(f"question {number}", user_id=user_id)


def test_what_is_left_out_is_told_in_a_summary_that_is_no_message(
    memory: SummarizedMemory,
) -> None:
    model = Noting()
    agent = summing(model, memory)
    talk(agent, 4)
    assert model.asked == []
    output = agent.run("question 4", user_id="alice")
    # Of the four turns before, one fits into half of the eight messages beside the question.
    assert len(model.asked) == 1
    told = model.asked[0].messages[1].content
    assert "question 2" in told
    assert "question 3" not in told
    assert model.sent == [f"Be kind.\n\n{TOLD}notes 1", "question 3", "answer 4", "question 4"]
    stored = memory.get_messages(user_id="alice")
    assert len(stored) == 10
    assert not any("notes" in message.content for message in stored)
    summary = memory.get_summary(user_id="alice")
    assert summary == output.summary
    assert summary is not None
    assert (summary.text, summary.through) == ("notes 1", stored[5].id)
    assert output.usage == Usage(101, 11)


def test_the_model_is_asked_once_for_a_stretch_and_goes_on_from_its_notes(
    memory: SummarizedMemory,
) -> None:
    model = Noting()
    talk(summing(model, memory), 8)
    assert len(model.asked) == 2
    second = model.asked[1].messages[1].content
    assert "Earlier notes:\nnotes 1" in second
    assert "question 2" not in second
    assert "question 3" in second
    assert model.sent[0].endswith("notes 2")


def test_a_budget_of_tokens_leaves_turns_to_the_summary_as_well() -> None:
    model = Noting()
    agent = summing(model, context_max_messages=100, context_max_tokens=400, instructions="")
    for number in range(12):
        agent.run(f"{number} {'word ' * 20}", user_id="alice")
    assert 1 <= len(model.asked) <= 6
    budget = agent._budget
    assert budget is not None
    for request in (*model.requests, *model.asked):
        assert budget.of(request.messages) <= 400
    assert model.sent[0].startswith(TOLD)


def fails(_request: ModelRequest) -> str:
    raise ModelError("The model's server failed.", server_failed=True)


def breaks(_request: ModelRequest) -> str:
    raise ZeroDivisionError


@pytest.mark.parametrize("notes", [fails, breaks, lambda _request: "  "])
def test_a_turn_goes_on_without_a_summary_that_fails(
    notes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    model = Noting(notes)
    agent = summing(model)
    talk(agent, 5)
    assert model.asked
    assert model.sent == [
        "Be kind.",
        *("question 1", "answer 2", "question 2", "answer 3", "question 3", "answer 4"),
        "question 4",
    ]
    assert "summary failed" in caplog.text
    assert agent.memory.size(user_id="alice") == 10


def test_a_summary_that_does_not_come_is_not_waited_for() -> None:
    never = threading.Event()

    def hang(_request: ModelRequest) -> str:
        never.wait()
        return ""

    model = Noting(hang)
    agent = summing(model, turn_timeout=600)
    talk(agent, 4)
    quick = replace(agent, turn_timeout=0.5)
    assert quick.run("question 4", user_id="alice").content == "answer 5"
    cancel = threading.Event()
    outputs: list[str] = []
    runner = threading.Thread(
        target=lambda: outputs.append(
            agent.run("question 5", user_id="alice", cancel=cancel).status
        )
    )
    runner.start()
    cancel.set()
    runner.join(20)
    assert outputs == ["cancelled"]
    never.set()


def test_a_clear_while_it_is_made_does_not_bring_it_back(memory: SummarizedMemory) -> None:
    def cleared(_request: ModelRequest) -> str:
        memory.clear("alice")
        return "what was cleared"

    model = Noting(cleared)
    talk(summing(model, memory), 5)
    assert model.asked
    assert memory.get_summary(user_id="alice") is None
    assert memory.size(user_id="alice") == 2


def test_a_clear_takes_it_and_users_and_sessions_have_their_own(memory: SummarizedMemory) -> None:
    agent = summing(Noting(), memory)
    talk(agent, 5)
    assert memory.get_summary(user_id="bob") is None
    assert memory.get_summary(user_id="alice", session_id="other") is None
    talk(agent, 5, "bob")
    memory.clear("alice")
    assert memory.get_summary(user_id="alice") is None
    assert memory.get_summary(user_id="bob") is not None
    memory.clear_all()
    assert memory.get_summary(user_id="bob") is None
    newest = Summary("text", "msg-x", 1)
    assert not memory.put_summary(newest, newest="msg-x", user_id="bob")
    assert not memory.put_summary(newest, newest="msg-x", user_id="carol")


def test_a_summary_is_bounded_and_guardrails_look_at_it() -> None:
    @output_guardrail
    def no_names(text: str) -> Replace | None:
        return Replace(text.replace("Alice", "***")) if "Alice" in text else None

    model = Noting(lambda _request: "Alice " * 2000)
    agent = summing(model, guardrails=[no_names])
    output = [agent.run(f"question {n}", user_id="alice") for n in range(5)][-1]
    assert output.summary is not None
    assert len(output.summary.text) <= MAX_CHARS
    assert "Alice" not in output.summary.text


def test_system_messages_of_an_import_stay_in_front() -> None:
    model = Noting()
    agent = summing(model)
    agent.memory.add(Message("system", "You know tea."), user_id="alice")
    talk(agent, 5)
    assert model.asked
    assert model.sent[0] == f"Be kind.\n\nYou know tea.\n\n{TOLD}notes 1"


def test_a_memory_that_keeps_no_summaries_is_refused() -> None:
    class Plain:
        def add(self, *messages: Message, user_id: str = "", session_id: str = "") -> None: ...
        def get_messages(self, user_id: str = "", session_id: str = "") -> list[Message]:
            return []

    with pytest.raises(ConfigurationError, match="memory has no get_summary and put_summary"):
        Agent(name="a", model=Noting(), memory=Plain(), summarize=True)  # type: ignore[arg-type]  # what is wrong here
