"""Conversations and messages that are too long, and histories of another server."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.agent.servers.serving import (
    ADD,
    HELLO,
    Body,
    Serve,
    agent_behind,
    as_json,
    chunk,
    either,
    events,
    refuse,
    said,
    then_tell,
    turn,
    whole,
    wish,
    wishing,
)
from tests.upstream import Answer
from webapp.errors import MessageTooLong, SwitchboardError
from webapp.messages import Message


def questions(body: Body) -> int:
    return sum(m["role"] == "user" for m in body["messages"])


LONG = "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens."
OVERFLOWS: list[tuple[str, Callable[[Body], Answer]]] = [
    ("400", lambda _: refuse(LONG)),
    (
        "422",
        lambda _: refuse("Input validation error: `inputs` must have less than 99 tokens.", 422),
    ),
    ("500", lambda _: refuse("Requested tokens (5000) exceed context window of 4096", 500)),
    ("413 without words", lambda _: Answer(b"<html>too large</html>", 413)),
    ("400 without words", lambda _: Answer(b"", 400)),
    ("429", lambda _: refuse("Request too large for model on tokens per minute (TPM)", 429)),
    ("list", lambda _: as_json([{"error": {"message": LONG}}], 400)),
    (
        "called a stream",
        lambda _: as_json({"error": {"message": LONG}}, 400, content_type="text/event-stream"),
    ),
    (
        "in the answer",
        lambda b: (events if b.get("stream") else as_json)({"error": {"message": LONG}}),
    ),
    (
        "as a reason",
        either(
            events(chunk({}, "model_context_window_exceeded")),
            as_json(whole("", "model_context_window_exceeded")),
        ),
    ),
]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "refusal", [row[1] for row in OVERFLOWS], ids=[row[0] for row in OVERFLOWS]
)
def test_a_conversation_that_is_too_long_goes_on_without_its_oldest_turns(
    refusal: Serve, streamed: bool
) -> None:
    with agent_behind(lambda b: refusal(b) if questions(b) > 2 else said(HELLO)(b)) as (agent, _):
        for number in range(5):
            assert turn(agent, f"question {number}", streamed=streamed)[0].content == HELLO
        assert agent.memory.size(user_id="alice") == 10


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_one_message_that_is_too_long_is_told_apart(streamed: bool) -> None:
    with agent_behind(
        lambda b: refuse(LONG) if "long" in b["messages"][-1]["content"] else said(HELLO)(b)
    ) as (agent, _):
        turn(agent, "hi", streamed=streamed)
        with pytest.raises(MessageTooLong) as caught:
            turn(agent, "long", streamed=streamed)
        assert (caught.value.status, caught.value.code) == (413, "message_too_long")
        assert turn(agent, "hi", streamed=streamed)[0].content == HELLO


def test_a_server_that_refuses_everything_without_a_word_has_failed() -> None:
    with agent_behind(lambda _: Answer(b"", 400)) as (agent, _):
        with pytest.raises(SwitchboardError) as caught:
            turn(agent, "hi", streamed=False)
        assert caught.value.code == "model_error"


def test_ids_and_roles_of_another_server_are_mended_when_they_are_refused() -> None:
    def mistral(body: Body) -> Answer:
        messages = body["messages"]
        calls = [call["id"] for m in messages for call in m.get("tool_calls") or ()]
        if any(len(each) != 9 for each in calls):
            return refuse("Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9.")
        roles = [m["role"] for m in messages if m["role"] in ("user", "assistant") and m["content"]]
        if any(one == other for one, other in pairwise(roles)):
            return refuse("Conversation roles must alternate user/assistant/user/assistant/...")
        return said(HELLO)(body)

    with agent_behind(then_tell(wishing(wish("add", ADD, "call_1")))) as (agent, _):
        turn(agent, "hi", streamed=False)
        history = agent.memory.get_messages(user_id="alice")
    with agent_behind(mistral) as (agent, _):
        agent.memory.add(*history, Message.user("unanswered"), user_id="alice")
        for streamed in (False, True):
            assert turn(agent, "again", streamed=streamed)[0].content == HELLO
