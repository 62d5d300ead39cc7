"""Tests of turns as events: `Agent.stream`."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pytest

from tests.fakes import FakeModel, calls, count_model, said
from webapp.agent import (
    Agent,
    Event,
    Finished,
    ModelReply,
    ModelRequest,
    RunOutput,
    TextDelta,
    ToolFinished,
    ToolStarted,
)
from webapp.agent.toolkits import calculator
from webapp.errors import ContextOverflow, ModelError
from webapp.messages import Usage


@dataclass
class ScriptedStream:
    """Streams the given items; an exception among them is raised at its place."""

    items: tuple[TextDelta | ModelReply | Exception, ...]
    name: str = "scripted"

    def complete(self, request: ModelRequest) -> ModelReply:
        raise AssertionError("the turn was to be streamed")

    def stream(self, request: ModelRequest) -> Iterator[TextDelta | ModelReply]:
        for item in self.items:
            if isinstance(item, Exception):
                raise item
            yield item


def text_of(events: Iterable[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, TextDelta)]


def output_of(events: list[Event]) -> RunOutput:
    assert isinstance(events[-1], Finished)
    return events[-1].output


def test_a_tool_call_and_then_text_in_pieces() -> None:
    model = FakeModel.of(
        calls(("add", {"a": 5, "b": 3}), usage=Usage(3, 1)), said("final answer", 4, 2)
    )
    agent = Agent(name="assistant", model=model, toolkits=[calculator()])
    events = list(agent.stream("add", user_id="alice"))
    assert text_of(events) == ["final ", "answer"]
    assert [e for e in events if isinstance(e, ToolStarted | ToolFinished)] == [
        ToolStarted("add", "call-0"),
        ToolFinished("add", "ok", "call-0"),
    ]
    output = output_of(events)
    assert (output.content, output.usage, output.model_calls) == ("final answer", Usage(7, 3), 2)
    stored = agent.memory.get_messages(user_id="alice")
    assert [m.role for m in stored] == ["user", "assistant", "tool", "assistant"]
    assert stored[2].content == "8"


def test_a_failing_tool_is_told_as_an_error() -> None:
    model = FakeModel.of(calls(("nowhere", {})), "sorry")
    events = list(Agent(name="assistant", model=model).stream("hi", user_id="alice"))
    assert ToolFinished("nowhere", "error", "call-0") in events


def test_the_turn_is_stored_and_its_place_free_when_the_last_event_comes() -> None:
    agent = Agent(name="assistant", model=count_model())
    events = agent.stream("hi", user_id="alice")
    for event in events:
        if isinstance(event, Finished):
            break
    assert agent.memory.size(user_id="alice") == 2
    assert agent.run("again", user_id="alice").content.startswith("I see 3 ")


def test_a_reader_who_leaves_early_leaves_nothing_behind() -> None:
    model = FakeModel.of("one two three", "whole")
    agent = Agent(name="assistant", model=model)
    events = agent.stream("hi", user_id="alice")
    assert text_of(event for _, event in zip(range(1), events, strict=False)) == ["one "]
    events.close()
    assert model.closed_streams == 1
    assert agent.memory.size(user_id="alice") == 0
    assert agent.run("again", user_id="alice").content == "whole"
    assert len(model.seen[1]) == 1


def test_a_stream_that_nobody_reads_takes_no_place() -> None:
    agent = Agent(name="assistant", model=count_model())
    unread = agent.stream("hi", user_id="alice")
    assert agent.run("hi", user_id="alice").status == "completed"
    unread.close()


def test_a_cancelled_stream_ends_with_the_text_so_far() -> None:
    cancel = threading.Event()
    model = FakeModel.of("one two three")
    agent = Agent(name="assistant", model=model)
    events: list[Event] = []
    for event in agent.stream("hi", user_id="alice", cancel=cancel):
        events.append(event)
        cancel.set()
    output = output_of(events)
    assert (output.status, output.content) == ("cancelled", "one ")
    assert model.closed_streams == 1
    assert agent.memory.size(user_id="alice") == 0


@pytest.mark.parametrize(
    "last", [ModelError("cut off"), ContextOverflow("too long")], ids=["cut off", "overflow"]
)
def test_a_stream_that_fails_after_its_first_piece_is_not_begun_anew(last: Exception) -> None:
    agent = Agent(name="assistant", model=ScriptedStream((TextDelta("one "), last)))
    seen: list[Event] = []
    with pytest.raises(ModelError):
        seen.extend(agent.stream("hi", user_id="alice"))
    assert agent.memory.size(user_id="alice") == 0


def test_a_stream_without_a_whole_answer_at_its_end_broke_off() -> None:
    agent = Agent(name="assistant", model=ScriptedStream((TextDelta("one "),)))
    with pytest.raises(ModelError, match="broke off"):
        list(agent.stream("hi", user_id="alice"))
    assert agent.memory.size(user_id="alice") == 0


def test_the_pieces_count_when_the_last_item_brings_no_text() -> None:
    agent = Agent(
        name="assistant",
        model=ScriptedStream((TextDelta("one "), TextDelta("two"), ModelReply(""))),
    )
    assert output_of(list(agent.stream("hi", user_id="alice"))).content == "one two"


def test_halves_of_surrogate_pairs_never_reach_the_reader_or_the_memory() -> None:
    agent = Agent(
        name="assistant",
        model=ScriptedStream((TextDelta("a\ud83d"), TextDelta("\0"), ModelReply("a\ud83d\0"))),
    )
    events = list(agent.stream("hi", user_id="alice"))
    assert "".join(text_of(events)) == output_of(events).content == "a\ufffd\ufffd"
