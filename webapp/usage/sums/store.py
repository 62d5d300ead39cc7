"""The SQL of the sums by time: reads them for one tenant or for everyone, and drops old ones.

Every figure is that of the sums and of the facts that are pending, so none is ever behind.
"""

from __future__ import annotations

from typing import Any

from webapp.storage import Connection
from webapp.usage.figures import EVERYONE, REQUEST, TTFT, Row
from webapp.usage.rollup.store import (
    PENDING,
    pending_by_periods,
    refusals_as_sums,
    requests_as_sums,
)
from webapp.usage.windows import Period

LAST_MS = 2**62  # no moment is later


def sums(
    connection: Connection,
    tenant: int,
    period: Period,
    since_ms: int,
    until_ms: int = LAST_MS,
    step_ms: int = LAST_MS,
) -> list[Row]:
    """The sums by that period from one moment to before another, put together by steps.

    A tenant has sums by minute of refused requests alone.
    """
    if tenant == EVERYONE:
        pending = _PENDING_OF_EVERYONE
    else:
        pending = _PENDING_REFUSALS if period == "minute" else _PENDING_OF_TENANT
    found = connection.execute(
        _BETWEEN.format(pending=pending),
        {
            "tenant": tenant,
            "period": period,
            "since": since_ms,
            "until": until_ms,
            "step": step_ms,
        },
    )
    return [
        Row(since_ms + step * step_ms, measure == TTFT, *rest)
        for step, measure, *rest in found.fetchall()
    ]


def all_time(connection: Connection) -> list[tuple[Any, ...]]:
    """Everyone's sums since the database was made: measure, code, bucket, requests, errors,
    refused, input and output tokens. A few hundred rows are read for each day of use."""
    return connection.execute(
        _ALL_TIME.format(pending=_PENDING_OF_EVERYONE), {"tenant": EVERYONE}
    ).fetchall()


def all_of(connection: Connection, tenant: int) -> list[tuple[Any, ...]]:
    """Every sum of the tenant: period, at, measure, code, bucket, requests, errors, refused,
    input and output tokens, in this order."""
    sql = _ALL_OF_TENANT.format(pending=pending_by_periods(":tenant"))
    return connection.execute(sql, {"tenant": tenant}).fetchall()


def tokens_between(connection: Connection, tenant: int, since_ms: int, until_ms: int) -> int:
    """The tenant's tokens of whole UTC days."""
    found = connection.execute(
        _TOKENS,
        {"tenant": tenant, "since": since_ms, "until": until_ms, "measure": REQUEST},
    )
    return int(found.fetchone()[0])


def pending_by_tenant(connection: Connection) -> dict[int, tuple[int, ...]]:
    """Of tenants with pending facts: requests, errors, refused, input and output tokens."""
    sql = _PENDING_BY_TENANT.format(
        requests=requests_as_sums(PENDING), refusals=refusals_as_sums("tenant_id > 0")
    )
    found = connection.execute(sql, {})
    return {tenant: tuple(figures) for tenant, *figures in found.fetchall()}


def prune(connection: Connection, period: Period, before_ms: int, most: int) -> int:
    """Deletes sums by that period that are older; 0 when there are none."""
    old = connection.execute(
        "SELECT tenant_id, at FROM usage WHERE period = :period AND at < :before LIMIT :most",
        {"period": period, "before": before_ms, "most": most},
    ).fetchall()
    keys = [{"tenant": row[0], "period": period, "at": row[1]} for row in dict.fromkeys(old)]
    return connection.executemany(
        "DELETE FROM usage WHERE tenant_id = :tenant AND period = :period AND at = :at", keys
    ).rowcount


_PENDING_REFUSALS = refusals_as_sums("tenant_id = :tenant")
_PENDING_OF_EVERYONE = f"{requests_as_sums(PENDING)} UNION ALL {_PENDING_REFUSALS}"
_PENDING_OF_TENANT = (
    f"{requests_as_sums(f'tenant_id = :tenant AND {PENDING}')} UNION ALL {_PENDING_REFUSALS}"
)
# Grouping by the step's small number sorts in half the time that its date would take.
_BETWEEN = """
    SELECT (at - :since) / :step, measure, code, bucket, SUM(requests), SUM(errors),
        SUM(rate_limited), SUM(input_tokens), SUM(output_tokens)
    FROM (
        SELECT at, measure, code, bucket, requests, errors, rate_limited, input_tokens,
            output_tokens
        FROM usage
        WHERE tenant_id = :tenant AND period = :period AND at >= :since AND at < :until
        UNION ALL
        SELECT at, measure, code, bucket, requests, errors, rate_limited, input_tokens,
            output_tokens
        FROM ({pending}) AS pending WHERE at >= :since AND at < :until
    ) AS figures GROUP BY 1, 2, 3, 4
"""
_ALL_TIME = """
    SELECT measure, code, bucket, SUM(requests), SUM(errors), SUM(rate_limited),
        SUM(input_tokens), SUM(output_tokens)
    FROM (
        SELECT measure, code, bucket, requests, errors, rate_limited, input_tokens, output_tokens
        FROM usage WHERE tenant_id = :tenant AND period = 'day'
        UNION ALL
        SELECT measure, code, bucket, requests, errors, rate_limited, input_tokens, output_tokens
        FROM ({pending}) AS pending
    ) AS figures GROUP BY 1, 2, 3
"""
_ALL_OF_TENANT = """
    SELECT period, at, measure, code, bucket, SUM(requests), SUM(errors), SUM(rate_limited),
        SUM(input_tokens), SUM(output_tokens)
    FROM (
        SELECT tenant_id, period, at, measure, code, bucket, requests, errors, rate_limited,
            input_tokens, output_tokens
        FROM usage WHERE tenant_id = :tenant
        UNION ALL {pending}
    ) AS figures
    GROUP BY period, at, measure, code, bucket ORDER BY period, at, measure, code, bucket
"""
_TOKENS = """
    SELECT COALESCE(SUM(tokens), 0) FROM (
        SELECT input_tokens + output_tokens AS tokens FROM usage
        WHERE tenant_id = :tenant AND period = 'day' AND at >= :since AND at < :until
            AND measure = :measure
        UNION ALL
        SELECT input_tokens + output_tokens FROM requests
        WHERE tenant_id = :tenant AND id > (SELECT through FROM usage_rollup)
            AND at >= :since AND at < :until
    ) AS figures
"""
_PENDING_BY_TENANT = """
    SELECT tenant_id, SUM(requests), SUM(errors), SUM(rate_limited), SUM(input_tokens),
        SUM(output_tokens)
    FROM ({requests} UNION ALL {refusals}) AS pending
    WHERE measure = 'request' GROUP BY tenant_id
"""
