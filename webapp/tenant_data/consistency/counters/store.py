"""The SQL that recounts a tenant's requests and tokens beside the counters in its row.

Asked for the tenants numbered above `after` and up to `last`, whether such tenants exist or not.
What is not in the sums yet is added to them, so that no moment is a wrong one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from webapp.storage import Connection
from webapp.usage.rollup.store import PENDING, refusals_as_sums, requests_as_sums

# The period is joined to nothing where a slice of sums is read: the index of all tenants' sums of
# a period would be taken otherwise.
OF_SLICE = "tenant_id > :after AND tenant_id <= :last"
Slice = dict[str, int]


@dataclass(frozen=True, slots=True)
class Counters:
    """A tenant's row as it stands, whatever was put into it."""

    number: int
    message_count: Any
    request_count: Any
    error_count: Any
    refused_count: Any
    input_tokens: Any
    output_tokens: Any
    total_tokens: Any
    p95_ms: Any
    latency_histogram: Any
    budget_day: Any
    day_tokens: Any
    budget_month: Any
    month_tokens: Any
    turn: Any
    last_active_at: Any


@dataclass(frozen=True, slots=True)
class Requests:
    """A tenant's successes that are kept: those that stored a turn, and those that did not, because
    they repeated an answer or were imported."""

    turns: int
    no_turns: int


def page(connection: Connection, after: int, limit: int) -> list[Counters]:
    """At most `limit` tenants numbered above `after`, in order."""
    rows = connection.execute(_PAGE, {"after": after, "limit": limit}).fetchall()
    return [Counters(*row) for row in rows]


def figures(connection: Connection, which: Slice) -> list[tuple[int, ...]]:
    """Tenant, 1 for successes or 0, bucket, and then requests, errors, refused, input and output
    tokens since the tenant was made."""
    return [tuple(map(int, row)) for row in connection.execute(_FIGURES, which).fetchall()]


def tokens_by_day(connection: Connection, which: Slice) -> list[tuple[int, int, int]]:
    """Tenant, the beginning of a UTC day, and its tokens."""
    rows = connection.execute(_TOKENS, which).fetchall()
    return [(int(tenant), int(at), int(tokens)) for tenant, at, tokens in rows]


def requests(connection: Connection, which: Slice, turns_after: int) -> dict[int, Requests]:
    """By tenant. Those numbered up to `turns_after` are from before turns were counted."""
    rows = connection.execute(_REQUESTS, {**which, "turns_after": turns_after}).fetchall()
    return {row[0]: Requests(int(row[1]), int(row[2])) for row in rows}


def kept_answers(
    connection: Connection, after: tuple[int, str], limit: int
) -> list[tuple[int, str, str, bool]]:
    """Tenant, hash of the key, answer, and whether it is as old as its tenant's activity."""
    asked = {"after": after[0], "key": after[1], "limit": limit}
    rows = connection.execute(_KEPT, asked).fetchall()
    return [(row[0], row[1], row[2], bool(row[3])) for row in rows]


_PAGE = """
    SELECT id, message_count, request_count, error_count, refused_count, input_tokens,
        output_tokens, total_tokens, p95_ms, latency_histogram, budget_day, day_tokens,
        budget_month, month_tokens, turn, last_active_at
    FROM tenants WHERE id > :after ORDER BY id LIMIT :limit
"""
_PENDING = requests_as_sums(f"{OF_SLICE} AND {PENDING}")
_REFUSED = refusals_as_sums(OF_SLICE)
_ALL = f"""
    SELECT tenant_id, at, measure, code, bucket, requests, errors, rate_limited, input_tokens,
        output_tokens
    FROM usage WHERE {OF_SLICE} AND period || '' = 'day'
    UNION ALL
    SELECT tenant_id, at, measure, code, bucket, requests, errors, rate_limited, input_tokens,
        output_tokens
    FROM ({_PENDING}) AS pending
    UNION ALL
    SELECT tenant_id, at, measure, code, bucket, requests, errors, rate_limited, input_tokens,
        output_tokens
    FROM ({_REFUSED}) AS refused
"""  # noqa: S608  # nosec B608  # text of modules
_FIGURES = f"""
    SELECT tenant_id, CASE WHEN code = '' THEN 1 ELSE 0 END, bucket, SUM(requests), SUM(errors),
        SUM(rate_limited), SUM(input_tokens), SUM(output_tokens)
    FROM ({_ALL}) AS figures WHERE measure = 'request' GROUP BY 1, 2, 3
"""  # noqa: S608  # nosec B608  # text of this module
_TOKENS = f"""
    SELECT tenant_id, at - at % 86400000, SUM(input_tokens + output_tokens)
    FROM ({_ALL}) AS figures WHERE measure = 'request' GROUP BY 1, 2
"""  # noqa: S608  # nosec B608  # as above
_REQUESTS = f"""
    SELECT tenant_id,
        SUM(CASE WHEN code = '' AND id > :turns_after AND input_tokens + output_tokens > 0
            THEN 1 ELSE 0 END),
        SUM(CASE WHEN code = '' AND (id < 0 OR input_tokens + output_tokens = 0)
            THEN 1 ELSE 0 END)
    FROM requests WHERE {OF_SLICE} GROUP BY tenant_id
"""  # noqa: S608  # nosec B608  # as above
_KEPT = """
    SELECT tenant_id, key_hash, answer, COALESCE((
        SELECT CASE WHEN last_active_at >= idempotency.created_at THEN 1 ELSE 0 END
        FROM tenants WHERE id = tenant_id
    ), 0)
    FROM idempotency
    WHERE (tenant_id, key_hash) > (:after, :key)
    ORDER BY tenant_id, key_hash LIMIT :limit
"""
