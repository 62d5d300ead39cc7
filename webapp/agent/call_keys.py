"""Idempotency keys of tool calls: the same call of the same request has the same key."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

from webapp.messages import ToolCall


class CallKeys:
    """The keys of one run's calls, in their order.

    A model that is asked again gives its calls other ids, so a key is made of what is called: the
    tool, its arguments, and how often that was called before in this run.
    """

    def __init__(self, request: str) -> None:
        """`request` names what may be tried again, or the run."""
        self._request = request
        self._seen: Counter[str] = Counter()
        self._given: dict[str, str] = {}

    def of(self, call: ToolCall) -> str:
        """The key of the call, which the run knows already or that is its next."""
        given = self._given.get(call.id)
        if given is None:
            given = self._given[call.id] = self._next(call.name, call.arguments)
        return given

    def _next(self, tool: str, arguments: str) -> str:
        call = json.dumps([tool, _canonical(arguments)])
        self._seen[call] += 1
        text = json.dumps([self._request, call, self._seen[call]])
        return f"call-{hashlib.sha256(text.encode()).hexdigest()[:40]}"


def _canonical(arguments: str) -> str:
    """The arguments without what does not matter in JSON: blanks and the order of names."""
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments
