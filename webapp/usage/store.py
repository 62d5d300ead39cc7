"""Writes what a request cost into the list of requests and the sums; counters are tenants'.

Reading is in summary.py, listings in tenants_usage.py, forgetting in retention.py.
"""

from __future__ import annotations

from webapp.periods import DAY_MS, HOUR_MS, MINUTE_MS
from webapp.storage import Connection
from webapp.usage import histogram
from webapp.usage.records import Refusal, RequestRecord

EVERYONE = 0  # the tenant number of the sums over all tenants
REQUEST = "request"
TTFT = "first_token"  # measured on streamed turns
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


def tokens_between(connection: Connection, tenant: int, since_ms: int, until_ms: int) -> int:
    """The tenant's tokens of whole UTC days, from the sums."""
    found = connection.execute(
        "SELECT COALESCE(SUM(input_tokens + output_tokens), 0) FROM usage"
        " WHERE tenant_id = :tenant AND period = 'day' AND at >= :since AND at < :until"
        " AND measure = :measure",
        {"tenant": tenant, "since": since_ms, "until": until_ms, "measure": REQUEST},
    )
    return int(found.fetchone()[0])


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
