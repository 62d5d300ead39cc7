"""Stores turns and requests: calls each package that writes a part, in order, in one transaction.

A turn is its messages (`memory`), the tenant's counters (`tenants`) and the request's record
(`usage`); an answer that is kept for its idempotency key joins them in `chat`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from webapp.errors import Conflict
from webapp.memory import store as conversations
from webapp.memory.limiting.limits import Dropped, TenantLimits
from webapp.memory.limiting.parts import make_room
from webapp.memory.sessions import store as sessions
from webapp.memory.store import Counted, Growth
from webapp.messages import Message
from webapp.periods import DAY_MS, day_number, month_span
from webapp.storage import Connection
from webapp.storage.engine import ServerConnection, is_on_server
from webapp.tenants import store as tenants
from webapp.tenants.counters import store as counters
from webapp.turns.standing import place_lost
from webapp.usage import histogram
from webapp.usage import store as usage
from webapp.usage.records import Refusal, RequestRecord
from webapp.usage.sums import store as sums


@dataclass(frozen=True, slots=True)
class Stored:
    """How many messages the tenant has behind a turn, and whether its session is new."""

    messages: int
    new_session: bool


def store_turn(
    connection: Connection,
    tenant: int,
    session_id: str,
    messages: Sequence[Message],
    cap: int,
    record: RequestRecord,
    turn: int | None,
    forgets: int | None = None,
) -> Stored:
    """The turn whole. `turn` is the number of the tenant's turns when it read their history;
    `forgets` how many of its sessions had been forgotten, when the turn saw something of its own.

    `Conflict` and nothing when the tenant or the session was forgotten meanwhile; `PlaceLost` and
    nothing when another turn was stored: this one has not seen it.
    """
    if turn is not None and is_on_server(connection):
        growth, before = _store_at_once(connection, tenant, session_id, messages, cap, record, turn)
    else:
        appended = conversations.append(
            connection, tenant, session_id, messages, cap, record.at_ms, _counted(record)
        )
        if appended is None:
            raise forgotten()
        latest = _store_request(connection, tenant, record, appended.added, turn)
        if latest is None:
            raise forgotten()
        growth, before = appended, latest
    # A session that was there and had to be made: was it cleared with all others, or forgotten?
    if growth.made:
        _require_not_forgotten(connection, tenant, forgets)
    return Stored(before.message_count + growth.added, growth.made)


def open_session(
    connection: Connection, tenant: int, session_id: str, forgets: int | None, now_ms: int
) -> bool:
    """Notes that the session of a turn without messages is active; whether that made it.

    `Conflict` when it was forgotten meanwhile; `forgets` as `store_turn` has it.
    """
    made = sessions.find(connection, tenant, session_id) is None
    if made:
        _require_not_forgotten(connection, tenant, forgets)
    sessions.touch(connection, tenant, session_id, now_ms)
    return made


def _require_not_forgotten(connection: Connection, tenant: int, forgets: int | None) -> None:
    if forgets not in (None, counters.forgotten_sessions(connection, tenant)):
        raise Conflict(
            "This session was forgotten while the turn was running; nothing was stored.",
            code="session_forgotten",
        )


def keep_to_limits(
    connection: Connection, tenant: int, session_id: str, limits: TenantLimits, stored: Stored
) -> Dropped:
    """Drops the tenant's oldest sessions when a turn in this one brought it over its limits."""
    # Only a new session can make them too many.
    count = limits.sessions and stored.new_session and sessions.count(connection, tenant)
    return make_room(
        connection, tenant, limits, stored.messages, session_count=int(count), keep=session_id
    )


def _store_at_once(
    connection: ServerConnection,
    tenant: int,
    session_id: str,
    messages: Sequence[Message],
    cap: int,
    record: RequestRecord,
    turn: int,
) -> tuple[Growth, counters.Latest]:
    """The same in two ways to a server and back, the second of which is the commit's.

    The tenant's row is held from the first on, if it has stored no other turn meanwhile.
    """
    held = counters.latest_of_turn(tenant, turn)
    found, growth = conversations.append_turn(
        connection, tenant, session_id, messages, cap, record.at_ms, held, _counted(record)
    )
    latest = found.fetchone()
    if growth is None or latest is None:
        raise place_lost() if tenants.is_there(connection, tenant) else forgotten()
    before = counters.Latest(*latest)
    added = _added(connection, tenant, record, growth.added, before)
    counters.count_held(connection, tenant, added)
    usage.record(connection, tenant, record)
    return growth, before


