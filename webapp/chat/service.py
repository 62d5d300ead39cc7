"""The use case behind every door: one turn of one tenant, whole or streamed; nothing of HTTP."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace

from webapp.agent import (
    Agent,
    Finished,
    RunOutput,
    TextDelta,
    ToolFinished,
    ToolStarted,
)
from webapp.allowances import TokenBudget
from webapp.chat.budget import require_budget
from webapp.chat.configuration import AgentConfigurations
from webapp.chat.idempotency import Fingerprint, RunningKeys, fingerprint, first_answer, keep
from webapp.chat.turn_records import CLIENT_GONE, Spent, TurnRecords
from webapp.chat.values import ChatAnswer, ChatTurn
from webapp.clock import Clock
from webapp.errors import (
    InvalidInput,
    ModelError,
    SwitchboardError,
    TenantBlocked,
)
from webapp.memory.history.store import history as read_history
from webapp.messages import Message
from webapp.stopping import Stopping
from webapp.storable import is_storable
from webapp.storage import Connection, Database
from webapp.tenant_data.storing import store_turn
from webapp.tenants import store as tenants
from webapp.tenants.user_ids.forms import UserIds
from webapp.turn_room import TurnRoom
from webapp.turns import Load, TurnQueue


@dataclass(frozen=True, slots=True)
class Started:
    """The turn's place has come and nothing refuses it: from here on only the model can fail."""


ChatEvent = Started | TextDelta | ToolStarted | ToolFinished | ChatAnswer


class ClientGone(SwitchboardError):
    """The caller hung up before the answer was complete; nothing was stored."""

    code = "client_closed_request"
    status = CLIENT_GONE


@dataclass(frozen=True, slots=True)
class ChatLimits:
    """What bounds a turn, from the settings."""

    message_max_chars: int = 32_000
    memory_max_messages: int = 100
    waiting_turns: int = 4
    token_budget: TokenBudget = field(default_factory=TokenBudget)


@dataclass(frozen=True, slots=True)
class _Ready:
    """All that was read at the start of a turn."""

    tenant: int
    agent: Agent
    history: list[Message]
    is_new: bool = False


