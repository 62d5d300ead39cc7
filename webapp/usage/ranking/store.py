"""Ranks the tenants by what happened in a window of time; takes long on a busy day's millions.

Call it through `read_long`, and keep what it gave for a minute. The last hour is read from the
requests themselves, as summary.py does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from webapp.errors import InvalidInput
from webapp.storage import Connection
from webapp.usage.figures import Totals
from webapp.usage.rollup.store import PENDING, refusals_as_sums, requests_as_sums
from webapp.usage.store import first_since
from webapp.usage.summary import totals
from webapp.usage.windows import Window

MAX_LIMIT = 200
SORTS = ("requests", "errors", "rate_limited", "tokens", "p50", "p95", "p99", "first_token")


@dataclass(frozen=True, slots=True)
class RankedTenant:
    """A tenant's number, its id in the stored form, and its figures in the window."""

    number: int
    user_id: str
    totals: Totals


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the order: behind the tenant of this number, which is sorted by this value."""

    value: int
    number: int


@dataclass(frozen=True, slots=True)
class RankingPage:
    """Tenants in order, and where the next ones begin."""

    rows: tuple[RankedTenant, ...]
    following: Place | None = None


def top_tenants(
    connection: Connection, window: Window, now_ms: int, by: str = "requests", limit: int = 5
) -> tuple[RankedTenant, ...]:
    """The tenants with the most `requests`, `errors` or another of `SORTS`; none with 0."""
    page = per_tenant(connection, window, now_ms, sort=f"-{by}", limit=limit)
    return tuple(row for row in page.rows if by != "errors" or row.totals.errors)


def per_tenant(
    connection: Connection,
    window: Window,
    now_ms: int,
    *,
    sort: str = "-requests",
    limit: int = 50,
    after: Place | None = None,
) -> RankingPage:
    """The tenants with any request in the window, by one of `SORTS`, with `-` downwards.

    The first token and the percentiles sort those without a measurement as the smallest.
    Figures move between two pages; `after` is a place in their order.
    """
    column = sort.removeprefix("-")
    if column not in SORTS or not 1 <= limit <= MAX_LIMIT:
        raise InvalidInput(
            f"sort must be one of {', '.join(SORTS)}, and limit from 1 to {MAX_LIMIT}",
            fields={"sort": f"sort must be one of {', '.join(SORTS)}"},
        )
    direction, beyond = ("DESC", "<") if sort.startswith("-") else ("ASC", ">")
    since = window.since(now_ms)
    values: dict[str, Any] = {"limit": limit + 1, "since": since, "period": window.period}
    if window.period == "minute":
        values["first"] = first_since(connection, since)
    if after is not None:
        values |= {"value": after.value, "number": after.number}
    measure, share = _PERCENTILES.get(column, ("", 0))
    ranking = _BY_PERCENTILE if share else _BY_SUM
    found = connection.execute(
        ranking.format(
            source=_MINUTES if window.period == "minute" else _HOURS_AND_DAYS,
            sum=_SUMS.get(column),
            share=share,
            measure=measure,
            page=_PAGE.format(
                keyset="" if after is None else _KEYSET.format(beyond=beyond),
                direction=direction,
            ),
        ),
        values,
    ).fetchall()
    more = len(found) > limit
    ranked = tuple(
        RankedTenant(number, user_id, totals(connection, number, window, now_ms))
        for number, user_id, _ in found[:limit]
    )
    last = found[limit - 1] if more else None
    return RankingPage(ranked, None if last is None else Place(last[2], last[0]))


_SUMS = {
    "requests": "requests",
    "errors": "errors",
    "rate_limited": "rate_limited",
    "tokens": "input_tokens + output_tokens",
}
_PERCENTILES = {
    "p50": ("request", 50),
    "p95": ("request", 95),
    "p99": ("request", 99),
    "first_token": ("first_token", 50),
}
# Rows of sums, and facts that are not in them: those that are pending, or for the last hour, of
# which tenants have sums by minute of refused requests alone, all of them.
_SOURCE = """
    SELECT tenant_id, measure, bucket, requests, errors, rate_limited, input_tokens, output_tokens
    FROM usage WHERE period = :period AND at >= :since AND tenant_id > 0
    UNION ALL
    SELECT tenant_id, measure, bucket, requests, errors, rate_limited, input_tokens, output_tokens
    FROM ({requests} UNION ALL {refusals}) AS facts WHERE at >= :since
"""
_REFUSALS = refusals_as_sums("tenant_id > 0")
_HOURS_AND_DAYS = _SOURCE.format(requests=requests_as_sums(PENDING), refusals=_REFUSALS)
_MINUTES = _SOURCE.format(requests=requests_as_sums("id >= :first"), refusals=_REFUSALS)
_KEYSET = "WHERE sorted {beyond} :value OR sorted = :value AND tenant_id {beyond} :number"
_PAGE = """
    page AS (
        SELECT tenant_id, sorted FROM ranked {keyset}
        ORDER BY sorted {direction}, tenant_id {direction} LIMIT :limit
    )
    SELECT tenant_id, user_id, sorted FROM page JOIN tenants ON tenants.id = tenant_id
    ORDER BY sorted {direction}, tenant_id {direction}
"""
_BY_SUM = """
    WITH ranked AS (
        SELECT tenant_id, SUM({sum}) AS sorted FROM ({source}) AS source
        WHERE measure = 'request' GROUP BY tenant_id
    ),
    {page}
"""
# Requests that are not of the measure weigh nothing, but their tenants are ranked too.
_BY_PERCENTILE = """
    WITH weighed AS (
        SELECT tenant_id, bucket,
            SUM(CASE WHEN measure = '{measure}' AND bucket >= 0 THEN requests ELSE 0 END) AS weight
        FROM ({source}) AS source GROUP BY tenant_id, bucket
    ),
    running AS (
        SELECT tenant_id, bucket, weight,
            SUM(weight) OVER (PARTITION BY tenant_id ORDER BY bucket
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS passed,
            SUM(weight) OVER (PARTITION BY tenant_id) AS total
        FROM weighed
    ),
    ranked AS (
        SELECT tenant_id, COALESCE(MIN(
            CASE WHEN weight > 0 AND passed * 100 >= total * {share} THEN bucket END
        ), -1) AS sorted FROM running GROUP BY tenant_id
    ),
    {page}
"""
