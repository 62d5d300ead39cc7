"""Tells an event of a streamed answer from a heartbeat; what it says is for others to read."""

from __future__ import annotations

from collections.abc import Mapping

from webapp.agent.meter import tokens_in

# Where an event says something without a choice.
ELSEWHERE = ("usage", "message", "response", "error")
DEPTH = 6


def tokens_of(event: object) -> float | None:
    """About how many tokens the event brings of the answer; None for one without anything in it.

    Servers keep a line alive with empty events as well as with comments; a stream of them is no
    answer, however long it goes on.
    """
    if not isinstance(event, Mapping):
        return None
    choices = event.get("choices")
    if not isinstance(choices, list) or not choices:
        return 0.0 if any(event.get(name) for name in ELSEWHERE) else None
    found = [tokens for choice in choices if (tokens := _of_choice(choice)) is not None]
    return sum(found) if found else None


def _of_choice(choice: object) -> float | None:
    if not isinstance(choice, Mapping):
        return None
    said = choice.get("delta") or choice.get("message") or choice.get("text")
    if isinstance(said, Mapping):
        parts = [value for name, value in said.items() if value and name != "role"]
    else:
        parts = [said] if said else []
    if parts:
        return sum(_of_value(part, DEPTH) for part in parts)
    return 0.0 if choice.get("finish_reason") else None


def _of_value(value: object, depth: int) -> float:
    if isinstance(value, str):
        return tokens_in(value)
    if not depth:
        return 0.0
    if isinstance(value, Mapping):
        return sum(_of_value(each, depth - 1) for name, each in value.items() if name != "id")
    if isinstance(value, list):
        return sum(_of_value(each, depth - 1) for each in value)
    return 0.0
