"""`arun` and `astream`: the same turns for programs with an event loop, which is never blocked."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, aclosing
from contextvars import ContextVar
from typing import Any

import pytest
from pydantic import BaseModel

from tests.fakes import FakeModel, GatedModel, calls, echo_model, taken, until
from webapp.agent import (
    Agent,
    Event,
    Finished,
    ModelReply,
    ModelRequest,
    Replace,
    RunContext,
    RunOutput,
    TextDelta,
    Toolkit,
    input_guardrail,
)
from webapp.errors import (
    AnswerInvalid,
    ConfigurationError,
    GuardrailRefused,
    InvalidInput,
    ModelError,
    TenantBusy,
)
from webapp.memory import InMemory
from webapp.messages import Message
from webapp.turns import Cancellation, Load, LocalTurnQueue, Place


def agent(model: Any, **parts: Any) -> Agent:
    return Agent(name="clerk", model=model, **parts)


def played(work: Coroutine[Any, Any, Any]) -> Any:
    """Runs the coroutine, which must come to its end."""
    return asyncio.run(asyncio.wait_for(work, 30))


async def soon(condition: Callable[[], bool]) -> None:
    """Waits in the event loop until something is so."""
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not come to pass")


def said(agent: Agent, user_id: str = "alice") -> list[str]:
    return [message.content for message in agent.memory.get_messages(user_id=user_id)]


class GatedMemory(InMemory):
    """A memory whose `add` waits until the test opens the gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.adding = threading.Event()

    def add(self, *messages: Message, **given: Any) -> None:
        self.adding.set()
        assert self.gate.wait(10), "nobody opened the gate"
        super().add(*messages, **given)


def test_a_run_is_the_same_turn() -> None:
    clerk = agent(echo_model())
    output = played(clerk.arun("hello", user_id="alice"))
    assert isinstance(output, RunOutput)
    assert (output.content, output.status) == ("You said: hello", "completed")
    assert said(clerk) == ["hello", "You said: hello"]


def test_a_stream_has_the_same_events() -> None:
    async def events() -> list[Event]:
        return [event async for event in agent(echo_model()).astream("hello", user_id="alice")]

    def kinds(events: list[Event]) -> list[tuple[type, str]]:
        return [(type(e), e.text if isinstance(e, TextDelta) else "") for e in events]

    found = played(events())
    assert kinds(found) == kinds(list(agent(echo_model()).stream("hello", user_id="alice")))
    assert isinstance(found[-1], Finished)


def test_an_answer_of_a_type() -> None:
    class Point(BaseModel):
        x: int

    clerk = agent(FakeModel.of('{"x": 1}', "no", "no", "no"))
    assert played(clerk.arun("go", user_id="alice", output_type=Point)).parsed == Point(x=1)
    with pytest.raises(AnswerInvalid):
        played(clerk.arun("go", user_id="alice", output_type=Point))
    with pytest.raises(ConfigurationError):
        played(clerk.arun("go", user_id="alice", output_type=print))


def test_a_schema_is_looked_at_in_the_turns_thread() -> None:
    clerk = agent(FakeModel.of('{"x": 1}'))
    schema = {"type": "object", "required": ["x"]}
    assert played(clerk.arun("go", user_id="alice", output_type=schema)).parsed == {"x": 1}
    with pytest.raises(ConfigurationError, match="no valid JSON Schema"):
        played(clerk.arun("go", user_id="alice", output_type={"type": "objekt"}))
    assert clerk.turns.load == Load(0, 0)


def test_a_thousand_tasks_of_many_users_share_a_few_threads() -> None:
    running, most, lock = 0, 0, threading.Lock()
    all_begun = threading.Event()

    def answer(request: ModelRequest) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == 8:
                all_begun.set()
        all_begun.wait(30)
        threading.Event().wait(0.002)
        with lock:
            running -= 1
        return request.messages[-1].content

    clerk = agent(FakeModel(otherwise=answer), turns=LocalTurnQueue(threads=8))

    async def work() -> list[RunOutput]:
        return await asyncio.gather(
            *(clerk.arun(f"n{n}", user_id=f"user-{n % 250}") for n in range(1000))
        )

    assert [output.content for output in played(work())] == [f"n{n}" for n in range(1000)]
    assert most == 8
    for user in range(250):
        asked = [f"n{n}" for n in range(user, 1000, 250)]
        assert said(clerk, f"user-{user}")[::2] == asked
    assert clerk.turns.load == Load(0, 0)


