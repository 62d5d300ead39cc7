"""Servers that refuse a part of a request: the same turn goes on without it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.agent.servers.serving import (
    HELLO,
    Body,
    Serve,
    agent_behind,
    as_json,
    events,
    model_of,
    refuse,
    said,
    turn,
)
from webapp.errors import ModelError, SwitchboardError


def unless(refused: Callable[[Body], bool], words: str, status: int = 400) -> Serve:
    return lambda body: refuse(words, status) if refused(body) else said(HELLO)(body)


REFUSED: list[tuple[str, Serve, tuple[bool, ...]]] = [
    ("tools", unless(lambda b: "tools" in b, "this model does not support tools"), (False, True)),
    (
        "tools, 404",
        unless(lambda b: "tools" in b, "No endpoints found that support tool use.", 404),
        (False, True),
    ),
    (
        "tools, 500",
        unless(lambda b: "tools" in b, "tools param requires --jinja flag", 500),
        (False, True),
    ),
    (
        "stream_options",
        unless(lambda b: "stream_options" in b, "Unknown parameter: stream_options"),
        (True,),
    ),
    ("stream", unless(lambda b: "stream" in b, "Streaming is not supported"), (True,)),
    (
        "stream, 403",
        unless(lambda b: "stream" in b, "Streaming requests are not yet allowed.", 403),
        (True,),
    ),
    ("whole", unless(lambda b: "stream" not in b, "This model only support stream mode"), (False,)),
    (
        "system",
        unless(lambda b: b["messages"][0]["role"] == "system", "System role not supported"),
        (False, True),
    ),
    (
        "all at once",
        lambda b: (
            refuse("stream_options: Extra inputs are not permitted", 422)
            if "stream_options" in b
            else refuse("does not support tools")
            if "tools" in b
            else refuse("Only user and assistant roles are supported!", 500)
            if b["messages"][0]["role"] == "system"
            else said(HELLO)(b)
        ),
        (False, True),
    ),
    (
        "told in the answer",
        lambda b: (
            (events if b.get("stream") else as_json)(
                {"error": {"message": "tools are not supported"}}
            )
            if "tools" in b
            else said(HELLO)(b)
        ),
        (False, True),
    ),
]


@pytest.mark.parametrize(
    ("serve", "streamed"),
    [(row[1], streamed) for row in REFUSED for streamed in row[2]],
    ids=[
        f"{row[0]}, {'streamed' if streamed else 'whole'}" for row in REFUSED for streamed in row[2]
    ],
)
def test_a_refused_part_is_left_out_in_the_same_turn_and_the_next(
    serve: Serve, streamed: bool
) -> None:
    with agent_behind(serve) as (agent, server):
        output, shown = turn(agent, "hi", streamed=streamed)
        assert shown == output.content == HELLO
        asked = len(server.requests)
        assert turn(agent, "again", streamed=streamed)[0].content == HELLO
        assert len(server.requests) == asked + 1
        assert "hi" in json.dumps(server.requests[-1]["messages"])
        if server.requests[-1]["messages"][0]["role"] != "system":
            assert server.requests[-1]["messages"][0]["content"].startswith("Be brief.")
        other = model_of(agent).named("other")
        assert other.left_out == frozenset()
        assert model_of(agent).named("m").left_out


def test_a_refusal_that_leaving_out_does_not_help_is_the_servers_and_nothing_is_learned() -> None:
    with agent_behind(lambda _: refuse("tools, system role and stream are not supported")) as (
        agent,
        _,
    ):
        for streamed in (False, True):
            with pytest.raises(ModelError):
                turn(agent, "hi", streamed=streamed)
        assert model_of(agent).left_out == frozenset()


def test_tools_that_are_required_are_never_left_out() -> None:
    serve = unless(lambda b: "tools" in b, "this model does not support tools")
    with (
        agent_behind(serve, tools_required=True) as (agent, server),
        pytest.raises(ModelError, match="takes no tools"),
    ):
        turn(agent, "hi", streamed=False)
    assert len(server.requests) == 1


def test_a_probe_says_what_is_refused() -> None:
    serve = unless(
        lambda b: "tools" in b or "stream_options" in b,
        "stream_options and tools are not supported",
    )
    with agent_behind(serve) as (agent, _):
        assert model_of(agent).probe() == ["stream_options", "tools"]


@pytest.mark.parametrize("words", ["tools param requires --jinja flag", "context size exceeded"])
def test_what_a_server_will_say_again_is_not_asked_again(words: str) -> None:
    serve = unless(lambda b: "tools" in b, words, 500)
    with agent_behind(serve, max_retries=5) as (agent, server):
        if "tools" in words:
            turn(agent, "hi", streamed=False)
        else:
            with pytest.raises(SwitchboardError):
                turn(agent, "hi", streamed=False)
        assert len(server.requests) == (2 if "tools" in words else 1)
