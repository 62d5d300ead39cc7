"""Reads and stores one turn on the server; agent/turn.py plays it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from webapp.agent import Agent, RunOutput
from webapp.agent.approvals import PausedTurn, from_text, to_text
from webapp.agent.breaker.breaker import Breaker
from webapp.agent.turn import Prepared
from webapp.chat import store
from webapp.chat.budget import require_budget
from webapp.chat.configuration import AgentConfigurations
from webapp.chat.idempotency import Fingerprint, first_answer, keep
from webapp.chat.seen_tenants import SeenTenants
from webapp.chat.turn_records import Spent, TurnRecords, count_tools
from webapp.chat.values import ChatAnswer, ChatLimits, ChatTurn, with_pending_calls
from webapp.clock import Clock
from webapp.errors import Conflict, MessageTooLong, TenantBlocked
from webapp.memory.history.store import history, newest_first
from webapp.memory.limiting.limits import NOTHING_DROPPED, DropCount, Dropped
from webapp.memory.paused_turns import store as paused_turns
from webapp.memory.states import store as states
from webapp.memory.summaries import store as summaries
from webapp.memory.summary import Summary
from webapp.messages import Message
from webapp.session_state import SessionState
from webapp.session_state.values import read_fields
from webapp.storage import Connection, Database
from webapp.storage.database import Ask
from webapp.storage.narrowing import narrow, narrowed_to
from webapp.tenant_data.storing import (
    Stored,
    forgotten,
    keep_to_limits,
    open_session,
    store_request,
    store_turn,
)
from webapp.tenants import store as tenants
from webapp.turns import Place
from webapp.usage.records import RequestRecord

# Its messages and what its tools gave, as JSON; a tenant may let a hundred of them wait.
MAX_PAUSED_CHARS = 2_000_000


@dataclass(frozen=True, slots=True)
class TurnStorage:
    """The parts with which all turns are read and stored."""

    database: Database
    configurations: AgentConfigurations
    records: TurnRecords
    clock: Clock
    limits: ChatLimits
    breaker: Breaker
    dropped: DropCount
    seen: SeenTenants = field(default_factory=SeenTenants)


class StoredTurn:
    """The `TurnStore` of one turn; `answer` is there when it is stored, or was before."""

    def __init__(
        self,
        storage: TurnStorage,
        turn: ChatTurn,
        stored_id: str,
        mark: Fingerprint | None,
        spent: Spent,
    ) -> None:
        self._storage = storage
        self._turn = turn
        self._stored_id = stored_id
        self._mark = mark
        self._spent = spent
        self._tenant = 0
        self._turns_before = 0
        self._forgets_before = 0
        self._saw_session = False
        self._paused_version = 0
        self._newest_message = ""
        self.state = SessionState(read=self._read_state, max_bytes=storage.limits.state_max_bytes)
        self.answer: ChatAnswer | None = None

    @property
    def request(self) -> str:
        """What names the request when it is tried again; empty without an idempotency key."""
        return "" if self._mark is None else self._mark.request

    def find_earlier_answer(self) -> None:
        """Sets the answer that the turn's idempotency key got before, if it did."""
        if self._mark is None:
            return
        with self._storage.database.read() as connection:
            tenant = tenants.number_of(connection, self._stored_id)
            if tenant is not None:
                narrow(connection, tenant)
                now_ms = self._storage.clock.now_ms()
                self.answer = first_answer(connection, tenant, self._mark, self._turn, now_ms)

    def prepare(self) -> Prepared:
        """Everything the turn must know, read at one moment; makes the tenant on first use.

        Nobody pays the model for an answer that could not be stored.
        """
        storage, user_id = self._storage, self._turn.user_id
        storage.breaker.require(user_id)
        storage.database.require_writable()
        with storage.database.read(self._asks) as connection:
            agent = storage.configurations.agent(connection)
            standing = tenants.standing(connection, self._stored_id, user_id=user_id)
            if standing is not None:
                if standing.blocked:
                    raise blocked()
                narrow(connection, standing.number)
                now_ms = storage.clock.now_ms()
                require_budget(connection, standing, storage.limits.token_budget, now_ms)
                messages = history(
                    connection,
                    standing.number,
                    self._turn.session_id,
                    newest=agent.context_max_messages,
                )
                self._turns_before = standing.turn
                self._forgets_before = standing.forgotten_sessions
                self._saw_session = bool(messages)
                summary = None
                if agent.summarize and messages:
                    self._newest_message = messages[-1].id
                    summary = summaries.find(connection, standing.number, self._turn.session_id)
                storage.seen.put(self._stored_id, standing.number, agent.context_max_messages)
                paused = None
                if standing.has_paused_turns:
                    paused = self._find_paused(connection, standing.number, now_ms)
                return self._prepared(standing.number, agent, messages, paused, summary)
        number = storage.database.write(
            lambda connection: tenants.ensure(
                connection, self._stored_id, storage.clock.now_ms(), user_id=user_id
            )
        )
        self._spent.made_tenant = True
        return self._prepared(number, agent, ())

    def _asks(self) -> list[Ask]:
        """What `prepare` is going to ask, as far as it can be told: a tenant keeps its number."""
        asks = [store.NEWEST_NUMBER, tenants.standing_of(self._stored_id)]
        seen = self._storage.seen.get(self._stored_id)
        if seen is not None:
            number, newest = seen
            asks += [narrowed_to(number), newest_first(number, self._turn.session_id, newest)]
        return asks

    def store(self, output: RunOutput, place: Place) -> None:
        """The turn, its counters, its metrics and its kept answer, in one transaction."""
        storage, turn, tenant = self._storage, self._turn, self._tenant
        answer = ChatAnswer(
            user_id=turn.user_id,
            reply=output.content,
            session_id=turn.session_id,
            request_id=turn.request_id,
            usage=output.usage,
            finish_reason=output.finish_reason,
            model=output.model,
        )
        if output.paused is not None:
            answer = with_pending_calls(answer, output.pending_calls)
        elif turn.wanted is not None:
            answer = answer.formed(output.parsed)
        record = storage.records.of(turn, self._spent)
        changes, limits = self.state.finish(), storage.limits.tenant

        def work(connection: Connection) -> Dropped:
            narrow(connection, tenant)
            place.require_held(connection)
            if output.summary is not None:
                summaries.keep(
                    connection, tenant, turn.session_id, output.summary, self._newest_message
                )
            if output.paused is not None:
                stored = self._pause(connection, output.paused, record)
            else:
                self._end_pause(connection)
                stored = store_turn(
                    connection,
                    tenant,
                    turn.session_id,
                    output.messages,
                    storage.limits.memory_max_messages,
                    record,
                    self._turns_before,
                    self._forgets,
                )
            if changes is not None:
                states.change(
                    connection,
                    tenant,
                    turn.session_id,
                    changes,
                    storage.limits.state_max_bytes,
                    record.at_ms,
                )
            if turn.tool_log.uses:
                count_tools(connection, turn, record.at_ms)
            if self._mark is not None:
                keep(connection, tenant, self._mark, answer, record.at_ms)
            if not limits:
                return NOTHING_DROPPED
            return keep_to_limits(connection, tenant, turn.session_id, limits, stored)

        dropped = storage.database.write(work)
        if dropped.sessions:
            storage.dropped.add(dropped.sessions)
        self.answer, self._spent.stored = answer, True
        storage.records.write_late_ones(record.at_ms)

    @property
    def _forgets(self) -> int | None:
        """How many sessions had been forgotten when the turn began, if it saw one of its own."""
        return self._forgets_before if self._saw_session else None

    def _read_state(self) -> Mapping[str, str]:
        """The session's state; the turn has its place, so that no other turn changes it now."""
        with self._storage.database.read_each() as connection:
            narrow(connection, self._tenant)
            found = states.find(connection, self._tenant, self._turn.session_id)
        self._saw_session |= found.version > 0
        return read_fields(found.text)

    def _prepared(
        self,
        tenant: int,
        agent: Agent,
        messages: Sequence[Message],
        paused: PausedTurn | None = None,
        summary: Summary | None = None,
    ) -> Prepared:
        self._tenant = self._spent.tenant = tenant
        if self._turn.wanted is not None:
            agent = agent.answering(self._turn.wanted)
        return Prepared(agent, messages, self._storage.clock.now_ms(), paused, summary)

    # -- turns that wait for approval -----------------------------------------------------------

    def save(self, paused: PausedTurn) -> None:
        """Keeps the turn that waited as far as it has come, for whoever tries it again."""
        text, tenant = to_text(paused), self._tenant

        def work(connection: Connection) -> None:
            narrow(connection, tenant)
            self._change(connection, text)

        self._storage.database.write(work)
        self._paused_version += 1

    def _find_paused(self, connection: Connection, tenant: int, now_ms: int) -> PausedTurn | None:
        row = paused_turns.find(connection, tenant, self._turn.session_id, now_ms)
        if row is None:
            return None
        self._paused_version = row.version
        return from_text(row.turn)

    def _pause(self, connection: Connection, paused: PausedTurn, record: RequestRecord) -> Stored:
        """Counts the request, and keeps the turn so far. One that has asked no model is no turn.

        Its session is made, so that it is listed, cleared and forgotten like any other.
        """
        text, tenant = to_text(paused), self._tenant
        if len(text) > MAX_PAUSED_CHARS:
            raise MessageTooLong("This turn has become too long to wait for an approval.")
        self._require_room(connection, text, record.at_ms)
        turn = self._turns_before if record.total_tokens else None
        if not store_request(connection, tenant, record, turn=turn):
            raise forgotten()
        session = self._turn.session_id
        made = open_session(connection, tenant, session, self._forgets, record.at_ms)
        if self._paused_version:
            self._change(connection, text)
            return Stored(0, made)
        expires = record.at_ms + round(self._storage.limits.approval_seconds * 1000)
        if not paused_turns.put(connection, tenant, session, text, record.at_ms, expires):
            raise _gone()
        return Stored(0, made)

    def _require_room(self, connection: Connection, text: str, now_ms: int) -> None:
        session = self._turn.session_id
        paused_turns.drop_late_ones(connection, self._tenant, session, now_ms)
        others = paused_turns.others_chars(connection, self._tenant, session)
        if others + len(text) > paused_turns.MAX_CHARS_OF_TENANT:
            raise MessageTooLong("Too much of this user waits for approvals: decide it first.")

    def _change(self, connection: Connection, text: str) -> None:
        now_ms = self._storage.clock.now_ms()
        expires = now_ms + round(self._storage.limits.approval_seconds * 1000)
        if not paused_turns.change(
            connection, self._tenant, self._turn.session_id, self._paused_version, text, expires
        ):
            raise _gone()

    def _end_pause(self, connection: Connection) -> None:
        """The turn is complete: nothing waits any more. One that was cleared stays so."""
        if self._paused_version and not paused_turns.drop(
            connection, self._tenant, self._turn.session_id, self._paused_version
        ):
            raise _gone()


def _gone() -> Conflict:
    return Conflict(
        "The turn that waited for approval was cleared, or somebody else went on with it.",
        code="approval_conflict",
    )


def blocked() -> TenantBlocked:
    """The error for a blocked tenant."""
    return TenantBlocked("This user is blocked.", code="tenant_blocked")
