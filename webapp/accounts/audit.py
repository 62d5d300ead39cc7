"""Who did what to whom: the log's values, its writing and its proof; its SQL is in audit_store.

Each entry carries the hash of the one before it, and the newest entry's number and hash stand in
`meta` as well, written in the same transaction. So a changed, removed or inserted entry breaks
the chain, and a log cut off at its end no longer agrees with its head. Whoever may write the
database file could compute a whole new chain: against that, keep the head that
`switchboard check` prints somewhere else, and compare.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from webapp.accounts import audit_store as store
from webapp.accounts.principal import Principal
from webapp.clock import Clock, SystemClock
from webapp.storage import Connection, Database

GENESIS = "0" * 64
PAGE = 500


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: `name` as `Principal.actor` gives it, or `cli`; `address` is where from."""

    name: str
    role: str
    address: str = ""
    request_id: str = ""

    @classmethod
    def of(cls, principal: Principal, *, address: str = "", request_id: str = "") -> Actor:
        return cls(principal.actor, principal.role, address, request_id)

    @classmethod
    def command_line(cls) -> Actor:
        """Whoever has a shell on the machine; the database is theirs anyway."""
        return cls("cli", "owner")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act, to be recorded in the transaction of the act.

    `tenant_id` is the tenant's number, never its user id: a forgotten user's name must be gone
    from here as well. `target` names what is not a tenant, such as a key or an account.
    `before` and `after` are figures and settings, never a user's words.
    """

    actor: Actor
    action: str
    tenant_id: int | None = None
    target: str = ""
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """An entry as it stands in the log; `at` is in milliseconds since 1970-01-01 UTC."""

    id: int
    at: int
    actor: str
    role: str
    address: str
    action: str
    tenant_id: int | None
    target: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    request_id: str
    hash: str


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries: all fields that are set must match. `until` itself is excluded, in ms."""

    actor: str | None = None
    action: str | None = None
    tenant_id: int | None = None
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries, newest first; `next_before` is the `before` of the next page, None at the end."""

    records: tuple[AuditRecord, ...]
    next_before: int | None


@dataclass(frozen=True, slots=True)
class VerifiedChain:
    """Every entry is as it was written; `head` is the newest hash, to be kept elsewhere."""

    count: int
    head: str


@dataclass(frozen=True, slots=True)
class BrokenAt:
    """The first entry that is not as it was written, and how that shows."""

    id: int
    reason: str


def record(connection: Connection, entry: AuditEntry, *, clock: Clock | None = None) -> int:
    """Adds the entry in the caller's own transaction; gives its number."""
    last_id, last_hash = store.head(connection) or (0, GENESIS)
    row: store.Row = (
        last_id + 1,
        (clock or SystemClock()).now_ms(),
        entry.actor.name,
        entry.actor.role,
        entry.actor.address,
        entry.action,
        entry.tenant_id,
        entry.target,
        _json(entry.before),
        _json(entry.after),
        entry.actor.request_id,
    )
    store.append(connection, row, last_hash, _hash(last_hash, row))
    return row[0]


def verify(connection: Connection) -> VerifiedChain | BrokenAt:
    """Reads the whole log; takes about 10 µs an entry, so call it through `read_long`."""
    previous, expected = GENESIS, 1
    for *row, previous_hash, own_hash in store.rows(connection):
        number = row[0]
        if number != expected:
            return BrokenAt(expected, "an entry is missing")
        if previous_hash != previous:
            return BrokenAt(number, "the entry does not follow the one before it")
        if own_hash != _hash(previous, tuple(row)):
            return BrokenAt(number, "the entry was changed")
        previous, expected = own_hash, number + 1
    newest = (expected - 1, previous)
    head = store.head(connection) or (0, GENESIS)
    if head[0] > newest[0]:
        return BrokenAt(expected, "entries are missing at the end")
    if head != newest:
        return BrokenAt(head[0] + 1, "entries were added past the head")
    return VerifiedChain(newest[0], previous)


def page(
    connection: Connection,
    chosen: AuditFilter | None = None,
    *,
    before: int | None = None,
    limit: int = 50,
) -> AuditPage:
    """A page of the entries that match, newest first."""
    wanted = chosen or AuditFilter()
    rows = store.matching(connection, _parameters(wanted), before=before, limit=limit + 1)
    records = tuple(_record(row) for row in rows[:limit])
    return AuditPage(records, records[-1].id if len(rows) > limit else None)


def export(database: Database, chosen: AuditFilter | None = None) -> Iterator[AuditRecord]:
    """Every entry that matches, newest first, read page by page so that no read is long."""
    before: int | None = None
    while True:
        with database.read() as connection:
            found = page(connection, chosen, before=before, limit=PAGE)
        yield from found.records
        if found.next_before is None:
            return
        before = found.next_before


def _parameters(chosen: AuditFilter) -> dict[str, Any]:
    fields = {name: getattr(chosen, name) for name in AuditFilter.__slots__}
    return {name: value for name, value in fields.items() if value is not None}


def _record(row: Any) -> AuditRecord:
    figures = (json.loads(row[8]), json.loads(row[9]))
    return AuditRecord(*(*row[:8], *figures, *row[10:]))


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _hash(previous: str, row: tuple[Any, ...]) -> str:
    # A list in JSON cannot be read in two ways, as fields glued together could be.
    text = _json([previous, *row])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
