"""Runs the parts of one workflow in their order, with a line in the journal after each step.

A run that is taken up again goes the same way once more: what the journal has is not done again,
and what it gave and changed is taken from there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from webapp.agent import Agent, Meter, RunContext
from webapp.agent.tool_log import ToolLog
from webapp.deadline import Deadline
from webapp.errors import (
    ConfigurationError,
    InvalidInput,
    PlaceLost,
    StepFailed,
    StepUnavailable,
    StorageUnavailable,
    SwitchboardError,
    WorkflowChanged,
)
from webapp.messages import Usage, now_ms
from webapp.session_state import SessionState, StateChanges
from webapp.session_state.values import MAX_BYTES, Fields, values_of
from webapp.turns import Cancellation
from webapp.workflow.branches import run_branches
from webapp.workflow.calling import Called
from webapp.workflow.context import ExecutionContext
from webapp.workflow.events import (
    StepFinished,
    StepKind,
    StepResult,
    StepStarted,
    WorkflowEvent,
)
from webapp.workflow.journal import Journal, StepRecord
from webapp.workflow.nodes import Condition, Loop, Node, Parallel, Router, Step
from webapp.workflow.step_runs import Asked, run_agent, run_function
from webapp.workflow.values import checked_value, hash_of

Events: TypeAlias = Generator[WorkflowEvent, None, None]


class CalledOff(Exception):
    """The run was called off, or another branch of it has failed."""


@dataclass(slots=True)
class Scope:
    """What the next step finds: the state, what the one before gave, what each gave so far.

    `stop` ends it: the run's own cancellation, and in a branch the failure of another as well.
    """

    state: Fields
    input: Any
    previous: Any = None
    outputs: dict[str, Any] = field(default_factory=dict)
    stop: Cancellation | None = None
    in_branch: bool = False

    def fork(self, stop: Cancellation) -> Scope:
        """A branch's own: a copy of everything."""
        return replace(
            self, state=dict(self.state), outputs=dict(self.outputs), stop=stop, in_branch=True
        )

    @property
    def handed_on(self) -> Any:
        """What the next step is given: what the one before gave, if there was one that did."""
        return self.input if self.previous is None else self.previous

    def change(self, changes: StateChanges | None) -> None:
        if changes is not None:
            for key in changes.deletes:
                self.state.pop(key, None)
            self.state.update(changes.sets)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt gave; `hands_on` is False for what only decides, which gives nothing to the
    next step."""

    output: Any
    usage: Usage = field(default_factory=Usage)
    hands_on: bool = True


Act: TypeAlias = Callable[[ExecutionContext, RunContext], Generator[WorkflowEvent, None, Outcome]]


class Running:
    """One run of one workflow; `play` may be called once."""

    def __init__(
        self,
        journal: Journal,
        *,
        agent: Agent | None,
        streaming: bool,
        request_id: str = "",
        tool_log: ToolLog | None = None,
        agents_remember: bool = True,
        step_timeout: float | None = None,
        max_state_bytes: int = MAX_BYTES,
    ) -> None:
        self._journal = journal
        self._run = journal.run
        self._agent = agent
        self._streaming = streaming
        self._request_id = request_id
        self._tool_log = ToolLog() if tool_log is None else tool_log
        self._agents_remember = agents_remember
        self._step_timeout = step_timeout
        self._max_state_bytes = max_state_bytes
        self._kept = {
            record.result.path: record
            for record in journal.records
            if record.result.status == "completed"
        }
        self._meters: list[Meter] = []
        self._attempts: dict[str, int] = {}
        for record in journal.records:
            self._attempts[record.result.path] = record.result.attempt

    @property
    def spent(self) -> Usage:
        """What the run used at the model in this process, attempts that failed or were called off
        included; estimated where the model's server did not say."""
        return sum((meter.usage for meter in self._meters), Usage())

    def scope(self, cancel: Cancellation | None) -> Scope:
        """Where the run begins."""
        return Scope(dict(self._journal.state), self._run.input, stop=cancel)

    def play(self, nodes: Sequence[Node], scope: Scope, prefix: str = "") -> Events:
        """The parts one after the other; what they gave and changed is in the scope afterwards."""
        for node in nodes:
            if scope.stop is not None and scope.stop.is_set():
                raise CalledOff
            path = prefix + node.name
            if isinstance(node, Step):
                yield from self._step(node, path, scope)
            elif isinstance(node, Parallel):
                yield from self._parallel(node, path, scope)
            elif isinstance(node, Condition):
                yield from self._condition(node, path, scope)
            elif isinstance(node, Loop):
                yield from self._loop(node, path, scope)
            elif isinstance(node, Router):
                yield from self._router(node, path, scope)
            scope.outputs[node.name] = scope.handed_on

    # -- the parts ------------------------------------------------------------------------------

    def _step(self, step: Step, path: str, scope: Scope) -> Events:
        if step.workflow is not None:
            yield from self._inner(step, path, scope)
        elif step.function is not None:
            function = step.function

            def call(context: ExecutionContext, run: RunContext) -> Any:
                yield from ()
                given = run_function(function, context, run)
                output = checked_value(given, f"What the step '{path}' gives")
                return Outcome(scope.handed_on if output is None else output)

            yield from self._attempt(step.name, path, "function", scope, call, step)
        else:
            yield from self._attempt(step.name, path, "agent", scope, self._asking(step), step)

    def _asking(self, step: Step) -> Act:
        def ask(
            context: ExecutionContext, run: RunContext
        ) -> Generator[WorkflowEvent, None, Outcome]:
            text = context.text if step.message is None else step.message(context, run)
            asked = self._asked(step)
            output = yield from run_agent(asked, text, run, context.step)
            if output.status == "cancelled":
                raise CalledOff
            # An answer of a wanted form is the value that its text stands for.
            formed = asked.agent.output_type is not None
            value = json.loads(output.content) if formed else output.content
            return Outcome(value, output.usage)

        return ask

    def _asked(self, step: Step) -> Asked:
        if step.agent is not None:
            return Asked(step.agent, remembers=self._agents_remember, streaming=self._streaming)
        if self._agent is None:
            raise ConfigurationError(
                f"The step '{step.name}' has instructions and no agent, so the workflow needs one:"
                " Workflow(…, agent=Agent(…))."
            )
        agent = replace(self._agent, instructions=step.instructions or "")
        return Asked(agent, remembers=False, streaming=self._streaming)

    def _inner(self, step: Step, path: str, scope: Scope) -> Events:
        """Another workflow: its own input and results, the same state and the same run."""
        inner, message = step.workflow, step.message
        assert inner is not None  # noqa: S101  # nosec B101  # what the caller has looked at
        within = replace(scope, input=scope.handed_on, previous=None, outputs={})
        if message is not None:

            def make(context: ExecutionContext, run: RunContext) -> Any:
                yield from ()
                made = checked_value(message(context, run), f"What input= of '{path}' gives")
                return Outcome(made, hands_on=False)

            decided = yield from self._attempt(step.name, path, "workflow", scope, make)
            within.input = decided
        own = self._agent
        self_agent = inner.agent or own
        running = self if self_agent is own else self._with(self_agent)
        yield from running.play(inner.steps, within, f"{path}/")
        scope.previous = within.handed_on

    def _with(self, agent: Agent | None) -> Running:
        other = object.__new__(Running)
        other.__dict__.update(self.__dict__)
        other._agent = agent
        return other

    def _parallel(self, node: Parallel, path: str, scope: Scope) -> Events:
        before = dict(scope.state)
        began, at_ms = time.monotonic(), now_ms()
        yield StepStarted(path, node.name, "parallel")

        def begin(index: int, stop: Cancellation) -> tuple[Scope, Events]:
            branch = scope.fork(stop)
            return branch, self.play((node.steps[index],), branch, f"{path}/")

        branches = yield from run_branches(len(node.steps), begin, scope.stop, CalledOff)
        merged = Scope(dict(before), None)
        for branch in branches:
            merged.change(_difference(before, branch.state))
            scope.outputs.update(branch.outputs)
        output = {
            step.name: branch.handed_on for step, branch in zip(node.steps, branches, strict=True)
        }
        kept = self._kept.get(path)
        if kept is None:
            seconds = time.monotonic() - began
            result = StepResult(path, node.name, "parallel", started_at_ms=at_ms, seconds=seconds)
            kept = StepRecord(result, "", _difference(before, merged.state), not scope.in_branch)
            self._journal.add(kept)
        scope.change(kept.changes)
        scope.previous = output
        yield StepFinished(kept.result)

    def _condition(self, node: Condition, path: str, scope: Scope) -> Events:
        says = yield from self._decide(node.name, path, "condition", scope, node.evaluator, bool)
        yield from self.play(node.steps if says else node.else_steps, scope, f"{path}/")

    def _loop(self, node: Loop, path: str, scope: Scope) -> Events:
        for number in range(1, node.max_iterations + 1):
            around = f"{path}[{number}]"
            yield from self.play(node.steps, scope, f"{around}/")
            if node.end_condition is None:
                continue
            ends = yield from self._decide(
                node.name, around, "loop", scope, node.end_condition, bool
            )
            if ends:
                return

    def _router(self, node: Router, path: str, scope: Scope) -> Events:
        choices = {each.name: each for each in node.choices}

        def names(given: Any) -> list[str]:
            chosen = [given] if isinstance(given, str | Node) else given
            if not isinstance(chosen, list | tuple):
                raise _no_choice(path, choices)
            found = [each.name if isinstance(each, Node) else each for each in chosen]
            if not all(isinstance(each, str) and each in choices for each in found):
                raise _no_choice(path, choices)
            return found

        chosen = yield from self._decide(node.name, path, "router", scope, node.selector, names)
        yield from self.play([choices[name] for name in chosen], scope, f"{path}/")

    def _decide(
        self,
        name: str,
        path: str,
        kind: StepKind,
        scope: Scope,
        function: Called,
        read: Callable[[Any], Any],
    ) -> Generator[WorkflowEvent, None, Any]:
        def decide(context: ExecutionContext, run: RunContext) -> Any:
            yield from ()
            return Outcome(read(run_function(function, context, run)), hands_on=False)

        return (yield from self._attempt(name, path, kind, scope, decide))

    # -- one step, with its line in the journal -------------------------------------------------

    def _attempt(
        self, name: str, path: str, kind: StepKind, scope: Scope, act: Act, step: Step | None = None
    ) -> Generator[WorkflowEvent, None, Any]:
        """Does what is to be done, unless the journal has it; gives what came of it."""
        given = hash_of(scope.input, scope.previous, scope.state)
        kept = self._kept.get(path)
        if kept is not None:
            if kept.given != given:
                raise WorkflowChanged(
                    f"The step '{path}' is given something else than before the run was"
                    " interrupted, so the run cannot go on.",
                )
        else:
            kept = yield from self._tried(name, path, kind, scope, act, step, given)
        scope.change(kept.changes)
        if kind in ("agent", "function"):
            scope.previous = kept.result.output
        yield StepFinished(kept.result)
        return kept.result.output

    def _tried(
        self,
        name: str,
        path: str,
        kind: StepKind,
        scope: Scope,
        act: Act,
        step: Step | None,
        given: str,
    ) -> Generator[WorkflowEvent, None, StepRecord]:
        """Tries it as often as the step allows; each attempt is in the journal, failed ones too."""
        tries_left = 1 + (0 if step is None else step.retries)
        while True:
            attempt = self._attempts[path] = self._attempts.get(path, 0) + 1
            tries_left -= 1
            yield StepStarted(path, name, kind, attempt)
            context, run = self._contexts(path, attempt, scope, step)
            began = time.monotonic()
            result = StepResult(path, name, kind, started_at_ms=now_ms(), attempt=attempt)
            try:
                outcome = yield from act(context, run)
            except (CalledOff, PlaceLost, StorageUnavailable):
                raise
            # To try to end the program is no more than a failure of the step.
            except (Exception, SystemExit) as error:
                if scope.stop is not None and scope.stop.is_set():
                    raise CalledOff from error
                context.session_state.finish()
                failed = _failed(result, error, run.meter.usage, time.monotonic() - began)
                self._journal.add(StepRecord(failed, given, None, not scope.in_branch))
                yield StepFinished(failed)
                if tries_left and _may_be_tried_again(error):
                    continue
                raise StepFailed(
                    f"The step '{path}' failed: {failed.error}",
                    path=path,
                    run_id=self._run.run_id,
                    code=failed.code,
                    status=error.status if isinstance(error, SwitchboardError) else 500,
                ) from error
            result = replace(
                result,
                output=outcome.output,
                usage=outcome.usage,
                seconds=time.monotonic() - began,
            )
            changes = context.session_state.finish()
            record = StepRecord(result, given, changes, not scope.in_branch)
            self._journal.add(record)
            return record

    def _contexts(
        self, path: str, attempt: int, scope: Scope, step: Step | None
    ) -> tuple[ExecutionContext, RunContext]:
        run, key = self._run, f"{self._run.run_id}/{path}"
        state = SessionState(values_of(scope.state), max_bytes=self._max_state_bytes)
        seconds = self._step_timeout
        if step is not None and step.timeout is not None:
            seconds = step.timeout
        deadline = Deadline.after(seconds)
        context = ExecutionContext(
            scope.input,
            run.session_id,
            run.user_id,
            session_state=state,
            previous=scope.previous,
            outputs=dict(scope.outputs),
            run_id=run.run_id,
            step=path,
            attempt=attempt,
            idempotency_key=key,
            cancel=scope.stop,
            deadline=deadline,
        )
        asked = RunContext(
            user_id=run.user_id,
            session_id=run.session_id,
            run_id=run.run_id,
            request_id=self._request_id,
            cancel=scope.stop,
            deadline=deadline,
            state=state,
            idempotency_key=key,
            tool_log=self._tool_log,
        )
        self._meters.append(asked.meter)
        return context, asked


def _difference(before: Fields, after: Fields) -> StateChanges | None:
    sets = {key: text for key, text in after.items() if before.get(key) != text}
    deletes = frozenset(before.keys() - after.keys())
    return StateChanges(sets, deletes) if sets or deletes else None


def _failed(result: StepResult, error: BaseException, usage: Usage, seconds: float) -> StepResult:
    """What is told of the failure: our own sentence, or that it failed; never a function's words,
    which may hold secrets."""
    if isinstance(error, SwitchboardError):
        sentence, code = error.message, error.code
    else:
        sentence, code = f"it raised {type(error).__name__}.", StepFailed.code
    return replace(result, status="failed", error=sentence, code=code, usage=usage, seconds=seconds)


def _may_be_tried_again(error: BaseException) -> bool:
    return not isinstance(error, ConfigurationError | InvalidInput | StepUnavailable)


def _no_choice(path: str, choices: dict[str, Node]) -> ConfigurationError:
    return ConfigurationError(
        f"The Router '{path}' has no such choice; its choices are: {', '.join(choices)}."
    )
