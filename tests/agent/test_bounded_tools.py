"""Tools that hang, take their time, give too much or what nobody can read; the turn goes on."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.fakes import FakeModel, calls
from webapp.agent import Agent, RunContext, Toolkit, tool
from webapp.agent.executor import MAX_LEFT_RUNNING, ToolLimits, run_together
from webapp.agent.tools import by_name
from webapp.errors import ConfigurationError, ModelError, ModelTimeout
from webapp.messages import ToolCall


def of_alice(**given: Any) -> RunContext:
    return RunContext(user_id="alice", **given)


def called(function: Callable[..., Any], arguments: str = "{}", **limits: Any) -> str:
    """What one call of a function tells the model."""
    tools = by_name([Toolkit("own", [function])])
    call = ToolCall("call-1", next(iter(tools)), arguments)
    return run_together(tools, [call], of_alice(), ToolLimits(**limits))[0].content


class Hanging:
    """A tool that hangs until the test is over."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.ended = threading.Semaphore(0)

    def hang(self) -> str:
        """Hang."""
        self.gate.wait()
        self.ended.release()
        return "late"


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    made = Hanging()
    yield made
    made.gate.set()


def test_a_tool_that_hangs_is_told_as_timed_out_and_the_turn_goes_on(hanging: Hanging) -> None:
    slow = tool(timeout=0.05)(hanging.hang)
    model = FakeModel.of(calls(("hang", {}), ("quick", {})), "I could not wait.")

    def quick() -> str:
        return "here"

    agent = Agent(name="a", model=model, toolkits=[Toolkit("own", [slow, quick])])
    output = agent.run("hi", user_id="alice")
    assert output.content == "I could not wait."
    assert [each.content for each in output.messages if each.role == "tool"] == [
        "Error: hang timed out: it did not end within 0.05 seconds.",
        "here",
    ]


def test_the_agents_own_time_out_is_for_tools_without_one(hanging: Hanging) -> None:
    assert called(hanging.hang, timeout=0.05).startswith("Error: hang timed out")
    patient = tool(timeout=30)(lambda_quick)
    assert called(patient, timeout=0.001) == "here"


def lambda_quick() -> str:
    """Give something after a moment."""
    threading.Event().wait(0.02)
    return "here"


def test_more_calls_than_run_together_all_time_out(hanging: Hanging) -> None:
    tools = by_name([Toolkit("own", [hanging.hang])])
    wishes = [ToolCall(f"call-{number}", "hang", "{}") for number in range(20)]
    results = run_together(tools, wishes, of_alice(), ToolLimits(timeout=0.05))
    assert all("timed out" in each.content for each in results)


def test_a_tool_whose_calls_all_hang_is_not_given_more_threads(hanging: Hanging) -> None:
    tools = by_name([Toolkit("own", [hanging.hang])])
    wishes = [ToolCall(f"call-{number}", "hang", "{}") for number in range(MAX_LEFT_RUNNING + 20)]
    results = run_together(tools, wishes, of_alice(), ToolLimits(timeout=0.02))
    refused = [each for each in results if "not available" in each.content]
    assert 0 < len(refused) <= 20
    left = tools["hang"].left_running
    assert left.number >= MAX_LEFT_RUNNING
    hanging.gate.set()
    for _ in range(len(wishes) - len(refused)):
        assert hanging.ended.acquire(timeout=10)
    while left.number:
        threading.Event().wait(0.001)
    assert run_together(tools, wishes[:1], of_alice())[0].content == "late"


def test_a_call_that_timed_out_sees_that_nobody_waits_for_it() -> None:
    seen = threading.Event()

    def patient(context: RunContext) -> None:
        assert context.deadline is not None
        while not context.cancelled:
            threading.Event().wait(0.005)
        seen.set()

    assert "timed out" in called(patient, timeout=0.02)
    assert seen.wait(10)


def test_a_run_that_is_called_off_leaves_a_tool_that_hangs(hanging: Hanging) -> None:
    cancel = threading.Event()

    def begin() -> str:
        cancel.set()
        return hanging.hang()

    agent = Agent(name="a", model=FakeModel.of(calls(("begin", {}))), toolkits=[kit(begin)])
    assert agent.run("hi", user_id="alice", cancel=cancel).status == "cancelled"


def kit(*functions: Callable[..., Any]) -> Toolkit:
    return Toolkit("own", functions)


# -- asynchronous tools -------------------------------------------------------------------------


