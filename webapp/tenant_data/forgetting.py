"""Forgets a tenant: deletes all that is its, package by package, in slices as clearing.py does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from webapp.memory.clearing.parts import clear_part
from webapp.memory.notes import store as notes
from webapp.memory.sessions import store as sessions
from webapp.storage import Connection, Database, meta
from webapp.storage.narrowing import narrow
from webapp.storage.slices import ROWS, in_slices
from webapp.tenant_data.clearing import Find
from webapp.tenants import store as tenants
from webapp.tenants.activity import store as activity
from webapp.tenants.notes import Audit, AuditNote
from webapp.tenants.restrictions import blocks
from webapp.tenants.restrictions import store as restrictions
from webapp.tenants.search import store as search
from webapp.usage.of_tenant import store as usage
from webapp.usage.rollup.store import step as roll_up_step
from webapp.usage.rollup.worker import roll_up

# Before a tenant's number, in the name of a note that some of its requests are gone already and its
# sums are not; should the act be stopped there, nobody takes that for a wrong sum.
FORGETTING = "forgetting:"


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The rows that were deleted with a tenant, counted."""

    messages: int
    sessions: int
    requests: int

    def __add__(self, other: Forgotten) -> Forgotten:
        return Forgotten(
            self.messages + other.messages,
            self.sessions + other.sessions,
            self.requests + other.requests,
        )

    def as_dict(self) -> dict[str, int]:
        return {
            "messages": self.messages,
            "sessions": self.sessions,
            "requests": self.requests,
        }


NOTHING = Forgotten(0, 0, 0)


def forget_part(
    connection: Connection,
    number: int,
    *,
    inactive_since: int | None = None,
    most: int = ROWS,
    rolled_up: bool = False,
) -> tuple[Forgotten, bool] | None:
    """Deletes about `most` rows of the tenant; what went, and whether it is gone altogether.

    None when it is gone already, or with `inactive_since` when it was active from that moment on
    or is blocked. A block stays, without the user's name. Requests that are not in the sums yet
    stay too, and the tenant with them; with `rolled_up` the caller has just taken a step, because
    this transaction is narrowed to the tenant and the step is everyone's.
    """
    tenants.hold(connection, number)
    if not rolled_up:
        roll_up_step(connection)
    if inactive_since is not None and not activity.is_inactive(connection, number, inactive_since):
        return None
    before = sessions.count(connection, number)
    cleared = clear_part(connection, number, most)
    requests, all_gone = 0, False
    if cleared.finished:
        requests, all_gone = usage.drop_requests(connection, number, most)
    if not all_gone:
        if requests:
            meta.put(connection, f"{FORGETTING}{number}", "")
        left = sessions.count(connection, number)
        return Forgotten(cleared.messages, before - left, requests), False
    block = restrictions.block_of(connection, number)
    if block is not None:
        blocks.keep(connection, *block)
    notes.drop_all(connection, number)
    sessions.drop_all(connection, number)
    usage.drop_sums(connection, number)
    meta.take(connection, f"{FORGETTING}{number}")
    gone = tenants.drop(connection, number)
    return (Forgotten(cleared.messages, before, requests), True) if gone else None


def forget(
    database: Database,
    find: Find,
    finish: Callable[[Connection, int, Forgotten], None],
    *,
    inactive_since: int | None = None,
    audit: Audit | None = None,
) -> Forgotten | None:
    """Forgets the tenant; gives what was deleted, None when it is unknown or was active since.

    `finish` is called in the last transaction with the figures of the whole act.
    """
    roll_up(database)
    total, begun = NOTHING, False

    def step(connection: Connection) -> tuple[Forgotten, bool] | None:
        number = find(connection)
        if number is None:
            return None
        roll_up_step(connection)
        narrow(connection, number)
        part = forget_part(connection, number, inactive_since=inactive_since, rolled_up=True)
        if part is None:
            return None
        gone, finished = part
        if finished:
            finish(connection, number, total + gone)
        elif audit is not None and not begun:
            audit(connection, AuditNote("forget_tenant_begun", number, begun=True))
        return part

    done = False
    for part in in_slices(database, step, lambda part: part is not None and not part[1]):
        if part is not None:
            total, begun, done = total + part[0], True, part[1]
    return total if done else None


def leave_no_trace(database: Database) -> None:
    """Takes what a forgotten tenant left out of the search's index and of the log beside the file.

    A large index is left to `merge_noted_search`.
    """
    if database.write(lambda connection: search.needs_merging(connection, at_once=True)):
        _merge_search(database)
    database.empty_log()


def merge_noted_search(database: Database) -> None:
    """Does what `leave_no_trace` left over; for housekeeping."""
    if database.write(lambda connection: search.needs_merging(connection, at_once=False)):
        _merge_search(database)
        database.empty_log()


def _merge_search(database: Database) -> None:
    first = True

    def step(connection: Connection) -> bool:
        return search.merge(connection, begin=first)

    for _ in in_slices(database, step, bool):
        first = False
