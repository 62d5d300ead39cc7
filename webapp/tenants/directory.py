"""What the people who run Switchboard do with tenants: the use cases of API, console and CLI.

Each change takes `audit`, which is called inside the change's own transaction, so that an act
and its entry in the audit log are stored together or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from webapp.accounts.keys import forget_user as forget_keys
from webapp.allowances import check_rate_limit
from webapp.clock import Clock
from webapp.errors import NotFound
from webapp.storage import Connection, Database
from webapp.tenant_data import wiping
from webapp.tenant_data.cleanup import Cleanup, forget_inactive
from webapp.tenant_data.transfer.export import export_lines
from webapp.tenant_data.transfer.reading import read_export
from webapp.tenant_data.transfer.restoring import Imported, store_import
from webapp.tenants import changes, rows, store
from webapp.tenants.changes import Forgotten
from webapp.tenants.listing.query import TenantQuery
from webapp.tenants.listing.readable import ReadableListing
from webapp.tenants.listing.store import Page
from webapp.tenants.notes import Audit, AuditNote
from webapp.tenants.restrictions import blocks
from webapp.tenants.rows import TenantRow
from webapp.tenants.user_ids.forms import UserIds


class Unset:
    """Says that a field of a change was not given, which is not the same as None."""


UNSET: Final = Unset()
FORGOTTEN_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class TenantChange:
    """What is to be changed; a limit of None goes back to the default."""

    blocked: bool | Unset = UNSET
    rate_limit: str | Unset | None = UNSET
    token_budget: str | Unset | None = UNSET


@dataclass(frozen=True, slots=True)
class Census:
    """How many tenants there are, and how many of them were active lately."""

    tenants: int
    active: int


class TenantDirectory:
    """Every tenant, by its readable user id. Reading or clearing an unknown one makes none."""

    def __init__(
        self,
        database: Database,
        user_ids: UserIds,
        clock: Clock,
        *,
        check_token_budget: Callable[[str], object],
        memory_max_messages: int = 100,
        encrypted: bool = False,
    ) -> None:
        """`check_token_budget` raises `InvalidInput`; with `encrypted` ids are found whole only."""
        self._cap = memory_max_messages
        self._database = database
        self._user_ids = user_ids
        self._clock = clock
        self._check_token_budget = check_token_budget
        self._listing = ReadableListing(database, user_ids, clock, encrypted=encrypted)

    # -- looking --------------------------------------------------------------------------------

    def find(self, user_id: str) -> TenantRow | None:
        with self._database.read() as connection:
            return self._find(connection, user_id)

    def get(self, user_id: str) -> TenantRow:
        """Raises `NotFound`."""
        return _known(self.find(user_id))

    def number(self, user_id: str) -> int | None:
        with self._database.read() as connection:
            return store.number_of(connection, self._user_ids.stored(user_id))

    def named(self, number: int) -> str | None:
        """The user id behind a tenant's number, as an audit entry has it; None when forgotten."""
        with self._database.read() as connection:
            row = rows.find_number(connection, number)
        return None if row is None else self._user_ids.readable(row.user_id)

    def page(self, query: TenantQuery) -> Page:
        """A page of the list with readable ids; see readable_listing.py."""
        return self._listing.page(query)

    def census(self, active_within_ms: int) -> Census:
        """Counts index entries: some milliseconds for a million tenants."""
        since = self._clock.now_ms() - active_within_ms
        with self._database.read() as connection:
            return Census(rows.count(connection), rows.count_active(connection, since))

    # -- acting on one --------------------------------------------------------------------------

    def update(
        self, user_id: str, change: TenantChange, *, audit: Audit | None = None
    ) -> TenantRow:
        """Changes what is given and nothing else; raises `NotFound` or `InvalidInput`."""
        self._check_change(change)

        return self._database.write(
            lambda connection: self._update(connection, user_id, change, audit)
        )

    def clear(self, user_id: str, *, audit: Audit | None = None) -> int:
        """Removes all messages of the tenant; 0 for one that is not known."""
        cleared = wiping.clear(self._database, self._finder(user_id), audit)
        self._database.empty_log()
        return cleared or 0

    def forget(self, user_id: str, *, audit: Audit | None = None) -> Forgotten:
        """Deletes the tenant and all that is its; raises `NotFound`."""

        def finish(connection: Connection, number: int, gone: Forgotten) -> None:
            # A key for this user alone holds the user's id, and could bring the tenant back.
            forget_keys(connection, self._user_ids, user_id)
            if audit is not None:
                audit(connection, AuditNote("forget_tenant", number, gone.as_dict()))

        gone = wiping.forget(self._database, self._finder(user_id), finish, audit=audit)
        if gone is None:
            raise _unknown()
        wiping.leave_no_trace(self._database)
        return gone

    def export(self, user_id: str, *, conversations: bool = True) -> Iterator[bytes]:
        """Everything about the tenant as JSON Lines, read while it is sent; raises `NotFound`."""
        return export_lines(
            self._database,
            self.get(user_id),
            self._clock.now_ms(),
            conversations=conversations,
        )

    def import_(
        self, user_id: str, lines: Iterable[bytes], *, audit: Audit | None = None
    ) -> Imported:
        """Reads an export into the tenant, which may be another than it came from.

        All of it or, with `InvalidInput` or `Conflict`, nothing.
        """
        contents = read_export(lines)
        self._check_change(
            TenantChange(
                rate_limit=contents.tenant.rate_limit, token_budget=contents.tenant.token_budget
            )
        )

        def work(connection: Connection) -> Imported:
            number, imported = store_import(
                connection,
                self._user_ids.stored(user_id),
                contents,
                self._clock.now_ms(),
                cap=self._cap,
                user_id=user_id,
            )
            if audit is not None:
                figures = {
                    "sessions": imported.sessions,
                    "messages": imported.messages,
                    "requests": imported.requests,
                }
                audit(connection, AuditNote("import_tenant", number, after=figures))
            return imported

        return self._database.write_long(work)

    # -- acting on several ----------------------------------------------------------------------

    def clear_each(self, user_ids: Sequence[str], *, audit: Audit | None = None) -> tuple[int, int]:
        """Clears one after the other; how many messages went, and of how many known tenants."""
        cleared = [
            wiping.clear(self._database, self._finder(user_id), audit) for user_id in user_ids
        ]
        self._database.empty_log()
        known = [messages for messages in cleared if messages is not None]
        return sum(known), len(known)

    def block_each(
        self, user_ids: Sequence[str], blocked: bool, *, audit: Audit | None = None
    ) -> int:
        """Blocks or unblocks all of these or none; how many of them are known."""
        change = TenantChange(blocked=blocked)

        def work(connection: Connection) -> int:
            known = [user_id for user_id in user_ids if self._find(connection, user_id)]
            for user_id in known:
                self._update(connection, user_id, change, audit)
            return len(known)

        return self._database.write(work)

    # -- acting on all --------------------------------------------------------------------------

    def clear_all(
        self, *, audit: Audit | None = None, progress: Callable[[int], None] | None = None
    ) -> tuple[int, int]:
        """Removes every message; how many, and of how many tenants.

        Tenant by tenant, with turns in between; `progress` is told of the messages that are gone.
        """
        cleared = wiping.clear_all(self._database, audit, progress)
        self._database.empty_log()
        return cleared

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
                at_most = max(FORGOTTEN_AT_ONCE, rows.count(connection) // 10)
        now = self._clock.now_ms() if now_ms is None else now_ms
        return forget_inactive(
            self._database,
            now - round(inactive_after * 1000),
            at_most=at_most,
            dry_run=dry_run,
            audit=audit,
            progress=progress,
        )

    def _check_change(self, change: TenantChange) -> None:
        if isinstance(change.rate_limit, str):
            check_rate_limit(change.rate_limit)
        if isinstance(change.token_budget, str):
            self._check_token_budget(change.token_budget)

    # -- inside a transaction -------------------------------------------------------------------

    def _update(
        self, connection: Connection, user_id: str, change: TenantChange, audit: Audit | None
    ) -> TenantRow:
        before = _known(self._find(connection, user_id))
        if before.number == store.NOBODY:
            return self._lift(connection, before, change, audit)
        if not isinstance(change.blocked, Unset):
            changes.set_blocked(connection, before.number, change.blocked, self._clock.now_ms())
        if not isinstance(change.rate_limit, Unset):
            changes.set_rate_limit(connection, before.number, change.rate_limit)
        if not isinstance(change.token_budget, Unset):
            changes.set_token_budget(connection, before.number, change.token_budget)
        after = _known(self._find(connection, user_id))
        was, became = _differences(before, after)
        if audit is not None and became:
            audit(connection, AuditNote(_action(became), before.number, was, became))
        return after

    def _lift(
        self, connection: Connection, row: TenantRow, change: TenantChange, audit: Audit | None
    ) -> TenantRow:
        """Of a user that was forgotten only the block is left to be changed."""
        if change != TenantChange(blocked=False):
            if change == TenantChange(blocked=True):
                return row
            raise _unknown()
        blocks.lift(connection, self._user_ids.stored(row.user_id), row.user_id)
        if audit is not None:
            audit(
                connection, AuditNote("unblock_tenant", None, {"blocked": True}, {"blocked": False})
            )
        return replace(row, blocked_at=None)

    # -- readable ids ---------------------------------------------------------------------------

    def _finder(self, user_id: str) -> Callable[[Connection], int | None]:
        stored = self._user_ids.stored(user_id)
        return lambda connection: store.number_of(connection, stored)

    def _find(self, connection: Connection, user_id: str) -> TenantRow | None:
        stored = self._user_ids.stored(user_id)
        row = rows.find(connection, stored)
        if row is not None:
            return replace(row, user_id=user_id)
        blocked_at = blocks.kept_since(connection, stored, user_id)
        return None if blocked_at is None else rows.only_blocked(user_id, blocked_at)


def _known(row: TenantRow | None) -> TenantRow:
    if row is None:
        raise _unknown()
    return row


def _unknown() -> NotFound:
    return NotFound("There is no such tenant.")


def _action(became: dict[str, Any]) -> str:
    if list(became) == ["blocked"]:
        return "block_tenant" if became["blocked"] else "unblock_tenant"
    return "change_tenant"


def _differences(before: TenantRow, after: TenantRow) -> tuple[dict[str, Any], dict[str, Any]]:
    names = [
        name
        for name in ("blocked", "rate_limit", "token_budget")
        if getattr(before, name) != getattr(after, name)
    ]
    return (
        {name: getattr(before, name) for name in names},
        {name: getattr(after, name) for name in names},
    )
