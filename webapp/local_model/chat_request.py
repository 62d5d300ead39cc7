"""A chat completion as it is asked for: its JSON read and checked; nothing is answered here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from webapp.local_model.engine import ANSWER_TOKENS, Limits
from webapp.local_model.transcript import STOPS, Line, write

MAX_ANSWER_TOKENS = 1024
MAX_STOPS = 4
SPEAKERS = {"user": "User", "assistant": "Assistant"}
INSTRUCTING = ("system", "developer")


class BadRequest(Exception):
    """The request cannot be understood; the text is a sentence for the caller."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What is to be continued, and how."""

    prompt: str
    limits: Limits
    stream: bool
    include_usage: bool

    @classmethod
    def parse(cls, body: bytes) -> ChatRequest:
        """Reads a request's body. Fields that mean nothing to this model, tools among them, are
        left alone. Raises `BadRequest`."""
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            raise BadRequest("The body is not JSON.") from None
        if not isinstance(asked, dict):
            raise BadRequest("The body is not a JSON object.")
        options = asked.get("stream_options") or {}
        return cls(
            prompt=_prompt(asked.get("messages")),
            limits=Limits(_tokens(asked), _temperature(asked), _stops(asked)),
            stream=asked.get("stream") is True,
            include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        )


def _prompt(messages: Any) -> str:
    if not isinstance(messages, list) or not messages:
        raise BadRequest("`messages` must be a list with at least one message.")
    instructions: list[str] = []
    lines: list[Line] = []
    for message in messages:
        role = message.get("role") if isinstance(message, dict) else None
        text = _text(message.get("content")) if isinstance(message, dict) else ""
        if role in INSTRUCTING:
            instructions.append(text)
        elif role in SPEAKERS:
            # A message that only calls a tool has no words, and a tool's result is not spoken.
            if text.strip():
                lines.append(Line(SPEAKERS[role], text))
        elif role != "tool":
            raise BadRequest("Each of `messages` must have a role that is known.")
    if not lines:
        raise BadRequest("`messages` must have words of a user.")
    return write("\n".join(instructions), lines)


def _text(content: Any) -> str:
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        if not all(isinstance(part, str) for part in parts) or len(parts) != len(content):
            raise BadRequest("This model reads text only.")
        content = "\n".join(map(str, parts))
    if not isinstance(content, str | None):
        raise BadRequest("A message's `content` must be text.")
    # Half of a surrogate pair is legal in JSON and in nothing that comes after it.
    return (content or "").encode("utf-8", "replace").decode("utf-8")


def _tokens(asked: dict[str, Any]) -> int:
    value = asked.get("max_completion_tokens") or asked.get("max_tokens") or ANSWER_TOKENS
    if not isinstance(value, int) or value < 1:
        raise BadRequest("`max_tokens` must be a whole number above 0.")
    return min(value, MAX_ANSWER_TOKENS)


def _temperature(asked: dict[str, Any]) -> float:
    value = asked.get("temperature") or 0.0
    if not isinstance(value, int | float) or not 0.0 <= value <= 2.0:
        raise BadRequest("`temperature` must be a number from 0 to 2.")
    return float(value)


def _stops(asked: dict[str, Any]) -> tuple[str, ...]:
    value = asked.get("stop") or []
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not all(isinstance(stop, str) for stop in given):
        raise BadRequest("`stop` must be a text or a list of texts.")
    if len(given) > MAX_STOPS:
        raise BadRequest(f"`stop` may have {MAX_STOPS} texts at most.")
    return (*STOPS, *(stop for stop in given if stop))
