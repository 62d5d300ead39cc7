"""Tests of what is made of a model's reply before it is used."""

from __future__ import annotations

import pytest

from webapp.agent import ModelReply
from webapp.agent.replies import MAX_CALLS, usable
from webapp.errors import ModelError
from webapp.messages import ToolCall


@pytest.mark.parametrize(
    ("name", "kept"),
    [("add", "add"), ("a dd!", "a_dd_"), ("", "unnamed"), ("x" * 99, "x" * 64), ("naïve", "na_ve")],
)
def test_a_name_is_kept_as_far_as_servers_take_it_back(name: str, kept: str) -> None:
    assert usable(ModelReply("", (ToolCall("one", name, "{}"),)), ()).tool_calls[0].name == kept


def test_ids_differ_from_each_other_and_from_those_of_the_turn() -> None:
    wishes = tuple(ToolCall(call_id, "add", "{}") for call_id in ("a", "a", "b", "", ""))
    ids = [call.id for call in usable(ModelReply("", wishes), {"b"}).tool_calls]
    assert ids[0] == "a"
    assert len(set(ids)) == 5
    assert "b" not in ids
    assert all(ids)


def test_arguments_stay_as_the_model_wrote_them() -> None:
    wish = ToolCall("one", "add", '{"a":  1 } ')
    assert usable(ModelReply("", (wish,)), ()).tool_calls == (wish,)


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("", "{}"),
        (" \n", "{}"),
        ("null", "{}"),
        ('""', "{}"),
        ('{"a": 2,}', '{"a": 2}'),
        ('{"a": [1, 2, ], }', '{"a": [1, 2]}'),
        ('{"a": "x, ]"}', '{"a": "x, ]"}'),
        ('{"a": "x, ]",}', '{"a": "x, ]"}'),
        ('{"a": "two\nlines"}', '{"a": "two\\nlines"}'),
        ('{"a": 2}}', '{"a": 2}'),
        ('{"a": 2}</tool_call>', '{"a": 2}'),
        ('```json\n{"a": 2}\n```', '{"a": 2}'),
        ('"{\\"a\\": 2}"', '{"a": 2}'),
        ('{"ä": "ß",}', '{"ä": "ß"}'),
    ],
)
def test_arguments_that_are_nearly_an_object_become_one(written: str, sent: str) -> None:
    call = usable(ModelReply("", (ToolCall("one", "add", written),)), ()).tool_calls[0]
    assert (call.arguments, call.fault) == (sent, "")


@pytest.mark.parametrize(
    "written",
    ['{"a": 2, "b', "{", "[1, 2]", "7", '"text"', "{'a': 2}", '{"a": NaN}', '{"a": 1} {"a": 2}']
    + ["[" * 100_000, '{"a": 1} and so on', '{"a" 1}', '"' + '\\"' * 50_000],
)
def test_arguments_that_are_none_are_told_and_sent_back_as_an_empty_object(written: str) -> None:
    call = usable(ModelReply("", (ToolCall("one", "add", written),)), ()).tool_calls[0]
    assert call.arguments == "{}"
    assert call.fault.startswith("The arguments of add ")


def test_a_call_that_was_cut_off_says_so() -> None:
    reply = ModelReply("", (ToolCall("one", "add", '{"a": '),), finish_reason="length")
    assert "cut off" in usable(reply, ()).tool_calls[0].fault


def test_an_id_of_our_own_is_one_that_every_server_takes_back() -> None:
    call = usable(ModelReply("", (ToolCall("", "add", "{}"),)), ()).tool_calls[0]
    assert len(call.id) == 9
    assert call.id.isalnum()


def test_too_many_calls_at_once_are_refused() -> None:
    wishes = tuple(ToolCall(str(n), "add", "{}") for n in range(MAX_CALLS + 1))
    assert len(usable(ModelReply("", wishes[1:]), ()).tool_calls) == MAX_CALLS
    with pytest.raises(ModelError, match="too many tools"):
        usable(ModelReply("", wishes), ())


def test_text_that_cannot_be_stored_is_mended() -> None:
    wish = ToolCall("o\0ne", "add", '{"a": "\ud83d"}')
    reply = usable(ModelReply("a\ud83d\ude00b\udc00", (wish,)), ())
    assert reply.content == "a😀b\ufffd"
    assert reply.tool_calls == (ToolCall("o\ufffdne", "add", '{"a": "\ufffd"}'),)
