"""Keeps the figures of requests that failed with the database, until it takes writes again."""

from __future__ import annotations

from collections import deque
from contextlib import suppress

from webapp.errors import SwitchboardError
from webapp.storage import Connection, Database
from webapp.tenant_data.storing import store_request
from webapp.tenants import store as tenants
from webapp.usage.records import RequestRecord

MOST = 10_000
AT_ONCE = 100
HOUR_MS = 3_600_000


class LateRecords:
    """In memory, in the order of the requests; beyond `MOST` the oldest are dropped."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[tuple[str, RequestRecord]] = deque(maxlen=MOST)

    def keep(self, stored_id: str, record: RequestRecord) -> None:
        self._waiting.append((stored_id, record))

    def write_all(self, now_ms: int) -> None:
        """All of it, unless the database fails again."""
        left = len(self._waiting) + 1
        while 0 < len(self._waiting) < left:
            left = len(self._waiting)
            self.write(now_ms)

    def write(self, now_ms: int) -> None:
        """Writes some of what waits; a database that fails again keeps it waiting.

        A tenant that is not there is not made for it, because it may have been forgotten since.
        What is older than an hour is dropped: it could set a budget's day back.
        """
        late: list[tuple[str, RequestRecord]] = []
        # Other threads take from it too: that one is there does not say that it can be taken.
        with suppress(IndexError):
            while self._waiting and len(late) < AT_ONCE:
                late.append(self._waiting.popleft())
        if not late:
            return

        def work(connection: Connection) -> None:
            # In one order of tenants, so that two processes do not wait for each other's.
            for stored_id, record in sorted(late, key=lambda one: one[0]):
                number = tenants.number_of(connection, stored_id)
                if number is not None and record.at_ms > now_ms - HOUR_MS:
                    store_request(connection, number, record)

        try:
            self._database.write(work)
        except SwitchboardError:
            self._waiting.extendleft(reversed(late))
