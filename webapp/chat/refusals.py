"""Counts requests that were refused, and writes the counts of many together; no row for each.

A refused caller may ask as often as it likes, so a refusal must cost no commit and leave no row for
weeks. Counts wait here for a moment; those who read figures have them written first.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

from webapp.clock import Clock
from webapp.errors import SwitchboardError
from webapp.periods import MINUTE_MS
from webapp.storage import Connection, Database
from webapp.tenant_data.storing import store_refusals
from webapp.tenants import store as tenants
from webapp.usage import store as usage_store
from webapp.usage.figures import EVERYONE
from webapp.usage.records import Refusal

WAIT_SECONDS = 1.0
MOST = 5_000
# A tenant may be making its first turn just now: so long its refusals are kept for it.
STRANGER_MS = 5 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class _Kind:
    stored_id: str
    refusal: Refusal


class Refusals:
    """Of one process; what it has not written is written when it is closed."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[_Kind] = Counter()
        self._strangers: Counter[_Kind] = Counter()
        self._since = 0.0

    def add(self, stored_id: str, at_ms: int, status: int, code: str) -> None:
        refusal = Refusal(at_ms - at_ms % MINUTE_MS, code, limited=status == 429)
        with self._lock:
            first = not self._counts
            if first:
                self._since = self._clock.monotonic()
            if len(self._counts) >= MOST:
                stored_id = ""  # of everybody together it is still counted
            self._counts[_Kind(stored_id, refusal)] += 1
        self.settle_if_due()
        if first:
            # Another process may be asked for the figures, and knows nothing of these counts.
            writer = threading.Timer(WAIT_SECONDS, self.settle)
            writer.daemon = True
            writer.start()

    def settle_if_due(self) -> None:
        """Writes what has waited for its moment."""
        if self._counts and (
            len(self._counts) >= MOST or self._clock.monotonic() - self._since >= WAIT_SECONDS
        ):
            self.settle()

    def settle_soon(self) -> None:
        """Writes the waiting counts before figures are read; gives up soon when the disk stands
        still."""
        waited = self._clock.monotonic() - self._since >= WAIT_SECONDS
        if self._counts or (self._strangers and waited):
            writer = threading.Thread(target=self.settle, name="refusals", daemon=True)
            writer.start()
            writer.join(WAIT_SECONDS)

    def settle(self) -> None:
        """Writes what waits; a database that cannot keeps it waiting."""
        if not self._counts and not self._strangers:
            return
        with self._lock:
            counts, self._counts = self._counts, Counter()
            strangers, self._strangers = self._strangers, Counter()
            self._since = self._clock.monotonic()
        oldest = self._clock.now_ms() - STRANGER_MS

        def work(connection: Connection) -> Counter[_Kind]:
            unknown: Counter[_Kind] = Counter()
            for kind, number in counts.items():
                usage_store.count_refusals(connection, EVERYONE, kind.refusal, number)
            # In one order, so that two processes do not wait for each other's tenants.
            together = sorted((counts + strangers).items(), key=lambda one: one[0].stored_id)
            for kind, number in together:
                # A refused request makes no tenant, nor brings a forgotten one back.
                tenant = tenants.number_of(connection, kind.stored_id)
                if tenant is not None:
                    store_refusals(connection, tenant, kind.refusal, number)
                elif kind.refusal.minute_ms >= oldest and len(unknown) < MOST:
                    unknown[kind] = number
            return unknown

        try:
            unknown = self._database.write(work)
        except SwitchboardError:
            with self._lock:
                self._counts.update(counts)
                self._strangers.update(strangers)
        else:
            with self._lock:
                self._strangers.update(unknown)