def test_a_thousand_tasks_of_one_user_keep_their_order_or_are_refused() -> None:
    model = GatedModel()
    clerk = agent(model, turns=LocalTurnQueue(waiting_limit=20))

    async def work() -> list[RunOutput | BaseException]:
        tasks = [asyncio.create_task(clerk.arun(f"n{n}", user_id="alice")) for n in range(1000)]
        await asyncio.to_thread(model.entered.acquire)
        await soon(lambda: sum(task.done() for task in tasks) == 979)
        model.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = played(work())
    assert [type(each) for each in outcomes] == [RunOutput] * 21 + [TenantBusy] * 979
    assert said(clerk)[::2] == [f"n{n}" for n in range(21)]


def test_who_waits_in_line_holds_no_thread_that_others_need() -> None:
    model = GatedModel()

    def answer(request: ModelRequest) -> str | ModelReply:
        return model.complete(request) if "wait" in request.messages[-1].content else "done"

    clerk = agent(FakeModel(otherwise=answer), turns=LocalTurnQueue(threads=2))

    async def work() -> None:
        before = threading.active_count()
        held = [asyncio.create_task(clerk.arun("wait", user_id="alice")) for _ in range(100)]
        await asyncio.to_thread(model.entered.acquire)
        for number in range(20):
            output = await clerk.arun("go", user_id=f"user-{number}")
            assert output.content == "done"
        # alice's, what starts them, perhaps one that ends, and to_thread's
        assert threading.active_count() <= before + 4
        model.gate.set()
        await asyncio.gather(*held)

    played(work())
    assert len(said(clerk)) == 100  # the cap of the memory


def test_turns_of_threads_and_of_tasks_stand_in_one_line() -> None:
    clerk = agent(echo_model())
    order: list[str] = []

    def in_thread() -> None:
        clerk.run("thread", user_id="alice")
        order.append("thread")

    async def work() -> None:
        with taken(clerk.turns, "alice"):
            first = asyncio.create_task(clerk.arun("first", user_id="alice"))
            await soon(lambda: clerk.turns.load.waiting == 1)
            thread = threading.Thread(target=in_thread)
            thread.start()
            await soon(lambda: clerk.turns.load.waiting == 2)
            last = asyncio.create_task(clerk.arun("last", user_id="alice"))
            await soon(lambda: clerk.turns.load.waiting == 3)
        await asyncio.gather(first, last)
        await asyncio.to_thread(thread.join)

    played(work())
    assert said(clerk)[::2] == ["first", "thread", "last"]


# -- calling off ---------------------------------------------------------------------------------


def test_a_cancelled_turn_stores_nothing_and_makes_room_at_once() -> None:
    model = GatedModel()
    clerk = agent(model)

    async def work() -> None:
        first = asyncio.create_task(clerk.arun("one", user_id="alice"))
        await asyncio.to_thread(model.entered.acquire)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        # The first call still hangs in its model, which cannot be interrupted.
        second = asyncio.create_task(clerk.arun("two", user_id="alice"))
        await asyncio.to_thread(model.entered.acquire)
        model.gate.set()
        assert (await second).content == "done"

    played(work())
    assert said(clerk) == ["two", "done"]
    until(lambda: not [t for t in threading.enumerate() if t.name == "turn"])
    assert said(clerk) == ["two", "done"]


def test_the_models_work_ends() -> None:
    seen = threading.Event()

    def answer(request: ModelRequest) -> str:
        assert request.cancel is not None
        until(request.cancel.is_set)
        seen.set()
        raise ModelError("called off")

    clerk = agent(FakeModel(otherwise=answer))

    async def work() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(clerk.arun("one", user_id="alice"), 0.05)
        await asyncio.to_thread(seen.wait, 10)

    played(work())
    assert seen.is_set()
    assert said(clerk) == []


