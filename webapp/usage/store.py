"""The SQL of requests one by one; their sums by time are read in sums/store.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from webapp.periods import DAY_MS, HOUR_MS, MINUTE_MS
from webapp.storage import Connection
from webapp.usage import histogram
from webapp.usage.figures import REQUEST, TTFT
from webapp.usage.records import Refusal, RequestRecord

MAX_ID = 2**63 - 1
# A request is stored when it ends, and a late one later: the list is out of order by so much.
LATENESS_MS = HOUR_MS
_REQUEST = """
    INSERT INTO requests (tenant_id, at, route, status, code, latency_ms, first_token_ms,
        input_tokens, output_tokens, request_id)
    VALUES (:tenant, :at, :route, :status, :code, :latency, :first_token,
        :input, :output, :request_id)
"""
# One statement for all five sums. A tenant's last hour is read from the requests themselves.
_SUMS = """
    INSERT INTO usage (tenant_id, period, at, measure, code, bucket,
        requests, errors, rate_limited, input_tokens, output_tokens)
    VALUES
        (0, 'minute', :minute_at, :measure, :code, :bucket, 1, :errors, :refused, :input, :output),
        (0, 'hour', :hour_at, :measure, :code, :bucket, 1, :errors, :refused, :input, :output),
        (0, 'day', :day_at, :measure, :code, :bucket, 1, :errors, :refused, :input, :output),
        (:tenant, 'hour', :hour_at, :measure, :code, :bucket,
            1, :errors, :refused, :input, :output),
        (:tenant, 'day', :day_at, :measure, :code, :bucket,
            1, :errors, :refused, :input, :output)
    ON CONFLICT (tenant_id, period, at, measure, code, bucket) DO UPDATE SET
        requests = usage.requests + 1,
        errors = usage.errors + excluded.errors,
        rate_limited = usage.rate_limited + excluded.rate_limited,
        input_tokens = usage.input_tokens + excluded.input_tokens,
        output_tokens = usage.output_tokens + excluded.output_tokens
"""


# A tenant's last hour is read from its requests and, for the refused ones, from sums by minute.
_REFUSALS = """
    INSERT INTO usage (tenant_id, period, at, measure, code, bucket,
        requests, errors, rate_limited, input_tokens, output_tokens)
    VALUES (:tenant, :period, :at, :measure, :code, :bucket, :number, 0, :limited, 0, 0)
    ON CONFLICT (tenant_id, period, at, measure, code, bucket) DO UPDATE SET
        requests = usage.requests + excluded.requests,
        rate_limited = usage.rate_limited + excluded.rate_limited
"""


def count_refusals(connection: Connection, tenant: int, refusal: Refusal, number: int) -> None:
    """Counts so many requests that were refused before the agent was asked, for one tenant or for
    `EVERYONE`; no row for each."""
    limited = number if refusal.limited else 0
    at = refusal.minute_ms
    connection.executemany(
        _REFUSALS,
        [
            {
                "tenant": tenant,
                "period": period,
                "at": at - at % length,
                "measure": REQUEST,
                "code": refusal.code,
                "bucket": histogram.NO_LATENCY,
                "number": number,
                "limited": limited,
            }
            for period, length in (("minute", MINUTE_MS), ("hour", HOUR_MS), ("day", DAY_MS))
        ],
    )


def record(connection: Connection, tenant: int, record: RequestRecord) -> None:
    """Writes one request of the tenant numbered so, and adds it to the sums."""
    at = record.at_ms
    timed = record.timed
    values = {
        "tenant": tenant,
        "at": at,
        "route": record.route,
        "status": record.status,
        "code": record.code,
        "latency": record.latency_ms,
        "first_token": record.first_token_ms,
        "request_id": record.request_id,
        "errors": int(record.failed),
        "refused": int(record.refused),
        "input": record.usage.input_tokens,
        "output": record.usage.output_tokens,
        "measure": REQUEST,
        "bucket": histogram.bucket_of(record.latency_ms) if timed else histogram.NO_LATENCY,
        "minute_at": at - at % MINUTE_MS,
        "hour_at": at - at % HOUR_MS,
        "day_at": at - at % DAY_MS,
    }
    connection.execute(_REQUEST, values)
    connection.execute(_SUMS, values)
    if timed and record.first_token_ms is not None:
        bucket = histogram.bucket_of(record.first_token_ms)
        nothing = {"code": "", "errors": 0, "refused": 0, "input": 0, "output": 0}
        measured = {"measure": TTFT, "bucket": bucket}
        connection.execute(_SUMS, {**values, **nothing, **measured})


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """One request as it was recorded; times are milliseconds, `at_ms` since 1970 UTC."""

    id: int
    at_ms: int
    route: str
    status: int
    code: str
    latency_ms: int
    first_token_ms: int | None
    input_tokens: int
    output_tokens: int
    request_id: str


def latest_requests(
    connection: Connection, tenant: int, limit: int, before: int | None = None
) -> list[StoredRequest]:
    """At most `limit` of the tenant's requests, the newest first, older than the one `before`."""
    found = connection.execute(
        "SELECT id, at, route, status, code, latency_ms, first_token_ms, input_tokens,"
        " output_tokens, request_id FROM requests"
        " WHERE tenant_id = :tenant AND id < :before ORDER BY id DESC LIMIT :limit",
        {"tenant": tenant, "before": MAX_ID if before is None else before, "limit": limit},
    )
    return [StoredRequest(*row) for row in found.fetchall()]


def first_since(connection: Connection, at_ms: int) -> int:
    """The number from which on all requests of that moment and later lie.

    Requests are stored in the order in which they end, so their times grow with their numbers,
    and the place is found by halving.
    """
    low = 0
    high = connection.execute("SELECT COALESCE(MAX(id), 0) + 1 FROM requests", {}).fetchone()[0]
    while low < high:
        middle = (low + high) // 2
        found = connection.execute(
            "SELECT id, at FROM requests WHERE id >= :middle ORDER BY id LIMIT 1",
            {"middle": middle},
        ).fetchone()
        if found is None or found[1] >= at_ms:
            high = middle
        else:
            low = found[0] + 1
    return int(low)


def requests_since(
    connection: Connection, tenant: int, since_ms: int, page: int
) -> Iterator[StoredRequest]:
    """The tenant's requests of that moment and later, newest first, read page by page."""
    before = None
    while True:
        read = latest_requests(connection, tenant, page, before)
        yield from (one for one in read if one.at_ms >= since_ms)
        if len(read) < page or read[-1].at_ms < since_ms - LATENESS_MS:
            return
        before = read[-1].id


def prune(connection: Connection, before_ms: int, most: int) -> int:
    """Deletes at most so many of those that are older; gives their number."""
    # Numbers grow with time: what lies before the first that is kept is older than it. Those of
    # imported requests are below 0 and say nothing of their time.
    return connection.execute(
        "DELETE FROM requests WHERE id IN (SELECT id FROM requests"
        " WHERE id < :first AND (id >= 0 OR at < :before) ORDER BY id LIMIT :most)",
        {"first": first_since(connection, before_ms), "before": before_ms, "most": most},
    ).rowcount
