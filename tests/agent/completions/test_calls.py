"""Tests of tool calls that come in pieces of every shape."""

from __future__ import annotations

import json
from typing import Any

import pytest

from webapp.agent.completions.calls import Calls
from webapp.messages import ToolCall

ADD, TIMES = '{"a": 2, "b": 3}', '{"a": 3, "b": 4}'
KNOWN = {"add", "multiply", "current_time", "go", "gogo"}


def piece(
    name: str | None = None, arguments: Any = None, call_id: str | None = None, **more: Any
) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "function": {k: v for k, v in function.items() if v is not None}, **more}


def put_together(*messages: list[dict[str, Any]], known: set[str] = KNOWN) -> list[ToolCall]:
    calls = Calls(known)
    for message in messages:
        calls.take(message)
    return list(calls.whole())


ONE = ToolCall("a", "add", ADD)
BOTH = [ONE, ToolCall("b", "multiply", TIMES)]
AS_ONE = [
    ("as OpenAI", [[piece("add", "", "a", index=0)], [piece(None, ADD, index=0)]]),
    ("whole", [[piece("add", ADD, "a")]]),
    ("index from 1", [[piece("add", ADD[:5], "a", index=1)], [piece(None, ADD[5:], index=1)]]),
    ("index as text", [[piece("add", ADD[:5], "a", index="0")], [piece(None, ADD[5:], index="0")]]),
    ("no index", [[piece("add", ADD[:5], "a")], [piece(None, ADD[5:])]]),
    ("no index, id repeated", [[piece("add", ADD[:5], "a")], [piece(None, ADD[5:], "a")]]),
    ("name repeated", [[piece("add", p, "a", index=0)] for p in (ADD[:5], ADD[5:])]),
    ("name repeated, no index", [[piece("add", p, "a")] for p in (ADD[:5], ADD[5:])]),
    ("name repeated, no id", [[piece("add", ADD[:5], "a")], [piece("add", ADD[5:])]]),
    ("name at the end again", [[piece("add", ADD, "a", index=0)], [piece("add", "", index=0)]]),
    ("name in pieces", [[piece("a", "", "a", index=0)], [piece("dd", ADD, index=0)]]),
    ("name in pieces, no index", [[piece("a", None, "a")], [piece("dd")], [piece(None, ADD)]]),
    ("name grows", [[piece(n, a, "a", index=0)] for n, a in (("a", ""), ("ad", ""), ("add", ADD))]),
    ("name last", [[piece(None, ADD, "a", index=0)], [piece("add", index=0)]]),
    ("id last", [[piece("add", ADD, index=0)], [piece(None, "", "a", index=0)]]),
    ("new id each", [[piece("add", ADD[:5], "a", index=0)], [piece(None, ADD[5:], "z", index=0)]]),
    ("arguments grow", [[piece("add", ADD[:n], "a", index=0)] for n in (3, 9, len(ADD))]),
    ("all again", [[piece("add", ADD, "a", index=0)], [piece("add", ADD, "a", index=0)]]),
    ("{} first", [[piece("add", "{}", "a", index=0)], [piece(None, ADD, index=0)]]),
    ("flat", [[{"id": "a", "name": "add", "arguments": ADD}]]),
    ("nulls", [[{"id": "a", "type": None, "index": None, **piece("add", ADD, "a")}]]),
    ("harmony", [[piece("add<|channel|>commentary", ADD, "a")]]),
    ("namespace", [[piece("functions.add:0", ADD, "a")]]),
]


@pytest.mark.parametrize(("what", "messages"), AS_ONE)
def test_one_call_is_one(what: str, messages: list[list[dict[str, Any]]]) -> None:
    assert put_together(*messages) == [ONE]


