"""The SQL of the roll-up: facts as rows of sums, and the step that adds them to the sums.

Facts are the requests, and counts of refused ones. Requests up to the number `through` are in the
sums; this number moves in the transaction that adds to the sums, and its row is the lock between
those who roll up. Counts of refused requests are deleted by the same transaction. Readers of sums
add the facts that are pending.
"""

from __future__ import annotations

from webapp.storage import Connection
from webapp.storage.settled import settled_through

# A step of a few milliseconds: turns wait for it.
MOST = 500

PENDING = "id > (SELECT through FROM usage_rollup)"
_BUCKET = """(
    SELECT bucket FROM latency_buckets WHERE low_ms <= {latency} ORDER BY low_ms DESC LIMIT 1
)"""
_REQUESTS = """
    SELECT tenant_id, at, 'request' AS measure, code,
        CASE WHEN status BETWEEN 400 AND 499 OR status = 503 THEN -1
            ELSE {bucket} END AS bucket,
        1 AS requests, CASE WHEN status >= 500 THEN 1 ELSE 0 END AS errors,
        CASE WHEN status = 429 THEN 1 ELSE 0 END AS rate_limited, input_tokens, output_tokens
    FROM requests WHERE {which}
    UNION ALL
    SELECT tenant_id, at, 'first_token', '', {first_token_bucket},
        1, 0, 0, 0, 0
    FROM requests WHERE {which} AND first_token_ms IS NOT NULL
        AND status NOT BETWEEN 400 AND 499 AND status <> 503
"""
_REFUSALS = """
    SELECT tenant_id, at, 'request' AS measure, code, -1 AS bucket, number AS requests,
        0 AS errors, number * limited AS rate_limited, 0 AS input_tokens, 0 AS output_tokens
    FROM refusals WHERE {which}
"""


def requests_as_sums(which: str) -> str:
    """A SELECT of those requests as rows of sums, each with its tenant and its own moment."""
    return _REQUESTS.format(
        which=which,
        bucket=_BUCKET.format(latency="latency_ms"),
        first_token_bucket=_BUCKET.format(latency="first_token_ms"),
    )


def refusals_as_sums(which: str) -> str:
    """The same of counted refusals, all of which are pending."""
    return _REFUSALS.format(which=which)


def pending_by_periods(tenant: str) -> str:
    """A SELECT of what a tenant's pending facts add to its sums, not yet put together."""
    requests = requests_as_sums(f"tenant_id = {tenant} AND {PENDING}")
    refusals = refusals_as_sums(f"tenant_id = {tenant}")
    return (
        _EACH.format(tenant="tenant_id", facts=requests, periods=_HOUR_AND_DAY)
        + " UNION ALL "
        + _EACH.format(tenant="tenant_id", facts=refusals, periods=_MINUTE_TOO)
    )


def is_anything_pending(connection: Connection) -> bool:
    """Whether there is a fact that is not in the sums; looks at one row of each table."""
    found = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM requests WHERE id > through)"
        " OR EXISTS (SELECT 1 FROM refusals) FROM usage_rollup",
        {},
    )
    return bool(found.fetchone()[0])


def step(connection: Connection, most: int = MOST) -> bool:
    """Adds at most `most` requests, and as many counts, to the sums; says whether more are left."""
    through = int(connection.execute("SELECT through FROM usage_rollup", {}).fetchone()[0])
    last, requests = connection.execute(
        "SELECT COALESCE(MAX(id), :through), COUNT(*) FROM (SELECT id FROM requests"
        " WHERE id > :through AND id <= :settled ORDER BY id LIMIT :most) AS next",
        {"through": through, "settled": settled_through(connection), "most": most},
    ).fetchone()
    refused = connection.execute("SELECT 1 FROM refusals LIMIT 1", {}).fetchone()
    if not requests and refused is None:
        return False
    mine = connection.execute(
        "UPDATE usage_rollup SET through = :last WHERE through = :through",
        {"last": last, "through": through},
    )
    if not mine.rowcount:
        return True  # another one was faster
    if requests:
        connection.execute(_ADD_REQUESTS, {"through": through, "last": last})
    return requests == most or (refused is not None and _add_refusals(connection, most))


def _add_refusals(connection: Connection, most: int) -> bool:
    counts = connection.execute(
        "DELETE FROM refusals WHERE id IN (SELECT id FROM refusals ORDER BY id LIMIT :most)"
        " RETURNING tenant_id, at, code, number, number * limited",
        {"most": most},
    ).fetchall()
    names = ("tenant", "at", "code", "number", "limited")
    connection.executemany(
        _ADD_REFUSALS, [dict(zip(names, count, strict=True)) for count in sorted(counts)]
    )
    return len(counts) == most


_INSERT = """
    INSERT INTO usage (tenant_id, period, at, measure, code, bucket,
        requests, errors, rate_limited, input_tokens, output_tokens)
"""
_ADD = """
    ON CONFLICT (tenant_id, period, at, measure, code, bucket) DO UPDATE SET
        requests = usage.requests + excluded.requests,
        errors = usage.errors + excluded.errors,
        rate_limited = usage.rate_limited + excluded.rate_limited,
        input_tokens = usage.input_tokens + excluded.input_tokens,
        output_tokens = usage.output_tokens + excluded.output_tokens
"""
_EACH = """
    SELECT {tenant} AS tenant_id, period, at - at % length AS at, measure, code, bucket,
        requests, errors, rate_limited, input_tokens, output_tokens
    FROM ({facts}) AS facts CROSS JOIN ({periods}) AS periods
"""
_SUMMED = """
    SELECT tenant_id, period, at, measure, code, bucket, SUM(requests), SUM(errors),
        SUM(rate_limited), SUM(input_tokens), SUM(output_tokens)
    FROM ({rows}) AS spread GROUP BY tenant_id, period, at, measure, code, bucket
"""
_HOUR_AND_DAY = "SELECT 'hour' AS period, 3600000 AS length UNION ALL SELECT 'day', 86400000"
_MINUTE_TOO = f"{_HOUR_AND_DAY} UNION ALL SELECT 'minute', 60000"
# Requests of one minute that are alike are put together first: that is what costs.
_BY_MINUTE = """
    WITH by_minute AS MATERIALIZED (
        SELECT tenant_id, at - at % 60000 AS at, measure, code, bucket,
            SUM(requests) AS requests, SUM(errors) AS errors, SUM(rate_limited) AS rate_limited,
            SUM(input_tokens) AS input_tokens, SUM(output_tokens) AS output_tokens
        FROM ({facts}) AS facts GROUP BY 1, 2, 3, 4, 5
    )
"""
_ALIKE = "SELECT * FROM by_minute"
# A tenant's last hour is read from its requests, so it has no sums by minute of them.
_ADD_REQUESTS = (
    _BY_MINUTE.format(facts=requests_as_sums("id > :through AND id <= :last"))
    + _INSERT
    + _SUMMED.format(
        rows=_EACH.format(tenant=0, facts=_ALIKE, periods=_MINUTE_TOO)
        + " UNION ALL "
        + _EACH.format(tenant="tenant_id", facts=_ALIKE, periods=_HOUR_AND_DAY)
    )
    + _ADD
)
_REFUSED = """
    SELECT :tenant, period, :at - :at % length, 'request', :code, -1, :number, 0, :limited, 0, 0
    FROM ({periods}) AS periods WHERE true
"""
_ADD_REFUSALS = _INSERT + _REFUSED.format(periods=_MINUTE_TOO) + _ADD