async def double(number: int, context: RunContext) -> str:
    """Double a number.

    Args:
        number: what to double
    """
    await asyncio.sleep(0.001)
    return f"{context.user_id}: {2 * number}"


def test_an_asynchronous_tool_is_one_like_any_other() -> None:
    made = tool(double)
    assert made.spec.parameters["properties"]["number"]["description"] == "what to double"
    assert called(double, '{"number": 4}') == "alice: 8"
    assert called(double, '{"number": "four"}').startswith("Error: The argument 'number'")


def test_asynchronous_tools_share_one_loop_and_run_together() -> None:
    everybody = 12
    arrived: list[asyncio.AbstractEventLoop] = []
    all_here = asyncio.Event()

    async def meet() -> str:
        arrived.append(asyncio.get_running_loop())
        if len(arrived) == everybody:
            all_here.set()
        await all_here.wait()
        return "met"

    tools = by_name([kit(meet)])
    wishes = [ToolCall(f"call-{number}", "meet", "{}") for number in range(everybody)]
    results = run_together(tools, wishes, of_alice(), ToolLimits(timeout=30))
    assert [each.content for each in results] == ["met"] * everybody
    assert len(set(arrived)) == 1


def test_an_asynchronous_tool_that_hangs_is_cancelled() -> None:
    cancelled = threading.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    assert called(hang, timeout=0.05).startswith("Error: hang timed out")
    assert cancelled.wait(10)


def test_a_turn_that_runs_out_of_time_cancels_it_too() -> None:
    cancelled = threading.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    agent = Agent(
        name="a", model=FakeModel.of(calls(("hang", {}))), toolkits=[kit(hang)], turn_timeout=0.05
    )
    with pytest.raises(ModelTimeout):
        agent.run("hi", user_id="alice")
    assert cancelled.wait(10)


async def raising() -> None:
    raise ValueError("secret")


async def timing_out() -> None:
    raise TimeoutError("secret")


async def leaving() -> None:
    raise SystemExit(1)


async def cancelling_itself() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("function", [raising, timing_out, leaving, cancelling_itself])
def test_an_asynchronous_tool_that_fails_stops_neither_the_turn_nor_the_loop(
    function: Callable[..., Any],
) -> None:
    told = called(function)
    assert told.startswith(f"Error: {function.__name__} ")
    assert "secret" not in told
    assert called(double, '{"number": 1}') == "alice: 2"


def test_where_an_asynchronous_tool_failed_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    called(raising)
    assert "raising raised ValueError at test_bounded_tools.py:" in caplog.text
    assert "secret" not in caplog.text


def test_an_asynchronous_tool_that_runs_its_own_user_is_told_so() -> None:
    async def again() -> str:
        return agent.run("again", user_id="alice").content

    agent = Agent(name="a", model=FakeModel.of(calls(("again", {})), "done"), toolkits=[kit(again)])
    output = agent.run("hi", user_id="alice")
    assert "A turn of this user is under way" in output.messages[2].content


def test_an_asynchronous_tool_that_blocks_the_loop_it_needs_is_told_so() -> None:
    inner_model = FakeModel.of(calls(("double", {"number": 1})), otherwise="done")
    inner = Agent(name="inner", model=inner_model, toolkits=[kit(double)])

    async def ask() -> str:
        return inner.run("again", user_id="alice").messages[2].content

    told = called(ask)
    assert "blocks the event loop" in told or told == "alice: 2"


# -- results ------------------------------------------------------------------------------------


def test_a_result_of_ten_megabytes_is_cut_with_a_word_about_it() -> None:
    told = called(lambda_large)
    assert len(told) <= 32_000
    assert told.endswith(
        "[cut: the result has 10,000,000 characters, and only its beginning is here]"
    )
    assert len(called(lambda_large, result_max_chars=500)) <= 500
    assert called(lambda_list, result_max_chars=500).startswith('["x","x"')


def lambda_large() -> str:
    """Give too much."""
    return "x" * 10_000_000


def lambda_list() -> list[str]:
    """Give too many."""
    return ["x"] * 100_000


def endless() -> Iterator[str]:
    """Never end."""
    while True:
        yield "word "


def numbers() -> Iterator[int]:
    """Count."""
    yield from range(3)


async def words() -> AsyncIterator[str]:
    """Speak."""
    for word in ("one ", "two"):
        await asyncio.sleep(0)
        yield word


def nothing() -> Iterator[str]:
    """Give nothing."""
    yield from ()


