"""The SQL of a tenant's counters: messages, requests, tokens, latencies; it decides nothing.

Each is written in the transaction that stores what it counts, and by adding, so that two writers
lose nothing of each other. The latencies alone are read and written back whole, with the row held.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from webapp.storage import Connection
from webapp.storage.database import Ask
from webapp.storage.engine import engine_of, run

# The name in `meta` of the newest request that was there when turns were first counted.
TURNS_COUNTED_AFTER = "turns_counted_after"


@dataclass(frozen=True, slots=True)
class Latest:
    """The state from which the next request is counted on.

    `latencies` is JSON, the newest latencies by bucket; the UTC day (20261123) and month (202611)
    are those that the token counters belong to.
    """

    latencies: str
    p95_ms: int
    budget_day: int
    budget_month: int
    message_count: int


@dataclass(frozen=True, slots=True)
class WithMessages:
    """A tenant that has messages; its id in the stored form."""

    number: int
    user_id: str
    messages: int
    last_active_at: int


def latest(connection: Connection, number: int) -> Latest | None:
    """None when there is no such tenant any more."""
    row = connection.execute(_LATEST, {"number": number}).fetchone()
    return None if row is None else Latest(*row)


def hold_latest(connection: Connection, number: int) -> Latest | None:
    """The same for who writes it back: nobody else does so until the transaction ends."""
    sql = _LATEST_HELD if engine_of(connection) == "postgres" else _LATEST
    row = connection.execute(sql, {"number": number}).fetchone()
    return None if row is None else Latest(*row)


def latest_of_turn(number: int, turn: int) -> Ask:
    """For a server: `latest` of a tenant that has stored so many turns, whose row is held then."""
    return f"{_LATEST} AND turn = :turn FOR NO KEY UPDATE", {"number": number, "turn": turn}


def count_request(
    connection: Connection, number: int, added: Mapping[str, Any], turn: int | None = None
) -> bool:
    """Adds one request and the messages that came with it, and says that the tenant was active.

    With `turn`, the number of turns that the request's own saw, it counts as the next one; False,
    and nothing, when that one was stored by another meanwhile.

    `added` holds `at` (ms), `errors`, `refused`, `input`, `output`, `messages`; `latencies` and
    `p95` as in `Latest`; `day` and `month`, with `day_before` and `month_before`: the tokens of
    that day and month without it, which hold when the counters belong to another one.
    """
    values = {**added, "number": number, "turn": -1 if turn is None else turn}
    return connection.execute(_COUNT_REQUEST, values).rowcount > 0


def count_held(connection: Connection, number: int, added: Mapping[str, Any]) -> None:
    """The same for a turn of a tenant whose row is held, at the number of turns that it saw."""
    run(connection, _COUNT_REQUEST, {**added, "number": number, "turn": -2})


def count_refusals(
    connection: Connection, number: int, requests: int, limited: int, at_ms: int
) -> bool:
    """Adds refused requests, `limited` of them refused by a limit; False for a gone tenant."""
    counted = connection.execute(
        _COUNT_REFUSALS, {"number": number, "requests": requests, "limited": limited, "at": at_ms}
    )
    return counted.rowcount > 0


def count_messages(
    connection: Connection, number: int, more: int, active_at_ms: int | None = None
) -> None:
    """Adds to the number of messages, or subtracts; with a moment, notes that the tenant was active
    then."""
    connection.execute(_COUNT_MESSAGES, {"number": number, "more": more, "at": active_at_ms or 0})


def no_messages(connection: Connection, number: int) -> None:
    """Says that the tenant has no message any more."""
    connection.execute(
        "UPDATE tenants SET message_count = 0 WHERE id = :number", {"number": number}
    )


def forgotten_sessions(connection: Connection, number: int) -> int:
    """How many of the tenant's sessions somebody has forgotten."""
    row = connection.execute(
        "SELECT forgotten_sessions FROM tenants WHERE id = :number", {"number": number}
    ).fetchone()
    return 0 if row is None else int(row[0])


def count_forgotten_session(connection: Connection, number: int) -> None:
    """Counts one more of them."""
    connection.execute(
        "UPDATE tenants SET forgotten_sessions = forgotten_sessions + 1 WHERE id = :number",
        {"number": number},
    )


