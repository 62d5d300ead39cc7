"""The SQL of exports and imports: a tenant's rows page by page, and rows put back as they were."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from webapp.storage import Connection

FIRST_ID = -(2**63)


def latency_histogram(connection: Connection, tenant: int) -> str:
    """The JSON in which the tenant's newest latencies are remembered."""
    row = connection.execute(
        "SELECT latency_histogram FROM tenants WHERE id = :tenant", {"tenant": tenant}
    ).fetchone()
    return "{}" if row is None else str(row[0])


def usage_rows(connection: Connection, tenant: int) -> list[tuple[Any, ...]]:
    """All sums of the tenant by hour and day, in the columns of `USAGE_COLUMNS`."""
    return connection.execute(_USAGE, {"tenant": tenant}).fetchall()


def session_page(
    connection: Connection, tenant: int, after: int, limit: int
) -> list[tuple[Any, ...]]:
    """id, session_id, created_at, last_active_at, state, state_version, in order of id."""
    asked = {"tenant": tenant, "after": after, "limit": limit}
    return connection.execute(_SESSIONS, asked).fetchall()


def request_page(
    connection: Connection, tenant: int, after: int, limit: int
) -> list[tuple[Any, ...]]:
    """id and then the columns of `REQUEST_COLUMNS`, in order of id."""
    asked = {"tenant": tenant, "after": after, "limit": limit}
    return connection.execute(_REQUESTS, asked).fetchall()


def put_tenant(connection: Connection, tenant: int, values: Mapping[str, Any]) -> None:
    """Sets every column that an import restores, the number of messages not among them."""
    connection.execute(_PUT_TENANT, {**values, "tenant": tenant})


def put_session(connection: Connection, tenant: int, name: str, values: Mapping[str, Any]) -> bool:
    """Makes the session; False when there is one of this name that is in use."""
    made = connection.execute(_PUT_SESSION, {**values, "tenant": tenant, "session": name})
    return made.rowcount > 0


def put_session_times(
    connection: Connection, tenant: int, name: str, created_at: int, last_active_at: int
) -> None:
    """Storing messages has set them to now."""
    connection.execute(
        "UPDATE sessions SET created_at = :created, last_active_at = :active"
        " WHERE tenant_id = :tenant AND session_id = :session",
        {"tenant": tenant, "session": name, "created": created_at, "active": last_active_at},
    )


def put_requests(connection: Connection, tenant: int, rows: list[dict[str, Any]]) -> None:
    """Puts requests behind all others, in their order.

    The numbers of requests made here grow with their times, and looking for a moment relies on
    that (`usage/store.py`); so those from elsewhere have numbers below 0.
    """
    lowest = connection.execute("SELECT COALESCE(MIN(id), 0) FROM requests", {}).fetchone()[0]
    first = min(0, int(lowest)) - len(rows)
    connection.executemany(
        _PUT_REQUEST,
        ({**row, "tenant": tenant, "id": first + index} for index, row in enumerate(rows)),
    )


def put_usage(connection: Connection, tenant: int, rows: Iterable[dict[str, Any]]) -> None:
    """Puts sums of a tenant that has none; those over all tenants stay what happened here."""
    connection.executemany(_PUT_USAGE, ({**row, "tenant": tenant} for row in rows))


REQUEST_COLUMNS = (
    *("at", "route", "status", "code", "latency_ms", "first_token_ms"),
    *("input_tokens", "output_tokens", "request_id"),
)
USAGE_COLUMNS = (
    *("period", "at", "measure", "code", "bucket"),
    *("requests", "errors", "rate_limited", "input_tokens", "output_tokens"),
)

_SESSIONS = """
    SELECT id, session_id, created_at, last_active_at, state, state_version FROM sessions
    WHERE tenant_id = :tenant AND id > :after ORDER BY id LIMIT :limit
"""

_REQUESTS = """
    SELECT id, at, route, status, code, latency_ms, first_token_ms, input_tokens, output_tokens,
        request_id
    FROM requests WHERE tenant_id = :tenant AND id > :after ORDER BY id LIMIT :limit
"""

_USAGE = """
    SELECT period, at, measure, code, bucket, requests, errors, rate_limited, input_tokens,
        output_tokens
    FROM usage WHERE tenant_id = :tenant ORDER BY period, at, measure, code, bucket
"""

_PUT_TENANT = """
    UPDATE tenants SET
        created_at = :created_at, last_active_at = :last_active_at,
        blocked_at = COALESCE(blocked_at, :blocked_at),
        rate_limit = :rate_limit, token_budget = :token_budget,
        request_count = :request_count, error_count = :error_count,
        refused_count = :rate_limited_count,
        input_tokens = :input_tokens, output_tokens = :output_tokens,
        total_tokens = :input_tokens + :output_tokens,
        p95_ms = :p95_ms, latency_histogram = :latency_histogram,
        budget_day = :budget_day, day_tokens = :day_tokens,
        budget_month = :budget_month, month_tokens = :month_tokens
    WHERE id = :tenant
"""

_PUT_SESSION = """
    INSERT INTO sessions
        (tenant_id, session_id, created_at, last_active_at, state, state_version)
    VALUES (:tenant, :session, :created_at, :last_active_at, :state, :state_version)
    ON CONFLICT (tenant_id, session_id) DO UPDATE SET
        state = excluded.state, state_version = sessions.state_version + excluded.state_version
    WHERE sessions.message_count = 0 AND sessions.state IS NULL
"""

_PUT_REQUEST = """
    INSERT INTO requests (id, tenant_id, at, route, status, code, latency_ms, first_token_ms,
        input_tokens, output_tokens, request_id)
    VALUES (:id, :tenant, :at, :route, :status, :code, :latency_ms, :first_token_ms,
        :input_tokens, :output_tokens, :request_id)
"""

_PUT_USAGE = """
    INSERT INTO usage (tenant_id, period, at, measure, code, bucket,
        requests, errors, rate_limited, input_tokens, output_tokens)
    VALUES (:tenant, :period, :at, :measure, :code, :bucket,
        :requests, :errors, :rate_limited, :input_tokens, :output_tokens)
"""
