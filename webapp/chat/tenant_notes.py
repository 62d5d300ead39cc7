"""The notes of tenants in the database, for the agent's tools.

Each act is a transaction of its own, which holds whatever becomes of the turn.
"""

from __future__ import annotations

from collections.abc import Sequence

from webapp.agent.toolkits.notes import MAX_NOTES, Note
from webapp.clock import Clock
from webapp.memory.notes import store
from webapp.storage import Connection, Database
from webapp.storage.narrowing import narrow
from webapp.tenants import store as tenants
from webapp.tenants.user_ids.forms import UserIds


class TenantNotes:
    """See `Notes` in agent/toolkits/notes.py. An unknown tenant has none, and is not made."""

    def __init__(self, database: Database, user_ids: UserIds, clock: Clock) -> None:
        self._database = database
        self._user_ids = user_ids
        self._clock = clock

    def add(self, user_id: str, text: str) -> Note | None:
        stored_id, now_ms = self._user_ids.stored(user_id), self._clock.now_ms()

        def work(connection: Connection) -> Note | None:
            tenant = tenants.number_of(connection, stored_id)
            if tenant is None:
                return None
            narrow(connection, tenant)
            # Two turns of one tenant come one after the other, and so do their numbers.
            tenants.hold(connection, tenant)
            found = store.find(connection, tenant, text)
            if found is None and store.count(connection, tenant) < MAX_NOTES:
                found = store.add(connection, tenant, text, now_ms)
            return None if found is None else Note(*found)

        return self._database.write(work)

    def all(self, user_id: str) -> Sequence[Note]:
        with self._database.read() as connection:
            tenant = tenants.number_of(connection, self._user_ids.stored(user_id))
            if tenant is None:
                return ()
            narrow(connection, tenant)
            rows = store.page(connection, tenant, 0, MAX_NOTES)
        return [Note(*row) for row in reversed(rows)]

    def remove(self, user_id: str, number: int) -> bool:
        stored_id = self._user_ids.stored(user_id)

        def work(connection: Connection) -> bool:
            tenant = tenants.number_of(connection, stored_id)
            if tenant is None:
                return False
            narrow(connection, tenant)
            return store.remove(connection, tenant, number)

        return self._database.write(work)
