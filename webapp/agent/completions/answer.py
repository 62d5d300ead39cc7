"""Puts a model's answer together, whole or streamed, from the objects that a server sent."""

from __future__ import annotations

import re
from collections.abc import Container
from functools import reduce
from typing import Any

from webapp.agent.completions.calls import Calls
from webapp.agent.completions.content import Sound, text_of
from webapp.agent.completions.thinking import ThoughtFilter, after_unopened_thought
from webapp.agent.completions.usage import larger, usage_in
from webapp.agent.model import ModelReply
from webapp.messages import Usage

# What a model said in reasoning, as servers name it: some of them want it back within the turn.
SENT_BACK = frozenset(
    {
        "reasoning_content",
        "reasoning",
        "reasoning_details",
        "reasoning_text",
        "reasoning_opaque",
        "thinking_blocks",
        "thought_signature",
        "extra_content",
        "provider_specific_fields",
    }
)
# With these a server says that it stopped for a fault of its own, beside half an answer or none.
FAILED = re.compile(
    r"error|fail|abort|cancel|timeout|timed_out|exception|interrupt|preempt|overload|unavailable"
    r"|insufficient|malformed",
    re.IGNORECASE,
)
# Under these some put the whole answer into one of their own.
WRAPPERS = ("data", "result", "response", "body")
TOO_LONG = "model_context_window_exceeded"
NO_REASON = frozenset({"", "null", "none"})
FINISH_NAMES = ("finish_reason", "finishReason", "stop_reason", "done_reason")
MAX_REASON_CHARS = 64
# Where a fault without an `error` has its words, and its number.
TOLD = ("detail", "msg", "error_msg", "errmsg", "error_message", "errorMessage")
NUMBERS = ("code", "status", "status_code", "error_code", "errorCode")


class SaidFailure(Exception):
    """The server says in its answer that it failed; `data` is what it says."""

    def __init__(self, data: object) -> None:
        super().__init__("the model's server says that it failed")
        self.data = data


class Answer:
    """One answer under way. `finish_reason` is None until the server says why it stopped.

    `bare` in `take` says that an object stood there without framing, as whole answers do.
    """

    def __init__(self, known: Container[str] = ()) -> None:
        self.finish_reason: str | None = None
        self.usage = Usage()
        self._texts: list[str] = []
        self._calls = Calls(known)
        self._thoughts = ThoughtFilter()
        self._sound = Sound()
        self._extra: dict[str, list[Any]] = {}
        self._is_whole = False
        self._bill_came = False
        self._refused = False

    def take(self, data: dict[str, Any], *, bare: bool = False) -> str:
        """Reads one object; gives the text in it. Raises `SaidFailure`."""
        if data.get("error") or data.get("object") == "error":
            raise SaidFailure(data)
        choices = data.get("choices")
        if choices is None and (inner := _unwrapped(data)) is not None:
            return self.take(inner, bare=bare)
        if bare or not choices or data.get("usage"):
            self._bill(data)
        choice = choices[0] if choices else _outer(data, bare)
        if not isinstance(choice, dict):
            return ""
        if choice.get("error"):
            raise SaidFailure(choice)
        return self._take_choice(choice, data, bare)

    def end(self) -> str:
        """The text that was held back until it was sure that no more comes."""
        text = self._sound.end()
        if not self._thoughts.through:
            text = self._thoughts.take(text) + self._thoughts.end()
        if text:
            self._texts.append(text)
        return text

    def without_unopened_thought(self) -> None:
        """Leaves out what a template made the model begin with; known only when all is there."""
        self._texts = [after_unopened_thought("".join(self._texts))]

    def is_complete(self, *, ended: bool) -> bool:
        """Whether nothing is missing; `ended` says that the server told its end itself."""
        if self.finish_reason is not None:
            return True
        return bool(self._texts or self._calls) and (ended or self._is_whole or self._bill_came)

    def reply(self) -> ModelReply:
        """All of it; empty when nothing was said."""
        calls = self._calls.whole()
        reason = self.finish_reason or ("tool_calls" if calls else "stop")
        # Joined only now: most answers have no calls, and their thoughts go nowhere.
        extra = {key: _all(values) for key, values in self._extra.items()} if calls else None
        text = "".join(self._texts)
        return ModelReply(text, calls, self.usage, reason, extra or None, self._refused)

    def _take_choice(self, choice: dict[str, Any], data: dict[str, Any], bare: bool) -> str:
        piece = choice.get("delta")
        if not piece:
            piece = self._message(choice, bare)
        text = ""
        if isinstance(piece, str):
            text = piece
        elif piece:
            text = self._take_piece(piece)
        if text:
            text = self._shown(text)
        reason = choice.get("finish_reason")
        if reason is None:
            reason = next((choice[name] for name in FINISH_NAMES if choice.get(name)), None)
        if reason is not None:
            self._stop(reason, data)
        return text

    def _message(self, choice: dict[str, Any], bare: bool) -> Any:
        """A message where a piece belongs; one that repeats all the pieces is ignored."""
        message = choice.get("message")
        if message is None:
            return choice.get("text")
        if self._texts:
            said = text_of(message.get("content") if isinstance(message, dict) else message)
            if said.strip() == "".join(self._texts).strip():
                return None
        self._is_whole = self._is_whole or bare
        return message

    def _take_piece(self, piece: dict[str, Any]) -> str:
        text = ""
        for key, value in piece.items():
            if key == "content":
                text += value if type(value) is str else self._text_of(value)
            elif not value or key == "role":
                continue
            elif key == "refusal":
                text += text_of(value)
                self._refused = True
            elif key == "tool_calls":
                self._calls.take(value)
            elif key == "function_call":
                self._calls.take({"function": value})
            elif key in SENT_BACK:
                self._extra.setdefault(key, []).append(value)
        return text

    def _text_of(self, content: object) -> str:
        parts = content if isinstance(content, list) else ()
        if any(isinstance(part, dict) and part.get("type") == "refusal" for part in parts):
            self._refused = True
        return text_of(content)

    def _shown(self, text: str) -> str:
        text = self._sound.take(text)
        if not self._thoughts.through:
            text = self._thoughts.take(text)
        if text:
            self._texts.append(text)
        return text

    def _bill(self, data: dict[str, Any]) -> None:
        found = usage_in(data)
        if found.total_tokens:
            self.usage = larger(self.usage, found)
            self._bill_came = self._bill_came or not data.get("choices")

    def _stop(self, reason: object, data: dict[str, Any]) -> None:
        if not isinstance(reason, str) or reason.lower() in NO_REASON:
            return
        if FAILED.search(reason):
            raise SaidFailure({"code": reason})
        if reason.lower() == TOO_LONG and not self._texts:
            raise SaidFailure({"code": TOO_LONG})
        self.finish_reason = reason[:MAX_REASON_CHARS]
        if not data.get("usage"):
            self._bill(data)  # some put it beside the reason or elsewhere in the last piece


