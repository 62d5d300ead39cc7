"""Forgets tenants that were inactive for long; the caller says when it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from webapp.storage import Connection, Database
from webapp.storage.narrowing import narrow
from webapp.storage.slices import ROWS
from webapp.tenant_data.forgetting import (
    NOTHING,
    Forgotten,
    forget,
    forget_part,
    leave_no_trace,
)
from webapp.tenants.activity import store as activity
from webapp.tenants.activity.store import Inactive
from webapp.tenants.notes import Audit, AuditNote
from webapp.usage.rollup.store import step as roll_up_step
from webapp.usage.rollup.worker import roll_up

BATCH = 100


@dataclass(frozen=True, slots=True)
class Cleanup:
    """The tenants that a clean-up forgot, or would forget; `left` are inactive too, for the next
    one."""

    tenants: int = 0
    messages: int = 0
    left: int = 0

    def __add__(self, other: Cleanup) -> Cleanup:
        return Cleanup(
            self.tenants + other.tenants, self.messages + other.messages, self.left + other.left
        )


def forget_inactive(
    database: Database,
    before_ms: int,
    *,
    at_most: int,
    dry_run: bool = False,
    audit: Audit | None = None,
    progress: Callable[[Cleanup], None] | None = None,
) -> Cleanup:
    """Forgets at most `at_most` tenants that were last active before then, the longest inactive
    first.

    One that is active meanwhile is spared, and so are blocked ones. A clean-up that stops half
    way goes on where it was when it runs again.
    """
    if not dry_run:
        roll_up(database)
    total, last = Cleanup(), None
    while (room := at_most - total.tenants) > 0:
        with database.read() as connection:
            batch = activity.inactive(connection, before_ms, min(BATCH, room), last)
        if not batch:
            break
        last = batch[-1]
        if dry_run:
            total += Cleanup(len(batch), sum(tenant.messages for tenant in batch))
            if progress is not None:
                progress(total)
            continue
        for few in _in_slices(batch):
            total += _forget_few(database, few, before_ms, audit)
            if progress is not None:
                progress(total)
    if not dry_run and total.tenants:
        leave_no_trace(database)
    with database.read() as connection:
        silent = activity.count_inactive(connection, before_ms)
    return total + Cleanup(left=max(0, silent - total.tenants if dry_run else silent))


def _in_slices(batch: list[Inactive]) -> Iterator[list[Inactive]]:
    """Parts of the batch with about as many rows as fit into one transaction."""
    few: list[Inactive] = []
    for tenant in batch:
        if few and sum(one.rows for one in few) + tenant.rows > ROWS:
            yield few
            few = []
        few.append(tenant)
    yield few


def _forget_few(
    database: Database, few: list[Inactive], before_ms: int, audit: Audit | None
) -> Cleanup:
    if len(few) == 1:
        return _forget_one(database, few[0], before_ms, audit)

    def work(connection: Connection) -> Cleanup:
        done = Cleanup()
        roll_up_step(connection)
        for tenant in few:
            narrow(connection, tenant.number)
            part = forget_part(connection, tenant.number, inactive_since=before_ms, rolled_up=True)
            if part is not None:
                # One that has grown since it was read is finished by the next clean-up.
                done += Cleanup(int(part[1]), part[0].messages)
        _note(connection, done, audit)
        return done

    return database.write_long(work)


def _forget_one(
    database: Database, tenant: Inactive, before_ms: int, audit: Audit | None
) -> Cleanup:
    def finish(connection: Connection, _number: int, gone: Forgotten) -> None:
        _note(connection, Cleanup(1, gone.messages), audit)

    gone = forget(database, lambda _: tenant.number, finish, inactive_since=before_ms, audit=audit)
    return Cleanup(int(gone is not None), (gone or NOTHING).messages)


def _note(connection: Connection, done: Cleanup, audit: Audit | None) -> None:
    if audit is not None and done.tenants:
        figures = {"tenants": done.tenants, "messages": done.messages}
        audit(connection, AuditNote("forget_inactive", before=figures))
