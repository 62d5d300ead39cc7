"""Runs and their journals in the memory of this process, and the states of sessions."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from webapp.errors import NotFound, RunUnderWay
from webapp.messages import Usage, now_ms
from webapp.session_state.values import Fields, fields_of
from webapp.turns import Cancellation, LocalTurnQueue
from webapp.workflow.events import WorkflowStatus
from webapp.workflow.journal import Journal, NewRun, RunSummary, StepRecord

RUNS_A_USER = 1000


@dataclass(slots=True)
class _Run:
    run: NewRun
    state: Fields
    created_at_ms: int
    updated_at_ms: int
    status: WorkflowStatus = "running"
    content: Any = None
    error: str = ""
    code: str = ""
    records: list[StepRecord] = field(default_factory=list)


class InMemoryWorkflowStore:
    """What is kept is gone with the process: for tests, and for workflows that need no resuming.

    The newest runs of a user are kept, `runs_per_user` of them.
    """

    def __init__(self, runs_per_user: int = RUNS_A_USER) -> None:
        self._most = max(1, runs_per_user)
        self._lock = threading.RLock()
        self._queue = LocalTurnQueue()
        self._runs: dict[str, OrderedDict[str, _Run]] = {}
        self._states: dict[tuple[str, str], Fields] = {}

    @contextmanager
    def begin(
        self,
        run: NewRun,
        state: Mapping[str, Any] | None = None,
        cancel: Cancellation | None = None,
    ) -> Iterator[Journal | None]:
        """See `WorkflowStore.begin`."""
        with self._queue.place(_line(run), cancel=cancel) as place:
            yield None if place is None else self._make(run, state)

    @contextmanager
    def take_up(
        self, run_id: str, user_id: str, cancel: Cancellation | None = None
    ) -> Iterator[Journal | None]:
        """See `WorkflowStore.take_up`."""
        entry = self._entry(run_id, user_id)
        with self._queue.place(_line(entry.run), cancel=cancel) as place:
            if place is None:
                yield None
                return
            with self._lock:
                if entry.status == "completed":
                    raise RunUnderWay("The run is complete.")
                entry.status, entry.error, entry.code = "running", "", ""
            yield _Journal(self, entry)

    def history(
        self, user_id: str, *, session_id: str | None = None, limit: int = 50, before: str = ""
    ) -> list[RunSummary]:
        """See `WorkflowStore.history`."""
        with self._lock:
            of_user = self._runs.get(user_id)
            found = [] if of_user is None else list(of_user.values())
        if before:
            ids = [entry.run.run_id for entry in found]
            found = found[: ids.index(before)] if before in ids else []
        wanted = [e for e in reversed(found) if session_id in (None, e.run.session_id)]
        return [replace(_summary(entry), steps=()) for entry in wanted[: max(0, limit)]]

    def find(self, run_id: str, user_id: str) -> RunSummary:
        """See `WorkflowStore.find`."""
        return _summary(self._entry(run_id, user_id))

    def _entry(self, run_id: str, user_id: str) -> _Run:
        with self._lock:
            of_user = self._runs.get(user_id)
            entry = None if of_user is None else of_user.get(run_id)
        if entry is None:
            raise NotFound("There is no such run.")
        return entry

    def _make(self, run: NewRun, state: Mapping[str, Any] | None) -> _Journal:
        with self._lock:
            of_user = self._runs.setdefault(run.user_id, OrderedDict())
            if run.run_id in of_user:
                raise RunUnderWay("There is a run with this id already.")
            session = (run.user_id, run.session_id)
            if state is not None:
                self._states[session] = fields_of(state)
            now = now_ms()
            entry = _Run(run, dict(self._states.get(session, {})), now, now)
            of_user[run.run_id] = entry
            over = len(of_user) - self._most
            for run_id in [key for key, each in of_user.items() if each.status != "running"][
                : max(0, over)
            ]:
                del of_user[run_id]
        return _Journal(self, entry)

    def change(self, entry: _Run, record: StepRecord) -> None:
        """The record, and what it changed in the session's state."""
        with self._lock:
            entry.records.append(record)
            entry.updated_at_ms = now_ms()
            if record.visible and record.changes is not None:
                session = (entry.run.user_id, entry.run.session_id)
                state = self._states.setdefault(session, {})
                for key in record.changes.deletes:
                    state.pop(key, None)
                state.update(record.changes.sets)


class _Journal:
    """See `Journal`. Nothing here outlives its process."""

    given_up = False

    def __init__(self, store: InMemoryWorkflowStore, entry: _Run) -> None:
        self._store = store
        self._entry = entry

    @property
    def run(self) -> NewRun:
        return self._entry.run

    @property
    def state(self) -> Fields:
        return self._entry.state

    @property
    def records(self) -> list[StepRecord]:
        return list(self._entry.records)

    def add(self, record: StepRecord) -> None:
        self._store.change(self._entry, record)

    def end(self, status: WorkflowStatus, content: Any, error: str, code: str) -> None:
        entry = self._entry
        entry.content, entry.error, entry.code = content, error, code
        entry.updated_at_ms, entry.status = now_ms(), status


def _line(run: NewRun) -> str:
    # Ids hold no control characters, so two lines are never mistaken for each other.
    return f"{run.user_id}\n{run.session_id}"


def _summary(entry: _Run) -> RunSummary:
    run, steps = entry.run, tuple(record.result for record in entry.records)
    return RunSummary(
        run.run_id,
        run.workflow,
        run.session_id,
        entry.status,
        entry.created_at_ms,
        entry.updated_at_ms,
        run.input,
        entry.content,
        sum((step.usage for step in steps), Usage()),
        entry.error,
        entry.code,
        steps,
    )
