"""Clears and forgets, however much there is, in slices between which turns go on.

What fits into one slice is one transaction with its entry in the audit log. A longer act leaves
an entry when it begins and one with the exact figures in its last transaction; stopped in
between, it goes on where it was when it is asked for again.
"""

from __future__ import annotations

from collections.abc import Callable

from webapp.memory.clearing.store import ClearedPart, clear_all_part, clear_part
from webapp.storage import Connection, Database
from webapp.storage.slices import in_slices
from webapp.tenants import changes
from webapp.tenants.changes import NOTHING, Forgotten
from webapp.tenants.notes import Audit, AuditNote

Find = Callable[[Connection], int | None]
Progress = Callable[[int], None]


def clear(database: Database, find: Find, audit: Audit | None) -> int | None:
    """How many messages of the tenant went; None for one that is not known."""
    total, known = 0, False

    def step(connection: Connection) -> ClearedPart | None:
        number = find(connection)
        if number is None:
            return None
        part = clear_part(connection, number)
        if audit is not None:
            if part.finished:
                figures = {"messages": total + part.messages}
                audit(connection, AuditNote("clear_tenant", number, figures))
            elif not known:
                audit(connection, AuditNote("clear_tenant_begun", number, begun=True))
        return part

    for part in in_slices(database, step, lambda part: part is not None and not part.finished):
        if part is not None:
            total, known = total + part.messages, True
    return total if known else None


def clear_all(
    database: Database, audit: Audit | None, progress: Progress | None = None
) -> tuple[int, int]:
    """How many messages went, and of how many tenants."""
    messages = tenants = after = 0
    begun = False

    def step(connection: Connection) -> ClearedPart:
        part = clear_all_part(connection, after)
        if audit is not None:
            if part.finished:
                figures = {
                    "messages": messages + part.messages,
                    "tenants": tenants + part.tenants,
                }
                audit(connection, AuditNote("clear_all", before=figures))
            elif not begun:
                audit(connection, AuditNote("clear_all_begun", begun=True))
        return part

    for part in in_slices(database, step, lambda part: not part.finished):
        messages, tenants = messages + part.messages, tenants + part.tenants
        after, begun = part.after, True
        if progress is not None:
            progress(messages)
    return messages, tenants


def forget(
    database: Database,
    find: Find,
    finish: Callable[[Connection, int, Forgotten], None],
    *,
    inactive_since: int | None = None,
    audit: Audit | None = None,
) -> Forgotten | None:
    """What went with the tenant; None when it is not known, or was active since.

    `finish` is called in the last transaction with the figures of the whole act.
    """
    total, begun = NOTHING, False

    def step(connection: Connection) -> tuple[Forgotten, bool] | None:
        number = find(connection)
        if number is None:
            return None
        part = changes.forget_part(connection, number, inactive_since=inactive_since)
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
    if database.write(lambda connection: changes.search_to_merge(connection, at_once=True)):
        _merge_search(database)
    database.empty_log()


def merge_noted_search(database: Database) -> None:
    """Does what `leave_no_trace` left over; for housekeeping."""
    if database.write(lambda connection: changes.search_to_merge(connection, at_once=False)):
        _merge_search(database)
        database.empty_log()


def _merge_search(database: Database) -> None:
    first = True

    def step(connection: Connection) -> bool:
        return changes.merge_search(connection, begin=first)

    for _ in in_slices(database, step, bool):
        first = False
