"""Tool calls in every shape, and what goes back to the server with them."""

from __future__ import annotations

import json

import pytest

from tests.agent.servers.serving import (
    ADD,
    LAST,
    STOP,
    TIMES,
    Serve,
    agent_behind,
    as_json,
    chunk,
    either,
    events,
    text,
    then_tell,
    turn,
    whole,
    wish,
    wishing,
)
from webapp.messages import Usage

CALLS: list[tuple[str, Serve, str]] = [
    (
        "as OpenAI",
        wishing(wish("add", ADD, "a", index=0), wish("multiply", TIMES, "b", index=1)),
        "got 5|12",
    ),
    ("no index", wishing(wish("add", ADD, "a"), wish("multiply", TIMES, "b")), "got 5|12"),
    (
        "index 0",
        wishing(wish("add", ADD, "a", index=0), wish("multiply", TIMES, "b", index=0)),
        "got 5|12",
    ),
    ("no ids", wishing(wish("add", ADD, ""), wish("multiply", TIMES, None)), "got 5|12"),
    (
        "same ids",
        wishing(wish("add", ADD, "c", index=0), wish("multiply", TIMES, "c", index=1)),
        "got 5|12",
    ),
    ("object", wishing(wish("add", {"a": 2, "b": 3}, "a")), "got 5"),
    ("packed twice", wishing(wish("add", json.dumps(ADD), "a")), "got 5"),
    ("comma", wishing(wish("add", '{"a": 2, "b": 3,}', "a")), "got 5"),
    ("closing mark", wishing(wish("add", ADD + "}", "a")), "got 5"),
    ("stop", wishing(wish("add", ADD, "a"), finish="stop"), "got 5"),
    ("harmony", wishing(wish("add<|channel|>commentary", ADD, "a")), "got 5"),
    (
        "cut short",
        wishing(wish("add", '{"a": 2, "b', "a")),
        "got Error: The arguments of add are not valid JSON.",
    ),
    (
        "a list",
        wishing(wish("add", "[2, 3]", "a")),
        "got Error: The arguments of add must be a JSON object.",
    ),
    (
        "function_call",
        either(
            events(
                chunk({"function_call": {"name": "add", "arguments": ADD}}),
                chunk({}, "function_call"),
                LAST,
            ),
            as_json(
                whole(
                    {"content": None, "function_call": {"name": "add", "arguments": ADD}},
                    "function_call",
                )
            ),
        ),
        "got 5",
    ),
    (
        "a dict",
        either(
            events(chunk({"tool_calls": wish("add", ADD, "a")}), STOP, LAST),
            as_json(whole({"tool_calls": wish("add", ADD, "a")})),
        ),
        "got 5",
    ),
    (
        "text beside",
        either(
            events(text("Let me see."), chunk({"tool_calls": [wish("add", ADD, "a")]}), STOP, LAST),
            as_json(whole({"content": "Let me see.", "tool_calls": [wish("add", ADD, "a")]})),
        ),
        "got 5",
    ),
    (
        "thoughts beside",
        either(
            events(
                text("<think>hm</think>"),
                chunk({"tool_calls": [wish("add", ADD, "a")]}),
                STOP,
                LAST,
            ),
            as_json(whole({"content": "<think>hm</think>", "tool_calls": [wish("add", ADD, "a")]})),
        ),
        "got 5",
    ),
]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("serve", "reply"), [row[1:] for row in CALLS], ids=[row[0] for row in CALLS]
)
def test_tool_calls_are_understood_in_each_shape(serve: Serve, reply: str, streamed: bool) -> None:
    with agent_behind(then_tell(serve)) as (agent, server):
        output, shown = turn(agent, "hi", streamed=streamed)
        assert shown == output.content == reply
        assert output.usage == Usage(14, 6)
        sent = server.requests[1]["messages"]
        calls = [call for each in sent for call in each.get("tool_calls") or ()]
        assert [call["id"] for call in calls] == [
            m["tool_call_id"] for m in sent if m["role"] == "tool"
        ]
        assert len({call["id"] for call in calls}) == len(calls)
        assert all(isinstance(json.loads(call["function"]["arguments"]), dict) for call in calls)
        stored = agent.memory.get_messages(user_id="alice")
        assert [m.role for m in stored] == [
            "user",
            "assistant",
            *["tool"] * len(calls),
            "assistant",
        ]
        assert turn(agent, "again", streamed=streamed)[0].content == reply


@pytest.mark.parametrize("streamed", [False, True])
def test_what_a_server_sent_with_a_call_goes_back_within_the_turn_alone(streamed: bool) -> None:
    signed = wish("add", ADD, "a", extra_content={"google": {"thought_signature": "c2ln"}})
    details = [{"type": "reasoning.text", "index": 0, "text": "hm"}]
    thoughts = {"reasoning_content": "hm", "reasoning_details": details}
    first = either(
        events(
            chunk({"reasoning_content": "h", "reasoning_details": [{**details[0], "text": "h"}]}),
            chunk({"reasoning_content": "m", "reasoning_details": [{**details[0], "text": "m"}]}),
            chunk({"tool_calls": [{**signed, "index": 0}]}, "tool_calls"),
        ),
        as_json(whole({"content": None, "tool_calls": [signed], **thoughts}, "tool_calls")),
    )
    with agent_behind(then_tell(first)) as (agent, server):
        turn(agent, "hi", streamed=streamed)
        turn(agent, "again", streamed=streamed)
    sent = server.requests[1]["messages"][2]
    assert {name: sent[name] for name in thoughts} == thoughts
    assert sent["tool_calls"][0]["extra_content"] == signed["extra_content"]
    later = server.requests[2]["messages"][2]
    assert set(later) == {"role", "content", "tool_calls"}
    assert set(later["tool_calls"][0]) == {"id", "type", "function"}
