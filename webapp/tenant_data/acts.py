"""What operators do with a tenant's data: clear, forget, export, import.

Each act takes `audit`, which is called inside the act's own transaction, so that an act and its
entry in the audit log are stored together or not at all. Looking at tenants, blocking and limits
are in `tenants/directory.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from webapp.accounts.keys import forget_user as forget_keys
from webapp.clock import Clock
from webapp.errors import NotFound
from webapp.storage import Connection, Database
from webapp.tenant_data import clearing, forgetting
from webapp.tenant_data.cleanup import Cleanup, forget_inactive
from webapp.tenant_data.forgetting import Forgotten
from webapp.tenant_data.transfer.restoring import Imported
from webapp.tenant_data.transfers import Transfers
from webapp.tenants import store
from webapp.tenants.directory import TenantDirectory
from webapp.tenants.notes import Audit, AuditNote
from webapp.tenants.user_ids.forms import UserIds

FORGOTTEN_AT_ONCE = 1000


class TenantActs:
    """Clears, forgets, exports and imports tenants, by their readable user ids."""

    def __init__(
        self,
        database: Database,
        user_ids: UserIds,
        clock: Clock,
        directory: TenantDirectory,
        *,
        memory_max_messages: int = 100,
    ) -> None:
        self._database = database
        self._user_ids = user_ids
        self._clock = clock
        self.transfers = Transfers(database, user_ids, clock, directory, cap=memory_max_messages)

    def clear(self, user_id: str, *, audit: Audit | None = None) -> int:
        """Removes all messages of the tenant; 0 for one that is not known."""
        return self.clear_each([user_id], audit=audit)[0]

    def clear_each(self, user_ids: Sequence[str], *, audit: Audit | None = None) -> tuple[int, int]:
        """Clears one after the other; how many messages went, and of how many known tenants."""
        cleared = [
            clearing.clear(self._database, self._finder(user_id), audit) for user_id in user_ids
        ]
        self._database.empty_log()
        known = [messages for messages in cleared if messages is not None]
        return sum(known), len(known)

    def clear_all(
        self, *, audit: Audit | None = None, progress: Callable[[int], None] | None = None
    ) -> tuple[int, int]:
        """Removes every message; how many, and of how many tenants.

        Tenant by tenant, with turns in between; `progress` is told of the messages that are gone.
        """
        cleared = clearing.clear_all(self._database, audit, progress)
        self._database.empty_log()
        return cleared

    def forget(self, user_id: str, *, audit: Audit | None = None) -> Forgotten:
        """Deletes the tenant and all that is its; raises `NotFound`."""

        def finish(connection: Connection, number: int, gone: Forgotten) -> None:
            # A key for this user alone holds the user's id, and could bring the tenant back.
            forget_keys(connection, self._user_ids, user_id)
            if audit is not None:
                audit(connection, AuditNote("forget_tenant", number, gone.as_dict()))

        gone = forgetting.forget(self._database, self._finder(user_id), finish, audit=audit)
        if gone is None:
            raise NotFound("There is no such tenant.")
        forgetting.leave_no_trace(self._database)
        return gone

    def cleanup(
        self,
        inactive_after: float,
        *,
        now_ms: int | None = None,
        at_most: int | None = None,
        dry_run: bool = False,
        audit: Audit | None = None,
        progress: Callable[[Cleanup], None] | None = None,
    ) -> Cleanup:
        """Forgets the tenants that were silent for `inactive_after` seconds; see cleanup.py.

        At most a tenth of all tenants, or `FORGOTTEN_AT_ONCE`, unless `at_most` says otherwise.
        """
        if at_most is None:
            with self._database.read() as connection:
                at_most = max(FORGOTTEN_AT_ONCE, store.count(connection) // 10)
        now = self._clock.now_ms() if now_ms is None else now_ms
        return forget_inactive(
            self._database,
            now - round(inactive_after * 1000),
            at_most=at_most,
            dry_run=dry_run,
            audit=audit,
            progress=progress,
        )

    def export(
        self, user_id: str, *, conversations: bool = True, audit: Audit | None = None
    ) -> Iterator[bytes]:
        """See `Transfers.export`."""
        return self.transfers.export(user_id, conversations=conversations, audit=audit)

    def import_(
        self, user_id: str, lines: Iterable[bytes], *, audit: Audit | None = None
    ) -> Imported:
        """See `Transfers.import_`."""
        return self.transfers.import_(user_id, lines, audit=audit)

    def _finder(self, user_id: str) -> clearing.Find:
        stored = self._user_ids.stored(user_id)
        return lambda connection: store.number_of(connection, stored)
