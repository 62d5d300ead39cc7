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


def hold(connection: Connection, tenant: int, session_id: str) -> StoredState:
    """`find`, and nobody else changes it until the transaction ends, if it is there."""
    sql = f"{_FIND} FOR NO KEY UPDATE" if engine_of(connection) == "postgres" else _FIND
    row = connection.execute(sql, {"tenant": tenant, "session": session_id}).fetchone()
    return NO_STATE if row is None else StoredState(row[0], int(row[1]))


def replace(
    connection: Connection,
    tenant: int,
    session_id: str,
    make: Callable[[StoredState], str | None],
    now_ms: int,
) -> StoredState:
    """Puts what `make` makes of the state in its place; makes the session, if it must.

    Nothing is written to remove a state that is not there. `make` may be asked again, when another
    writer has made the session meanwhile; what it raises goes on to the caller.
    """
    who: dict[str, Any] = {"tenant": tenant, "session": session_id, "now": now_ms}
    while True:
        found = hold(connection, tenant, session_id)
        text = make(found)
        if text is None and found.text is None:
            return found
        row = connection.execute(_PUT, {**who, "state": text, "seen": found.version}).fetchone()
        if row is not None:
            return StoredState(text, int(row[0]))


_FIND = """
    SELECT state, state_version FROM sessions WHERE tenant_id = :tenant AND session_id = :session
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
