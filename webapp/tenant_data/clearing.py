"""Clears conversations, however many there are, in slices between which turns go on.

What fits into one slice is one transaction with its entry in the audit log. A longer act leaves
an entry when it begins and one with the exact figures in its last transaction; stopped in
between, it goes on where it was when it is asked for again.
"""

from __future__ import annotations

from collections.abc import Callable

from webapp.memory.clearing.parts import ClearedPart, clear_all_part, clear_part
from webapp.storage import Connection, Database
from webapp.storage.narrowing import narrow
from webapp.storage.slices import in_slices
from webapp.tenants.notes import Audit, AuditNote

Find = Callable[[Connection], int | None]
Progress = Callable[[int], None]


def clear(database: Database, find: Find, audit: Audit | None) -> int | None:
    """Clears the tenant; gives the number of messages removed, None when the tenant is unknown."""
    total, known = 0, False

    def step(connection: Connection) -> ClearedPart | None:
        number = find(connection)
        if number is None:
            return None
        narrow(connection, number)
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
    """Clears all tenants; gives the number of messages removed, and of tenants that had any."""
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
