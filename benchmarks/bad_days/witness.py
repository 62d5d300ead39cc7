"""The upstream that knows what each user has said: it looks for foreign and missing words.

A user's words are `USER says NUMBER`, an answer's `USER hears NUMBER`. What a user was answered
must be in what the model is sent with the user's next turn, in its order, and nobody else's words.
"""

import json
import re
import threading
from collections import Counter, defaultdict
from typing import Any

from tests.upstream import Answer, saying, streaming

WORDS = re.compile(r"(\S+) (says|hears) (\d+)")
LOOKED_AT = 40


class Witness:
    """What was answered by now, and what was wrong with what the model was sent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.answered: defaultdict[str, list[int]] = defaultdict(list)
        self.foreign = 0
        self.wrong_histories = 0
        self.half_turns = 0
        self.calls = 0
        # So many of a user's newest turns must be there: what the memory keeps, and no more.
        self.looked_at = LOOKED_AT
        self.examples: list[str] = []
        # What the upstream does instead of answering, for days on which it is ill.
        self.illness = ""

    def heard(self, user: str, number: int) -> None:
        """The client has the answer in its hands."""
        with self._lock:
            self.answered[user].append(number)

    def __call__(self, request: dict[str, Any]) -> Answer:
        messages = [one for one in request["messages"] if one["role"] != "system"]
        found = WORDS.fullmatch(messages[-1]["content"])
        if found is None:
            return saying("hello")
        user, number = found[1], int(found[3])
        with self._lock:
            self.calls += 1
            self.judge(user, messages[:-1], self.answered[user][-self.looked_at :])
            calls = self.calls
        text = f"{user} hears {number}"
        if self.illness == "errors" and calls % 10 < 3:
            return Answer(b'{"error": {"message": "ill"}}', status=500)
        if self.illness == "hangs" and calls % 4 == 0:
            return saying(text, delay=6.0)
        if self.illness == "drips" and request.get("stream"):
            return streaming(*text, pause=0.2)
        if self.illness == "drips":
            return saying(text, delay=1.0)
        return streaming(text) if request.get("stream") else saying(text)

    def judge(self, user: str, history: list[dict[str, Any]], answered: list[int]) -> None:
        """Looks at one history, oldest message first, without the turn that is to come."""
        numbers: list[int] = []
        expected = "says"
        for message in history:
            found = WORDS.fullmatch(message["content"])
            if found is None or found[1] != user:
                self.foreign += 1
                self._note(f"foreign to {user}: {json.dumps(message)[:200]}")
                return
            if found[2] != expected or (expected == "hears" and int(found[3]) != numbers[-1]):
                self.half_turns += 1
                self._note(f"half a turn of {user}: {found[0]}")
                return
            if expected == "says":
                numbers.append(int(found[3]))
            expected = "hears" if expected == "says" else "says"
        seen = set(numbers)
        missing = [number for number in answered if number not in seen]
        if missing or numbers != sorted(seen) or expected != "says":
            self.wrong_histories += 1
            self._note(f"wrong history of {user}: lacks {missing}, has {numbers[-5:]}")

    def _note(self, example: str) -> None:
        if len(self.examples) < 5:
            self.examples.append(example)


class Refusals:
    """Answers that were none, by code; `lost` for connections that broke."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()

    def add(self, code: str) -> None:
        with self._lock:
            self.counts[code] += 1
