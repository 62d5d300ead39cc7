"""The journal of one run in a database: each line in one transaction with what it changed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from webapp.clock import Clock
from webapp.errors import PlaceLost, StateConflict
from webapp.memory.states import store as states
from webapp.memory.workflow_runs import store as runs
from webapp.session_state.changes import StateChanges
from webapp.session_state.values import Fields
from webapp.storage import Connection, Database
from webapp.storage.narrowing import narrow
from webapp.workflow.events import WorkflowStatus
from webapp.workflow.journal import NewRun, StepRecord
from webapp.workflow.written import json_text, step_values

AtEnd = Callable[[Connection, WorkflowStatus], None]


@dataclass(slots=True)
class StoredJournal:
    """See `Journal`. `fence` is the number that the run had when this process took it; `at_end`
    writes what belongs into the run's last transaction."""

    database: Database
    clock: Clock
    tenant: int
    number: int
    fence: int
    run: NewRun
    state: Fields
    max_state_bytes: int
    records: list[StepRecord] = field(default_factory=list)
    at_end: AtEnd | None = None
    given_up: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, record: StepRecord) -> None:
        """See `Journal.add`."""
        values, now = step_values(record), self.clock.now_ms()

        def work(connection: Connection) -> None:
            self._hold(connection, now, further=record.result.status == "completed")
            runs.add_step(connection, self.tenant, self.number, values)
            if record.visible and record.changes is not None:
                self._change_state(connection, record.changes, now)

        self.database.write(work)
        with self._lock:
            self.records.append(record)

    def end(self, status: WorkflowStatus, content: Any, error: str, code: str) -> None:
        """See `Journal.end`."""
        now = self.clock.now_ms()

        def work(connection: Connection) -> None:
            self._hold(connection, now)
            output = json_text(content) if status == "completed" else None
            runs.end(
                connection,
                self.tenant,
                self.number,
                status=status,
                output=output,
                error=error,
                code=code,
            )
            if self.at_end is not None:
                self.at_end(connection, status)

        self.database.write(work)

    def _change_state(self, connection: Connection, changes: StateChanges, now_ms: int) -> None:
        """`StateConflict` when another wrote under a key that the step has read and changed: what
        it read is what the run found there at its start, or has stored there last."""
        session, most = self.run.session_id, self.max_state_bytes
        try:
            states.change(connection, self.tenant, session, changes, most, now_ms)
        except StateConflict:
            raise StateConflict(
                "The session's state was changed by another meanwhile, and what a step of this run"
                " changed does not go with it; the step's changes were not stored."
            ) from None

    def _hold(self, connection: Connection, now_ms: int, *, further: bool = False) -> None:
        narrow(connection, self.tenant)
        held = runs.hold(connection, self.tenant, self.number, self.fence, now_ms, further=further)
        if not held:
            raise PlaceLost(
                "This run of a workflow was taken up elsewhere, or cleared; nothing was stored."
            )