def _counted(record: RequestRecord) -> Counted:
    return Counted(1, record.input_tokens, record.output_tokens)


def forgotten() -> Conflict:
    """What a turn is told whose tenant is gone."""
    return Conflict(
        "This user was forgotten while the turn was running; nothing was stored.",
        code="tenant_forgotten",
    )


def store_messages(
    connection: Connection,
    tenant: int,
    session_id: str,
    messages: Sequence[Message],
    cap: int,
    now_ms: int,
) -> Growth | None:
    """Messages that no request brought; None and nothing when there is no such tenant."""
    growth = conversations.append(connection, tenant, session_id, messages, cap, now_ms)
    if growth is not None and growth.added:
        counters.count_messages(connection, tenant, growth.added)
    return growth


def store_request(
    connection: Connection,
    tenant: int,
    record: RequestRecord,
    *,
    messages: int = 0,
    turn: int | None = None,
) -> bool:
    """One request and how many messages it brought; False, and nothing, for a gone tenant.

    With `turn` it is a stored turn, and the next after so many, or `PlaceLost` is raised.
    """
    return _store_request(connection, tenant, record, messages, turn) is not None


def _store_request(
    connection: Connection, tenant: int, record: RequestRecord, messages: int, turn: int | None
) -> counters.Latest | None:
    """Gives what stood in the tenant's row before."""
    before = counters.hold_latest(connection, tenant)
    if before is None:
        return None
    if not counters.count_request(
        connection, tenant, _added(connection, tenant, record, messages, before), turn
    ):
        raise place_lost()
    usage.record(connection, tenant, record)
    return before


def _added(
    connection: Connection,
    tenant: int,
    record: RequestRecord,
    messages: int,
    before: counters.Latest,
) -> dict[str, Any]:
    """What the request adds to the tenant's row; see `counters.count_request`."""
    latencies, p95 = before.latencies, before.p95_ms
    if record.timed:
        counts = histogram.with_latency(histogram.read(latencies), record.latency_ms)
        latencies, p95 = histogram.write(counts), histogram.percentile(counts, 0.95) or 0
    day = day_number(record.at_ms)
    month = day // 100
    other_day, other_month = before.budget_day != day, before.budget_month != month
    return {
        "at": record.at_ms,
        "errors": int(record.failed),
        "refused": int(record.refused),
        "input": record.input_tokens,
        "output": record.output_tokens,
        "messages": messages,
        "latencies": latencies,
        "p95": p95,
        "day": day,
        "day_before": _of_day(connection, tenant, record) if other_day else 0,
        "month": month,
        "month_before": _of_month(connection, tenant, record) if other_month else 0,
    }


def store_refusals(connection: Connection, tenant: int, refusal: Refusal, number: int) -> None:
    """So many requests of one tenant that were refused alike; no row for each."""
    limited = number if refusal.limited else 0
    # A tenant that was forgotten meanwhile gets no sums: nothing would take them away again.
    if counters.count_refusals(connection, tenant, number, limited, refusal.minute_ms):
        usage.count_refusals(connection, tenant, refusal, number)


def _of_day(connection: Connection, tenant: int, record: RequestRecord) -> int:
    """The counters are those of the newest request's day. Whenever another day comes, over
    midnight or because a clock was set, they begin anew from the sums of that day."""
    begin = record.at_ms - record.at_ms % DAY_MS
    return sums.tokens_between(connection, tenant, begin, begin + DAY_MS)


def _of_month(connection: Connection, tenant: int, record: RequestRecord) -> int:
    return sums.tokens_between(connection, tenant, *month_span(record.at_ms))
