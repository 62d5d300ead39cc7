"""Drops old requests and old fine-grained sums; tenant_data/cleanup.py forgets tenants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from webapp.periods import DAY_MS, HOUR_MS
from webapp.storage import Connection, Database, meta
from webapp.storage.slices import in_slices
from webapp.usage import store
from webapp.usage.rollup.worker import roll_up
from webapp.usage.sums import store as sums
from webapp.usage.windows import Period

BATCH = 2000
# Each must reach back over its window and the time before it; see windows.py.
KEPT_MS: Mapping[Period, int] = {"minute": 3 * HOUR_MS, "hour": 15 * DAY_MS}
# Up to which moment requests were ever dropped: those after it can be recounted.
PRUNED = "requests_pruned"


@dataclass(frozen=True, slots=True)
class Pruned:
    """The number of deleted rows."""

    requests: int = 0
    sums: int = 0


def prune(database: Database, now_ms: int, request_retention: float) -> Pruned:
    """Deletes requests older than `request_retention` seconds and sums that no window shows.

    Goes in small transactions, so that turns get in between. Sums by day are kept: they are
    small, and they go with their tenant.
    """
    roll_up(database)
    before = now_ms - round(request_retention * 1000)

    def drop_requests(connection: Connection) -> int:
        if int(meta.value(connection, PRUNED) or 0) < before:
            meta.put(connection, PRUNED, str(before))
        return store.prune(connection, before, BATCH)

    requests = sum(in_slices(database, drop_requests, bool))
    dropped = 0
    for period, kept_ms in KEPT_MS.items():
        step = partial(sums.prune, period=period, before_ms=now_ms - kept_ms, most=BATCH)
        dropped += sum(in_slices(database, step, bool))
    return Pruned(requests, dropped)