def test_generators_are_read_to_their_end_or_until_there_is_enough() -> None:
    assert called(endless, result_max_chars=300).startswith("word word ")
    assert called(numbers) == "[0,1,2]"
    assert called(words) == "one two"
    assert called(nothing) == "[]"


@dataclasses.dataclass
class Price:
    euros: int


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"text", "text"),
        (b"\xff\xfe", "Error: give gave bytes that are not text."),
        (object(), "Error: give gave a result that is neither text nor JSON."),
        ([object()], "Error: give gave a result that is neither text nor JSON."),
        (["\ud800"], "Error: give gave a result that is neither text nor JSON."),
        ("a\ud800\0", "a\ufffd\ufffd"),
        (float("nan"), '"NaN"'),
        (Price(5), '{"euros":5}'),
        (None, "null"),
        (map(str, (1, 2)), "12"),
    ],
)
def test_what_a_result_is_told_as(value: object, told: str) -> None:
    def give() -> object:
        """Give it."""
        return value

    assert called(give) == told


def test_a_number_of_any_length_is_told() -> None:
    def give() -> int:
        return 10**5000

    assert called(give) == "1" + "0" * 5000


def test_a_result_that_holds_itself_is_no_json() -> None:
    def give() -> object:
        circle: list[Any] = []
        circle.append(circle)
        return circle

    assert called(give) == "Error: give gave a result that is neither text nor JSON."


@pytest.mark.parametrize("timeout", [0, -1, True, "5"])
def test_a_time_out_that_is_none_is_refused(timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"timeout"):
        tool(timeout=timeout)(numbers)
    with pytest.raises(ConfigurationError, match="tool_timeout"):
        Agent(name="a", model=FakeModel(), tool_timeout=timeout)


# -- idempotency keys ---------------------------------------------------------------------------


def keys_of(model: FakeModel, agent: Agent, *, key: str, user_id: str = "alice") -> list[str]:
    """The keys of the calls of a request whose model fails after them."""
    pays.clear()
    model.answers.extend(
        [
            calls(("pay", {"cents": 5}), ("pay", {"cents": 5}), ("pay", {"cents": 7})),
            ModelError("x"),
        ]
    )
    with pytest.raises(ModelError):
        agent.run("pay", user_id=user_id, idempotency_key=key)
    return [seen for _, seen in sorted(pays)]


pays: list[tuple[str, str]] = []


def test_a_request_that_is_tried_again_has_the_same_keys_for_the_same_calls() -> None:
    lock = threading.Lock()

    def pay(cents: int, context: RunContext) -> str:
        """Pay."""
        with lock:
            pays.append((context.tool_call_id, context.idempotency_key))
        assert (context.tool_name, cents > 0) == ("pay", True)
        return "paid"

    model = FakeModel()
    agent = Agent(name="a", model=model, toolkits=[kit(pay)])
    first = keys_of(model, agent, key="order-1")
    assert len(set(first)) == 3
    assert keys_of(model, agent, key="order-1") == first
    assert not set(keys_of(model, agent, key="order-2")) & set(first)
    assert not set(keys_of(model, agent, key="order-1", user_id="bob")) & set(first)
    assert not set(keys_of(model, agent, key="")) & set(keys_of(model, agent, key=""))


UNDER_GEVENT = """
from gevent import monkey, pool
monkey.patch_all()
import asyncio, threading
from tests.fakes import FakeModel, calls
from webapp.agent import Agent, Toolkit, tool

@tool(timeout=0.05)
async def never(number: int) -> str:
    await asyncio.Event().wait()

@tool(timeout=30)
async def soon(number: int) -> int:
    await asyncio.sleep(0.01)
    return number

@tool(timeout=0.05)
def stuck(number: int) -> str:
    threading.Event().wait()

wishes = calls(*[(name, {"number": 7}) for name in ("never", "soon", "stuck")])
answer = lambda request: "done" if request.messages[-1].role == "tool" else wishes
kit = Toolkit("k", [never, soon, stuck])
agent = Agent(name="a", model=FakeModel(otherwise=answer), toolkits=[kit])
for output in pool.Pool(5).map(lambda user: agent.run("hi", user_id=user), "abcde"):
    print([message.content[:15] for message in output.messages if message.role == "tool"])
"""


def test_all_of_this_holds_for_greenlets() -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNDER_GEVENT], capture_output=True, text=True, timeout=120
    )
    line = "['Error: never ti', '7', 'Error: stuck ti']"
    assert done.stdout.splitlines() == [line] * 5, done.stderr
