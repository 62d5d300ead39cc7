"""A workflow: its definition, and its runs for users."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import replace
from typing import Any

from webapp.agent import Agent
from webapp.agent.parts import is_text
from webapp.agent.run_context import new_run_id
from webapp.errors import (
    ConfigurationError,
    InvalidInput,
    PlaceLost,
    RunInterrupted,
    StorageUnavailable,
    SwitchboardError,
    WorkflowChanged,
)
from webapp.ids import DEFAULT_SESSION, check_session_id, check_user_id
from webapp.messages import Usage
from webapp.session_state.values import values_of
from webapp.turns import Cancellation
from webapp.workflow.branches import CallOff
from webapp.workflow.context import ExecutionContext
from webapp.workflow.definition import digest_of, require_unique_names
from webapp.workflow.events import (
    StepFinished,
    StepResult,
    WorkflowEvent,
    WorkflowFinished,
    WorkflowOutput,
    WorkflowStarted,
    WorkflowStatus,
)
from webapp.workflow.in_memory import InMemoryWorkflowStore
from webapp.workflow.journal import Journal, NewRun, RunSummary, WorkflowStore
from webapp.workflow.nodes import Composition, NodeLike, checked_name, nodes_of
from webapp.workflow.running import CalledOff, Running
from webapp.workflow.values import checked_value


class Workflow(Composition):
    """Steps that are run one after the other, each with the user and the session of the run.

    A workflow never changes, so any number of threads may share it; user and input are arguments of
    each run. After every step a line is written into the journal of the `store`. With a store that
    lies in a database, a run that was killed anywhere goes on where it was by `resume`, in another
    process as well: no finished step is run twice. `agent` is asked in steps that have
    `instructions` alone.

    A run is taken up again only by the workflow that it began with: the parts, their names, and the
    source of their functions are the same. With a `version` the source is not looked at, and the
    version is compared in its place.

    Raises `ConfigurationError` for a definition that cannot be run.
    """

    def __init__(
        self,
        name: str,
        steps: Iterable[NodeLike],
        *,
        description: str = "",
        agent: Agent | None = None,
        store: WorkflowStore | None = None,
        version: str = "",
    ) -> None:
        self.name = checked_name(name, "Workflow")
        if not is_text(description) or not is_text(version):
            raise ConfigurationError("description and version of a Workflow are text.")
        if agent is not None and not isinstance(agent, Agent):
            raise ConfigurationError("agent= of a Workflow is not an Agent.")
        self.description = description
        self.agent = agent
        self.version = version
        self.steps = nodes_of(f"The workflow '{name}'", steps)
        require_unique_names(name, self.steps)
        self.digest = digest_of(name, version, agent, self.steps)
        self.store: WorkflowStore = InMemoryWorkflowStore() if store is None else store

    def __repr__(self) -> str:
        return f"Workflow({self.name!r})"

    def run(
        self,
        input: Any,  # noqa: A002 - the name that users of agents know
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        cancel: Cancellation | None = None,
        run_id: str | None = None,
    ) -> WorkflowOutput:
        """Runs all steps for the user. `input` is text or another JSON value, or an
        `ExecutionContext`, whose user, session and state are used then.

        Runs of one session run one at a time. Raises `StepFailed`, which says which step and has
        the error as its cause; `InvalidInput`, and what the store raises. When `cancel` is set, the
        output's status is `cancelled`.
        """
        return finish(
            self.stream(
                input,
                user_id=user_id,
                session_id=session_id,
                cancel=cancel,
                run_id=run_id,
                text=False,
            )
        )

    def stream(
        self,
        input: Any,  # noqa: A002 - as in `run`
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        cancel: Cancellation | None = None,
        run_id: str | None = None,
        text: bool = True,
    ) -> Generator[WorkflowEvent, None, None]:
        """The same run as events, `WorkflowFinished` as the last; with `text` also what agents say,
        piece by piece. Bad arguments are raised here, everything else while iterating. Closing the
        iterator early calls the run off.
        """
        context = _context_of(input, user_id, session_id)
        run = NewRun(
            run_id or new_run_id(),
            context.user_id,
            context.session_id,
            self.name,
            self.digest,
            checked_value(context.input, "The input"),
        )
        given = context if isinstance(input, ExecutionContext) else None
        return self._begun(run, cancel, given, text=text)

    async def arun(
        self,
        input: Any,  # noqa: A002 - as in `run`
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        cancel: Cancellation | None = None,
        run_id: str | None = None,
    ) -> WorkflowOutput:
        """`run` for programs with an event loop of asyncio, which it does not block: it runs in a
        thread. Cancelling the task calls the run off."""
        called_off = CallOff(cancel)
        try:
            return await asyncio.to_thread(
                self.run,
                input,
                user_id=user_id,
                session_id=session_id,
                cancel=called_off,
                run_id=run_id,
            )
        except asyncio.CancelledError:
            called_off.set()
            raise

    def resume(
        self, run_id: str, *, user_id: str, cancel: Cancellation | None = None
    ) -> WorkflowOutput:
        """Goes on with a run that was killed, has failed or was called off, behind its last
        finished step. Raises as `run` does, and `NotFound`; `RunUnderWay` when it runs elsewhere or
        is complete, and `WorkflowChanged` when the definition is another by now."""
        return finish(self._taken_up(run_id, check_user_id(user_id), cancel))

    def runs(
        self, *, user_id: str, session_id: str | None = None, limit: int = 50, before: str = ""
    ) -> list[RunSummary]:
        """The user's runs in the store, newest first, without their steps; with `before`, the id of
        a run, those before that one."""
        check_user_id(user_id)
        if session_id is not None:
            check_session_id(session_id)
        return self.store.history(user_id, session_id=session_id, limit=limit, before=before)

    def get_run(self, run_id: str, *, user_id: str) -> RunSummary:
        """One run of the user with its steps; `NotFound` when the user has no such run."""
        return self.store.find(run_id, check_user_id(user_id))

    def _begun(
        self,
        run: NewRun,
        cancel: Cancellation | None,
        given: ExecutionContext | None,
        *,
        text: bool,
    ) -> Generator[WorkflowEvent, None, None]:
        state = None if given is None else given.session_state.copy()
        with self.store.begin(run, state, cancel) as journal:
            if journal is None:
                output = WorkflowOutput(None, run.run_id, "cancelled")
                output = replace(output, user_id=run.user_id, session_id=run.session_id)
            else:
                running = Running(journal, agent=self.agent, streaming=text)
                output = yield from play(self, journal, running, cancel)
        if given is not None:
            given.session_state.clear()
            given.session_state.update(output.session_state)
        # The session is free by now: a caller that stops reading here holds up nobody.
        yield WorkflowFinished(output)

    def _taken_up(
        self, run_id: str, user_id: str, cancel: Cancellation | None
    ) -> Generator[WorkflowEvent, None, None]:
        with self.store.take_up(run_id, user_id, cancel) as journal:
            if journal is None:
                output = WorkflowOutput(None, run_id, "cancelled", user_id=user_id)
            else:
                require_same(self, journal.run)
                running = Running(journal, agent=self.agent, streaming=False)
                output = yield from play(self, journal, running, cancel)
        yield WorkflowFinished(output)


def _never() -> None:
    return None


def play(
    workflow: Workflow,
    journal: Journal,
    running: Running,
    cancel: Cancellation | None,
    *,
    leaves: Callable[[], SwitchboardError | None] = _never,
) -> Generator[WorkflowEvent, None, WorkflowOutput]:
    """The events of a run that this process owns; its end is in the journal afterwards.

    A run that the process cannot bring to an end, because it is not its own any more or cannot be
    written, stays as it is in the store, to be taken up again; so does one that is called off while
    `leaves` gives an error, which is raised then.
    """
    run = journal.run
    scope = running.scope(cancel)
    results: list[StepResult] = []
    status: WorkflowStatus = "completed"
    yield WorkflowStarted(run.run_id)
    try:
        if journal.given_up:
            raise RunInterrupted(
                "The run was interrupted again and again at the same step, and is not gone on with."
            )
        with closing(running.play(workflow.steps, scope)) as events:
            for event in events:
                if isinstance(event, StepFinished):
                    results.append(event.result)
                yield event
    except CalledOff:
        left = leaves()
        if left is not None:
            raise left from None
        status = "cancelled"
    except (PlaceLost, StorageUnavailable):
        raise
    except GeneratorExit:
        if leaves() is None:
            journal.end("cancelled", None, "", "")
        raise
    except SwitchboardError as error:
        journal.end("failed", None, error.message, error.code)
        raise
    except Exception:
        # Left as it is, it would be taken up again, and fail again.
        journal.end("failed", None, "The run failed unexpectedly.", SwitchboardError.code)
        raise
    content = scope.handed_on if status == "completed" else None
    journal.end(status, content, "", "")
    return WorkflowOutput(
        content,
        run.run_id,
        status,
        tuple(results),
        sum((each.usage for each in results), Usage()),
        values_of(scope.state),
        run.user_id,
        run.session_id,
    )


def require_same(workflow: Workflow, run: NewRun) -> None:
    """`WorkflowChanged` when the run began with another definition."""
    if run.workflow != workflow.name:
        raise WorkflowChanged(
            f"The run is one of the workflow '{run.workflow}', and not of '{workflow.name}'."
        )
    if run.digest != workflow.digest:
        raise WorkflowChanged(
            f"The workflow '{workflow.name}' was changed since this run began, so the run cannot go"
            " on; start it anew."
        )


def finish(events: Generator[WorkflowEvent, None, None]) -> WorkflowOutput:
    """Runs to the end and gives the output."""
    for event in events:
        if isinstance(event, WorkflowFinished):
            output = event.output
    return output


def _context_of(given: Any, user_id: str | None, session_id: str | None) -> ExecutionContext:
    if isinstance(given, ExecutionContext):
        if user_id not in (None, given.user_id) or session_id not in (None, given.session_id):
            raise InvalidInput("user_id and session_id are those of the context.")
        return given
    if user_id is None:
        raise TypeError('pass user_id= to run: workflow.run("…", user_id="alice")')
    if isinstance(given, str) and not given.strip():
        raise InvalidInput("input cannot be empty", fields={"input": "input cannot be empty"})
    if given is None:
        raise InvalidInput("input is required", fields={"input": "input is required"})
    return ExecutionContext(given, session_id or DEFAULT_SESSION, user_id)
