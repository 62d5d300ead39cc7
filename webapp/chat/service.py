"""The use case behind every door: one turn of one tenant, whole or streamed; nothing of HTTP.

How a turn goes is the agent's turn engine's; here is what the server adds to it: room in the
process, idempotency keys, and a record of each turn, failed ones included. What a turn reads and
writes, blocks and budgets with it, is in stored_turn.py.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

from webapp.agent import Finished, ModelAnswered, RunContext, TextDelta
from webapp.agent.breaker.breaker import Breaker
from webapp.agent.turn import play_turn
from webapp.chat.configuration import AgentConfigurations
from webapp.chat.idempotency import RunningKeys, fingerprint
from webapp.chat.stored_turn import StoredTurn, TurnStorage, blocked
from webapp.chat.turn_records import Spent, TurnRecords
from webapp.chat.values import ChatAnswer, ChatEvent, ChatLimits, ChatTurn
from webapp.clock import Clock
from webapp.errors import ClientGone, InvalidInput, SwitchboardError
from webapp.memory.limiting.limits import DropCount
from webapp.stopping import Stopping
from webapp.storable import is_storable
from webapp.storage import Database
from webapp.tenants import store as tenants
from webapp.tenants.user_ids.forms import UserIds
from webapp.tracing import Span
from webapp.turn_room import SeatedQueue, TurnRoom
from webapp.turns import Load, TurnQueue


class ChatService:
    """Runs turns, each stored whole in one transaction, or not at all.

    One tenant's turns run in order of arrival and each sees all that those before it stored. A
    turn whose caller has hung up, or whose model has failed, leaves the memory as it was.
    """

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
        clock: Clock,
        limits: ChatLimits,
        dropped: DropCount | None = None,
    ) -> None:
        self._database = database
        self._user_ids = user_ids
        self._queue = queue
        self._places = SeatedQueue(queue, room, breaker.refusal)
        self._room = room
        self._breaker = breaker
        self._stopping = stopping
        self._clock = clock
        self._limits = limits
        self._running = running
        self._records = TurnRecords(database, user_ids, clock)
        self._storage = TurnStorage(
            database, configurations, self._records, clock, limits, breaker, dropped or DropCount()
        )

    @property
    def load(self) -> Load:
        """How many turns run and wait in this process."""
        return self._places.load

    @property
    def records(self) -> TurnRecords:
        """Where requests are written down that run no turn, such as those of workflows."""
        return self._records

    def reply(self, turn: ChatTurn) -> ChatAnswer:
        """The whole turn. Raises a `SwitchboardError`; memory is then as it was before."""
        self.check(turn)
        answer: ChatAnswer | None = None
        for event in self._events(turn, streaming=False):
            if isinstance(event, ChatAnswer):
                answer = event
        if answer is None:
            raise self._called_off()
        return answer

    def stream(self, turn: ChatTurn) -> Generator[ChatEvent, None, None]:
        """The turn as it goes; its last item is the `ChatAnswer`, which is on disk by then.

        The first item is `Started`, unless the answer is one that was given before. Closing the
        iterator early ends the turn and stores nothing of it.
        """
        self.check(turn)
        return self._events(turn, streaming=True)

    def admission(self, turn: ChatTurn) -> str | None:
        """The tenant's own rate limit, when an operator gave it one; in force at once.

        Raises `TenantBlocked`, so that a blocked tenant learns that before a limit's refusal.
        """
        with self._database.read_each() as connection:
            stored_id = self._user_ids.stored(turn.user_id)
            standing = tenants.standing(connection, stored_id, user_id=turn.user_id)
        if standing is None:
            return None
        if standing.blocked:
            refusal = blocked()
            self.record_refusal(turn, status=refusal.status, code=refusal.code)
            raise refusal
        return standing.rate_limit

    def record_refusal(self, turn: ChatTurn, *, status: int, code: str) -> None:
        """Counts a request that was refused before it came here, by the limiter."""
        self._records.write(turn, status=status, code=code)

    def settle(self) -> None:
        """Writes what is only counted so far, before figures are read."""
        self._records.settle()

    def close(self) -> None:
        """Writes all that waits to be written, and gives the queue back; no turn runs any more."""
        self._records.close()
        self._queue.close()

    def _events(self, turn: ChatTurn, *, streaming: bool) -> Generator[ChatEvent, None, None]:
        """The turn's events; a failed turn leaves its line in the tenant's metrics."""
        spent = Spent()
        with self._records.following(turn, spent):
            yield from self._turn(turn, spent, streaming=streaming)

    def _turn(
        self, turn: ChatTurn, spent: Spent, *, streaming: bool
    ) -> Generator[ChatEvent, None, None]:
        mark = fingerprint(turn)
        stored = StoredTurn(self._storage, turn, self._user_ids.stored(turn.user_id), mark, spent)
        with self._room.presence(), self._running.hold(mark):
            stored.find_earlier_answer()
            if stored.answer is not None:
                self._records.write(turn)
            else:
                yield from self._played(turn, stored, spent, streaming=streaming)
        # The place and the key are free by now: a slow reader must not hold up the next turn.
        if stored.answer is None:
            raise self._called_off()
        yield stored.answer

    def _played(
        self, turn: ChatTurn, stored: StoredTurn, spent: Spent, *, streaming: bool
    ) -> Generator[ChatEvent, None, None]:
        """The events of the turn engine that a client sees; notes when the first one came."""
        span = turn.span
        if span.recording:
            span = span.turn(self._user_ids.reference(f"{turn.user_id}\n{turn.session_id}"))
        try:
            yield from self._followed(turn, stored, spent, span, streaming=streaming)
        except BaseException as error:
            span.failed(error)
            raise
        finally:
            if span is not turn.span:
                span.end()

    def _followed(
        self, turn: ChatTurn, stored: StoredTurn, spent: Spent, span: Span, *, streaming: bool
    ) -> Generator[ChatEvent, None, None]:
        self._breaker.require(turn.user_id)
        context = RunContext(
            user_id=turn.user_id,
            session_id=turn.session_id,
            idempotency_key=stored.request,
            tool_log=turn.tool_log,
            request_id=turn.request_id,
            cancel=self._stopping.or_called_off(turn.cancel),
            meter=spent.meter,
            state=stored.state,
            span=span,
        )
        events = play_turn(
            turn.message,
            context,
            store=stored,
            queue=self._places,
            streaming=streaming,
            waiting_limit=self._limits.waiting_turns,
            approvals=turn.approvals,
        )
        with closing(events):
            for event in events:
                if isinstance(event, TextDelta) and spent.first_token is None:
                    spent.first_token = self._clock.monotonic()
                if isinstance(event, Finished):
                    span.answered(event.output.usage, event.output.finish_reason)
                    if event.output.status == "cancelled":
                        span.failed_as("cancelled")
                elif not isinstance(event, ModelAnswered):
                    yield event

    def _called_off(self) -> SwitchboardError:
        """Why a turn ended before its answer, without a failure."""
        if self._stopping.has_cut:
            return self._stopping.error()
        return ClientGone("The caller hung up.")

    def check(self, turn: ChatTurn) -> None:
        """`InvalidInput` when the message is empty, too long or not text; costs nothing."""
        message = turn.message
        fault = None
        if not message.strip() and not turn.approvals:
            fault = InvalidInput("message cannot be empty")
        elif len(message) > self._limits.message_max_chars:
            limit = self._limits.message_max_chars
            fault = InvalidInput(f"message too long (max {limit} chars)", code="message_too_long")
        elif not is_storable(message):
            fault = InvalidInput("message is not valid text")
        if fault is not None:
            fault.fields["message"] = fault.message
            raise fault
