"""Reads the list of requests of one tenant, newest first."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.storage import Connection

MAX_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """One request as it was recorded; times are milliseconds, `at_ms` since 1970 UTC."""

    id: int
    at_ms: int
    route: str
    status: int
    code: str
    latency_ms: int
    first_token_ms: int | None
    input_tokens: int
    output_tokens: int
    request_id: str


def latest_requests(
    connection: Connection, tenant: int, limit: int, before: int | None = None
) -> list[StoredRequest]:
    """At most `limit` of the tenant's requests, the newest first, older than the one `before`."""
    found = connection.execute(
        "SELECT id, at, route, status, code, latency_ms, first_token_ms, input_tokens,"
        " output_tokens, request_id FROM requests"
        " WHERE tenant_id = :tenant AND id < :before ORDER BY id DESC LIMIT :limit",
        {"tenant": tenant, "before": MAX_ID if before is None else before, "limit": limit},
    )
    return [StoredRequest(*row) for row in found.fetchall()]


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