AS_TWO = [
    ("as OpenAI", [[piece("add", ADD, "a", index=0)], [piece("multiply", TIMES, "b", index=1)]]),
    ("in one", [[piece("add", ADD, "a", index=0), piece("multiply", TIMES, "b", index=1)]]),
    ("no index", [[piece("add", ADD, "a")], [piece("multiply", TIMES, "b")]]),
    ("no index, in one", [[piece("add", ADD, "a"), piece("multiply", TIMES, "b")]]),
    ("index 0", [[piece("add", ADD, "a", index=0), piece("multiply", TIMES, "b", index=0)]]),
    (
        "index 0, apart",
        [[piece("add", ADD, "a", index=0)], [piece("multiply", TIMES, "b", index=0)]],
    ),
    (
        "index 0, in pieces",
        [
            [piece("add", ADD[:5], "a", index=0)],
            [piece(None, ADD[5:], index=0)],
            [piece("multiply", TIMES[:5], "b", index=0)],
            [piece(None, TIMES[5:], index=0)],
        ],
    ),
    (
        "interleaved",
        [
            [piece("add", ADD[:5], "a", index=0), piece("multiply", TIMES[:5], "b", index=1)],
            [piece(None, TIMES[5:], index=1)],
            [piece(None, ADD[5:], index=0)],
        ],
    ),
    (
        "by place in the list",
        [
            [piece("add", ADD[:5], "a"), piece("multiply", TIMES[:5], "b")],
            [piece(None, ADD[5:]), piece(None, TIMES[5:])],
        ],
    ),
    ("out of order", [[piece("multiply", TIMES, "b", index=1)], [piece("add", ADD, "a", index=0)]]),
]


@pytest.mark.parametrize(("what", "messages"), AS_TWO)
def test_two_calls_are_two(what: str, messages: list[list[dict[str, Any]]]) -> None:
    assert put_together(*messages) == BOTH


@pytest.mark.parametrize("index", [{}, {"index": 0}])
@pytest.mark.parametrize("call_id", [None, "", "call_0"])
def test_calls_without_ids_of_their_own_are_told_apart(
    index: dict[str, int], call_id: str | None
) -> None:
    found = put_together(
        [piece("add", ADD, call_id, **index)], [piece("multiply", TIMES, call_id, **index)]
    )
    assert [(call.name, call.arguments) for call in found] == [("add", ADD), ("multiply", TIMES)]
    twice = put_together(
        [piece("add", ADD, call_id, **index), piece("add", TIMES, call_id, **index)]
    )
    assert [call.arguments for call in twice] == [ADD, TIMES]


def test_the_same_wish_twice_in_one_list_is_two() -> None:
    assert len(put_together([piece("add", ADD), piece("add", ADD)])) == 2


@pytest.mark.parametrize("name", ["functions.add:0", "default_api.add", "tools:add", " add\n"])
def test_the_space_before_a_name_is_no_part_of_it(name: str) -> None:
    assert [call.name for call in put_together([piece(name, ADD, "a")])] == ["add"]


@pytest.mark.parametrize(
    "named", [{"function_name": "add"}, {"tool_name": "add"}, {"name": {"name": "add"}}]
)
def test_a_name_is_found_where_servers_put_it(named: dict[str, Any]) -> None:
    for wish in (
        {"id": "a", "arguments": ADD, **named},
        {"id": "a", "function": {**named, "arguments": ADD}},
    ):
        assert put_together([wish]) == [ONE]


def test_the_known_name_is_right_where_a_name_can_be_read_in_two_ways() -> None:
    twice = [[piece("go", "", "a", index=0)], [piece("go", "{}", index=0)]]
    assert put_together(*twice, known={"go"})[0].name == "go"
    assert put_together(*twice, known={"gogo"})[0].name == "gogo"
    assert put_together([piece("functions.other", "{}")])[0].name == "functions.other"


def test_arguments_may_be_an_object() -> None:
    assert json.loads(put_together([piece("add", {"a": 2, "b": 3}, "a")])[0].arguments) == {
        "a": 2,
        "b": 3,
    }
    assert put_together([{"id": 7, "name": "add", "parameters": {}}]) == [
        ToolCall("7", "add", "{}")
    ]
    assert put_together([piece("current_time", None, "a")]) == [ToolCall("a", "current_time", "")]


def test_what_is_no_call_is_none() -> None:
    nothing: object
    for nothing in ([], None, [None], [{}], [{"id": "x"}], ["x"], [{"index": 0, "function": None}]):
        calls = Calls(KNOWN)
        calls.take(nothing)
        assert calls.whole() == ()


def test_what_a_server_sends_with_a_call_is_kept() -> None:
    signature = {"google": {"thought_signature": "c2ln"}}
    early = put_together([piece("add", ADD, "a", index=0, extra_content=signature)])
    late = put_together(
        [piece("add", ADD, "a", index=0)], [{"extra_content": signature, "function": None}]
    )
    inside = put_together([{"id": "a", "function": {"name": "add", "arguments": ADD, "sig": "x"}}])
    assert early[0].extra == late[0].extra == {"extra_content": signature}
    assert inside[0].extra == {"function": {"sig": "x"}}
    assert put_together([piece("add", ADD, "a", index=0, custom=None)])[0].extra is None
