"""Tests of the calls of one reply, run together."""

from __future__ import annotations

import contextvars
import sys
import threading
import time

import pytest

from webapp.agent import RunContext
from webapp.agent.executor import MAX_TOGETHER, run_together
from webapp.agent.tools import Toolkit, by_name
from webapp.messages import ToolCall

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="none")


def of_alice() -> RunContext:
    return RunContext(user_id="alice")


def call(name: str, arguments: str = "{}") -> ToolCall:
    return ToolCall(f"call-{name}", name, arguments)


def test_three_slow_tools_run_together_and_results_are_in_call_order() -> None:
    def wait(milliseconds: int) -> int:
        time.sleep(milliseconds / 1000)
        return milliseconds

    tools = by_name([Toolkit("own", [wait])])
    calls = [call("wait", f'{{"milliseconds": {ms}}}') for ms in (50, 48, 46)]
    started = time.perf_counter()
    results = run_together(tools, calls, of_alice())
    assert time.perf_counter() - started < 0.12
    assert [result.content for result in results] == ["50", "48", "46"]


def test_a_single_call_runs_in_the_thread_of_the_caller() -> None:
    def which() -> int:
        return threading.get_ident()

    tools = by_name([Toolkit("own", [which])])
    assert run_together(tools, [call("which")], of_alice())[0].content == str(threading.get_ident())


def test_no_more_than_so_many_run_together() -> None:
    lock = threading.Lock()
    running: list[int] = []
    most: list[int] = []

    def work() -> None:
        with lock:
            running.append(1)
            most.append(len(running))
        time.sleep(0.005)
        with lock:
            running.pop()

    results = run_together(by_name([Toolkit("own", [work])]), [call("work")] * 40, of_alice())
    assert len(results) == 40
    assert all(result.ok for result in results)
    assert 1 < max(most) <= MAX_TOGETHER


def test_calls_that_have_not_begun_when_the_run_is_cancelled_are_left_out() -> None:
    cancel = threading.Event()
    ran: list[int] = []

    def work() -> None:
        ran.append(1)
        cancel.set()
        time.sleep(0.02)

    context = RunContext(user_id="alice", cancel=cancel)
    results = run_together(by_name([Toolkit("own", [work])]), [call("work")] * 40, context)
    assert 1 <= len(ran) <= MAX_TOGETHER
    assert [result.ok for result in results].count(True) == len(ran)


@pytest.mark.parametrize("number", [1, 2])
def test_a_tool_that_would_end_the_program_is_told_as_a_fault(number: int) -> None:
    def leave() -> None:
        sys.exit(1)

    results = run_together(by_name([Toolkit("own", [leave])]), [call("leave")] * number, of_alice())
    assert [result.content for result in results] == ["Error: leave failed."] * number


def test_the_context_of_the_request_reaches_every_tool() -> None:
    def who() -> str:
        time.sleep(0.002)
        return request_id.get()

    token = request_id.set("request-7")
    try:
        results = run_together(by_name([Toolkit("own", [who])]), [call("who")] * 4, of_alice())
    finally:
        request_id.reset(token)
    assert [result.content for result in results] == ["request-7"] * 4


def test_a_missing_tool_is_named_beside_those_there_are() -> None:
    def known() -> None: ...

    assert run_together(by_name([Toolkit("own", [known])]), [call("other")], of_alice())[
        0
    ].content == ("Error: There is no tool named 'other'. The tools are: known.")
    assert run_together({}, [call("x" * 900)], of_alice())[0].content == (
        f"Error: There is no tool named '{'x' * 64}'."
    )


def test_without_a_thread_to_be_had_a_call_fails_and_nothing_counts_as_hanging(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tools = by_name([Toolkit("own", [_one])])
    wishes = [ToolCall(f"call-{number}", "_one", "{}") for number in range(3)]
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def second_fails(thread: threading.Thread) -> None:
        started.append(thread)
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    context = of_alice()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", second_fails)
        results = run_together(tools, wishes, context)
    assert [result.ok for result in results] == [True, False, True]
    assert "not available now" in results[1].content
    assert tools["_one"].left_running.number == 0
    assert sorted(use.outcome for use in context.tool_log.uses) == ["error", "ok", "ok"]


def _one() -> int:
    return 1
