"""The SQL of facts: requests one by one, and counts of refused ones that wait for the roll-up.

The sums that follow from them are in rollup/; a turn writes its own row and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from webapp.periods import HOUR_MS
from webapp.storage import Connection
from webapp.storage.engine import run
from webapp.usage.records import Refusal, RequestRecord

MAX_ID = 2**63 - 1
# A request is stored when it ends, and a late one later: the list is out of order by so much.
LATENESS_MS = HOUR_MS
_FIELDS = tuple(field.name for field in fields(RequestRecord) if field.name != "id")
# In the order of the record's fields.
COLUMNS = tuple("at" if name == "at_ms" else name for name in _FIELDS)


def record(connection: Connection, tenant: int, record: RequestRecord) -> None:
    """Writes one request of the tenant numbered so."""
    values = {column: getattr(record, name) for column, name in zip(COLUMNS, _FIELDS, strict=True)}
    run(connection, _INSERT, {**values, "tenant": tenant})


def count_refusals(connection: Connection, tenant: int, refusal: Refusal, number: int) -> None:
    """Counts requests that were refused before the agent was asked, for one tenant or for
    `EVERYONE`; no row for each."""
    connection.execute(
        _COUNT,
        {
            "tenant": tenant,
            "at": refusal.minute_ms,
            "code": refusal.code,
            "limited": int(refusal.limited),
            "number": number,
        },
    )


def latest_requests(
    connection: Connection, tenant: int, limit: int, before: int | None = None
) -> list[RequestRecord]:
    """At most `limit` of the tenant's requests, the newest first, older than the one `before`."""
    found = connection.execute(
        _LATEST,
        {"tenant": tenant, "before": MAX_ID if before is None else before, "limit": limit},
    )
    return [RequestRecord(*row) for row in found.fetchall()]


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
) -> Iterator[RequestRecord]:
    """The tenant's requests of that moment and later, newest first, read page by page."""
    before = None
    while True:
        read = latest_requests(connection, tenant, page, before)
        yield from (one for one in read if one.at_ms >= since_ms)
        if len(read) < page or read[-1].at_ms < since_ms - LATENESS_MS:
            return
        before = read[-1].id


def prune(connection: Connection, before_ms: int, most: int) -> int:
    """Deletes at most `most` of those that are older and in the sums; gives their number."""
    # Numbers grow with time: what lies before the first that is kept is older than it. Those of
    # imported requests are below 0 and say nothing of their time.
    return connection.execute(
        "DELETE FROM requests WHERE id IN (SELECT id FROM requests"
        " WHERE id < :first AND (id >= 0 OR at < :before)"
        " AND id <= (SELECT through FROM usage_rollup) ORDER BY id LIMIT :most)",
        {"first": first_since(connection, before_ms), "before": before_ms, "most": most},
    ).rowcount


_INSERT = (
    f"INSERT INTO requests (tenant_id, {', '.join(COLUMNS)})"  # noqa: S608  # nosec B608  # names of fields
    f" VALUES (:tenant, {', '.join(f':{column}' for column in COLUMNS)})"
)
_COUNT = """
    INSERT INTO refusals (tenant_id, at, code, limited, number)
    VALUES (:tenant, :at, :code, :limited, :number)
"""
_LATEST = f"""
    SELECT {", ".join(COLUMNS)}, id FROM requests
    WHERE tenant_id = :tenant AND id < :before ORDER BY id DESC LIMIT :limit
"""  # noqa: S608  # nosec B608  # names of fields