def count_dropped(connection: Connection, number: int, sessions: int, messages: int) -> None:
    """Counts sessions that a limit took away, with so many messages."""
    connection.execute(
        "UPDATE tenants SET dropped_sessions = dropped_sessions + :sessions,"
        " message_count = message_count - :messages WHERE id = :number",
        {"number": number, "sessions": sessions, "messages": messages},
    )


def with_messages(connection: Connection, after: int, limit: int) -> list[WithMessages]:
    """At most `limit` tenants that have messages and are numbered above `after`, in order."""
    rows = connection.execute(_WITH_MESSAGES, {"after": after, "limit": limit}).fetchall()
    return [WithMessages(*row) for row in rows]


def messages_of_all(connection: Connection) -> tuple[int, int]:
    """How many messages there are, and how many tenants have any; walks an index of tenants."""
    row = connection.execute(
        "SELECT COALESCE(SUM(message_count), 0), COUNT(*) FROM tenants WHERE message_count > 0", {}
    ).fetchone()
    return int(row[0]), int(row[1])


def put(connection: Connection, number: int, values: Mapping[str, Any]) -> None:
    """Sets all that an import restores of a new tenant, the number of messages not among it."""
    connection.execute(_PUT, {**values, "number": number})


_LATEST = (
    "SELECT latency_histogram, p95_ms, budget_day, budget_month, message_count FROM tenants"
    " WHERE id = :number"
)
# SQLite lets one transaction write at a time.
_LATEST_HELD = f"{_LATEST} FOR NO KEY UPDATE"

_COUNT_REQUEST = """
    UPDATE tenants SET
        last_active_at = CASE WHEN last_active_at > :at THEN last_active_at ELSE :at END,
        message_count = message_count + :messages,
        request_count = request_count + 1,
        turn = turn + CASE WHEN :turn = -1 THEN 0 ELSE 1 END,
        error_count = error_count + :errors,
        refused_count = refused_count + :refused,
        input_tokens = input_tokens + :input,
        output_tokens = output_tokens + :output,
        total_tokens = total_tokens + :input + :output,
        p95_ms = :p95,
        latency_histogram = :latencies,
        day_tokens =
            CASE WHEN budget_day = :day THEN day_tokens ELSE :day_before END + :input + :output,
        budget_day = :day,
        month_tokens =
            CASE WHEN budget_month = :month THEN month_tokens ELSE :month_before END
            + :input + :output,
        budget_month = :month
    WHERE id = :number AND (:turn < 0 OR turn = :turn)
"""

_COUNT_REFUSALS = """
    UPDATE tenants SET request_count = request_count + :requests,
        refused_count = refused_count + :limited,
        last_active_at = CASE WHEN last_active_at > :at THEN last_active_at ELSE :at END
    WHERE id = :number
"""

_COUNT_MESSAGES = """
    UPDATE tenants SET message_count = message_count + :more,
        last_active_at = CASE WHEN last_active_at > :at THEN last_active_at ELSE :at END
    WHERE id = :number
"""

# Written so that no index of counts serves it: it would be sorted again for each page.
_WITH_MESSAGES = """
    SELECT id, user_id, message_count, last_active_at FROM tenants
    WHERE id > :after AND message_count + 0 > 0 ORDER BY id LIMIT :limit
"""

_PUT = """
    UPDATE tenants SET
        created_at = :created_at, last_active_at = :last_active_at,
        blocked_at = COALESCE(blocked_at, :blocked_at),
        rate_limit = :rate_limit, token_budget = :token_budget,
        request_count = :request_count, error_count = :error_count,
        refused_count = :rate_limited_count, dropped_sessions = :dropped_session_count,
        input_tokens = :input_tokens, output_tokens = :output_tokens,
        total_tokens = :input_tokens + :output_tokens,
        p95_ms = :p95_ms, latency_histogram = :latency_histogram,
        budget_day = :budget_day, day_tokens = :day_tokens,
        budget_month = :budget_month, month_tokens = :month_tokens
    WHERE id = :number
"""