def test_a_turn_that_is_cancelled_in_line_leaves_it() -> None:
    clerk = agent(echo_model())

    async def work() -> None:
        with taken(clerk.turns, "alice"):
            tasks = [asyncio.create_task(clerk.arun(f"n{n}", user_id="alice")) for n in range(5)]
            await soon(lambda: clerk.turns.load.waiting == 5)
            for number in (0, 2, 4):
                tasks[number].cancel()
            await asyncio.wait([tasks[0], tasks[2], tasks[4]])
            assert clerk.turns.load.waiting == 2
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(each, RunOutput) for each in outcomes] == [False, True] * 2 + [False]

    played(work())
    assert said(clerk)[::2] == ["n1", "n3"]


def test_a_cancellation_during_the_storing_is_too_late_once() -> None:
    memory = GatedMemory()
    clerk = agent(echo_model(), memory=memory)
    outputs: list[RunOutput] = []

    async def worker() -> None:
        while True:  # as a worker does, whose cancellation must not be lost
            outputs.append(await clerk.arun("one", user_id="alice"))

    async def work() -> None:
        task = asyncio.create_task(worker())
        await asyncio.to_thread(memory.adding.wait)
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
        memory.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    played(work())
    assert [output.status for output in outputs] == ["completed"]
    assert said(clerk) == ["one", "You said: one"]


def test_a_time_out_during_the_storing_does_not_cancel_the_next_turn() -> None:
    memory = GatedMemory()
    clerk = agent(echo_model(), memory=memory)

    async def work() -> None:
        asyncio.get_running_loop().call_later(0.1, memory.gate.set)
        async with asyncio.timeout(0.05):
            await clerk.arun("one", user_id="alice")
        await clerk.arun("two", user_id="alice")

    played(work())
    assert said(clerk)[::2] == ["one", "two"]


def test_a_cancellation_of_ones_own_gives_a_cancelled_output() -> None:
    clerk = agent(echo_model())
    cancel = threading.Event()

    async def work() -> None:
        with taken(clerk.turns, "alice"):
            task = asyncio.create_task(clerk.arun("one", user_id="alice", cancel=cancel))
            await soon(lambda: clerk.turns.load.waiting == 1)
            cancel.set()
            assert (await task).status == "cancelled"
        assert (await clerk.arun("two", user_id="alice", cancel=cancel)).status == "cancelled"

    played(work())
    assert said(clerk) == []


@pytest.mark.parametrize("way", ["aclose", "aclosing", "drop", "cancel"])
def test_a_stream_that_is_left_early_stores_nothing_and_ends_the_models_work(way: str) -> None:
    model = echo_model()
    clerk = agent(model)

    async def first_piece() -> None:
        async for event in clerk.astream("hello", user_id="alice"):
            assert isinstance(event, TextDelta)
            if way == "cancel":
                await asyncio.sleep(60)
            break

    async def work() -> None:
        if way == "aclose":
            stream = clerk.astream("hello", user_id="alice")
            assert isinstance(await anext(stream), TextDelta)
            await stream.aclose()
            await stream.aclose()
        elif way == "aclosing":
            async with aclosing(clerk.astream("hello", user_id="alice")) as stream:
                async for _ in stream:
                    break
        elif way == "drop":
            await first_piece()
            gc.collect()
        else:
            task = asyncio.create_task(first_piece())
            await soon(lambda: bool(model.requests))
            await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.wait([task])
        await soon(lambda: model.closed_streams == 1)
        await soon(lambda: clerk.turns.load == Load(0, 0))
        assert said(clerk) == []
        await clerk.arun("again", user_id="alice")

    played(work())
    assert said(clerk) == ["again", "You said: again"]


def test_a_stream_stores_only_when_its_end_is_asked_for() -> None:
    clerk = agent(FakeModel.of("one two"))

    async def work() -> None:
        stream = clerk.astream("hello", user_id="alice")
        assert [await anext(stream), await anext(stream)] == [TextDelta("one "), TextDelta("two")]
        await asyncio.sleep(0.02)
        assert said(clerk) == []
        async for _ in stream:
            pass

    played(work())
    assert said(clerk) == ["hello", "one two"]


def test_a_loop_that_ends_in_the_middle_leaves_the_line_free() -> None:
    model = GatedModel()
    clerk = agent(model)

    async def work() -> None:
        first = asyncio.create_task(clerk.arun("one", user_id="alice"))
        second = asyncio.create_task(clerk.arun("two", user_id="alice"))
        await asyncio.to_thread(model.entered.acquire)
        assert not first.done()
        assert not second.done()
        raise LookupError("the program fails")

    with pytest.raises(LookupError):
        played(work())
    model.gate.set()
    assert clerk.run("three", user_id="alice").content == "done"
    assert said(clerk)[::2] == ["three"]