class ChatService:
    """Runs turns. What contract §4 promises of a turn is kept here."""

    def __init__(
        self,
        *,
        database: Database,
        user_ids: UserIds,
        configurations: AgentConfigurations,
        queue: TurnQueue,
        room: TurnRoom,
        stopping: Stopping,
        clock: Clock,
        limits: ChatLimits,
    ) -> None:
        self._database = database
        self._user_ids = user_ids
        self._configurations = configurations
        self._queue = queue
        self._room = room
        self._stopping = stopping
        self._clock = clock
        self._limits = limits
        self._running = RunningKeys()
        self._records = TurnRecords(database, user_ids, clock)

    @property
    def load(self) -> Load:
        """How many turns run and wait in this process."""
        load, without_room = self._queue.load, self._room.waiting
        return Load(load.running - without_room, load.waiting + without_room)

    def reply(self, turn: ChatTurn) -> ChatAnswer:
        """The whole turn. Raises a `SwitchboardError`; memory is then as it was before."""
        self.check(turn)
        answer: ChatAnswer | None = None
        for event in self._recorded(turn, streaming=False):
            if isinstance(event, ChatAnswer):
                answer = event
        if answer is None:
            raise self._called_off()
        return answer

    def stream(self, turn: ChatTurn) -> Iterator[ChatEvent]:
        """The turn as it goes; its last item is the `ChatAnswer`, which is on disk by then.

        The first item is `Started`, unless the answer is one that was given before. Closing the
        iterator early ends the turn and stores nothing of it.
        """
        self.check(turn)
        return self._recorded(turn, streaming=True)

    def admission(self, turn: ChatTurn) -> str | None:
        """The tenant's own rate limit, when an operator gave it one; in force at once.

        Raises `TenantBlocked`, so that a blocked tenant learns that before a limit's refusal.
        """
        with self._database.read() as connection:
            stored_id = self._user_ids.stored(turn.user_id)
            standing = tenants.standing(connection, stored_id, user_id=turn.user_id)
        if standing is None:
            return None
        if standing.blocked:
            refusal = _blocked()
            self.record_refusal(turn, status=refusal.status, code=refusal.code)
            raise refusal
        return standing.rate_limit

    def record_refusal(self, turn: ChatTurn, *, status: int, code: str) -> None:
        """Counts a request that was refused before it came here, by the limiter."""
        self._records.write(turn, status=status, code=code)

    def settle(self) -> None:
        """Writes what is only counted so far, for whoever reads figures now."""
        self._records.settle()

    def close(self) -> None:
        """Writes all that waits to be written; the process ends."""
        self._records.close()

    # -- one turn -------------------------------------------------------------------------------

    def _recorded(self, turn: ChatTurn, *, streaming: bool) -> Iterator[ChatEvent]:
        """The turn's events; a failed turn leaves its line in the tenant's metrics."""
        spent = Spent()
        turn = replace(turn, cancel=self._stopping.or_called_off(turn.cancel))
        try:
            yield from self._turn(turn, spent, streaming=streaming)
        except GeneratorExit:
            if spent.stored:
                raise  # it is counted already; only nobody listened to the last word
            self._records.write(turn, spent, status=CLIENT_GONE, code=ClientGone.code)
            raise
        except SwitchboardError as error:
            self._records.failed(turn, error, spent)
            raise
        except Exception:
            self._records.write(turn, spent, status=500, code=SwitchboardError.code)
            raise

    def _turn(self, turn: ChatTurn, spent: Spent, *, streaming: bool) -> Iterator[ChatEvent]:
        mark = fingerprint(turn)
        stored_id = self._user_ids.stored(turn.user_id)
        with self._room.presence(), self._running.hold(mark):
            earlier = self._earlier_answer(turn, stored_id, mark)
            if earlier is not None:
                self._records.write(turn)
                yield earlier
                return
            place = self._queue.place(
                turn.user_id, waiting_limit=self._limits.waiting_turns, cancel=turn.cancel
            )
            with place as arrived, self._room.seat(turn.cancel) as seated:
                if not (arrived and seated):
                    raise self._called_off()
                answer = yield from self._run(turn, stored_id, mark, spent, streaming=streaming)
        # The place is free by now: a slow reader must not hold up the tenant's next turn.
        yield answer

    def _run(
        self,
        turn: ChatTurn,
        stored_id: str,
        mark: Fingerprint | None,
        spent: Spent,
        *,
        streaming: bool,
    ) -> Generator[ChatEvent, None, ChatAnswer]:
        """The agent's run and the turn's transaction, while the tenant's place is held."""
        ready = self._prepare(turn, stored_id)
        spent.tenant, spent.made_tenant = ready.tenant, ready.is_new
        yield Started()
        question = Message("user", turn.message, created_at_ms=self._clock.now_ms())
        events = ready.agent.play(
            question,
            ready.history,
            streaming=streaming,
            cancel=turn.cancel,
            meter=spent.meter,
        )
        with closing(events):
            for event in events:
                if isinstance(event, Finished):
                    return self._commit(turn, ready, event.output, mark, spent)
                if isinstance(event, TextDelta) and spent.first_token is None:
                    spent.first_token = self._clock.monotonic()
                if isinstance(event, TextDelta | ToolStarted | ToolFinished):
                    yield event
        raise ModelError("The model's answer broke off.")

    def _prepare(self, turn: ChatTurn, stored_id: str) -> _Ready:
        """Everything the turn must know, read at one moment; makes the tenant on first use.

        Nobody pays the model for an answer that could not be stored.
        """
        self._database.require_writable()
        with self._database.read() as connection:
            agent = self._configurations.agent(connection)
            standing = tenants.standing(connection, stored_id, user_id=turn.user_id)
            if standing is not None:
                if standing.blocked:
                    raise _blocked()
                require_budget(
                    connection, standing, self._limits.token_budget, self._clock.now_ms()
                )
                history = read_history(
                    connection,
                    standing.number,
                    turn.session_id,
                    newest=agent.context_max_messages,
                )
                return _Ready(standing.number, agent, history)
        number = self._database.write(
            lambda connection: tenants.ensure(
                connection, stored_id, self._clock.now_ms(), user_id=turn.user_id
            )
        )
        return _Ready(number, agent, [], is_new=True)

    def _commit(
        self,
        turn: ChatTurn,
        ready: _Ready,
        output: RunOutput,
        mark: Fingerprint | None,
        spent: Spent,
    ) -> ChatAnswer:
        """The turn, its counters, its metrics and its kept answer, in one transaction."""
        if output.status == "cancelled" or (turn.cancel is not None and turn.cancel.is_set()):
            raise self._called_off()
        answer = ChatAnswer(
            user_id=turn.user_id,
            reply=output.content,
            session_id=turn.session_id,
            request_id=turn.request_id,
            usage=output.usage,
            finish_reason=output.finish_reason,
            model=output.model,
        )
        record = self._records.of(turn, spent)

        def work(connection: Connection) -> None:
            store_turn(
                connection,
                ready.tenant,
                turn.session_id,
                output.messages,
                self._limits.memory_max_messages,
                record,
            )
            if mark is not None:
                keep(connection, ready.tenant, mark, answer, record.at_ms)

        self._database.write(work)
        spent.stored = True
        self._records.write_late_ones(record.at_ms)
        return answer

    def _called_off(self) -> SwitchboardError:
        """Why a turn ended before its answer, without a failure."""
        if self._stopping.has_cut:
            return self._stopping.error()
        return ClientGone("The caller hung up.")

    def _earlier_answer(
        self, turn: ChatTurn, stored_id: str, mark: Fingerprint | None
    ) -> ChatAnswer | None:
        if mark is None:
            return None
        with self._database.read() as connection:
            number = tenants.number_of(connection, stored_id)
            if number is None:
                return None
            return first_answer(connection, number, mark, turn, self._clock.now_ms())

    def check(self, turn: ChatTurn) -> None:
        """`InvalidInput` when the message is empty, too long or not text; costs nothing."""
        message = turn.message
        fault = None
        if not message.strip():
            fault = InvalidInput("message cannot be empty")
        elif len(message) > self._limits.message_max_chars:
            limit = self._limits.message_max_chars
            fault = InvalidInput(f"message too long (max {limit} chars)", code="message_too_long")
        elif not is_storable(message):
            fault = InvalidInput("message is not valid text")
        if fault is not None:
            fault.fields["message"] = fault.message
            raise fault


def _blocked() -> TenantBlocked:
    return TenantBlocked("This user is blocked.", code="tenant_blocked")
