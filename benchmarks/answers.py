"""What the upstream stub says: bodies of chat completions, whole and streamed, made ahead.

The base path chooses: `/v1` is as the options say, `/delay/500/v1` waits 500 ms first,
`/echo/v1` repeats the last user message, `/count/v1` tells how many messages it was sent.
Parts combine (`/delay/50/echo/v1`). Nothing here touches a socket.
"""

import json
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

Style = Literal["fixed", "echo", "count"]

_CREATED = 1_700_000_000
_ID = "chatcmpl-stub"
_MODEL = "stub"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How one base path answers: after `delay` seconds, in one of three styles."""

    delay: float = 0.0
    style: Style = "fixed"


class Answers:
    """Answers for every base path; those that never change are made once."""

    __slots__ = (
        "_default",
        "_fixed_streams",
        "_fixed_whole",
        "_paths",
        "_pieces",
        "_text",
        "models",
    )

    def __init__(self, default: Behaviour, text: str, pieces: int = 8) -> None:
        self._default = default
        self._text = text
        self._pieces = max(1, pieces)
        self._paths: dict[bytes, Behaviour | None] = {}
        self._fixed_whole = whole(text, 1)
        self._fixed_streams = {
            counted: streamed(text, 1, self._pieces, counted) for counted in (False, True)
        }
        model = {"id": _MODEL, "object": "model", "created": _CREATED, "owned_by": "benchmarks"}
        self.models = json.dumps({"object": "list", "data": [model]}).encode()

    def behaviour(self, target: bytes) -> Behaviour | None:
        """Return how this request target answers, or None where no completion is."""
        try:
            return self._paths[target]
        except KeyError:
            found = self._paths[target] = self._read_path(target)
            return found

    def answer(self, behaviour: Behaviour, body: bytes) -> bytes:
        """Return the whole HTTP answer; ValueError where the body must be JSON and is not."""
        may_stream = b'"stream"' in body
        if behaviour.style == "fixed" and not may_stream:
            return self._fixed_whole
        asked = json.loads(body)
        if not isinstance(asked, dict):
            raise ValueError("the body is not an object")
        stream = asked.get("stream") is True
        counted = bool((asked.get("stream_options") or {}).get("include_usage"))
        if behaviour.style == "fixed":
            return self._fixed_streams[counted] if stream else self._fixed_whole
        messages = cast("list[dict[str, Any]]", asked.get("messages") or [])
        text = self._say(behaviour.style, messages)
        if stream:
            return streamed(text, len(messages), self._pieces, counted)
        return whole(text, len(messages))

    def _say(self, style: Style, messages: list[dict[str, Any]]) -> str:
        if style == "count":
            return f"I see {len(messages)} messages in history"
        said = [m.get("content") for m in messages if m.get("role") == "user"]
        last = said[-1] if said else ""
        return last if isinstance(last, str) else json.dumps(last)

    def _read_path(self, target: bytes) -> Behaviour | None:
        path = target.partition(b"?")[0].decode("latin-1")
        if not path.endswith("/v1/chat/completions"):
            return None
        found = self._default
        parts = iter(path.removesuffix("/v1/chat/completions").strip("/").split("/"))
        for part in parts:
            if part == "delay":
                number = next(parts, "")
                if not number.isdigit():
                    return None
                found = replace(found, delay=int(number) / 1000)
            elif part in ("fixed", "echo", "count"):
                found = replace(found, style=cast("Style", part))
            elif part:
                return None
        return found


def whole(text: str, prompt: int) -> bytes:
    """Return an HTTP answer with one complete chat completion."""
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    body = _json(
        {
            "id": _ID,
            "object": "chat.completion",
            "created": _CREATED,
            "model": _MODEL,
            "choices": [choice],
            "usage": _usage(text, prompt),
        }
    )
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        % len(body)
    ) + body


def streamed(text: str, prompt: int, pieces: int, counted: bool) -> bytes:
    """Return an HTTP answer that streams `text` in `pieces` deltas, chunk by chunk."""
    size = max(1, -(-len(text) // pieces))
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": text[at : at + size]} for at in range(0, len(text), size)]
    events = [_event([{"index": 0, "delta": delta, "finish_reason": None}]) for delta in deltas]
    events.append(_event([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    if counted:
        events.append(_event([], _usage(text, prompt)))
    events.append(b"data: [DONE]\n\n")
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunks = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
    return head + b"".join(chunks) + b"0\r\n\r\n"


def _event(choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> bytes:
    chunk: dict[str, Any] = {
        "id": _ID,
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": _MODEL,
        "choices": choices,
    }
    if usage is not None:
        chunk["usage"] = usage
    return b"data: " + _json(chunk) + b"\n\n"


def _usage(text: str, prompt: int) -> dict[str, int]:
    spoken = max(1, len(text.split()))
    asked = 10 * max(1, prompt)
    return {"prompt_tokens": asked, "completion_tokens": spoken, "total_tokens": asked + spoken}


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
