"""Writes what a request cost into the tenant's counters, the list of requests and the sums.

Reading is in summary.py, listings in tenants_usage.py, forgetting in retention.py.
"""

from __future__ import annotations

import json

from webapp.periods import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    day_number,
    month_span,
)
from webapp.storage import Connection
from webapp.usage import histogram
from webapp.usage.records import Refusal, RequestRecord

EVERYONE = 0  # the tenant number of the sums over all tenants
REQUEST = "request"
TTFT = "first_token"  # measured on streamed turns
# The counters of a day and a month are those of the newest request. Whenever another day comes,
# over midnight or because a clock was set, they are made anew from the sums of that day.
_COUNT = """
    UPDATE tenants SET
        last_active_at = CASE WHEN last_active_at > :at THEN last_active_at ELSE :at END,
        request_count = request_count + 1,
        error_count = error_count + :errors,
        refused_count = refused_count + :refused,
        input_tokens = input_tokens + :input,
        output_tokens = output_tokens + :output,
        total_tokens = total_tokens + :tokens,
        p95_ms = :p95,
        latency_histogram = :histogram,
        day_tokens = CASE WHEN budget_day = :day THEN day_tokens ELSE (
            SELECT COALESCE(SUM(input_tokens + output_tokens), 0) FROM usage
            WHERE tenant_id = :tenant AND period = 'day' AND at = :day_at AND measure = 'request'
        ) END + :tokens,
        budget_day = :day,
        month_tokens = CASE WHEN budget_month = :month THEN month_tokens ELSE (
            SELECT COALESCE(SUM(input_tokens + output_tokens), 0) FROM usage
            WHERE tenant_id = :tenant AND period = 'day' AND at >= :month_at
                AND at < :month_end AND measure = 'request'
        ) END + :tokens,
        budget_month = :month
    WHERE id = :tenant
"""
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
    if tenant != EVERYONE:
        connection.execute(
            "UPDATE tenants SET request_count = request_count + :number,"
            " refused_count = refused_count + :limited,"
            " last_active_at = CASE WHEN last_active_at > :at THEN last_active_at ELSE :at END"
            " WHERE id = :tenant",
            {"tenant": tenant, "number": number, "limited": limited, "at": at},
        )
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


def tokens_between(connection: Connection, tenant: int, since_ms: int, until_ms: int) -> int:
    """The tenant's tokens of whole UTC days, from the sums."""
    found = connection.execute(
        "SELECT COALESCE(SUM(input_tokens + output_tokens), 0) FROM usage"
        " WHERE tenant_id = :tenant AND period = 'day' AND at >= :since AND at < :until"
        " AND measure = :measure",
        {"tenant": tenant, "since": since_ms, "until": until_ms, "measure": REQUEST},
    )
    return int(found.fetchone()[0])


def record(connection: Connection, tenant: int, record: RequestRecord) -> bool:
    """Counts one request of the tenant numbered so; False, and nothing, when it is gone.

    Only what reached the agent has a latency: a request that ended 4xx would make the
    percentiles look better than what users wait for.
    """
    known = connection.execute(
        "SELECT latency_histogram, p95_ms FROM tenants WHERE id = :tenant", {"tenant": tenant}
    ).fetchone()
    if known is None:
        return False
    remembered, p95 = known
    timed = not 400 <= record.status < 500
    if timed:
        counts = {int(bucket): count for bucket, count in json.loads(remembered).items()}
        counts = histogram.with_latency(counts, record.latency_ms)
        remembered, p95 = json.dumps(counts), histogram.percentile(counts, 0.95) or 0
    at = record.at_ms
    day = day_number(at)
    month_at, month_end = month_span(at)
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
        "tokens": record.usage.total_tokens,
        "p95": p95,
        "histogram": remembered,
        "day": day,
        "month": day // 100,
        "month_at": month_at,
        "month_end": month_end,
        "measure": REQUEST,
        "bucket": histogram.bucket_of(record.latency_ms) if timed else histogram.NO_LATENCY,
        "minute_at": at - at % MINUTE_MS,
        "hour_at": at - at % HOUR_MS,
        "day_at": at - at % DAY_MS,
    }
    connection.execute(_COUNT, values)
    connection.execute(_REQUEST, values)
    connection.execute(_SUMS, values)
    if timed and record.first_token_ms is not None:
        bucket = histogram.bucket_of(record.first_token_ms)
        nothing = {"code": "", "errors": 0, "refused": 0, "input": 0, "output": 0}
        measured = {"measure": TTFT, "bucket": bucket}
        connection.execute(_SUMS, {**values, **nothing, **measured})
    return True
