"""What is no answer: a clear error, and nothing stored."""

from __future__ import annotations

import json

import pytest

from tests.agent.servers.serving import (
    BILL,
    HELLO,
    LAST,
    STOP,
    Serve,
    agent_behind,
    as_json,
    chunk,
    either,
    events,
    said,
    text,
    turn,
    whole,
)
from tests.upstream import Answer
from webapp.errors import ModelError

FAULT = {"error": {"message": "secret words", "type": "server_error", "code": 502}}
FAILURES: list[tuple[str, Serve]] = [
    ("error", either(events(text("Hel"), FAULT), as_json(FAULT))),
    (
        "error as text",
        either(events({"error": "secret words"}), as_json({"error": "secret words"})),
    ),
    ("error in a list", lambda _: as_json([FAULT])),
    (
        "error of an event",
        either(
            events(b'event: error\ndata: {"message": "secret words"}\n\n'),
            as_json({"object": "error", "message": "secret words"}),
        ),
    ),
    (
        "error without frame",
        lambda _: Answer(json.dumps(FAULT).encode(), content_type="text/event-stream"),
    ),
    (
        "error over lines",
        lambda _: Answer(json.dumps(FAULT, indent=2).encode(), content_type="text/event-stream"),
    ),
    ("message alone", lambda _: as_json({"code": 500, "message": "secret words"})),
    ("detail alone", lambda _: as_json({"detail": "secret words"})),
    (
        "reason error",
        either(events(text("Hel"), chunk({}, "error"), LAST), as_json(whole("Hel", "error"))),
    ),
    (
        "reason abort",
        either(events(text("Hel"), chunk({}, "abort"), LAST), as_json(whole("Hel", "abort"))),
    ),
    *(
        (
            f"reason {reason}",
            either(events(text("Hel"), chunk({}, reason), LAST), as_json(whole("Hel", reason))),
        )
        for reason in ("engine_error", "Error", "failed", "timeout", "MALFORMED_FUNCTION_CALL")
    ),
    (
        "error in words, and then done",
        either(
            events(text("Hel"), b"event: error\ndata: secret words\n\n"),
            as_json({"error_code": 18, "error_msg": "secret words"}),
        ),
    ),
    (
        "status of its own",
        either(
            events({"choices": None, "base_resp": {"status_code": 1002, "status_msg": "secret"}}),
            as_json({"choices": None, "base_resp": {"status_code": 1002, "status_msg": "secret"}}),
        ),
    ),
    (
        "no resources",
        either(
            events(text("Hel"), chunk({}, "insufficient_system_resource")),
            as_json(whole("Hel", "insufficient_system_resource")),
        ),
    ),
    (
        "error of the choice",
        either(
            events(text("Hel"), {"choices": [{"delta": {}, "finish_reason": "stop", **FAULT}]}),
            as_json({"choices": [{"message": {"content": "Hel"}, **FAULT}]}),
        ),
    ),
    ("broken off", either(events(text("Hel"), done=False), as_json(whole(HELLO), cut=40))),
    ("cut", either(events(text("Hel"), STOP, cut=30), as_json(whole(HELLO), cut=40))),
    ("nothing", either(events(chunk({"content": None}), STOP, LAST), as_json(whole(None)))),
    ("white space", said(" \n ")),
    ("filtered", either(events(chunk({}, "content_filter")), as_json(whole({}, "content_filter")))),
    ("thoughts alone", said("<think>hm")),
    ("no choice", lambda _: as_json({"choices": [], "usage": BILL})),
    ("a page", lambda _: Answer(b"<html>secret words</html>", content_type="text/html")),
    ("empty", lambda _: Answer(b"")),
    ("empty stream", lambda _: Answer(b"", content_type="text/event-stream")),
    ("done at once", lambda _: events()),
    ("rubbish", lambda _: events(b"data: {rubbish\n\n")),
    ("half an object", lambda _: Answer(b'{"choices": [{"mess')),
    ("deep", lambda _: Answer(b'{"choices": ' + b"[" * 100_000)),
    ("shapes", lambda _: as_json({"choices": "text"})),
    ("choices as object", lambda _: as_json({"choices": {"a": 1}})),
]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("serve", [row[1] for row in FAILURES], ids=[row[0] for row in FAILURES])
def test_a_failure_is_a_clear_error_and_stores_nothing(serve: Serve, streamed: bool) -> None:
    with agent_behind(serve) as (agent, _):
        with pytest.raises(ModelError) as caught:
            turn(agent, "hi", streamed=streamed)
        assert "secret" not in str(caught.value)
        assert agent.memory.size(user_id="alice") == 0