def _outer(data: dict[str, Any], bare: bool) -> Any:
    """An answer without choices: Ollama's own shape; or the fault that others put there.

    A word beside a stream's pieces may also be a note, unless it has an error's number.
    """
    message = data.get("message")
    if isinstance(message, dict):
        return data
    own = data.get("base_resp")
    if isinstance(own, dict) and own.get("status_code"):
        raise SaidFailure(data)  # MiniMax, and those who resell it: a status of its own within 200
    told = isinstance(message, str) or any(data.get(name) for name in TOLD)
    number = any(data.get(name) for name in NUMBERS)
    if data.get("choices") is None and told and (bare or number):
        raise SaidFailure(data)
    return None


def _unwrapped(data: dict[str, Any]) -> dict[str, Any] | None:
    """The inner answer, when a proxy has wrapped it."""
    inner = (data.get(name) for name in WRAPPERS)
    return next((each for each in inner if isinstance(each, dict) and "choices" in each), None)


def _all(pieces: list[Any]) -> Any:
    """The pieces of one field as one."""
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces)
    return reduce(_joined, pieces)


def _joined(before: Any, value: Any) -> Any:
    """Two pieces of the same field."""
    if isinstance(before, str) and isinstance(value, str):
        return before + value
    if isinstance(before, dict) and isinstance(value, dict):
        return {**before, **{key: _joined(before.get(key), each) for key, each in value.items()}}
    if isinstance(before, list) and isinstance(value, list):
        return _joined_lists(before, value)
    return value


def _joined_lists(before: list[Any], value: list[Any]) -> list[Any]:
    """Pieces of entries that have the same number and kind are one entry."""
    entries = list(before)
    for each in value:
        last = entries[-1] if entries else None
        same = (
            isinstance(last, dict)
            and isinstance(each, dict)
            and last.get("index") is not None
            and all(last.get(name) == each.get(name) for name in ("index", "type"))
        )
        entries[-1 if same else len(entries) :] = [_merged(last, each) if same else each]
    return entries


def _merged(last: Any, each: Any) -> dict[str, Any]:
    texts = {
        name: last.get(name, "") + each.get(name, "")
        for name in ("text", "summary", "data")
        if isinstance(last.get(name, ""), str)
        and isinstance(each.get(name, ""), str)
        and (name in last or name in each)
    }
    return {**last, **{k: v for k, v in each.items() if v is not None}, **texts}
