"""Records how each turn went, failed and refused ones included; sums are in usage/."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from types import TracebackType

from webapp.agent import Meter
from webapp.chat.late_records import LateRecords
from webapp.chat.refusals import Refusals
from webapp.chat.values import ChatTurn
from webapp.clock import Clock
from webapp.errors import ClientGone, StorageUnavailable, SwitchboardError
from webapp.storage import Connection, Database
from webapp.storage.narrowing import narrow
from webapp.tenant_data.storing import store_request
from webapp.tenants import store as tenants
from webapp.tenants.user_ids.forms import UserIds
from webapp.usage.records import RequestRecord
from webapp.usage.rollup.worker import RollUp
from webapp.usage.tool_calls import store as tool_calls


@dataclass(slots=True)
class Spent:
    """The tokens that a turn has used so far, so that a failed turn is counted as well.

    The `meter` estimates what the model's server did not say: budgets are kept by it.
    `first_token` is the monotonic clock in seconds; `tenant` is known once the turn has begun,
    and `made_tenant` says that it is its first.
    """

    meter: Meter = field(default_factory=Meter)
    first_token: float | None = None
    tenant: int | None = None
    made_tenant: bool = False
    stored: bool = False


class TurnRecords:
    """Makes the records of turns, and stores those of turns that are not stored themselves."""

    def __init__(self, database: Database, user_ids: UserIds, clock: Clock) -> None:
        self._database = database
        self._user_ids = user_ids
        self._clock = clock
        self._late = LateRecords(database)
        self._refusals = Refusals(database, clock)
        self._roll_up = RollUp(database, clock)

    def of(
        self, turn: ChatTurn, spent: Spent, *, status: int = 200, code: str = ""
    ) -> RequestRecord:
        """The record of a turn that ends now."""
        first, usage = spent.first_token, spent.meter.usage
        return RequestRecord(
            at_ms=self._clock.now_ms(),
            route=turn.route,
            status=status,
            code=code,
            latency_ms=_milliseconds(self._clock.monotonic() - turn.started),
            first_token_ms=None if first is None else _milliseconds(first - turn.started),
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            request_id=turn.request_id,
        )

    def failed(self, turn: ChatTurn, error: SwitchboardError, spent: Spent) -> None:
        """Writes a failed turn down; a database that cannot is no second failure."""
        if isinstance(error, StorageUnavailable):
            # Trying to write this down now would let the caller wait for the same lock again.
            record = self.of(turn, spent, status=error.status, code=error.code)
            self._late.keep(self._user_ids.stored(turn.user_id), record)
        else:
            self.write(turn, spent, status=error.status, code=error.code)

    def write(
        self, turn: ChatTurn, spent: Spent | None = None, *, status: int = 200, code: str = ""
    ) -> None:
        """Writes down a request that stores no turn: a refused, failed or repeated one."""
        spent = spent or Spent()
        record = self.of(turn, spent, status=status, code=code)
        stored_id = self._user_ids.stored(turn.user_id)
        if 400 <= status < ClientGone.status and not record.total_tokens:
            self._refuse(stored_id, record, spent)
            return

        def work(connection: Connection) -> None:
            # A turn that had begun must not bring back a tenant that was forgotten meanwhile.
            number = spent.tenant or tenants.ensure(
                connection, stored_id, record.at_ms, user_id=turn.user_id
            )
            narrow(connection, number)
            store_request(connection, number, record)
            if turn.tool_log.uses:
                count_tools(connection, turn, record.at_ms)

        try:
            self._database.write(work)
        except SwitchboardError:
            # The answer already says what went wrong, and /readyz says that the database did.
            self._late.keep(stored_id, record)
        self._roll_up.note()

    def following(self, turn: ChatTurn, spent: Spent) -> AbstractContextManager[None]:
        """Writes down how a turn or a run ended that did not come to its good end inside."""
        return _Following(self, turn, spent)

    def write_late_ones(self, now_ms: int) -> None:
        """Writes what the database did not take before, and refusals that have waited."""
        self._late.write(now_ms)
        self._refusals.settle_if_due()
        self._roll_up.note()

    def settle(self) -> None:
        """Writes the refusals that are only counted so far, before figures are read."""
        self._refusals.settle_soon()

    def close(self) -> None:
        """Writes all that waits, and adds it to the sums."""
        self._late.write_all(self._clock.now_ms())
        self._refusals.settle()
        self._roll_up.close()

    def _refuse(self, stored_id: str, record: RequestRecord, spent: Spent) -> None:
        """Counts it; a tenant that only this turn has made goes again."""
        if spent.made_tenant and spent.tenant is not None:
            number = spent.tenant
            with suppress(SwitchboardError):
                self._database.write(lambda connection: tenants.drop_unused(connection, number))
        self._refusals.add(stored_id, record.at_ms, record.status, record.code)
        self._roll_up.note()


class _Following(AbstractContextManager[None]):
    """A class, because a generator would cost each turn three times as much."""

    __slots__ = ("_records", "_spent", "_turn")

    def __init__(self, records: TurnRecords, turn: ChatTurn, spent: Spent) -> None:
        self._records, self._turn, self._spent = records, turn, spent

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, GeneratorExit):
            # What is stored is counted already; only nobody listened to the last word.
            if not self._spent.stored:
                gone = ClientGone
                self._records.write(self._turn, self._spent, status=gone.status, code=gone.code)
        elif isinstance(error, SwitchboardError):
            self._records.failed(self._turn, error, self._spent)
        elif isinstance(error, Exception):
            self._records.write(self._turn, self._spent, status=500, code=SwitchboardError.code)


def count_tools(connection: Connection, turn: ChatTurn, at_ms: int) -> None:
    """Counts the turn's calls of tools, in one statement of its transaction."""
    uses = ((use.name, use.outcome, use.seconds) for use in list(turn.tool_log.uses))
    tool_calls.add(connection, tool_calls.counted(uses), at_ms)


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))
