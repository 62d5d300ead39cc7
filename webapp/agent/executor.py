"""Runs the tool calls of one reply, together and with a bound; what a tool does is in tools.py."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from webapp.agent.run_context import RunContext
from webapp.agent.tools import Tool, ToolResult, failure
from webapp.deadline import Deadline
from webapp.messages import ToolCall

MAX_TOGETHER = 8


def run_together(
    tools: Mapping[str, Tool[..., Any]], calls: Sequence[ToolCall], context: RunContext
) -> list[ToolResult]:
    """A result for each call, in the order of the calls; never raises an Exception.

    Without a deadline a single call runs in the thread of the caller and each that has begun is
    waited for, because a thread cannot be stopped. With one all run in other threads, at most
    `MAX_TOGETHER`, and those that are not done by then are left to themselves: their results say
    so, and what they give later is thrown away. Calls that have not begun when the run is called
    off or its deadline has passed are left out.
    """
    batch = _Calls(tools, calls, context)
    helpers = min(len(calls), MAX_TOGETHER)
    if context.deadline is not None:
        batch.start(helpers)
        return batch.results_by(context.deadline)
    others = batch.start(helpers - 1)
    batch.work()
    for thread in others:
        thread.join()
    return batch.results


class _Calls:
    """The calls of one reply, which several threads work off."""

    def __init__(
        self, tools: Mapping[str, Tool[..., Any]], calls: Sequence[ToolCall], context: RunContext
    ) -> None:
        self._tools = tools
        self._calls = calls
        self._context = context
        self._waiting = deque(range(len(calls)))
        self._at_work = 0
        self._lock = threading.Lock()
        self._done = threading.Event()
        self.results = [failure(f"{call.name} was not run to its end.") for call in calls]

    def start(self, number: int) -> list[threading.Thread]:
        """So many threads begin to work."""
        self._at_work = number
        threads = [
            # Each thread has its own copy of the context, which names the request in the log.
            threading.Thread(target=contextvars.copy_context().run, args=(self._help,), daemon=True)
            for _ in range(number)
        ]
        for thread in threads:
            thread.start()
        return threads

    def results_by(self, deadline: Deadline) -> list[ToolResult]:
        """The results once all are done, or the time has run out."""
        self._done.wait(deadline.left)
        return list(self.results)

    def work(self) -> None:
        """Runs one call after the other until none is left or wanted."""
        while not self._is_over():
            try:
                index = self._waiting.popleft()
            except IndexError:
                return
            self.results[index] = _run(self._tools, self._calls[index], self._context)

    def _help(self) -> None:
        try:
            self.work()
        finally:
            with self._lock:
                self._at_work -= 1
                if not self._at_work:
                    self._done.set()

    def _is_over(self) -> bool:
        deadline = self._context.deadline
        return self._context.cancelled or (deadline is not None and deadline.passed)


def _run(tools: Mapping[str, Tool[..., Any]], call: ToolCall, context: RunContext) -> ToolResult:
    tool = tools.get(call.name)
    if call.fault:
        return failure(call.fault)
    if tool is not None:
        with context.span.tool_call(call.name, call.id) as span:
            result = tool.run(call.arguments, context)
            if not result.ok:
                span.failed_as("tool_error")
            return result
    known = f" The tools are: {', '.join(tools)}." if tools else ""
    return failure(f"There is no tool named '{call.name[:64]}'.{known}")
