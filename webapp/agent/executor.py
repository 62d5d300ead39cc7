"""Runs the tool calls of one reply, together and with a bound; what a tool does is in tools.py."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from webapp.agent.tools import Tool, ToolResult, failure
from webapp.messages import ToolCall
from webapp.turns import Cancellation

MAX_TOGETHER = 8


def run_together(
    tools: Mapping[str, Tool[..., Any]],
    calls: Sequence[ToolCall],
    cancel: Cancellation | None = None,
) -> list[ToolResult]:
    """A result for each call, in the order of the calls; never raises an Exception.

    A single call runs in the thread of the caller, several in at most `MAX_TOGETHER` threads.
    Calls that have not begun when `cancel` is set are left out; one that has begun is waited for,
    because a thread cannot be stopped.
    """
    results = [failure(f"{call.name} was not run to its end.") for call in calls]
    waiting = deque(range(len(calls)))

    def work() -> None:
        while not (cancel is not None and cancel.is_set()):
            try:
                index = waiting.popleft()
            except IndexError:
                return
            results[index] = _run(tools, calls[index])

    others = [
        # Each thread has its own copy of the context, which names the request in the log.
        threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True)
        for _ in range(min(len(calls), MAX_TOGETHER) - 1)
    ]
    for thread in others:
        thread.start()
    work()
    for thread in others:
        thread.join()
    return results


def _run(tools: Mapping[str, Tool[..., Any]], call: ToolCall) -> ToolResult:
    tool = tools.get(call.name)
    if call.fault:
        return failure(call.fault)
    if tool is not None:
        return tool.run(call.arguments)
    known = f" The tools are: {', '.join(tools)}." if tools else ""
    return failure(f"There is no tool named '{call.name[:64]}'.{known}")
