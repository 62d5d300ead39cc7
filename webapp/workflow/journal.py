"""What a run keeps of its steps, so that it can go on where it was: the protocols, and the values.

Where it is kept is of the module of each store: in_memory.py, and stored.py for databases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from webapp.messages import Usage
from webapp.session_state import StateChanges
from webapp.session_state.values import Fields
from webapp.turns import Cancellation
from webapp.workflow.events import StepResult, WorkflowStatus


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A line of the journal: how an attempt went, what it was made of, what it changed.

    `given` is the hash of what the step was given. `changes` are those of the state; those of a
    step inside a branch are its branch's alone (`visible` is False), until all branches are done.
    """

    result: StepResult
    given: str = ""
    changes: StateChanges | None = None
    visible: bool = True


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run in the history of a session. `error` is a sentence, when it failed."""

    run_id: str
    workflow: str
    session_id: str
    status: WorkflowStatus
    created_at_ms: int
    updated_at_ms: int
    input: Any = None
    content: Any = None
    usage: Usage = field(default_factory=Usage)
    error: str = ""
    code: str = ""
    steps: Sequence[StepResult] = ()
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run that is about to begin."""

    run_id: str
    user_id: str
    session_id: str
    workflow: str
    digest: str
    input: Any


class Journal(Protocol):
    """The journal of one run, for the process that owns the run at the moment.

    Methods that write raise `PlaceLost` when the run is no longer this process's: nothing is
    written then.
    """

    @property
    def run(self) -> NewRun: ...

    @property
    def state(self) -> Fields:
        """The session's state as it was when the run began."""
        ...

    @property
    def given_up(self) -> bool:
        """Whether the run was interrupted too often to go on with."""
        ...

    @property
    def records(self) -> Sequence[StepRecord]:
        """The lines so far, in their order."""
        ...

    def add(self, record: StepRecord) -> None:
        """One more line, and what it changed in the session's state, whole or not at all."""
        ...

    def end(self, status: WorkflowStatus, content: Any, error: str, code: str) -> None:
        """The run is over."""
        ...


class WorkflowStore(Protocol):
    """Keeps runs and their journals, and the states of sessions. One process owns a run."""

    def begin(
        self,
        run: NewRun,
        state: Mapping[str, Any] | None = None,
        cancel: Cancellation | None = None,
    ) -> AbstractContextManager[Journal | None]:
        """Makes the run and owns it inside the block; None when it is called off before.

        A `state` takes the place of the session's.

        Runs of one session run one at a time, in order of arrival.
        """
        ...

    def take_up(
        self, run_id: str, user_id: str, cancel: Cancellation | None = None
    ) -> AbstractContextManager[Journal | None]:
        """Owns a run that has not come to its end; `NotFound`, and `Conflict` when another owns
        it, or when it is complete."""
        ...

    def history(
        self, user_id: str, *, session_id: str | None = None, limit: int = 50, before: str = ""
    ) -> list[RunSummary]:
        """The user's runs without their steps, newest first; those before the run `before`."""
        ...

    def find(self, run_id: str, user_id: str) -> RunSummary:
        """One run with its steps; `NotFound` when the user has no such run."""
        ...