# -- the loop is not blocked ---------------------------------------------------------------------


@pytest.mark.parametrize("part", ["model", "memory", "line"])
def test_the_loop_goes_on_whatever_is_slow(part: str) -> None:
    model, memory = GatedModel(), GatedMemory()
    (memory if part == "model" else model).gate.set()
    if part == "line":
        memory.gate.set()
    clerk = agent(model, memory=memory)

    async def work() -> None:
        with taken(clerk.turns, "alice" if part == "line" else "nobody"):
            task = asyncio.create_task(clerk.arun("one", user_id="alice"))
            for _ in range(50):
                await asyncio.sleep(0.001)
            assert not task.done()
        model.gate.set()
        memory.gate.set()
        await task

    played(work())
    assert said(clerk) == ["one", "done"]


# -- what is the same as for run -----------------------------------------------------------------


def test_failures_are_those_of_a_run() -> None:
    class NoSecrets:
        name = "no-secrets"

        def check_input(self, text: str) -> str | None:
            return "No." if "secret" in text else None

    clerk = agent(FakeModel.of(ModelError("The model failed.")), guardrails=[NoSecrets()])

    async def work() -> None:
        with pytest.raises(InvalidInput):
            await clerk.arun("hello", user_id="")
        with pytest.raises(InvalidInput):
            await clerk.arun(" ", user_id="alice")
        with pytest.raises(InvalidInput):
            clerk.astream("hello", user_id="a/b")
        with pytest.raises(TypeError, match=r'await agent\.arun\("…", user_id="alice"\)'):
            await clerk.arun("hello")  # type: ignore[call-arg]  # the mistake that is meant
        with pytest.raises(GuardrailRefused):
            await clerk.arun("secret", user_id="alice")
        with pytest.raises(ModelError, match="The model failed"):
            async for _ in clerk.astream("hello", user_id="alice"):
                pass
        assert clerk.turns.load == Load(0, 0)

    played(work())
    assert said(clerk) == []


def test_outside_of_an_event_loop_it_says_what_it_needs() -> None:
    run = agent(echo_model()).arun("hello", user_id="alice")
    with pytest.raises(RuntimeError, match="event loop of asyncio"):
        run.send(None)
    run.close()


def test_it_is_a_coroutine_function_and_a_context_manager() -> None:
    async def work() -> None:
        async with agent(echo_model()) as clerk:
            assert asyncio.iscoroutinefunction(clerk.arun)
            await clerk.arun("hello", user_id="alice")
        await clerk.aclose()

    played(work())


NAME: ContextVar[str] = ContextVar("name", default="nobody")


def test_tools_see_the_context_and_the_loop_of_the_caller() -> None:
    seen: list[Any] = []

    def plain() -> str:
        """Tell the name."""
        seen.append(NAME.get())
        return NAME.get()

    async def awaited(context: RunContext) -> str:
        """Tell the name, and the loop."""
        await asyncio.sleep(0)
        seen.append((NAME.get(), asyncio.get_running_loop(), context.user_id))
        return "done"

    clerk = agent(
        FakeModel.of(calls(("plain", {})), calls(("awaited", {})), "done"),
        toolkits=[Toolkit("names", [plain, awaited])],
    )

    async def work() -> None:
        NAME.set("ada")
        await clerk.arun("hello", user_id="alice")
        assert seen == ["ada", ("ada", asyncio.get_running_loop(), "alice")]

    played(work())


