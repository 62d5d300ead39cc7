"""Drops old requests and old fine-grained sums; tenant_data/cleanup.py forgets tenants."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from webapp.periods import DAY_MS, HOUR_MS
from webapp.storage import Connection, Database
from webapp.storage.slices import in_slices
from webapp.usage.requests import first_since

BATCH = 2000
# Each must reach back over its window and the time before it; see windows.py.
KEPT_MS = {"minute": 3 * HOUR_MS, "hour": 15 * DAY_MS}


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows went."""

    requests: int = 0
    sums: int = 0


def prune(database: Database, now_ms: int, request_retention: float) -> Pruned:
    """Deletes requests older than `request_retention` seconds and sums that no window shows.

    Goes in small transactions, so that turns get in between. Sums by day are kept: they are
    small, and they go with their tenant.
    """
    sums = 0
    before = now_ms - round(request_retention * 1000)
    requests = sum(
        in_slices(database, lambda connection: _prune_requests(connection, before), bool)
    )
    for period, kept_ms in KEPT_MS.items():
        step = partial(_prune_sums, period=period, before_ms=now_ms - kept_ms)
        sums += sum(in_slices(database, step, bool))
    return Pruned(requests, sums)


def _prune_requests(connection: Connection, before_ms: int) -> int:
    # Numbers grow with time: what lies before the first that is kept is older than it. Those of
    # imported requests are below 0 and say nothing of their time.
    return connection.execute(
        "DELETE FROM requests WHERE id IN (SELECT id FROM requests"
        " WHERE id < :first AND (id >= 0 OR at < :before) ORDER BY id LIMIT :batch)",
        {"first": first_since(connection, before_ms), "before": before_ms, "batch": BATCH},
    ).rowcount


def _prune_sums(connection: Connection, period: str, before_ms: int) -> int:
    old = connection.execute(
        "SELECT tenant_id, at FROM usage WHERE period = :period AND at < :before LIMIT :batch",
        {"period": period, "before": before_ms, "batch": BATCH},
    ).fetchall()
    keys = [{"tenant": row[0], "period": period, "at": row[1]} for row in dict.fromkeys(old)]
    return connection.executemany(
        "DELETE FROM usage WHERE tenant_id = :tenant AND period = :period AND at = :at", keys
    ).rowcount
