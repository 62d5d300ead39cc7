"""The use case behind the routes of workflows: one run of one tenant, whole or streamed.

A run takes the tenant's place for its whole length, as a turn does, so that runs and turns of one
tenant go one at a time; what it keeps is in its journal. Agents of its steps remember nothing here:
what they are asked and say is in the run.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace

from webapp.agent import Agent
from webapp.agent.breaker.breaker import Breaker
from webapp.agent.run_context import new_run_id
from webapp.agent.turn import Started
from webapp.chat.budget import require_budget
from webapp.chat.configuration import AgentConfigurations
from webapp.chat.idempotency import (
    KEPT_MS,
    Fingerprint,
    RunningKeys,
    fingerprint,
    require_same_body,
)
from webapp.chat.stored_turn import blocked
from webapp.chat.turn_records import Spent, TurnRecords, count_tools
from webapp.chat.values import ChatLimits
from webapp.clock import Clock
from webapp.errors import (
    ClientGone,
    Conflict,
    NotFound,
    PlaceLost,
    ServerStopping,
    StateConflict,
    StorageUnavailable,
    SwitchboardError,
)
from webapp.memory.workflow_runs import store as runs
from webapp.memory.workflow_runs.store import RunRow
from webapp.served_workflows.spending import RunMeter
from webapp.served_workflows.values import AskedRun, RunAnswer, RunEvent
from webapp.stopping import Stopping
from webapp.storage import Connection, Database
from webapp.storage.narrowing import narrow
from webapp.tenant_data.storing import store_request
from webapp.tenants import store as tenants
from webapp.tenants.user_ids.forms import UserIds
from webapp.turn_room import SeatedQueue, TurnRoom
from webapp.turns import Cancellation, TurnQueue
from webapp.workflow import StepText, Workflow, WorkflowFinished
from webapp.workflow.events import WorkflowStatus
from webapp.workflow.journal import NewRun
from webapp.workflow.running import Running
from webapp.workflow.stored import StoredWorkflows
from webapp.workflow.stored_journal import StoredJournal
from webapp.workflow.workflow import play, require_same
from webapp.workflow.written import summary_of


@dataclass(frozen=True, slots=True)
class _Ready:
    """What is read when the tenant's place has come: the number of turns that the tenant has
    stored, and the `earlier` run of the same key."""

    tenant: int
    agent: Agent
    turns: int = 0
    earlier: RunRow | None = None


class WorkflowService:
    """Runs workflows for tenants, under the limits that their turns have."""

    def __init__(
        self,
        *,
        database: Database,
        user_ids: UserIds,
        configurations: AgentConfigurations,
        queue: TurnQueue,
        running: RunningKeys,
        room: TurnRoom,
        breaker: Breaker,
        stopping: Stopping,
        records: TurnRecords,
        clock: Clock,
        limits: ChatLimits,
        step_timeout: float | None,
        store: StoredWorkflows,
        workflows: Callable[[], Mapping[str, Workflow]],
    ) -> None:
        self._database = database
        self._user_ids = user_ids
        self._configurations = configurations
        self._places = SeatedQueue(queue, room, breaker.refusal)
        self._running = running
        self._room = room
        self._breaker = breaker
        self._stopping = stopping
        self._records = records
        self._clock = clock
        self._limits = limits
        self._step_timeout = step_timeout
        self._store = store
        self._workflows = workflows

    @property
    def workflows(self) -> Mapping[str, Workflow]:
        """Those that are on, by their names."""
        return self._workflows()

    def require_known(self) -> None:
        """Raises `ConfigurationError` for a workflow that cannot be imported."""
        self._workflows()

    def find(self, name: str) -> Workflow:
        """The workflow of this name; `NotFound` when it is not on."""
        workflow = self.workflows.get(name)
        if workflow is None:
            raise NotFound("There is no such workflow.")
        return workflow

    def reply(self, asked: AskedRun) -> RunAnswer:
        """The whole run. Raises a `SwitchboardError`; `StepFailed` when a step has failed."""
        answer: RunAnswer | None = None
        for event in self._events(asked, streaming=False):
            if isinstance(event, RunAnswer):
                answer = event
        if answer is None:
            raise self._called_off()
        return answer

    def stream(self, asked: AskedRun) -> Generator[RunEvent, None, None]:
        """The run as it goes; the first item is `Started`, the last the `RunAnswer`, which is on
        disk by then. Closing the iterator early calls the run off."""
        return self._events(asked, streaming=True)

    def close(self) -> None:
        """Gives back what the store of runs holds."""
        self._store.close()

    def go_on_with(self, run: runs.Interrupted, user_id: str) -> bool:
        """Brings a run to its end that nobody owns; False when somebody does, or it cannot go on
        now. Makes no tenant: one that was forgotten meanwhile stays forgotten. Raises `TenantBusy`
        when the tenant's place is not free."""
        workflow = self.workflows.get(run.workflow)
        if workflow is None:
            return False
        spent = Spent(meter=RunMeter())
        cancel = self._stopping.or_called_off(None)
        with (
            self._room.presence(),
            self._places.place(user_id, waiting_limit=0, cancel=cancel) as place,
        ):
            row = None if place is None else self._row(run)
            ready = None if row is None else self._known(user_id, None)
            if row is None or row.status != "running" or ready is None:
                return False
            if ready.tenant != run.tenant:
                return False  # the user is another tenant by now
            spent.tenant = ready.tenant
            asked = AskedRun.going_on(row, user_id, self._clock.monotonic())
            events = self._taken(workflow, asked, ready, row, spent, streaming=False)
            try:
                deque(events, maxlen=0)
            except SwitchboardError as error:
                # Of other conflicts it is somebody else's, or of another definition: not run here.
                if isinstance(error, StateConflict) or not isinstance(error, Conflict):
                    self._records.failed(asked.turn, error, spent)
                raise
            except Exception:
                self._records.write(asked.turn, spent, status=500, code=SwitchboardError.code)
                raise
        return True

    # -- one run --------------------------------------------------------------------------------

    def _events(self, asked: AskedRun, *, streaming: bool) -> Generator[RunEvent, None, None]:
        """The run's events; a failed run leaves its line in the tenant's metrics."""
        workflow = self.find(asked.workflow)
        spent = Spent(meter=RunMeter())
        with self._records.following(asked.turn, spent):
            yield from self._run(workflow, asked, spent, streaming=streaming)

    def _run(
        self, workflow: Workflow, asked: AskedRun, spent: Spent, *, streaming: bool
    ) -> Generator[RunEvent, None, None]:
        turn = asked.turn
        mark = fingerprint(replace(turn, message=json.dumps([asked.workflow, asked.input])))
        answer: RunAnswer | None = None
        with self._room.presence(), self._running.hold(mark):
            self._breaker.require(turn.user_id)
            cancel = self._stopping.or_called_off(turn.cancel)
            waiting = self._limits.waiting_turns
            with self._places.place(turn.user_id, waiting_limit=waiting, cancel=cancel) as place:
                if place is None:
                    raise self._called_off()
                ready = self._prepare(turn.user_id, mark)
                spent.tenant = ready.tenant
                yield Started()
                earlier = ready.earlier
                if earlier is not None and earlier.status == "completed":
                    answer = self._kept(asked, ready.tenant, earlier)
                elif earlier is not None:
                    # Its worker was killed, and the client asks again.
                    answer = yield from self._taken(
                        workflow, asked, ready, earlier, spent, streaming=streaming
                    )
                else:
                    answer = yield from self._made(
                        workflow, asked, ready, mark, spent, streaming=streaming
                    )
        # The place is free by now: a slow reader must not hold up the next turn.
        yield answer

    def _prepare(self, user_id: str, mark: Fingerprint | None) -> _Ready:
        """All that the run must know; makes the tenant on first use."""
        known = self._known(user_id, mark)
        if known is not None:
            return known
        stored_id, now = self._user_ids.stored(user_id), self._clock.now_ms()
        number = self._database.write(
            lambda connection: tenants.ensure(connection, stored_id, now, user_id=user_id)
        )
        with self._database.read() as connection:
            return _Ready(number, self._configurations.agent(connection))

    def _known(self, user_id: str, mark: Fingerprint | None) -> _Ready | None:
        """The same of a tenant that is there; None when it is not."""
        self._breaker.require(user_id)
        self._database.require_writable()
        stored_id = self._user_ids.stored(user_id)
        now = self._clock.now_ms()
        with self._database.read() as connection:
            standing = tenants.standing(connection, stored_id, user_id=user_id)
            if standing is None:
                return None
            if standing.blocked:
                raise blocked()
            agent = self._configurations.agent(connection)
            narrow(connection, standing.number)
            earlier = _earlier(connection, standing.number, mark, now)
            if earlier is None or earlier.status != "completed":
                require_budget(connection, standing, self._limits.token_budget, now)
            return _Ready(standing.number, agent, standing.turn, earlier)

    def _made(
        self,
        workflow: Workflow,
        asked: AskedRun,
        ready: _Ready,
        mark: Fingerprint | None,
        spent: Spent,
        *,
        streaming: bool,
    ) -> Generator[RunEvent, None, RunAnswer]:
        turn = asked.turn
        run = NewRun(
            new_run_id(),
            turn.user_id,
            turn.session_id,
            workflow.name,
            workflow.digest,
            asked.input,
        )
        made = self._store.made(
            ready.tenant,
            run,
            key=None if mark is None else (mark.key, mark.body),
            request_id=turn.request_id,
            at_end=self._at_end(asked, ready, spent),
        )
        with made as journal:
            return (
                yield from self._played(workflow, asked, ready, journal, spent, streaming=streaming)
            )

    def _taken(
        self,
        workflow: Workflow,
        asked: AskedRun,
        ready: _Ready,
        row: RunRow,
        spent: Spent,
        *,
        streaming: bool,
    ) -> Generator[RunEvent, None, RunAnswer]:
        at_end = self._at_end(asked, ready, spent)
        user_id = asked.turn.user_id
        with self._store.taken(ready.tenant, row, user_id, at_end=at_end) as journal:
            try:
                require_same(workflow, journal.run)
            except Conflict as error:
                journal.end("failed", None, error.message, error.code)
                raise
            return (
                yield from self._played(workflow, asked, ready, journal, spent, streaming=streaming)
            )

    def _played(
        self,
        workflow: Workflow,
        asked: AskedRun,
        ready: _Ready,
        journal: StoredJournal,
        spent: Spent,
        *,
        streaming: bool,
    ) -> Generator[RunEvent, None, RunAnswer]:
        turn, meter = asked.turn, spent.meter
        running = Running(
            journal,
            agent=workflow.agent or ready.agent,
            streaming=streaming,
            request_id=turn.request_id,
            tool_log=turn.tool_log,
            agents_remember=False,
            step_timeout=self._step_timeout,
            max_state_bytes=self._limits.state_max_bytes,
        )
        assert isinstance(meter, RunMeter)  # noqa: S101  # nosec B101  # made so above
        meter.begin(running, journal)
        cancel: Cancellation = self._stopping.or_called_off(turn.cancel)
        events = play(workflow, journal, running, cancel, leaves=self._leaves)
        try:
            with closing(events):
                try:
                    while True:
                        event = next(events)
                        if isinstance(event, StepText) and spent.first_token is None:
                            spent.first_token = self._clock.monotonic()
                        if not isinstance(event, WorkflowFinished):
                            yield event
                except StopIteration as stop:
                    output = stop.value
        except (PlaceLost, StorageUnavailable, ServerStopping):
            meter.goes_on = True
            raise
        except GeneratorExit:
            # A server that is being cut leaves the run to another, whoever listens here.
            meter.goes_on = self._leaves() is not None
            raise
        if output.status != "completed":
            raise self._called_off()
        spent.stored = True
        self._records.write_late_ones(self._clock.now_ms())
        return RunAnswer.of(output, asked)

    def _at_end(
        self, asked: AskedRun, ready: _Ready, spent: Spent
    ) -> Callable[[Connection, WorkflowStatus], None]:
        """The request's record, in the transaction that ends a completed run.

        A run that asked the model counts as a turn, and as the next of those that it saw: nobody
        has stored one in its place.
        """

        def write(connection: Connection, status: WorkflowStatus) -> None:
            if status == "completed":
                record = self._records.of(asked.turn, spent)
                turn = ready.turns if record.total_tokens else None
                store_request(connection, ready.tenant, record, turn=turn)
                if asked.turn.tool_log.uses:
                    count_tools(connection, asked.turn, record.at_ms)

        return write

    def _kept(self, asked: AskedRun, tenant: int, row: RunRow) -> RunAnswer:
        with self._database.read() as connection:
            narrow(connection, tenant)
            steps = runs.steps(connection, tenant, row.number)
        self._records.write(asked.turn)
        return RunAnswer.of_kept(summary_of(row, steps), asked)

    def _row(self, run: runs.Interrupted) -> RunRow | None:
        with self._database.read() as connection:
            narrow(connection, run.tenant)
            return runs.find(connection, run.tenant, run.run_id)

    def _leaves(self) -> SwitchboardError | None:
        """Why a run that is called off is left to another process, if it is."""
        return self._stopping.error() if self._stopping.has_cut else None

    def _called_off(self) -> SwitchboardError:
        return self._leaves() or ClientGone("The caller hung up.")


def _earlier(
    connection: Connection, tenant: int, mark: Fingerprint | None, now_ms: int
) -> RunRow | None:
    """The run that came with the same key within a day; `IdempotencyMismatch` on another body."""
    if mark is None:
        return None
    row = runs.find_by_key(connection, tenant, mark.key, now_ms - KEPT_MS)
    if row is not None:
        require_same_body(mark, runs.body_of(connection, tenant, row.number))
    return row
