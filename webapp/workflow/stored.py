"""Runs and their journals in a database, and who owns a run: the first of the run's own line.

Opening a database is of the module of each engine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from webapp.clock import Clock, SystemClock
from webapp.errors import NotFound, RunUnderWay, TenantBusy
from webapp.memory.limiting.limits import (
    NO_LIMITS,
    NOTHING_DROPPED,
    DropCount,
    Dropped,
    TenantLimits,
)
from webapp.memory.limiting.parts import make_room
from webapp.memory.sessions import store as sessions
from webapp.memory.states import store as states
from webapp.memory.workflow_runs import store as runs
from webapp.memory.workflow_runs.store import RunRow
from webapp.session_state import MAX_BYTES
from webapp.session_state.values import fields_of, read_fields, value_of, write_fields
from webapp.storage import Connection, Database, open_turn_lines
from webapp.storage.narrowing import narrow
from webapp.tenants import store as tenants
from webapp.tenants.counters import store as counters
from webapp.tenants.user_ids.forms import PlainUserIds, UserIds
from webapp.turns import Cancellation
from webapp.turns.shared import SharedTurnQueue
from webapp.workflow.journal import Journal, NewRun, RunSummary
from webapp.workflow.stored_journal import AtEnd, StoredJournal
from webapp.workflow.written import json_text, step_of, summary_of

RUNS_A_USER = 1000
DROPPED_AT_ONCE = 20
# A run that is running and was not touched for so long has nobody who could go on with it.
STALE_MS = 7 * 24 * 3600 * 1000
# A run that ends its process takes down no more of them than these.
MAX_INTERRUPTIONS = 5
NEWEST = 2**62


class StoredWorkflows:
    """What the stores of both engines do, over the tables that Switchboard itself uses."""

    def __init__(
        self,
        database: Database,
        *,
        owned: bool = False,
        runs_per_user: int = RUNS_A_USER,
        max_state_bytes: int = MAX_BYTES,
        user_ids: UserIds | None = None,
        clock: Clock | None = None,
        lines: SharedTurnQueue | None = None,
        limits: TenantLimits = NO_LIMITS,
        dropped: DropCount | None = None,
    ) -> None:
        """An `owned` database is closed with the store. A session that a run makes counts for the
        `limits`, and `dropped` counts those that go for it."""
        self.database = database
        self._owned = owned
        self._most = max(1, runs_per_user)
        self._max_state_bytes = max_state_bytes
        self._user_ids = user_ids or PlainUserIds(b"")
        self._clock = clock or SystemClock()
        self._limits = limits
        self._dropped = dropped or DropCount()
        # Lines are named by what says nothing of a user, so that every program names them alike.
        self._lines = lines or SharedTurnQueue(open_turn_lines(database), lambda name: name)

    @contextmanager
    def begin(
        self,
        run: NewRun,
        state: Mapping[str, Any] | None = None,
        cancel: Cancellation | None = None,
    ) -> Iterator[Journal | None]:
        """See `WorkflowStore.begin`."""
        stored_id, now = self._user_ids.stored(run.user_id), self._clock.now_ms()
        tenant = self.database.write(
            lambda connection: tenants.ensure(connection, stored_id, now, user_id=run.user_id)
        )
        with self._lines.place(_session_line(tenant, run.session_id), cancel=cancel) as place:
            if place is None:
                yield None
            else:
                with self.made(tenant, run, state) as journal:
                    yield journal

    @contextmanager
    def take_up(
        self, run_id: str, user_id: str, cancel: Cancellation | None = None
    ) -> Iterator[Journal | None]:
        """See `WorkflowStore.take_up`."""
        tenant, row = self._row(run_id, user_id)
        with self._lines.place(_session_line(tenant, row.session_id), cancel=cancel) as place:
            if place is None:
                yield None
            else:
                with self.taken(tenant, row, user_id) as journal:
                    yield journal

    def history(
        self, user_id: str, *, session_id: str | None = None, limit: int = 50, before: str = ""
    ) -> list[RunSummary]:
        """See `WorkflowStore.history`."""
        with self.database.read() as connection:
            tenant = tenants.number_of(connection, self._user_ids.stored(user_id))
            if tenant is None:
                return []
            narrow(connection, tenant)
            number = NEWEST
            if before:
                row = runs.find(connection, tenant, before)
                number = 0 if row is None else row.number
            found = runs.page(
                connection,
                tenant,
                session_id=session_id,
                workflow=None,
                before=number,
                most=max(0, limit),
            )
        return [summary_of(row) for row in found]

    def find(self, run_id: str, user_id: str) -> RunSummary:
        """See `WorkflowStore.find`."""
        tenant, row = self._row(run_id, user_id)
        with self.database.read() as connection:
            narrow(connection, tenant)
            steps = runs.steps(connection, tenant, row.number)
        return summary_of(row, steps)

    def close(self) -> None:
        """Lets go of what the store holds; closes the database, when the store has opened it."""
        self._lines.close()
        if self._owned:
            self.database.close()

    @contextmanager
    def made(
        self,
        tenant: int,
        run: NewRun,
        state: Mapping[str, Any] | None = None,
        *,
        key: tuple[str, str] | None = None,
        request_id: str = "",
        at_end: AtEnd | None = None,
    ) -> Iterator[StoredJournal]:
        """Makes a run of a tenant and owns it inside the block.

        The caller sees to it that no other run of the session goes on. `key` is the hash of an
        idempotency key and that of its body.
        """
        now = self._clock.now_ms()

        def work(connection: Connection) -> tuple[int, str | None, Dropped]:
            narrow(connection, tenant)
            if self._limits.sessions:
                # In the order in which a turn takes them: the tenant's row, then the session's.
                counters.count_messages(connection, tenant, 0, now)
            sessions.touch(connection, tenant, run.session_id, now)
            if state is None:
                text = states.find(connection, tenant, run.session_id).text
            else:
                text = write_fields(fields_of(state))
                states.replace(connection, tenant, run.session_id, lambda _found: text, now)
            number = runs.make(
                connection,
                tenant,
                {
                    "run_id": run.run_id,
                    "session_id": run.session_id,
                    "workflow": run.workflow,
                    "digest": run.digest,
                    "input": json_text(run.input),
                    "state": text,
                    "key_hash": None if key is None else key[0],
                    "body_hash": None if key is None else key[1],
                    "request_id": request_id,
                    "now": now,
                },
            )
            if number is None:
                raise RunUnderWay("There is a run with this id already.")
            runs.drop_oldest(
                connection, tenant, self._most, DROPPED_AT_ONCE, stale_ms=now - STALE_MS
            )
            return number, text, self._make_room(connection, tenant, run.session_id)

        with self._owning(run.run_id):
            number, text, dropped = self.database.write(work)
            self._dropped.add(dropped.sessions)
            yield self._journal(tenant, number, 1, run, text, at_end)

    @contextmanager
    def taken(
        self, tenant: int, row: RunRow, user_id: str, *, at_end: AtEnd | None = None
    ) -> Iterator[StoredJournal]:
        """Owns a run that was interrupted, has failed or was called off, inside the block; raises
        `RunUnderWay` when another owns it, and when it is complete."""
        run = NewRun(
            row.run_id, user_id, row.session_id, row.workflow, row.digest, value_of(row.input)
        )

        def work(connection: Connection) -> tuple[int, int, list[Any]]:
            narrow(connection, tenant)
            taken = runs.take_up(connection, tenant, row.number, self._clock.now_ms())
            if taken is None:
                raise RunUnderWay("The run is complete.")
            return *taken, list(runs.steps(connection, tenant, row.number))

        with self._owning(row.run_id):
            fence, interruptions, lines = self.database.write(work)
            journal = self._journal(tenant, row.number, fence, run, row.state, at_end)
            journal.given_up = interruptions > MAX_INTERRUPTIONS
            journal.records.extend(map(step_of, lines))
            yield journal

    def _make_room(self, connection: Connection, tenant: int, session_id: str) -> Dropped:
        """A session that a run has made counts like any other."""
        if not self._limits.sessions:
            return NOTHING_DROPPED
        count = sessions.count(connection, tenant)
        return make_room(connection, tenant, self._limits, 0, session_count=count, keep=session_id)

    @contextmanager
    def _owning(self, run_id: str) -> Iterator[None]:
        """The first of the run's line, which is free again the moment that its owner is gone."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self._lines.place(f"workflow run {run_id}", waiting_limit=0))
            except TenantBusy:
                raise RunUnderWay("The run is under way in another process.") from None
            yield

    def _journal(
        self,
        tenant: int,
        number: int,
        fence: int,
        run: NewRun,
        state: str | None,
        at_end: AtEnd | None,
    ) -> StoredJournal:
        return StoredJournal(
            self.database,
            self._clock,
            tenant,
            number,
            fence,
            run,
            read_fields(state),
            self._max_state_bytes,
            at_end=at_end,
        )

    def _row(self, run_id: str, user_id: str) -> tuple[int, RunRow]:
        with self.database.read() as connection:
            tenant = tenants.number_of(connection, self._user_ids.stored(user_id))
            if tenant is not None:
                narrow(connection, tenant)
                row = runs.find(connection, tenant, run_id)
                if row is not None:
                    return tenant, row
        raise NotFound("There is no such run.")


def _session_line(tenant: int, session_id: str) -> str:
    name = hashlib.sha256(session_id.encode()).hexdigest()
    return f"workflows of {tenant} {name}"
