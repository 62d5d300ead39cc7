"""Runs one step: an agent for the context's user, or a function, with a bound on its time."""

from __future__ import annotations

import contextvars
import hashlib
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from webapp.agent import (
    Agent,
    Finished,
    PausedTurn,
    RunContext,
    RunOutput,
    TextDelta,
    ToolFinished,
    ToolStarted,
)
from webapp.agent.executor import MAX_LEFT_RUNNING
from webapp.agent.text import check_input
from webapp.agent.turn import Prepared, play_turn
from webapp.errors import ApprovalRequired, InvalidInput, StepTimeout, StepUnavailable
from webapp.messages import Message, now_ms
from webapp.turns import LocalTurnQueue, Place
from webapp.workflow.calling import Called
from webapp.workflow.context import ExecutionContext
from webapp.workflow.events import StepText, StepTool, WorkflowEvent

POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Asked:
    """An agent, whether it remembers what it is asked here, and whether its words are passed on."""

    agent: Agent
    remembers: bool
    streaming: bool


def run_agent(
    asked: Asked, text: object, run: RunContext, path: str
) -> Generator[WorkflowEvent, None, RunOutput]:
    """One turn of the context's user. Raises what the agent raises."""
    if not isinstance(text, str):
        raise InvalidInput("input= of a step gives the text that the agent is asked.")
    check_input(text)
    agent, deadline = asked.agent, run.deadline
    if deadline is not None and (agent.turn_timeout or 0) > deadline.left:
        # An agent's own time would otherwise take the place of the step's.
        agent = replace(agent, turn_timeout=max(deadline.left, 0.001))
    store = _StepTurn(agent, run) if asked.remembers else _Forgetful(agent)
    queue = agent.turns if asked.remembers else LocalTurnQueue()
    events = play_turn(text, run, store=store, queue=queue, streaming=asked.streaming)
    try:
        for event in events:
            if isinstance(event, TextDelta):
                yield StepText(path, event.text)
            elif isinstance(event, ToolStarted):
                yield StepTool(path, event.name, "started")
            elif isinstance(event, ToolFinished):
                yield StepTool(path, event.name, event.status)
            elif isinstance(event, Finished):
                return event.output
    except _StoredBefore as before:
        return before.output
    finally:
        # A hang-up must end the model's work now and not when the collector comes by.
        events.close()
    raise AssertionError("a turn ends with its outcome")


def run_function(function: Called, context: ExecutionContext, run: RunContext) -> Any:
    """What the function gives. One that is not done in time is left to itself, and `StepTimeout`
    raised; `StepUnavailable` when too many of its calls were left so, and still run."""
    if function.left_running.number >= MAX_LEFT_RUNNING:
        raise StepUnavailable(f"It is not available: {MAX_LEFT_RUNNING} calls of it hang.")
    if context.deadline is None:
        return function(context, run)
    call = _InThread(function, context, run)
    threading.Thread(
        target=contextvars.copy_context().run, args=(call.work,), name="workflow step", daemon=True
    ).start()
    try:
        while not call.done.wait(min(POLL_SECONDS, context.deadline.left)):
            if context.cancelled:
                raise StepTimeout("It did not come to its end in time.")
    finally:
        call.leave()
    if call.error is not None:
        raise call.error
    return call.result


class _InThread:
    """One call in a thread of its own."""

    def __init__(self, function: Called, context: ExecutionContext, run: RunContext) -> None:
        self._function = function
        self._context = context
        self._run = run
        self._lock = threading.Lock()
        self._left = False
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None

    def work(self) -> None:
        try:
            self.result = self._function(self._context, self._run)
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            self.error = error
        finally:
            with self._lock:
                self.done.set()
                if self._left:
                    self._function.left_running.add(-1)

    def leave(self) -> None:
        """Nobody waits for it any more; counted, if it is still running."""
        with self._lock:
            if not self.done.is_set():
                self._left = True
                self._function.left_running.add(1)


class _StoredBefore(Exception):
    """The step's turn is in the agent's memory already: the process ended right behind it."""

    def __init__(self, output: RunOutput) -> None:
        super().__init__()
        self.output = output


class _StepTurn:
    """The `TurnStore` of a step over the agent's own memory.

    The question's message has an id that is made of the step: a step that is run again finds its
    turn, when it was stored, and takes the answer from there.
    """

    def __init__(self, agent: Agent, run: RunContext) -> None:
        self._agent = agent
        self._run = run
        self._id = f"msg-{hashlib.sha256(run.idempotency_key.encode()).hexdigest()[:32]}"

    def prepare(self) -> Prepared:
        history = self._agent.memory.get_messages(
            user_id=self._run.user_id, session_id=self._run.session_id
        )
        answer = _answer_to(self._id, history)
        if answer is not None:
            raise _StoredBefore(RunOutput(answer, run_id=self._run.run_id))
        return Prepared(self._agent, history, now_ms())

    def store(self, output: RunOutput, place: Place) -> None:
        """The turn; what it changed in the state is kept with the step, in the run's journal."""
        _require_complete(output)
        place.require_held()
        question, *others = output.messages
        self._agent.memory.add(
            replace(question, id=self._id),
            *others,
            user_id=self._run.user_id,
            session_id=self._run.session_id,
        )

    def save(self, paused: PausedTurn) -> None:
        """Nothing is ever paused here."""


class _Forgetful:
    """The `TurnStore` of a step whose agent knows what it is asked and nothing else."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def prepare(self) -> Prepared:
        return Prepared(self._agent, (), now_ms())

    def store(self, output: RunOutput, place: Place) -> None:  # noqa: ARG002 - the protocol's
        """Keeps nothing: what the step gave is in the run's journal."""
        _require_complete(output)

    def save(self, paused: PausedTurn) -> None:
        """Nothing is ever paused here."""


def _require_complete(output: RunOutput) -> None:
    if output.paused is not None:
        name = output.paused.waiting[0].name
        raise ApprovalRequired(f"{name} needs approval, for which a workflow's step cannot wait.")


def _answer_to(question: str, history: Sequence[Message]) -> str | None:
    """The last answer to the question with this id, if it was answered."""
    answer, found = None, False
    for message in history:
        if message.role == "user":
            found = message.id == question
        elif found and message.role == "assistant":
            answer = message.content
    return answer
