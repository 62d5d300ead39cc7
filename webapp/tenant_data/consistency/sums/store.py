"""The SQL that compares sums with one another and with the requests that are in them.

Asked for the tenants numbered above `after` and up to `last`; those of everyone together have the
number 0, so `after` is -1 for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from webapp.periods import DAY_MS, HOUR_MS, MINUTE_MS
from webapp.storage import Connection, meta
from webapp.tenant_data.consistency.counters.store import OF_SLICE, Slice
from webapp.tenant_data.forgetting import FORGETTING
from webapp.usage.retention import PRUNED
from webapp.usage.rollup.store import PENDING, requests_as_sums
from webapp.usage.store import LATENESS_MS
from webapp.usage.windows import Period

FIGURES = ("requests", "errors", "rate_limited", "input_tokens", "output_tokens")
LENGTHS: dict[Period, int] = {"minute": MINUTE_MS, "hour": HOUR_MS, "day": DAY_MS}
# Pruning goes by numbers, and the clocks of two hosts may differ as well.
MARGIN_MS = 2 * LATENESS_MS
Key = tuple[int, int, str, str, int]
"""Tenant, beginning, measure, code, bucket."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Figures of one key: those that a sum says, and those that were counted."""

    key: Key
    said: tuple[int, ...]
    counted: tuple[int, ...]


def finer_and_coarser(
    connection: Connection, which: Slice, finer: Period, coarser: Period, exact_since: int
) -> list[Pair]:
    """Sums by the coarser period that are not those of the finer one, which is dropped first:
    from that moment on they must be the same, before it not smaller."""
    asked = {
        **which,
        "finer": finer,
        "coarser": coarser,
        "length": LENGTHS[coarser],
        "since": exact_since,
    }
    return _pairs(connection.execute(_PERIODS, asked).fetchall())


def sums_and_requests(
    connection: Connection, which: Slice, period: Period, since: int, until: int
) -> list[Pair]:
    """Sums by that period, between two of its beginnings, that are not those of the requests kept.

    What has no latency may be counted without a request; of a tenant that was imported, or is half
    forgotten, all may be.
    """
    asked = {**which, "period": period, "length": LENGTHS[period], "since": since, "until": until}
    return _pairs(connection.execute(_REQUESTS, asked).fetchall())


def requests_of_everyone(connection: Connection, after: int, most: int) -> tuple[list[Pair], int]:
    """Requests by day as they must be in everyone's sums, of some numbers above `after`; and the
    last of these, 0 behind the end."""
    last = connection.execute(_LAST, {"after": after, "most": most}).fetchone()[0]
    if last is None:
        return [], 0
    rows = connection.execute(_OF_EVERYONE, {"after": after, "last": last}).fetchall()
    return [Pair((0, int(row[0]), *row[1:4]), (), tuple(map(int, row[4:]))) for row in rows], int(
        last
    )


def days_of_everyone(connection: Connection) -> list[Pair]:
    """Everyone's sums by day."""
    rows = connection.execute(_DAYS, {}).fetchall()
    return [Pair((0, int(row[0]), *row[1:4]), tuple(map(int, row[4:])), ()) for row in rows]


def senseless(connection: Connection, which: Slice) -> list[tuple[Any, ...]]:
    """Rows of sums that nothing here writes: tenant, period, beginning."""
    return connection.execute(_SENSELESS, which).fetchall()


def senseless_refusals(connection: Connection) -> list[int]:
    """The tenants with counts of refused requests that nothing here writes, or without a tenant."""
    return [row[0] for row in connection.execute(_REFUSALS, {}).fetchall()]


def buckets(connection: Connection) -> list[tuple[int, int]]:
    """The table by which SQL sorts latencies: from how many milliseconds on, and the bucket."""
    found = connection.execute("SELECT low_ms, bucket FROM latency_buckets ORDER BY low_ms", {})
    return [(row[0], row[1]) for row in found.fetchall()]


def rolled_up_through(connection: Connection) -> Any:
    """The number of the newest request that is in the sums; None when nothing says it."""
    row = connection.execute("SELECT through FROM usage_rollup WHERE one = 1", {}).fetchone()
    return None if row is None else row[0]


def kept_since(connection: Connection) -> int:
    """The moment from which on every request of a tenant that is still there is stored."""
    pruned = meta.value(connection, PRUNED)
    if pruned is not None:
        return int(pruned) + MARGIN_MS
    oldest = connection.execute(
        "SELECT id, at FROM requests WHERE id > 0 ORDER BY id LIMIT 1", {}
    ).fetchone()
    # Before prunings were noted down: the first number is gone when there was one.
    return 0 if oldest is None or oldest[0] == 1 else int(oldest[1]) + MARGIN_MS


def _pairs(rows: list[tuple[Any, ...]]) -> list[Pair]:
    return [
        Pair(
            (row[0], int(row[1]), row[2], row[3], row[4]),
            tuple(map(int, row[5:10])),
            tuple(map(int, row[10:15])),
        )
        for row in rows
    ]


