"""Runs the tool calls of one reply, together and with bounds; what a tool does is in tools.py."""

from __future__ import annotations

import contextvars
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from webapp.agent.call_keys import CallKeys
from webapp.agent.run_context import RunContext
from webapp.agent.tool_log import ToolOutcome
from webapp.agent.tool_results import RESULT_MAX_CHARS
from webapp.agent.tools import Tool, ToolResult, failure
from webapp.deadline import Deadline
from webapp.messages import ToolCall
from webapp.turns import Cancellation

MAX_TOGETHER = 16
# A tool that hangs holds its thread for ever; so many calls of one tool may, in one process.
MAX_LEFT_RUNNING = 32
CANCEL_POLL_SECONDS = 0.05
# Called off, a tool that looks at its context has so long to put things in order.
CANCEL_GRACE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ToolLimits:
    """The bounds of one call: the seconds that it may take, unless the tool has its own, and the
    characters of its result."""

    timeout: float | None = None
    result_max_chars: int = RESULT_MAX_CHARS


_NO_LIMITS = ToolLimits()


def run_together(
    tools: Mapping[str, Tool[..., Any]],
    calls: Sequence[ToolCall],
    context: RunContext,
    limits: ToolLimits = _NO_LIMITS,
    keys: CallKeys | None = None,
) -> list[ToolResult]:
    """A result for each call, in the order of the calls; never raises an Exception.

    Each runs in a thread of its own, at most `MAX_TOGETHER` at once. A thread cannot be stopped, so
    a call that is not done after its time, or by the run's deadline, is left to itself: its result
    says so, its context is cancelled, and what it gives later is thrown away. Calls that have not
    begun when the run is called off, or its deadline has passed, are left out. A single call that
    nothing bounds runs in the thread of the caller.
    """
    keys = keys or CallKeys(context.idempotency_key or context.run_id)
    batch = _Batch(tools, calls, context, limits, keys)
    if len(calls) == 1 and not batch.bounded:
        return [batch.run_here(0)]
    batch.run()
    return batch.results


class _CallCancellation:
    """Set when the run is called off, or the time of this one call is over."""

    def __init__(self, of_run: Cancellation | None) -> None:
        self._of_run = of_run
        self._set = False

    def set(self) -> None:
        self._set = True

    def is_set(self) -> bool:
        return self._set or (self._of_run is not None and self._of_run.is_set())


class _Attempt:
    """A call under way."""

    def __init__(self, tool: Tool[..., Any], seconds: float | None, of_run: RunContext) -> None:
        self.tool = tool
        self.seconds = seconds
        self.cancel = _CallCancellation(of_run.cancel)
        self.deadline = Deadline.after(seconds)
        self.began = time.monotonic()
        self.left = False


