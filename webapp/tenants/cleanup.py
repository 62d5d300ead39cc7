"""Forgets tenants that nobody has heard of for long; when it runs is the caller's business."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from webapp.storage import Connection, Database
from webapp.tenants import changes
from webapp.tenants.changes import Inactive
from webapp.tenants.notes import Audit, AuditNote

BATCH = 100


@dataclass(frozen=True, slots=True)
class Cleanup:
    """Whom a clean-up forgot, or would forget."""

    tenants: int = 0
    messages: int = 0

    def __add__(self, other: Cleanup) -> Cleanup:
        return Cleanup(self.tenants + other.tenants, self.messages + other.messages)


def forget_inactive(
    database: Database,
    before_ms: int,
    *,
    dry_run: bool = False,
    audit: Audit | None = None,
    progress: Callable[[Cleanup], None] | None = None,
) -> Cleanup:
    """Forgets the tenants that were last active before then, batch by batch.

    One that is active meanwhile is spared, and so are blocked ones. A clean-up that stops half
    way has forgotten whole tenants only.
    """
    total, last = Cleanup(), None
    while True:
        with database.read() as connection:
            batch = changes.inactive(connection, before_ms, BATCH, last)
        if not batch:
            return total
        last = batch[-1]
        if dry_run:
            total += Cleanup(len(batch), sum(tenant.messages for tenant in batch))
        else:
            total += _forget_batch(database, batch, before_ms, audit)
        if progress is not None:
            progress(total)


def _forget_batch(
    database: Database, batch: list[Inactive], before_ms: int, audit: Audit | None
) -> Cleanup:
    def work(connection: Connection) -> Cleanup:
        done = [
            changes.forget(connection, tenant.number, inactive_since=before_ms) for tenant in batch
        ]
        gone = [forgotten for forgotten in done if forgotten is not None]
        cleaned = Cleanup(len(gone), sum(forgotten.messages for forgotten in gone))
        if audit is not None and gone:
            figures = {"tenants": cleaned.tenants, "messages": cleaned.messages}
            audit(connection, AuditNote("forget_inactive", before=figures))
        return cleaned

    return database.write_long(work)
