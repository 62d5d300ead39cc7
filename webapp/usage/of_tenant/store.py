"""The SQL of one tenant's requests and sums: counts, exports, restores and deletes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from webapp.storage import Connection
from webapp.storage.alone import hold
from webapp.usage.store import COLUMNS

USAGE_COLUMNS = (
    *("period", "at", "measure", "code", "bucket"),
    *("requests", "errors", "rate_limited", "input_tokens", "output_tokens"),
)


def count_requests(connection: Connection, tenant: int) -> int:
    """How many requests are recorded; counts index entries of the tenant."""
    found = connection.execute(
        "SELECT COUNT(*) FROM requests WHERE tenant_id = :tenant", {"tenant": tenant}
    )
    return int(found.fetchone()[0])


def request_page(
    connection: Connection, tenant: int, after: int, limit: int
) -> list[tuple[Any, ...]]:
    """id and then the columns of `COLUMNS`, in order of id."""
    asked = {"tenant": tenant, "after": after, "limit": limit}
    return connection.execute(_REQUESTS, asked).fetchall()


def reserve(connection: Connection, count: int) -> int:
    """The first of so many numbers for requests from elsewhere; they are to be put in this
    transaction, in their order.

    The numbers of requests made here grow with their times, and looking for a moment relies on
    that (`usage/store.py`); so those from elsewhere have numbers below 0.
    """
    hold(connection, "imports")  # two that come at once would choose the same numbers
    lowest = connection.execute("SELECT COALESCE(MIN(id), 0) FROM requests", {}).fetchone()[0]
    return min(0, int(lowest)) - count


def put_requests(
    connection: Connection, tenant: int, first: int, rows: list[dict[str, Any]]
) -> None:
    """Puts requests under the numbers from `first` on."""
    connection.executemany(
        _PUT_REQUEST,
        ({**row, "tenant": tenant, "id": first + index} for index, row in enumerate(rows)),
    )


def put_usage(connection: Connection, tenant: int, rows: Iterable[dict[str, Any]]) -> None:
    """Puts sums of a tenant that has none; the sums over all tenants do not change."""
    connection.executemany(_PUT_USAGE, ({**row, "tenant": tenant} for row in rows))


def drop_requests(connection: Connection, tenant: int, most: int) -> tuple[int, bool]:
    """Deletes at most `most` of the tenant's requests; gives their number, and whether all are
    gone.

    What the tenant cost stays in the sums over all tenants, where nothing points at it: those
    that are not in them yet wait for the roll-up.
    """
    who = {"tenant": tenant, "most": most}
    dropped = connection.execute(_DROP_REQUESTS, who).rowcount
    left = connection.execute("SELECT 1 FROM requests WHERE tenant_id = :tenant LIMIT 1", who)
    return dropped, left.fetchone() is None


def drop_sums(connection: Connection, tenant: int) -> None:
    """The tenant's own sums, and counts of its refused requests that would go into them."""
    who = {"tenant": tenant}
    connection.execute("DELETE FROM usage WHERE tenant_id = :tenant", who)
    connection.execute("DELETE FROM refusals WHERE tenant_id = :tenant", who)


_REQUESTS = f"""
    SELECT id, {", ".join(COLUMNS)} FROM requests
    WHERE tenant_id = :tenant AND id > :after ORDER BY id LIMIT :limit
"""  # noqa: S608  # nosec B608  # names of fields

_PUT_REQUEST = (
    f"INSERT INTO requests (id, tenant_id, {', '.join(COLUMNS)})"  # noqa: S608  # nosec B608  # as above
    f" VALUES (:id, :tenant, {', '.join(f':{column}' for column in COLUMNS)})"
)

_PUT_USAGE = """
    INSERT INTO usage (tenant_id, period, at, measure, code, bucket,
        requests, errors, rate_limited, input_tokens, output_tokens)
    VALUES (:tenant, :period, :at, :measure, :code, :bucket,
        :requests, :errors, :rate_limited, :input_tokens, :output_tokens)
"""

_DROP_REQUESTS = """
    DELETE FROM requests WHERE /*pg tenant_id = :tenant AND */ id IN
        (SELECT id FROM requests WHERE tenant_id = :tenant
            AND id <= (SELECT through FROM usage_rollup) ORDER BY id LIMIT :most)
"""