class _Batch:
    """The calls of one reply."""

    def __init__(
        self,
        tools: Mapping[str, Tool[..., Any]],
        calls: Sequence[ToolCall],
        context: RunContext,
        limits: ToolLimits,
        keys: CallKeys,
    ) -> None:
        self._tools = tools
        self._calls = calls
        self._context = context
        self._limits = limits
        self._keys = [keys.of(call) for call in calls]
        self._waiting = deque(range(len(calls)))
        self._under_way: dict[int, _Attempt] = {}
        self._changed = threading.Condition()
        self._called_off_at: float | None = None
        self.results = [failure(f"{call.name} was not run to its end.") for call in calls]

    @property
    def bounded(self) -> bool:
        """Whether anything may end the waiting before the calls have."""
        context = self._context
        return (
            context.deadline is not None
            or context.cancel is not None
            or any(self._seconds(each) is not None for each in self._tools_called())
        )

    def run(self) -> None:
        """Runs all, and waits for them as long as they may take."""
        try:
            with self._changed:
                self._begin()
                while self._under_way and not self._given_up():
                    self._changed.wait(self._patience())
                    self._leave_late_ones()
                    self._begin()
        finally:
            with self._changed:
                cancelled = self._context.cancelled
                self._leave(list(self._under_way), "cancelled" if cancelled else "timeout")

    def run_here(self, index: int, attempt: _Attempt | None = None) -> ToolResult:
        """Runs one call in this thread."""
        call, key = self._calls[index], self._keys[index]
        tool = self._tools.get(call.name)
        if tool is None or call.fault:
            return self._not_run(call)
        context = replace(
            self._context, idempotency_key=key, tool_name=call.name, tool_call_id=call.id
        )
        if attempt is not None:
            deadlines = [each for each in (context.deadline, attempt.deadline) if each is not None]
            context = replace(
                context,
                cancel=attempt.cancel,
                deadline=min(deadlines, key=lambda each: each.at, default=None),
            )
        began = time.monotonic()
        with context.span.tool_call(call.name, call.id) as span:
            result = tool.run(
                call.arguments, context, result_max_chars=self._limits.result_max_chars
            )
            if not result.ok:
                span.failed_as("tool_error")
        if attempt is None or not attempt.left:
            outcome: ToolOutcome = "ok" if result.ok else "error"
            context.tool_log.add(call.name, outcome, time.monotonic() - began)
        return result

    # -- all of these hold the lock -------------------------------------------------------------

    def _begin(self) -> None:
        """Starts what waits, as far as there is room and anybody wants it."""
        while self._waiting and len(self._under_way) < MAX_TOGETHER and not self._is_over():
            index = self._waiting.popleft()
            call = self._calls[index]
            tool = self._tools.get(call.name)
            if tool is None or call.fault:
                self.results[index] = self._not_run(call)
            elif tool.left_running.number >= MAX_LEFT_RUNNING:
                self.results[index] = failure(
                    f"{call.name} is not available: {MAX_LEFT_RUNNING} calls of it hang."
                )
            else:
                self._start(index, tool)

    def _start(self, index: int, tool: Tool[..., Any]) -> None:
        attempt = _Attempt(tool, self._seconds(tool), self._context)
        self._under_way[index] = attempt
        # Each thread has its own copy of the context, which names the request in the log.
        thread = threading.Thread(
            target=contextvars.copy_context().run, args=(self._work, index, attempt), daemon=True
        )
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            # The system has none to give: nothing runs that could take the attempt away.
            del self._under_way[index]
            name = self._calls[index].name
            self._context.tool_log.add(name, "error", 0.0)
            self.results[index] = failure(f"{name} is not available now: the server is too busy.")

    def _patience(self) -> float | None:
        """Seconds until there is something to look at; None to wait for a call's end alone."""
        times = [each.deadline.left for each in self._under_way.values() if each.deadline]
        if self._context.deadline is not None:
            times.append(self._context.deadline.left)
        if self._context.cancel is not None:
            times.append(CANCEL_POLL_SECONDS)
        return min(times, default=None)

    def _given_up(self) -> bool:
        """Whether those under way are not waited for any longer."""
        deadline = self._context.deadline
        if deadline is not None and deadline.passed:
            return True
        if not self._context.cancelled:
            return False
        now = time.monotonic()
        self._called_off_at = self._called_off_at or now
        return now - self._called_off_at >= CANCEL_GRACE_SECONDS

    def _leave_late_ones(self) -> None:
        late = [
            index
            for index, each in self._under_way.items()
            if each.deadline is not None and each.deadline.passed
        ]
        for index in late:
            seconds = self._under_way[index].seconds
            self.results[index] = failure(
                f"{self._calls[index].name} timed out: it did not end within {seconds:g} seconds."
            )
        self._leave(late, "timeout")

    def _leave(self, indexes: list[int], outcome: ToolOutcome) -> None:
        """These are waited for no longer."""
        for index in indexes:
            attempt = self._under_way.pop(index)
            took = time.monotonic() - attempt.began
            self._context.tool_log.add(self._calls[index].name, outcome, took)
            attempt.left = True
            attempt.cancel.set()
            attempt.tool.left_running.add(1)

    # -- the threads ----------------------------------------------------------------------------

    def _work(self, index: int, attempt: _Attempt) -> None:
        result = self.results[index]
        try:
            result = self.run_here(index, attempt)
        finally:
            with self._changed:
                if attempt.left:
                    attempt.tool.left_running.add(-1)
                else:
                    del self._under_way[index]
                    self.results[index] = result
                    self._changed.notify()

    def _is_over(self) -> bool:
        deadline = self._context.deadline
        return self._context.cancelled or (deadline is not None and deadline.passed)

    def _seconds(self, tool: Tool[..., Any]) -> float | None:
        return tool.timeout if tool.timeout is not None else self._limits.timeout

    def _tools_called(self) -> list[Tool[..., Any]]:
        return [self._tools[call.name] for call in self._calls if call.name in self._tools]

    def _not_run(self, call: ToolCall) -> ToolResult:
        if call.fault:
            return failure(call.fault)
        known = f" The tools are: {', '.join(self._tools)}." if self._tools else ""
        return failure(f"There is no tool named '{call.name[:64]}'.{known}")