@pytest.mark.parametrize("threads", [1, 2])
def test_turns_that_wait_for_turns_of_others_come_to_their_end(threads: int) -> None:
    """Were a seat kept while its turn waits, these would hold all seats and wait for ever."""

    async def ask_awaited(number: int) -> str:
        """Ask another user's agent."""
        return (await clerk.arun("leaf", user_id=f"user-{number}")).content

    def ask_plain(number: int) -> str:
        """Ask another user's agent."""
        return clerk.run("leaf", user_id=f"user-{number}").content

    def answer(request: ModelRequest) -> str | ModelReply:
        question, last = request.messages[-1], request.messages[-1]
        if last.role == "tool":
            return f"asked: {last.content}"
        if question.content == "leaf":
            return "leaf"
        way, number = question.content.split()
        return calls((way, {"number": int(number)}))

    clerk = agent(
        FakeModel(otherwise=answer),
        toolkits=[Toolkit("others", [ask_awaited, ask_plain])],
        turns=LocalTurnQueue(threads=threads),
    )

    async def work() -> None:
        ways = ("ask_awaited", "ask_plain")
        tasks = [clerk.arun(f"{ways[n % 2]} {n}", user_id=f"asker-{n}") for n in range(20)]
        leaves = [clerk.arun("leaf", user_id=f"user-{n}") for n in range(20) for _ in range(2)]
        outputs = await asyncio.gather(*leaves[:20], *tasks, *leaves[20:])
        assert {output.content for output in outputs} == {"leaf", "asked: leaf"}

    played(work())
    assert clerk.turns.load == Load(0, 0)


def test_a_tool_that_asks_for_its_own_user_is_told_so() -> None:
    async def again() -> str:
        """Ask again."""
        return (await clerk.arun("again", user_id="alice")).content

    clerk = agent(FakeModel.of(calls(("again", {})), "done"), toolkits=[Toolkit("self", [again])])
    output = played(clerk.arun("hello", user_id="alice"))
    assert "A turn of this user is under way" in output.messages[2].content


class OtherQueue:
    """A queue that only threads can wait in."""

    def __init__(self) -> None:
        self.inner = LocalTurnQueue()

    @property
    def load(self) -> Load:
        return self.inner.load

    def place(
        self,
        tenant: str,
        *,
        waiting_limit: int | None = None,
        cancel: Cancellation | None = None,
    ) -> AbstractContextManager[Place | None]:
        return self.inner.place(tenant, waiting_limit=waiting_limit, cancel=cancel)

    def close(self) -> None:
        """Holds nothing."""


def test_a_queue_of_ones_own_is_waited_in_by_the_turns_thread() -> None:
    model = GatedModel()
    clerk = agent(model, turns=OtherQueue())

    async def work() -> None:
        tasks = [asyncio.create_task(clerk.arun(f"n{n}", user_id="alice")) for n in range(3)]
        await asyncio.to_thread(model.entered.acquire)
        await soon(lambda: clerk.turns.load.waiting == 2)
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        await soon(lambda: clerk.turns.load.waiting == 1)
        model.gate.set()
        await asyncio.gather(tasks[0], tasks[2])

    played(work())
    assert len(said(clerk)) == 4


def test_a_system_without_threads_is_an_error_and_frees_the_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clerk = agent(echo_model())
    start = threading.Thread.start

    def no_turns(thread: threading.Thread) -> None:
        if thread.name == "turn":
            raise RuntimeError("can't start new thread")
        start(thread)

    async def work() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", no_turns)
            with pytest.raises(RuntimeError, match="new thread"):
                await clerk.arun("one", user_id="alice")
        await soon(lambda: clerk.turns.load == Load(0, 0))
        await clerk.arun("two", user_id="alice")

    played(work())
    assert said(clerk)[::2] == ["two"]


def test_waiting_limit_and_threads_are_checked() -> None:
    for wrong in ({"waiting_limit": -1}, {"threads": 0}):
        with pytest.raises(Exception, match=r"waiting_limit|threads"):
            LocalTurnQueue(**wrong)


def test_asynchronous_guardrails_and_summaries_work_in_a_program_with_a_loop() -> None:
    @input_guardrail
    async def no_secrets(text: str) -> str | Replace | None:
        await asyncio.sleep(0)
        if "secret" in text:
            return "No secrets."
        return Replace(text.upper())

    model = FakeModel.of(otherwise="fine")
    clerk = agent(model, guardrails=[no_secrets], summarize=True, context_max_messages=5)

    async def talk() -> None:
        for number in range(4):
            await clerk.arun(f"hello {number}", user_id="alice")
        with pytest.raises(GuardrailRefused, match="No secrets"):
            await clerk.arun("a secret", user_id="alice")

    played(talk())
    assert said(clerk)[-2:] == ["HELLO 3", "fine"]
    memory = clerk.memory
    assert isinstance(memory, InMemory)
    summary = memory.get_summary(user_id="alice")
    assert summary is not None
    assert summary.text == "fine"
