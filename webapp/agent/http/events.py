"""Tells an event of a streamed answer from a heartbeat; what it says is for others to read."""

from __future__ import annotations

from collections.abc import Mapping

# Where an event says something without a choice.
ELSEWHERE = ("usage", "message", "response", "error")


def says_something(event: object) -> bool:
    """Whether there is anything in it of which an answer is made.

    Servers keep a line alive with empty events as well as with comments; a stream of them is no
    answer, however long it goes on.
    """
    if not isinstance(event, Mapping):
        return False
    choices = event.get("choices")
    if not isinstance(choices, list) or not choices:
        return any(event.get(name) for name in ELSEWHERE)
    return any(_has_content(choice) for choice in choices)


def _has_content(choice: object) -> bool:
    if not isinstance(choice, Mapping):
        return False
    said = choice.get("delta") or choice.get("message") or choice.get("text")
    if isinstance(said, str):
        return True
    if isinstance(said, Mapping) and any(value for name, value in said.items() if name != "role"):
        return True
    return bool(choice.get("finish_reason"))