def _any(comparison: str, one: str, other: str) -> str:
    return " OR ".join(f"{one}_{name} {comparison} {other}_{name}" for name in FIGURES)


def _named(prefix: str) -> str:
    return ", ".join(f"{prefix}_{name}" for name in FIGURES)


def _totals(prefix: str, when: str) -> str:
    return ", ".join(
        f"SUM(CASE WHEN {when} THEN {name} ELSE 0 END) AS {prefix}_{name}" for name in FIGURES
    )


_KEY = "tenant_id, begins, measure, code, bucket"
_FIGURES = ", ".join(FIGURES)
# Sums by day of an export of version 1 have no hours: successes without a latency are theirs alone.
_PERIODS = f"""
    SELECT {_KEY}, {_named("said")}, {_named("counted")}
    FROM (
        SELECT tenant_id, at - at % :length AS begins, measure, code, bucket,
            {_totals("said", "period = :coarser")}, {_totals("counted", "period = :finer")}
        FROM usage WHERE {OF_SLICE} AND period || '' IN (:finer, :coarser)
        GROUP BY 1, 2, 3, 4, 5
    ) AS both_periods
    WHERE ({_any(">", "counted", "said")}) OR (
        begins >= :since AND NOT (code = '' AND bucket < 0 AND measure = 'request')
        AND ({_any("<>", "counted", "said")})
    )
"""  # noqa: S608  # nosec B608  # text of this module
_ROLLED_UP = f"id > 0 AND NOT ({PENDING}) AND at >= :since AND at < :until"
_ELSEWHERE = f"""
    tenant_id IN (
        SELECT tenant_id FROM audit WHERE {OF_SLICE} AND action = 'import_tenant'
        UNION ALL SELECT tenant_id FROM requests WHERE {OF_SLICE} AND id < 0
        UNION ALL SELECT CAST(substr(name, {len(FORGETTING) + 1}) AS BIGINT) FROM meta
        WHERE name >= '{FORGETTING}' AND name < '{FORGETTING[:-1]};'
    )
"""  # noqa: S608  # nosec B608  # as above
_REQUESTS = f"""
    SELECT {_KEY}, {_named("said")}, {_named("counted")}
    FROM (
        SELECT {_KEY}, {_totals("said", "is_sum = 1")}, {_totals("counted", "is_sum = 0")}
        FROM (
            SELECT 1 AS is_sum, tenant_id, at AS begins, measure, code, bucket, {_FIGURES}
            FROM usage
            WHERE {OF_SLICE} AND period || '' = :period AND at >= :since AND at < :until
            UNION ALL
            SELECT 0, tenant_id, at - at % :length, measure, code, bucket, {_FIGURES}
            FROM ({requests_as_sums(f"{OF_SLICE} AND {_ROLLED_UP}")}) AS facts
        ) AS both_kinds GROUP BY 1, 2, 3, 4, 5
    ) AS compared
    WHERE ({_any(">", "counted", "said")})
        OR (bucket >= 0 AND ({_any("<>", "counted", "said")}) AND NOT ({_ELSEWHERE}))
"""  # noqa: S608  # nosec B608  # as above
_LAST = """
    SELECT MAX(id) FROM (
        SELECT id FROM requests WHERE id > :after AND id <= (SELECT through FROM usage_rollup)
        ORDER BY id LIMIT :most
    ) AS next
"""
_OF_EVERYONE = f"""
    SELECT at - at % 86400000, measure, code, bucket, SUM(requests), SUM(errors),
        SUM(rate_limited), SUM(input_tokens), SUM(output_tokens)
    FROM ({requests_as_sums("id > :after AND id <= :last")}) AS facts GROUP BY 1, 2, 3, 4
"""  # noqa: S608  # nosec B608  # as above
_DAYS = f"""
    SELECT at, measure, code, bucket, {_FIGURES} FROM usage WHERE tenant_id = 0 AND period = 'day'
"""  # noqa: S608  # nosec B608  # as above
_SENSELESS = f"""
    SELECT tenant_id, period, at FROM usage WHERE {OF_SLICE} AND (
        period NOT IN ('minute', 'hour', 'day') OR measure NOT IN ('request', 'first_token')
        OR at % CASE period WHEN 'minute' THEN 60000 WHEN 'hour' THEN 3600000 ELSE 86400000 END <> 0
        OR bucket < -1 OR requests < 0 OR errors < 0 OR errors > requests OR rate_limited < 0
        OR rate_limited > requests OR input_tokens < 0 OR output_tokens < 0
    )
"""  # noqa: S608  # nosec B608  # as above
_REFUSALS = """
    SELECT DISTINCT tenant_id FROM refusals
    WHERE number <= 0 OR limited NOT IN (0, 1) OR (
        tenant_id <> 0 AND NOT EXISTS (SELECT 1 FROM tenants WHERE tenants.id = tenant_id)
    )
"""
