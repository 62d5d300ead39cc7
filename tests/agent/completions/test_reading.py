"""Tests of what the clock of a streamed answer is told while it is read."""

from __future__ import annotations

import json
from typing import Any

from webapp.agent.completions.reading import Stream
from webapp.agent.meter import Meter


class Told:
    """A clock that only writes down what it is told."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def heard(self) -> None:
        self.words.append("heard")

    def rest(self) -> None:
        self.words.append("rest")

    def complete(self) -> None:
        self.words.append("complete")

    def goes_on(self) -> None:
        self.words.append("goes on")


def told(*choices: dict[str, Any]) -> list[str]:
    clock = Told()
    stream = Stream(None, frozenset(), clock, Meter())
    pieces = [b"data: " + json.dumps({"choices": [each]}).encode() + b"\n\n" for each in choices]
    list(stream.pieces([b": hm\n\n", *pieces]))
    return clock.words


def test_only_what_says_something_is_heard_and_nothing_runs_while_the_reader_has_it() -> None:
    assert told({"delta": {}}, {"delta": {"content": ""}}) == []
    assert told({"delta": {"reasoning_content": "hm"}}) == ["heard"]
    assert told({"delta": {"content": "Hi"}}) == ["rest", "heard"]


def test_after_the_reason_nothing_is_waited_for_unless_more_comes() -> None:
    stop = {"delta": {}, "finish_reason": "stop"}
    assert told({"delta": {"content": "Hi"}}, stop, {"delta": {}}) == [
        *("rest", "heard"),
        *("complete", "complete"),
    ]
    last = {"delta": {"content": "Hi"}, "finish_reason": "stop"}
    assert told(last, last) == ["complete", "rest", "heard", "goes on", "rest", "heard"]
