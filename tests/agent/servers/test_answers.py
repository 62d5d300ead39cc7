"""Answers in every shape: the text, why the model stopped, the tokens, and what memory holds."""

from __future__ import annotations

import json

import pytest

from tests.agent.servers.serving import (
    BILL,
    HELLO,
    LAST,
    SPENT,
    STOP,
    Serve,
    agent_behind,
    as_json,
    billed,
    chunk,
    either,
    events,
    message,
    said,
    text,
    turn,
    whole,
)
from tests.upstream import Answer
from webapp.messages import Usage

THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "secret musing"}]}
PARTS = [
    THOUGHT,
    {"type": "text", "text": "Hello there,"},
    {"type": "text", "text": " all is well."},
]

# name, server, text, finish reason, usage
ANSWERS: list[tuple[str, Serve, str, str, Usage]] = [
    ("plain", said(HELLO), HELLO, "stop", SPENT),
    ("parts", said(PARTS), HELLO, "stop", SPENT),
    ("strings as parts", said(["Hello there,", " all is well."]), HELLO, "stop", SPENT),
    ("one part", said({"type": "text", "text": HELLO}), HELLO, "stop", SPENT),
    ("output_text", said([{"type": "output_text", "text": HELLO}]), HELLO, "stop", SPENT),
    ("value", said([{"type": "text", "text": {"value": HELLO}}]), HELLO, "stop", SPENT),
    (
        "thought part",
        said([{"text": "hm", "thought": True}, {"text": HELLO}]),
        HELLO,
        "stop",
        SPENT,
    ),
    ("reasoning part", said([{"type": "reasoning", "text": "hm"}, HELLO]), HELLO, "stop", SPENT),
    ("refusal part", said([{"type": "refusal", "refusal": HELLO}]), HELLO, "stop", SPENT),
    ("number", said(7), "7", "stop", SPENT),
    ("fraction", said(2.5), "2.5", "stop", SPENT),
    ("zero", said(0), "0", "stop", SPENT),
    ("truth", said(True), "true", "stop", SPENT),
    ("refusal", message(content=None, refusal=HELLO), HELLO, "stop", SPENT),
    (
        "reasoning beside",
        message(content=HELLO, reasoning_content="hm", reasoning="hm"),
        HELLO,
        "stop",
        SPENT,
    ),
    (
        "strange fields",
        message(content=HELLO, tool_calls=None, audio=None, x=[1]),
        HELLO,
        "stop",
        SPENT,
    ),
    ("think tags", said(f"<think>\nhm\n</think>\n\n{HELLO}"), HELLO, "stop", SPENT),
    (
        "lines",
        said("one\u2028two\u2029three\u0085four"),
        "one\u2028two\u2029three\u0085four",
        "stop",
        SPENT,
    ),
    (
        "pair in two escapes",
        either(
            events(
                b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}\n\n',
                b'data: {"choices":[{"delta":{"content":"\\ude42b"},"finish_reason":"stop"}]}\n\n',
                LAST,
            ),
            as_json(whole("a🙂b")),
        ),
        "a🙂b",
        "stop",
        SPENT,
    ),
    ("half a pair", said("a\ud83d"), "a\ufffd", "stop", SPENT),
    (
        "message as text",
        either(
            events({"choices": [{"message": HELLO}]}, STOP, LAST),
            as_json({"choices": [{"message": HELLO}], "usage": BILL}),
        ),
        HELLO,
        "stop",
        SPENT,
    ),
    (
        "text",
        either(
            events(
                {"choices": [{"text": "Hello there,"}]},
                {"choices": [{"text": " all is well.", "finish_reason": "stop"}]},
                LAST,
            ),
            as_json({"choices": [{"text": HELLO, "finish_reason": "stop"}], "usage": BILL}),
        ),
        HELLO,
        "stop",
        SPENT,
    ),
    (
        "message pieces",
        either(
            events(
                {"choices": [{"message": {"content": "Hello there,"}}]},
                {"choices": [{"message": {"content": " all is well."}, "finish_reason": "stop"}]},
                LAST,
            ),
            as_json(whole(HELLO)),
        ),
        HELLO,
        "stop",
        SPENT,
    ),
    (
        "all again at the end",
        either(
            events(
                text("Hello there,"),
                text(" all is well."),
                {
                    "choices": [
                        {"delta": {}, "message": {"content": HELLO}, "finish_reason": "stop"}
                    ]
                },
                LAST,
            ),
            as_json(whole(HELLO)),
        ),
        HELLO,
        "stop",
        SPENT,
    ),
    (
        "ollama's own",
        either(
            events(
                {
                    "message": {"role": "assistant", "content": HELLO},
                    "done": True,
                    "done_reason": "stop",
                    "prompt_eval_count": 7,
                    "eval_count": 3,
                }
            ),
            as_json(
                {
                    "message": {"content": HELLO},
                    "done_reason": "stop",
                    "prompt_eval_count": 7,
                    "eval_count": 3,
                }
            ),
        ),
        HELLO,
        "stop",
        SPENT,
    ),
    (
        "length",
        either(events(text(HELLO), chunk({}, "length"), LAST), as_json(whole(HELLO, "length"))),
        HELLO,
        "length",
        SPENT,
    ),
    (
        "filtered with text",
        either(
            events(text(HELLO), chunk({}, "content_filter"), LAST),
            as_json(whole(HELLO, "content_filter")),
        ),
        HELLO,
        "content_filter",
        SPENT,
    ),
    (
        "another word",
        either(events(text(HELLO), chunk({}, "end_turn"), LAST), as_json(whole(HELLO, "end_turn"))),
        HELLO,
        "end_turn",
        SPENT,
    ),
    (
        "tool_calls without any",
        either(
            events(text(HELLO), chunk({"tool_calls": []}, "tool_calls"), LAST),
            as_json(whole({"content": HELLO, "tool_calls": []}, "tool_calls")),
        ),
        HELLO,
        "tool_calls",
        SPENT,
    ),
    (
        "empty reasons",
        either(events(chunk({"content": HELLO}, ""), STOP, LAST), as_json(whole(HELLO, None))),
        HELLO,
        "stop",
        SPENT,
    ),
    (
        "window full, with text",
        either(
            events(text(HELLO), chunk({}, "model_context_window_exceeded"), LAST),
            as_json(whole(HELLO, "model_context_window_exceeded")),
        ),
        HELLO,
        "model_context_window_exceeded",
        SPENT,
    ),
    (
        "error that is null",
        either(
            events({**text(HELLO), "error": None}, {**STOP, "error": None}, LAST),
            as_json(whole(HELLO, error=None)),
        ),
        HELLO,
        "stop",
        SPENT,
    ),
    (
        "no done",
        either(events(text(HELLO), STOP, LAST, done=False), as_json(whole(HELLO))),
        HELLO,
        "stop",
        SPENT,
    ),
    ("no reason", either(events(text(HELLO)), as_json(whole(HELLO, None))), HELLO, "stop", Usage()),
    (
        "no reason, a bill",
        either(events(text(HELLO), LAST, done=False), as_json(whole(HELLO, None))),
        HELLO,
        "stop",
        SPENT,
    ),
    (
        "after the end",
        either(
            events(text(HELLO), STOP, LAST, b"data: [DONE]\n\n", text(" more"), STOP),
            as_json(whole(HELLO)),
        ),
        HELLO,
        "stop",
        SPENT,
    ),
    (
        "error after the finish",
        either(events(text(HELLO), STOP, LAST, {"error": "late"}), as_json(whole(HELLO))),
        HELLO,
        "stop",
        SPENT,
    ),
    ("json to a stream request", lambda _: as_json(whole(HELLO)), HELLO, "stop", SPENT),
    ("json without reason", lambda _: as_json(whole(HELLO, None)), HELLO, "stop", SPENT),
    (
        "json over lines",
        lambda _: Answer(json.dumps(whole(HELLO), indent=2).encode()),
        HELLO,
        "stop",
        SPENT,
    ),
    (
        "json called a stream",
        lambda _: as_json(whole(HELLO), content_type="text/event-stream"),
        HELLO,
        "stop",
        SPENT,
    ),
    (
        "json with a mark",
        lambda _: Answer(
            b"\xef\xbb\xbf\r\n \n" + json.dumps(whole(HELLO)).encode() + b"\n",
            content_type="text/plain",
        ),
        HELLO,
        "stop",
        SPENT,
    ),
    (
        "json and done",
        lambda _: Answer(json.dumps(whole(HELLO)).encode() + b"\ndata: [DONE]\n\n"),
        HELLO,
        "stop",
        SPENT,
    ),
    (
        "events to both",
        lambda _: events(text("Hello there,"), text(" all is well."), STOP, LAST),
        HELLO,
        "stop",
        SPENT,
    ),
    (
        "events of no type",
        lambda _: events(text(HELLO), STOP, LAST, content_type=""),
        HELLO,
        "stop",
        SPENT,
    ),
    (
        "events called json",
        lambda _: events(text(HELLO), STOP, LAST, content_type="application/json"),
        HELLO,
        "stop",
        SPENT,
    ),
    (
        "events called latin",
        lambda _: events(
            b'data: {"choices":[{"delta":{"content":"Gr\xc3\xbc\xc3\x9fe"}}]}\n\n',
            STOP,
            LAST,
            content_type="text/event-stream; charset=ISO-8859-1",
        ),
        "Grüße",
        "stop",
        SPENT,
    ),
    (
        "lines of json",
        lambda _: Answer(
            b"".join(json.dumps(e).encode() + b"\n" for e in (text(HELLO), STOP, LAST)),
            content_type="application/x-ndjson",
        ),
        HELLO,
        "stop",
        SPENT,
    ),
    (
        "a reason at each piece",
        either(
            events(
                chunk({"content": "Hello there,"}, "stop"),
                chunk({"content": " all is well."}, "stop"),
                LAST,
            ),
            as_json(whole(HELLO)),
        ),
        HELLO,
        "stop",
        SPENT,
    ),
    (
        "notes between",
        either(
            events({"type": "status", "message": "queued"}, text(HELLO), STOP, LAST),
            as_json(whole(HELLO)),
        ),
        HELLO,
        "stop",
        SPENT,
    ),
    (
        "nulls between",
        either(
            events(
                {"choices": None},
                {"choices": [{"delta": None}]},
                {"choices": [None]},
                text(HELLO),
                {"choices": [], "x": 1},
                STOP,
                LAST,
            ),
            as_json(whole(HELLO)),
        ),
        HELLO,
        "stop",
        SPENT,
    ),
    ("bill: anthropic", billed({"input_tokens": 7, "output_tokens": 3}), HELLO, "stop", SPENT),
    (
        "bill: as text",
        billed({"prompt_tokens": "7", "completion_tokens": 3.0}),
        HELLO,
        "stop",
        SPENT,
    ),
    (
        "bill: gemini",
        billed(
            None,
            usageMetadata={
                "promptTokenCount": 7,
                "candidatesTokenCount": 1,
                "thoughtsTokenCount": 2,
            },
        ),
        HELLO,
        "stop",
        SPENT,
    ),
    ("bill: bedrock", billed({"inputTokens": 7, "outputTokens": 3}), HELLO, "stop", SPENT),
    ("bill: groq", billed(None, x_groq={"usage": BILL}), HELLO, "stop", SPENT),
    (
        "bill: cohere",
        billed({"tokens": {"input_tokens": 7, "output_tokens": 3}}),
        HELLO,
        "stop",
        SPENT,
    ),
    ("bill: total", billed({"prompt_tokens": 7, "total_tokens": 10}), HELLO, "stop", SPENT),
    (
        "bill: in the choice",
        either(
            events(
                text(HELLO), {"choices": [{"delta": {}, "finish_reason": "stop", "usage": BILL}]}
            ),
            as_json({"choices": [{"message": {"content": HELLO}, "usage": BILL}]}),
        ),
        HELLO,
        "stop",
        SPENT,
    ),
    ("bill: nothing", billed(None), HELLO, "stop", Usage()),
    (
        "bill: rubbish",
        billed({"prompt_tokens": -1, "completion_tokens": "many"}),
        HELLO,
        "stop",
        Usage(),
    ),
    (
        "bill: llama.cpp's timings",
        billed(None, timings={"cache_n": 4, "prompt_n": 3, "predicted_n": 3}),
        HELLO,
        "stop",
        SPENT,
    ),
    (
        "packed into an answer",
        either(
            events({"data": chunk({"content": HELLO}, "stop")}, {"data": LAST}),
            as_json({"code": 0, "msg": "ok", "data": whole(HELLO)}),
        ),
        HELLO,
        "stop",
        SPENT,
    ),
    ("bill: a list", billed([7, 3]), HELLO, "stop", Usage()),
    (
        "bill: placeholder last",
        either(
            events(
                {**text(HELLO), "usage": BILL},
                {**STOP, "usage": {"prompt_tokens": 0, "completion_tokens": 0}},
            ),
            as_json(whole(HELLO)),
        ),
        HELLO,
        "stop",
        SPENT,
    ),
]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("serve", "reply", "reason", "usage"),
    [row[1:] for row in ANSWERS],
    ids=[row[0] for row in ANSWERS],
)
def test_an_answer_is_read_in_each_shape(
    serve: Serve, reply: str, reason: str, usage: Usage, streamed: bool
) -> None:
    with agent_behind(serve) as (agent, server):
        output, shown = turn(agent, "hi", streamed=streamed)
        assert shown == output.content
        assert output.content == reply
        assert (output.finish_reason, output.model) == (reason, "m")
        if not (usage == Usage() and streamed is False):
            assert output.usage == usage
        stored = agent.memory.get_messages(user_id="alice")
        assert [(m.role, m.content) for m in stored] == [("user", "hi"), ("assistant", reply)]
        assert len(server.requests) == 1
