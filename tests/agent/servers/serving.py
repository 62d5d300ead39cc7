"""Model servers that deviate as real ones do, and an agent behind one of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.upstream import Answer, Upstream, upstream
from webapp.agent import Agent, Finished, OpenAIModel, RunOutput, TextDelta
from webapp.agent.toolkits import calculator
from webapp.memory import InMemory
from webapp.messages import Usage

HELLO = "Hello there, all is well."
BILL = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
SPENT = Usage(7, 3)
ADD, TIMES = '{"a": 2, "b": 3}', '{"a": 3, "b": 4}'
Body = dict[str, Any]
Serve = Callable[[Body], Answer]


def chunk(delta: Any, finish: Any = None, **more: Any) -> Body:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def text(value: Any) -> Body:
    return chunk({"content": value})


STOP = chunk({}, "stop")
LAST: Body = {"choices": [], "usage": BILL}


def events(*values: Body | bytes, done: bool = True, **options: Any) -> Answer:
    rows = [
        each if isinstance(each, bytes) else f"data: {json.dumps(each)}\n\n".encode()
        for each in values
    ]
    body = b"".join(rows) + (b"data: [DONE]\n\n" if done else b"")
    return Answer(body, content_type=options.pop("content_type", "text/event-stream"), **options)


def whole(message: Any, finish: Any = "stop", **more: Any) -> Body:
    if not isinstance(message, dict):
        message = {"role": "assistant", "content": message}
    return {
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": BILL,
    } | more


def as_json(value: Any, status: int = 200, **options: Any) -> Answer:
    return Answer(json.dumps(value).encode(), status, **options)


def either(streamed: Answer, at_once: Answer) -> Serve:
    return lambda body: streamed if body.get("stream") else at_once


def said(value: Any) -> Serve:
    return either(events(text(value), STOP, LAST), as_json(whole({"content": value})))


def message(**fields: Any) -> Serve:
    """The same fields as a message and as one piece of it."""
    return either(
        events(chunk(fields), STOP, LAST), as_json(whole({"role": "assistant", **fields}))
    )


def billed(usage: Any, **beside: Any) -> Serve:
    more = {"usage": usage, **beside}
    return either(events(text(HELLO), {**STOP, **more}), as_json(whole(HELLO) | more))


@contextmanager
def agent_behind(serve: Serve, **options: Any) -> Iterator[tuple[Agent, Upstream]]:
    with upstream(serve) as server:
        options = {"max_retries": 0, **options}
        model = OpenAIModel("m", api_key="k", base_url=server.base_url, **options)
        try:
            yield (
                Agent(
                    name="a",
                    model=model,
                    memory=InMemory(100),
                    instructions="Be brief.",
                    toolkits=[calculator()],
                ),
                server,
            )
        finally:
            model.close()


def model_of(agent: Agent) -> OpenAIModel:
    assert isinstance(agent.model, OpenAIModel)
    return agent.model


def turn(agent: Agent, question: str, *, streamed: bool) -> tuple[RunOutput, str]:
    """The outcome, and the text that was shown after the last tool."""
    if not streamed:
        at_once = agent.run(question, user_id="alice")
        return at_once, at_once.content
    shown = ""
    output: RunOutput | None = None
    for event in agent.stream(question, user_id="alice"):
        if isinstance(event, TextDelta):
            shown += event.text
        elif isinstance(event, Finished):
            output = event.output
        elif type(event).__name__ == "ToolStarted":
            shown = ""
    assert output is not None
    return output, shown


def wish(name: str, arguments: Any, call_id: str | None, **more: Any) -> Body:
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
        **more,
    }


def wishing(*calls: Body, finish: str = "tool_calls") -> Serve:
    return either(
        events(*[chunk({"tool_calls": [call]}) for call in calls], chunk({}, finish), LAST),
        as_json(whole({"role": "assistant", "content": None, "tool_calls": list(calls)}, finish)),
    )


def then_tell(first: Serve) -> Serve:
    """Wishes first; once results are there, says what they are."""

    def serve(body: Body) -> Answer:
        results = [m["content"] for m in body["messages"] if m["role"] == "tool"]
        return said("got " + "|".join(results))(body) if results else first(body)

    return serve


def refuse(words: Any, status: int = 400) -> Answer:
    error = {"message": words, "type": "invalid_request_error"} if isinstance(words, str) else words
    return as_json({"error": error}, status)
