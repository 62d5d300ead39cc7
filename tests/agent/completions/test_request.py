"""Tests of the bodies that are sent, whole and with parts left out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from webapp.agent.completions.refusals import (
    CALL_IDS,
    EARLIER_CALLS,
    EMPTY_CONTENT,
    REASONING,
    ROLE_ORDER,
    STREAM_OPTIONS,
    SYSTEM,
    TOOLS,
)
from webapp.agent.completions.request import RequestBody
from webapp.agent.model import ModelRequest, ToolSpec
from webapp.messages import Message, ToolCall

SIGNED = {"extra_content": {"google": {"thought_signature": "c2ln"}}, "function": {"sig": "x"}}
OLD = ToolCall("call-1", "add", "")
NEW = ToolCall("call-2", "add", '{"a":1}', SIGNED)
TURN = (
    Message.system("Be brief."),
    Message.user("one"),
    Message.assistant("", tool_calls=(OLD,)),
    Message.tool("3", tool_call_id="call-1"),
    Message.assistant("it is 3"),
    Message.user("two"),
    Message.assistant("", tool_calls=(NEW,), extra={"reasoning_content": "hm"}),
    Message.tool("4", tool_call_id="call-2"),
)
SPEC = (ToolSpec("add", "Adds.", {"type": "object"}),)


def body(
    messages: Iterable[Message] = TURN,
    left_out: Iterable[str] = (),
    *,
    tools: tuple[ToolSpec, ...] = SPEC,
    stream: bool = False,
    **options: Any,
) -> dict[str, Any]:
    request = ModelRequest(tuple(messages), tools)
    text = RequestBody("m", options).text(request, frozenset(left_out), stream=stream)
    value: dict[str, Any] = json.loads(text)
    return value


def roles(sent: dict[str, Any]) -> list[str]:
    return [message["role"] for message in sent["messages"]]


def test_all_of_a_turn_goes_and_what_the_server_sent_with_it() -> None:
    sent = body()
    old, new = sent["messages"][2], sent["messages"][6]
    assert old == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call-1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
        ],
    }
    assert new["reasoning_content"] == "hm"
    assert new["tool_calls"][0] == {
        "id": "call-2",
        "type": "function",
        "extra_content": SIGNED["extra_content"],
        "function": {"sig": "x", "name": "add", "arguments": '{"a":1}'},
    }
    assert "stream" not in sent


@pytest.mark.parametrize("arguments", ["", "{", "[]", '{"a": 1,}', "null"])
def test_arguments_of_old_calls_are_sent_as_an_object_always(arguments: str) -> None:
    call = ToolCall("c", "add", arguments)
    messages = [Message.assistant("", tool_calls=(call,)), Message.tool("1", tool_call_id="c")]
    sent = body([Message.user("u"), *messages])["messages"][1]["tool_calls"][0]
    assert sent["function"]["arguments"] == "{}"


@pytest.mark.parametrize(("left_out", "tools"), [((TOOLS,), SPEC), ((), ())])
def test_without_tools_no_trace_of_them_is_sent(
    left_out: tuple[str, ...], tools: tuple[ToolSpec, ...]
) -> None:
    sent = body(left_out=left_out, tools=tools, tool_choice="auto", temperature=0)
    assert "tools" not in sent
    assert "tool_choice" not in sent
    assert sent["temperature"] == 0
    assert roles(sent) == ["system", "user", "assistant", "user"]


def test_calls_of_earlier_turns_can_be_left_out() -> None:
    sent = body(left_out=[EARLIER_CALLS])
    assert roles(sent) == ["system", "user", "assistant", "user", "assistant", "tool"]
    assert "tools" in sent


def test_the_system_may_speak_in_the_first_question() -> None:
    sent = body(left_out=[SYSTEM])
    assert roles(sent)[0] == "user"
    assert sent["messages"][0]["content"] == "Be brief.\n\none"
    assert sent["messages"][4]["content"] == "two"
    assert roles(body([Message.user("only")], [SYSTEM])) == ["user"]


def test_neighbours_of_one_role_become_one_message() -> None:
    messages = [
        Message.system("s"),
        Message.assistant("hello"),
        Message.user("a"),
        Message.user("b"),
        Message.assistant("c"),
        Message.assistant("d"),
        Message.user("e"),
    ]
    sent = body(messages, [ROLE_ORDER])
    assert [(m["role"], m["content"]) for m in sent["messages"]] == [
        ("system", "s"),
        ("user", "a\n\nb"),
        ("assistant", "c\n\nd"),
        ("user", "e"),
    ]


def test_ids_can_be_sent_in_the_shortest_form() -> None:
    sent = body(left_out=[CALL_IDS])["messages"]
    ids = [sent[2]["tool_calls"][0]["id"], sent[6]["tool_calls"][0]["id"]]
    assert ids == [sent[3]["tool_call_id"], sent[7]["tool_call_id"]]
    assert len(set(ids)) == 2
    assert all(len(each) == 9 and each.isalnum() for each in ids)


def test_empty_content_and_no_reasoning_can_be_sent() -> None:
    sent = body(left_out=[EMPTY_CONTENT, REASONING])["messages"][6]
    assert sent["content"] == ""
    assert set(sent) == {"role", "content", "tool_calls"}
    assert set(sent["tool_calls"][0]) == {"id", "type", "function"}
    assert set(sent["tool_calls"][0]["function"]) == {"name", "arguments"}


def test_a_stream_asks_for_its_usage_unless_that_is_refused() -> None:
    assert body(stream=True)["stream_options"] == {"include_usage": True}
    sent = body(left_out=[STREAM_OPTIONS], stream=True)
    assert sent["stream"] is True
    assert "stream_options" not in sent


def test_options_are_left_out_or_take_their_other_name() -> None:
    sent = body(left_out=["temperature", "max_tokens"], temperature=0.2, max_tokens=9, seed=1)
    assert sent["model"] == "m"
    assert sent["max_completion_tokens"] == 9
    assert sent["seed"] == 1
    assert not {"temperature", "max_tokens"} & set(sent)


def test_what_was_sent_is_told_for_each_part() -> None:
    told = RequestBody("m", {"seed": 1}).sent(ModelRequest(TURN, SPEC), frozenset(), stream=True)
    assert (told.tools, told.calls, told.streamed, told.system) == (True, True, True, True)
    assert (told.alternating, told.reasoning, told.earlier_calls) == (True, True, True)
    assert (told.empty_content, told.options) == (True, ("seed",))
    bare = RequestBody("m", {}).sent(ModelRequest(TURN, SPEC), frozenset({TOOLS}), stream=False)
    assert (bare.tools, bare.calls, bare.reasoning) == (False, False, False)
