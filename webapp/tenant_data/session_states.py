"""Reads, replaces and removes the state of a session from outside of its turns."""

from __future__ import annotations

from webapp.clock import Clock
from webapp.errors import TenantBlocked, TooManySessions
from webapp.memory.limiting.limits import (
    NO_LIMITS,
    NOTHING_DROPPED,
    DropCount,
    Dropped,
    TenantLimits,
)
from webapp.memory.limiting.parts import make_room
from webapp.memory.sessions import store as sessions
from webapp.memory.states import store
from webapp.memory.states.store import NO_STATE, StoredState
from webapp.session_state.values import Fields, require_size, size_of, write_fields
from webapp.session_state.versions import Precondition
from webapp.storage import Connection, Database
from webapp.storage.narrowing import narrow
from webapp.tenants import store as tenants
from webapp.tenants.counters import store as counters
from webapp.tenants.user_ids.forms import UserIds

MAX_ALONE = 1000
"""So many sessions of a tenant may hold a state and no message."""
MAX_ONCE_ALONE = 10_000
"""So many may hold a state, or have held one, and no message: a version outlives its state."""


class SessionStates:
    """The states of all sessions, by readable user ids and the sessions' names."""

    def __init__(
        self,
        database: Database,
        user_ids: UserIds,
        clock: Clock,
        *,
        max_bytes: int,
        limits: TenantLimits = NO_LIMITS,
        dropped: DropCount | None = None,
    ) -> None:
        self._database = database
        self._user_ids = user_ids
        self._clock = clock
        self._max_bytes = max_bytes
        self._limits = limits
        self._dropped = dropped or DropCount()

    def get(self, user_id: str, session_id: str) -> StoredState:
        """The session's state; of one that is not known, none. Makes nobody known."""
        with self._database.read() as connection:
            number = tenants.number_of(connection, self._user_ids.stored(user_id))
            if number is None:
                return NO_STATE
            narrow(connection, number)
            return store.find(connection, number, session_id)

    def put(
        self, user_id: str, session_id: str, fields: Fields, condition: Precondition
    ) -> StoredState:
        """Puts a state in the place of the session's; makes the session, and the tenant as well.

        Raises `StateConflict`, `StateTooLarge`, `TenantBlocked` and `TooManySessions`, and then
        nothing is stored.
        """
        require_size(size_of(fields), self._max_bytes)
        # Empty, it is a state still.
        return self._write(user_id, session_id, write_fields(fields) or "{}", condition)

    def remove(self, user_id: str, session_id: str, condition: Precondition) -> StoredState:
        """Removes the session's state, and gives what is left: its version. Makes nobody known."""
        return self._write(user_id, session_id, None, condition)

    def _write(
        self, user_id: str, session_id: str, text: str | None, condition: Precondition
    ) -> StoredState:
        stored_id, now = self._user_ids.stored(user_id), self._clock.now_ms()

        def checked(found: StoredState) -> str | None:
            condition.require(found.version, present=found.text is not None)
            return text

        def work(connection: Connection) -> tuple[StoredState, Dropped]:
            standing = tenants.standing(connection, stored_id, user_id=user_id)
            if standing is not None and standing.blocked:
                raise TenantBlocked("This user is blocked.")
            if standing is None and text is None:
                checked(NO_STATE)
                return NO_STATE, NOTHING_DROPPED
            number = (
                tenants.ensure(connection, stored_id, now, user_id=user_id)
                if standing is None
                else standing.number
            )
            narrow(connection, number)
            # In the order in which a turn takes them: the tenant's row, then the session's.
            counters.count_messages(connection, number, 0, now)
            put = store.replace(
                connection,
                number,
                session_id,
                checked,
                now,
                before_new=lambda: _require_room(connection, number),
            )
            return put, self._make_room(connection, number, session_id)

        put, dropped = self._database.write(work)
        self._dropped.add(dropped.sessions)
        return put

    def _make_room(self, connection: Connection, tenant: int, session_id: str) -> Dropped:
        """A session that a state has made counts like any other."""
        if not self._limits.sessions:
            return NOTHING_DROPPED
        count = sessions.count(connection, tenant)
        return make_room(connection, tenant, self._limits, 0, session_count=count, keep=session_id)


def _require_room(connection: Connection, tenant: int) -> None:
    """A PUT costs no turn and meets no rate limit, so new sessions of it are bounded by number. The
    tenant's row is held, so no two are counted at once."""
    holding, known = store.alone(connection, tenant, MAX_ONCE_ALONE)
    if holding < MAX_ALONE and known < MAX_ONCE_ALONE:
        return
    what = (
        f"{MAX_ALONE} sessions with a state and no message"
        if holding >= MAX_ALONE
        else f"{MAX_ONCE_ALONE} sessions that had a state and have no message"
    )
    raise TooManySessions(
        f"A user may have {what}; forget one of them, or talk in it, before a state makes another."
    )
