"""The calls of a tenant that wait for approval, as people see them; deciding is a turn's."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.agent.approvals import PendingCall, from_text
from webapp.memory.paused_turns import store
from webapp.storage import Connection, Database
from webapp.storage.slices import ROWS, in_slices


@dataclass(frozen=True, slots=True)
class Waiting:
    """One session whose turn waits; the time is milliseconds since 1970-01-01 UTC."""

    session_id: str
    since_ms: int
    calls: tuple[PendingCall, ...]


def waiting(connection: Connection, tenant: int, now_ms: int, most: int) -> list[Waiting]:
    """At most so many of the tenant's, the newest first."""
    return [_waiting(row) for row in store.listed(connection, tenant, now_ms, most)]


def waiting_in(connection: Connection, tenant: int, session: str, now_ms: int) -> Waiting | None:
    """One session's."""
    row = store.find(connection, tenant, session, now_ms)
    return None if row is None else _waiting(row)


def count_waiting(connection: Connection, tenant: int, now_ms: int) -> int:
    """How many sessions of the tenant have a turn that waits."""
    return store.count(connection, tenant, now_ms)


def _waiting(row: store.PausedRow) -> Waiting:
    return Waiting(row.session_id, row.created_at_ms, from_text(row.turn).pending_calls)


def prune(database: Database, now_ms: int) -> None:
    """Drops the turns that have waited for too long, in small transactions."""

    def step(connection: Connection) -> int:
        return store.prune(connection, now_ms, ROWS)

    for _ in in_slices(database, step, bool):
        pass
