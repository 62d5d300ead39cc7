"""Looks at tenants, blocks them and gives them limits of their own, by their readable user ids.

Each change takes `audit`, which is called inside the change's own transaction. What concerns a
tenant's conversations and figures as well (clear, forget, export) is in `tenant_data/acts.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from webapp.clock import Clock
from webapp.errors import NotFound
from webapp.storage import Connection, Database
from webapp.storage.narrowing import narrow
from webapp.tenants import rows, store
from webapp.tenants.activity import store as activity
from webapp.tenants.listing.query import TenantQuery
from webapp.tenants.listing.readable import ReadableListing
from webapp.tenants.listing.store import Page
from webapp.tenants.notes import Audit, AuditNote
from webapp.tenants.restrictions import blocks
from webapp.tenants.restrictions import store as restrictions
from webapp.tenants.restrictions.change import TenantChange
from webapp.tenants.rows import TenantRow
from webapp.tenants.user_ids.forms import UserIds


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
        encrypted: bool = False,
    ) -> None:
        """With `encrypted` ids are found whole only."""
        self._database = database
        self._user_ids = user_ids
        self._clock = clock
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
            row = store.find_number(connection, number)
        return None if row is None else self._user_ids.readable(row.user_id)

    def page(self, query: TenantQuery) -> Page:
        """A page of the list with readable ids; see listing/readable.py."""
        return self._listing.page(query)

    def census(self, active_within_ms: int) -> Census:
        """Counts index entries: some milliseconds for a million tenants."""
        since = self._clock.now_ms() - active_within_ms
        with self._database.read() as connection:
            return Census(store.count(connection), activity.count_active(connection, since))

    # -- changing -------------------------------------------------------------------------------

    def update(
        self, user_id: str, change: TenantChange, *, audit: Audit | None = None
    ) -> TenantRow:
        """Changes what is given and nothing else; raises `NotFound` or `InvalidInput`."""
        change.check()

        def work(connection: Connection) -> TenantRow:
            number = store.number_of(connection, self._user_ids.stored(user_id))
            if number is not None:
                narrow(connection, number)
            return self._update(connection, user_id, change, audit)

        return self._database.write(work)

    def block_each(
        self, user_ids: Sequence[str], blocked: bool, *, audit: Audit | None = None
    ) -> int:
        """Blocks or unblocks all of these or none; how many of them are known."""
        change = TenantChange(blocked=blocked)

        def work(connection: Connection) -> int:
            known = [row for user_id in user_ids if (row := self._find(connection, user_id))]
            # All rows in one order, before the audit log: two such acts do not wait for each other.
            for row in sorted(known, key=lambda row: row.number):
                store.hold(connection, row.number)
            for row in known:
                self._update(connection, row.user_id, change, audit)
            return len(known)

        return self._database.write(work)

    # -- inside a transaction -------------------------------------------------------------------

    def _update(
        self, connection: Connection, user_id: str, change: TenantChange, audit: Audit | None
    ) -> TenantRow:
        before = _known(self._find(connection, user_id))
        if before.number == rows.NOBODY:
            return self._lift(connection, before, change, audit)
        store.hold(connection, before.number)
        before = _known(self._find(connection, user_id))
        after = change.of(before, self._clock.now_ms())
        restrictions.put(
            connection,
            before.number,
            blocked_at=after.blocked_at,
            rate_limit=after.rate_limit,
            token_budget=after.token_budget,
        )
        was, became = _differences(before, after)
        if audit is not None and became:
            audit(connection, AuditNote(_action(became), before.number, was, became))
        return after

    def _lift(
        self, connection: Connection, row: TenantRow, change: TenantChange, audit: Audit | None
    ) -> TenantRow:
        """Unblocks a user that was forgotten; nothing else of it can change."""
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

    def _find(self, connection: Connection, user_id: str) -> TenantRow | None:
        stored = self._user_ids.stored(user_id)
        row = store.find(connection, stored)
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
