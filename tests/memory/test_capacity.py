"""Tests of the rule by which a conversation is cut, for every mix of roles and every cap."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from webapp.memory.capacity import fit, recent
from webapp.messages import Message, ToolCall

CALL_IDS = ("c1", "c2", "c3")


def calling(*ids: str) -> Message:
    return Message.assistant("", tool_calls=tuple(ToolCall(name, "f", "{}") for name in ids))


def result(call_id: str) -> Message:
    return Message.tool("r", tool_call_id=call_id)


messages = st.lists(
    st.one_of(
        st.builds(Message.system, st.just("S")),
        st.builds(Message.user, st.just("U")),
        st.builds(Message.assistant, st.just("A")),
        st.lists(st.sampled_from(CALL_IDS), min_size=1, max_size=2).map(lambda ids: calling(*ids)),
        st.sampled_from(CALL_IDS).map(result),
        st.builds(Message, st.just("tool"), st.just("nameless")),
    ),
    max_size=30,
)
caps = st.integers(1, 20)


def turns_of(conversation: Sequence[Message]) -> list[list[Message]]:
    turns: list[list[Message]] = [[]]
    for message in conversation:
        if message.role == "user":
            turns.append([])
        if message.role != "system":
            turns[-1].append(message)
    return [turn for turn in turns if turn]


def is_orphan(conversation: Sequence[Message], index: int) -> bool:
    for earlier in reversed(conversation[:index]):
        if earlier.role == "user":
            return True
        if any(call.id == conversation[index].tool_call_id for call in earlier.tool_calls):
            return False
    return True


def standing(conversation: Sequence[Message]) -> list[Message]:
    return [
        message
        for index, message in enumerate(conversation)
        if message.role != "tool" or not is_orphan(conversation, index)
    ]


@given(messages, caps)
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_said_the_rule_of_the_contract_holds(said: list[Message], cap: int) -> None:
    kept = fit(said, cap)
    valid = standing(said)
    assert len(kept) <= cap
    assert list(kept) == standing(kept), "a tool message stands without its call"
    if len(valid) <= cap:
        assert list(kept) == valid
        return
    systems = [message for message in valid if message.role == "system"]
    front = [message for message in kept if message.role == "system"]
    rest = list(kept[len(front) :])
    assert list(kept[: len(front)]) == front, "a system message is not in front"
    assert front == systems[len(systems) - len(front) :]
    turns = turns_of(valid)
    if not turns:
        assert len(front) == cap
        return
    newest = turns[-1]
    if len(newest) <= cap:
        whole = newest
        assert rest[len(rest) - len(newest) :] == newest
    else:
        whole = rest
        question = [m for m in newest if m.role == "user"]
        answers = [m for m in newest if m.role == "assistant" and not m.tool_calls]
        assert whole
        assert whole == (question + answers[-1:])[:cap] or not (question or answers)
    assert len(front) == min(len(systems), cap - len(whole))
    older = rest[: len(rest) - len(whole)]
    count = 0
    while sum(map(len, turns[len(turns) - 1 - count : -1])) < len(older):
        count += 1
    assert older == [m for turn in turns[len(turns) - 1 - count : -1] for m in turn]
    if count < len(turns) - 1 and whole is newest:
        assert len(kept) + len(turns[-2 - count]) > cap, "one more turn would have fitted"


@given(messages, caps)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_cutting_twice_is_cutting_once(said: list[Message], cap: int) -> None:
    kept = fit(said, cap)
    assert fit(kept, cap) == kept


@given(messages, caps)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_a_model_is_sent_never_exceeds_the_cap(said: list[Message], cap: int) -> None:
    sent = recent(said, cap)
    assert len(sent) <= cap
    assert list(sent) == standing(sent)
    questions = [message for message in said if message.role == "user"]
    if questions:
        assert questions[-1] in sent


def test_the_newest_of_too_many_system_messages_stay_beside_the_turn() -> None:
    systems = [Message.system(str(index)) for index in range(4)]
    question, answer = Message.user("u"), Message.assistant("a")
    assert fit([*systems, question, answer], 4) == (*systems[2:], question, answer)
    assert fit([*systems, question, answer], 2) == (question, answer)
    assert fit([*systems, question, answer], 1) == (question,)
    assert fit(systems, 3) == tuple(systems[1:])


def test_an_older_turn_that_does_not_fit_hides_those_before_it() -> None:
    small = Message.user("small")
    large = [Message.user("large"), Message.assistant("1"), Message.assistant("2")]
    newest = [Message.user("new"), Message.assistant("a")]
    assert fit([small, *large, *newest], 4) == tuple(newest)


def test_an_answer_that_calls_a_tool_is_not_the_last_answer() -> None:
    question, said, call = Message.user("u"), Message.assistant("said"), calling("c1")
    assert fit([question, said, call, result("c1")], 2) == (question, said)
    assert fit([question, call, result("c1")], 2) == (question,)


def test_a_large_turn_without_a_question_keeps_its_last_answer() -> None:
    answers = [Message.assistant(str(index)) for index in range(5)]
    assert fit(answers, 3) == (answers[-1],)
    calls = [calling("c1"), calling("c2"), calling("c3")]
    assert fit(calls, 2) == (calls[-1],)


def test_a_turn_under_way_keeps_its_latest_calls_and_their_results() -> None:
    question = Message.user("u")
    first = [calling("c1"), result("c1")]
    second = [calling("c2", "c3"), result("c2"), result("c3")]
    said = [Message.user("before"), Message.assistant("a"), question, *first, *second]
    assert recent(said, 6) == (question, *first, *second)
    assert recent(said, 5) == (question, *second)
    assert recent(said, 4) == (question, *second)
    assert recent(said, 3) == (question,)


def test_a_model_is_sent_the_question_even_when_no_room_is_left() -> None:
    said = [Message.user("before"), Message.assistant("a"), Message.user("u")]
    assert recent(said, 0) == recent(said, -1) == (said[-1],)


@pytest.mark.parametrize("cap", [1, 2, 100])
def test_an_empty_conversation_stays_empty(cap: int) -> None:
    assert fit([], cap) == ()


def test_a_result_behind_a_later_answer_goes_with_its_call() -> None:
    call = (ToolCall("c1", "f", "{}"),)
    question, last = Message.user("q"), Message.assistant("", tool_calls=call)
    said = [
        question,
        Message.assistant("", tool_calls=call),
        Message.assistant("wait"),
        Message.tool("r", tool_call_id="c1"),
        last,
    ]
    sent = recent(said, 4)
    assert [message.content for message in sent] == ["q", "wait", ""]
    assert sent[0] is question
    assert sent[-1] is last
