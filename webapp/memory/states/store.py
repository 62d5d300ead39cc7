"""The SQL of session states: reads one, changes it, replaces it. Times and messages are not here.

A state that was removed leaves its version behind: a version names one state and no other, so a
writer that read an older one is told so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from webapp.session_state.changes import StateChanges
from webapp.session_state.values import read_fields, write_fields
from webapp.storage import Connection
from webapp.storage.engine import engine_of


@dataclass(frozen=True, slots=True)
class StoredState:
    """A session's state as JSON text, None when there is none, and its version: 0 when there never
    was one."""

    text: str | None = None
    version: int = 0


NO_STATE = StoredState()


def find(connection: Connection, tenant: int, session_id: str) -> StoredState:
    """The state of a session; of one that is not there, none."""
    row = connection.execute(_FIND, {"tenant": tenant, "session": session_id}).fetchone()
    return NO_STATE if row is None else StoredState(row[0], int(row[1]))


def change(
    connection: Connection,
    tenant: int,
    session_id: str,
    changes: StateChanges,
    most: int,
    now_ms: int,
) -> None:
    """Makes a turn's changes in the state as it is now. Raises `StateConflict`."""

    def changed(found: StoredState) -> str | None:
        return write_fields(changes.apply(read_fields(found.text), most))

    replace(connection, tenant, session_id, changed, now_ms)


def alone(connection: Connection, tenant: int, most: int) -> tuple[int, int]:
    """Of the tenant's sessions without a message: how many hold a state, and how many hold or held
    one. Not more than `most` are counted."""
    row = connection.execute(_ALONE, {"tenant": tenant, "most": most}).fetchone()
    return int(row[0]), int(row[1])


def replace(
    connection: Connection,
    tenant: int,
    session_id: str,
    make: Callable[[StoredState], str | None],
    now_ms: int,
    *,
    before_new: Callable[[], None] | None = None,
) -> StoredState:
    """Puts what `make` makes of the state in its place; makes the session, if it must.

    Nothing is written to remove a state that is not there. `make` may be asked again, when another
    writer has made the session meanwhile. `before_new` is asked before a session is made. What
    either raises goes on to the caller.
    """
    who: dict[str, Any] = {"tenant": tenant, "session": session_id, "now": now_ms}
    while True:
        held = _hold(connection, tenant, session_id)
        found = held or NO_STATE
        text = make(found)
        if text is None and found.text is None:
            return found
        if held is None and before_new is not None:
            before_new()
        row = connection.execute(_PUT, {**who, "state": text, "seen": found.version}).fetchone()
        if row is not None:
            return StoredState(text, int(row[0]))


def _hold(connection: Connection, tenant: int, session_id: str) -> StoredState | None:
    """The session's state, None when there is no such session; nobody else changes it until the
    transaction ends."""
    sql = f"{_FIND} FOR NO KEY UPDATE" if engine_of(connection) == "postgres" else _FIND
    row = connection.execute(sql, {"tenant": tenant, "session": session_id}).fetchone()
    return None if row is None else StoredState(row[0], int(row[1]))


_FIND = """
    SELECT state, state_version FROM sessions WHERE tenant_id = :tenant AND session_id = :session
"""

_ALONE = """
    SELECT COALESCE(SUM(held), 0), COUNT(*) FROM (
        SELECT CASE WHEN state IS NULL THEN 0 ELSE 1 END AS held FROM sessions
        WHERE tenant_id = :tenant AND message_count = 0 AND state_version > 0 LIMIT :most
    ) AS counted
"""

_PUT = """
    INSERT INTO sessions
        (tenant_id, session_id, created_at, last_active_at, state, state_version)
    VALUES (:tenant, :session, :now, :now, :state, 1)
    ON CONFLICT (tenant_id, session_id) DO UPDATE SET
        state = excluded.state, state_version = sessions.state_version + 1,
        last_active_at = excluded.last_active_at
    WHERE sessions.state_version = :seen
    RETURNING state_version
"""
