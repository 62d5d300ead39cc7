"""Tests of what a model is sent of a conversation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeModel, calls, count_model, played
from webapp.agent import Agent, ModelRequest, Replace, Toolkit, input_guardrail
from webapp.agent.context_window import ContextWindow
from webapp.agent.tokens import A_MESSAGE, TokenBudget
from webapp.errors import ConfigurationError, ContextOverflow, MessageTooLong, ModelError
from webapp.memory import InMemory
from webapp.messages import Message, ToolCall


def turns(number: int) -> list[Message]:
    return [
        message
        for n in range(number)
        for message in (Message.user(f"u{n}"), Message.assistant(f"a{n}"))
    ]


def told(messages: object) -> list[str]:
    assert isinstance(messages, list | tuple)
    return [message.content for message in messages]


def test_the_cap_counts_instructions_history_and_question() -> None:
    model = count_model()
    memory = InMemory(100)
    memory.add(*turns(10), user_id="alice")
    agent = Agent(
        name="assistant",
        model=model,
        memory=memory,
        instructions="Be brief.",
        context_max_messages=6,
    )
    agent.run("now", user_id="alice")
    assert told(model.seen[0]) == ["Be brief.", "u8", "a8", "u9", "a9", "now"]
    assert memory.size(user_id="alice") == 22


def test_the_messages_of_the_turn_push_whole_old_turns_out() -> None:
    model = FakeModel.of(calls(("nothing", {})), "done")
    agent = Agent(name="assistant", model=model, context_max_messages=5)
    list(played(agent, Message.user("now"), turns(3)))
    assert told(model.seen[0]) == ["u1", "a1", "u2", "a2", "now"]
    assert told(model.seen[1])[:3] == ["u2", "a2", "now"]
    assert len(model.seen[1]) == 5


def test_stored_system_messages_stand_behind_the_instructions_in_one_message() -> None:
    model = count_model()
    agent = Agent(name="assistant", model=model, instructions="own", context_max_messages=5)
    history = [Message.system("stored"), *turns(3)]
    list(played(agent, Message.user("now"), history))
    assert told(model.seen[0]) == ["own\n\nstored", "u2", "a2", "now"]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_conversation_that_is_too_long_loses_its_older_half_until_it_fits(
    streaming: bool,
) -> None:
    def short_of_breath(request: ModelRequest) -> str:
        if len(request.messages) > 6:
            raise ContextOverflow("too long")
        return "done"

    model = FakeModel(otherwise=short_of_breath)
    agent = Agent(name="assistant", model=model, instructions="own")
    history = [Message.system("stored"), *turns(8)]
    list(played(agent, Message.user("now"), history, streaming=streaming))
    assert [len(seen) for seen in model.seen] == [18, 10, 6]
    assert told(model.seen[-1]) == ["own\n\nstored", "u6", "a6", "u7", "a7", "now"]


def test_system_messages_in_odd_places_become_one_in_front() -> None:
    history = [*turns(1), Message.system("first"), Message.system(" "), *turns(1)]
    history.append(Message.system("second"))
    question = Message.user("now")
    sent = ContextWindow.of("", history, question, 100).messages([question])
    assert told(sent) == ["first\n\nsecond", "u0", "a0", "u0", "a0", "now"]
    assert [message.role for message in sent].count("system") == 1
    assert told(ContextWindow.of("", history, question, 1).messages([question])) == ["now"]


def test_a_refusal_without_a_word_is_no_message_that_is_too_long() -> None:
    model = FakeModel(otherwise=ContextOverflow("too long", certain=False))
    agent = Agent(name="assistant", model=model)
    with pytest.raises(ModelError, match="failed"):
        list(played(agent, Message.user("now"), turns(2)))
    assert [len(seen) for seen in model.seen] == [5, 3, 1]


def test_at_last_the_stored_system_messages_are_left_out_too() -> None:
    def very_short(request: ModelRequest) -> str:
        if "s" in request.messages[0].content.split():
            raise ContextOverflow("too long")
        return "done"

    model = FakeModel(otherwise=very_short)
    agent = Agent(name="assistant", model=model, instructions="own")
    list(played(agent, Message.user("now"), [Message.system("s"), *turns(1)]))
    assert told(model.seen[-1]) == ["own", "now"]


def test_a_question_that_is_too_long_by_itself_is_refused_and_not_stored() -> None:
    memory = InMemory(100)
    memory.add(*turns(2), user_id="alice")
    model = FakeModel(otherwise=ContextOverflow("too long"))
    agent = Agent(name="assistant", model=model, memory=memory)
    with pytest.raises(MessageTooLong, match="This message alone"):
        agent.run("x" * 100_000, user_id="alice")
    assert [len(seen) for seen in model.seen] == [5, 3, 1]
    assert memory.size(user_id="alice") == 4


def test_overflowing_tool_results_are_named_as_such() -> None:
    model = FakeModel.of(calls(("nothing", {})), otherwise=ContextOverflow("too long"))
    with pytest.raises(MessageTooLong, match="its tools gave"):
        Agent(name="assistant", model=model).run("hi", user_id="alice")


def test_calls_without_a_result_are_not_sent() -> None:
    wish = (ToolCall("one", "add", "{}"), ToolCall("two", "add", "{}"))
    history = [
        Message.user("u0"),
        Message.assistant("thinking", tool_calls=wish),
        Message.tool("1", tool_call_id="one"),
        Message.assistant("", tool_calls=wish[:1]),
        Message.user("u1"),
        Message.assistant("", tool_calls=wish),
        Message.tool("1", tool_call_id="one"),
        Message.tool("2", tool_call_id="two"),
        Message.assistant("a1"),
    ]
    question = Message.user("now")
    sent = ContextWindow.of("", history, question, 100).messages([question])
    assert told(sent) == ["u0", "thinking", "u1", "", "1", "2", "a1", "now"]
    assert [len(message.tool_calls) for message in sent] == [0, 0, 0, 2, 0, 0, 0, 0]


def test_a_result_that_does_not_follow_its_call_at_once_is_not_sent() -> None:
    wish = (ToolCall("one", "add", "{}"),)
    history = [
        Message.user("u0"),
        Message.assistant("", tool_calls=wish),
        Message.system("between"),
        Message.tool("late", tool_call_id="one"),
        Message.user("u1"),
        Message.assistant("", tool_calls=wish),
        Message.tool("1", tool_call_id="one"),
        Message.tool("again", tool_call_id="one"),
        Message.assistant("a1"),
    ]
    question = Message.user("now")
    sent = ContextWindow.of("", history, question, 100).messages([question])
    assert told(sent) == ["between", "u0", "u1", "", "1", "a1", "now"]


MESSAGES = st.sampled_from("usac").map(
    lambda kind: {
        "u": Message.user("u"),
        "s": Message.system("s"),
        "a": Message.assistant("a"),
        "c": Message.assistant("", tool_calls=(ToolCall("one", "add", "{}"),)),
    }[kind]
) | st.just(Message.tool("1", tool_call_id="one"))


@given(
    st.lists(MESSAGES, max_size=30),
    st.integers(1, 12),
    st.integers(0, 3),
    st.sampled_from(["", "i"]),
)
def test_the_context_never_exceeds_its_cap_and_never_sends_half_a_call(
    history: list[Message], cap: int, rounds: int, instructions: str
) -> None:
    cap += len(instructions)
    question = Message.user("now")
    turn = [question]
    for n in range(rounds):
        turn.append(Message.assistant("", tool_calls=(ToolCall(f"now-{n}", "add", "{}"),)))
        turn.append(Message.tool("2", tool_call_id=f"now-{n}"))
    context: ContextWindow | None = ContextWindow.of(instructions, history, question, cap)
    lengths = []
    while context is not None:
        sent = context.messages(turn)
        assert len(sent) <= cap
        assert question in sent
        assert (sent[0].content.split()[:1] == ["i"]) is bool(instructions)
        assert "system" not in [message.role for message in sent[1:]]
        for index, message in enumerate(sent):
            if message.tool_calls:
                assert sent[index + 1].role == "tool"
            if message.role == "tool":
                assert sent[index - 1].role in ("assistant", "tool")
        lengths.append(len(context.history) + len("".join(m.content for m in context.instructions)))
        context = context.shorter()
    assert lengths == sorted(set(lengths), reverse=True)
    assert lengths[-1] == len(instructions)


# -- a budget of tokens ----------------------------------------------------------------------------


def letters(text: str) -> int:
    """A counter of which each test knows the sum."""
    return len(text)


def sent_to(model: FakeModel, number: int = -1) -> list[str]:
    return [message.content for message in model.seen[number]]


def budgeted(model: FakeModel, tokens: int, **more: Any) -> Agent:
    return Agent(
        name="assistant",
        model=model,
        context_max_tokens=tokens,
        token_counter=letters,
        **more,
    )


def test_the_oldest_whole_turns_are_left_out_of_what_is_sent() -> None:
    model = FakeModel.of(otherwise="a" * 10)
    agent = budgeted(model, 5 * (10 + A_MESSAGE), instructions="i" * 10)
    for number in range(4):
        agent.run(f"question {number}", user_id="alice")
    # Instructions, the turn before and the question fit; a half of the one before that would.
    assert sent_to(model) == ["i" * 10, "question 2", "a" * 10, "question 3"]
    assert agent.memory.size(user_id="alice") == 8


def test_the_newest_turn_stays_and_one_too_large_alone_is_refused() -> None:
    model = FakeModel.of(otherwise="fine")
    agent = budgeted(model, 100)
    agent.run("q" * 90, user_id="alice")
    agent.run("r" * 94, user_id="alice")
    assert sent_to(model) == ["r" * 94]
    with pytest.raises(MessageTooLong, match="This message alone is longer"):
        agent.run("s" * 95, user_id="alice")
    assert agent.memory.size(user_id="alice") == 4


def test_a_tool_turn_under_way_keeps_its_latest_calls_with_their_results() -> None:
    def look(place: str) -> str:
        """Look there."""
        return place * 60

    model = FakeModel.of(
        calls(("look", {"place": "a"})),
        calls(("look", {"place": "b"})),
        calls(("look", {"place": "c"}), ("look", {"place": "d"})),
    )
    kits = [Toolkit("looks", [look])]
    agent = budgeted(model, 400, toolkits=kits)
    for_tools = TokenBudget(0, letters).beside([kits[0].tools[0].spec]).for_tools
    agent = replace(agent, context_max_tokens=for_tools + 180)
    with pytest.raises(MessageTooLong, match="what its tools gave"):
        agent.run("Where?", user_id="alice")
    assert [len(text) for text in sent_to(model, 1)] == [6, 0, 60]
    assert sent_to(model, 2) == ["Where?", "", "b" * 60]
    for request in model.seen:
        asked = [call.id for message in request for call in message.tool_calls]
        assert asked == [m.tool_call_id for m in request if m.role == "tool"]


def test_stored_system_messages_go_when_they_do_not_fit_and_instructions_stay() -> None:
    model = FakeModel.of(otherwise="fine")
    agent = budgeted(model, 60, instructions="i" * 10)
    agent.memory.add(Message("system", "s" * 60), user_id="alice")
    agent.run("hello", user_id="alice")
    assert sent_to(model) == ["i" * 10, "hello"]
    with pytest.raises(ConfigurationError, match="leave no room in context_max_tokens"):
        budgeted(model, 12, instructions="i" * 10).run("hello", user_id="alice")


def test_what_a_guardrail_made_of_the_question_is_what_counts() -> None:
    @input_guardrail
    def longer(text: str) -> Replace:
        return Replace(text * 10)

    agent = budgeted(FakeModel.of("fine"), 60, guardrails=[longer])
    agent.run("12345", user_id="alice")
    with pytest.raises(MessageTooLong):
        agent.run("123456", user_id="alice")


@pytest.mark.parametrize("wrong", [{"context_max_tokens": -1}, {"context_max_tokens": True}])
def test_a_budget_is_a_whole_number(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="context_max_tokens must be a whole number"):
        Agent(name="assistant", model=FakeModel.of(), **wrong)


def test_each_text_is_counted_once_from_the_newest_back() -> None:
    counted: list[str] = []

    def counter(text: str) -> int:
        counted.append(text)
        return len(text)

    model = FakeModel.of(otherwise="a" * 10)
    agent = Agent(name="assistant", model=model, context_max_tokens=80, token_counter=counter)
    for number in range(6):
        agent.run(f"question {number}", user_id="alice")
    counted.clear()
    agent.run("question 6", user_id="alice")
    assert "question 5" in counted
    assert "question 1" not in counted
