"""The SQL of the sums by time: reads them for one tenant or for everyone, and drops old ones."""

from __future__ import annotations

from typing import Any

from webapp.storage import Connection
from webapp.usage.figures import EVERYONE, REQUEST, TTFT, Row
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
    """The sums by that period from one moment to before another, put together by steps."""
    # Grouping by the step's small number sorts in half the time that its date would take.
    found = connection.execute(
        "SELECT (at - :since) / :step, measure, code, bucket, SUM(requests), SUM(errors),"
        " SUM(rate_limited), SUM(input_tokens), SUM(output_tokens)"
        " FROM usage WHERE tenant_id = :tenant AND period = :period"
        " AND at >= :since AND at < :until GROUP BY 1, 2, 3, 4",
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
        "SELECT measure, code, bucket, SUM(requests), SUM(errors), SUM(rate_limited),"
        " SUM(input_tokens), SUM(output_tokens)"
        " FROM usage WHERE tenant_id = :everyone AND period = 'day' GROUP BY 1, 2, 3",
        {"everyone": EVERYONE},
    ).fetchall()


def tokens_between(connection: Connection, tenant: int, since_ms: int, until_ms: int) -> int:
    """The tenant's tokens of whole UTC days."""
    found = connection.execute(
        "SELECT COALESCE(SUM(input_tokens + output_tokens), 0) FROM usage"
        " WHERE tenant_id = :tenant AND period = 'day' AND at >= :since AND at < :until"
        " AND measure = :measure",
        {"tenant": tenant, "since": since_ms, "until": until_ms, "measure": REQUEST},
    )
    return int(found.fetchone()[0])


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
