"""Who did what to whom: the log's values, its writing and its proof; its SQL is in audit_store.

Each entry carries the hash of the one before it, and the newest entry's number and hash stand in
the head as well, written in the same transaction and sealed under SECRET_KEY. So a changed,
removed or inserted entry breaks the chain, and a log that was cut off at its end no longer agrees
with its head, which nobody can make anew without the key. Only a whole earlier state of the
database, head included, looks like itself: against that, keep the head that `switchboard check`
prints somewhere else, and compare.

Under another SECRET_KEY the chain is still proved entry by entry, and what was sealed before is
told from what was changed: it waits for `switchboard audit seal`. The first one that is
set takes over from the instance's own secret by itself, until `serve` has used the database.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from webapp.accounts import audit_store as store
from webapp.accounts.audit_seal import NO_KEY, AuditSeal, Head
from webapp.accounts.principal import Principal
from webapp.clock import Clock
from webapp.errors import Conflict, StorageUnavailable
from webapp.storage import Connection, Database
from webapp.storage.production import is_production

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
    # It is not what was written here, and shown as well as can be.
    damaged: bool = False


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
class NotSealed:
    """The chain is whole, but entries up to `up_to` were there before this SECRET_KEY sealed it:
    under another key, or written by somebody who has none. `switchboard audit seal` vouches."""

    count: int
    head: str
    up_to: int

    @property
    def sentence(self) -> str:
        if not self.up_to:
            return (
                "The audit log is whole, but nothing proves where it began: the database was made"
                " by a program that has no key, such as one with a SQLiteMemory, or all earlier"
                " entries were taken out. If it is the first, run `switchboard audit seal`."
            )
        return (
            f"The audit log is whole, but its entries up to {self.up_to} of {self.count} are not"
            " sealed under this SWITCHBOARD_SECRET_KEY. If it was changed, compare the log with"
            " the head that was noted before, and run `switchboard audit seal`; if it was not,"
            " entries may have been cut off or made up: compare with a backup."
        )


@dataclass(frozen=True, slots=True)
class BrokenAt:
    """The first entry that is not as it was written, and how that shows."""

    id: int
    reason: str


class AuditLog:
    """Writes and proves the log under one key.

    `first_key` is the one of the instance, which `dev` sealed with before a key was set; its seals
    count until production begins.
    """

    def __init__(self, key: bytes, clock: Clock, *, first_key: bytes | None = None) -> None:
        self._seal = AuditSeal(key)
        self._first = None if first_key is None else AuditSeal(first_key)
        self._clock = clock

    def record(self, connection: Connection, entry: AuditEntry) -> int:
        """Adds the entry in the caller's own transaction; gives its number."""
        last, previous, seam = self._place(connection)
        number = last + 1
        digest = self._append(connection, number, previous, entry)
        if digest is None:
            # Somebody has put an entry there behind our back. The act is written down all the
            # same, behind it, and the chain shows both.
            number = store.next_free(connection, number)
            digest = self._append(connection, number, previous, entry)
            if digest is None:
                raise StorageUnavailable("The audit log cannot take another entry.")
        store.put_head(connection, self._seal.sealed(number, digest, seam))
        return number

    def begin(self, connection: Connection) -> None:
        """Seals the log as it is, when nothing has sealed it yet: the schema was just made, or
        brought to the form that has seals. A chain that is not whole is left for `verify`."""
        head = store.head(connection)
        if head is not None and head.key_id != NO_KEY:
            return
        chain = _chain(connection)
        if isinstance(chain, VerifiedChain) and (head is None or _agrees(head, chain)):
            store.put_head(connection, self._seal.sealed(chain.count, chain.head, None))

    def begin_production(self, connection: Connection) -> None:
        """From now on the key of `dev` counts no more: what it sealed is sealed under this one."""
        head = store.head(connection)
        if head is not None and self._counts(connection, head):
            store.put_head(connection, self._seal.sealed(head.number, head.hash, head.seam))

    def verify(self, connection: Connection) -> VerifiedChain | BrokenAt | NotSealed:
        """Reads the whole log; takes about 20 µs an entry, so call it through `read_long`."""
        chain, head = _chain(connection), store.head(connection)
        if isinstance(chain, BrokenAt):
            return chain
        after = chain.count + 1
        if head is None:
            return BrokenAt(after, "the head of the log is missing or damaged")
        seal = self._seal_of(connection, head)
        if seal is not None and not seal.is_own(head):
            return BrokenAt(after, "the head of the log was changed")
        if head.number > chain.count:
            return BrokenAt(after, "entries are missing at the end")
        if not _agrees(head, chain):
            return BrokenAt(head.number + 1, "entries were added past the head")
        if seal is None:
            return NotSealed(chain.count, chain.head, chain.count)
        if head.seam is not None:
            return NotSealed(chain.count, chain.head, head.seam)
        return chain

    def seal_anew(self, connection: Connection, by: Actor) -> NotSealed | VerifiedChain:
        """Vouches for the whole log under this key, and writes down that it did; gives what the
        log was before. `Conflict` when an entry was changed or is missing: no seal mends that."""
        before = self.verify(connection)
        chain = _chain(connection)
        if isinstance(chain, BrokenAt):
            raise Conflict(
                f"The audit log is broken at entry {chain.id}: {chain.reason}. Compare it with a"
                " backup; it cannot be sealed."
            )
        store.put_head(connection, self._seal.sealed(chain.count, chain.head, None))
        figures = {"entries": chain.count, "head": chain.head}
        self.record(connection, AuditEntry(by, "seal_audit_log", before=figures))
        return chain if isinstance(before, BrokenAt) else before

    def _place(self, connection: Connection) -> tuple[int, str, int | None]:
        """The number and hash that the next entry follows, and the seam from now on."""
        head = store.head(connection)
        if head is not None and self._counts(connection, head):
            return head.number, head.hash, head.seam
        newest = store.newest(connection)
        if newest is None:
            return 0, GENESIS, 0
        return newest.row[0], newest.hash, newest.row[0]

    def _counts(self, connection: Connection, head: Head) -> bool:
        """Whether it was sealed as it is, under a key that is believed here."""
        seal = self._seal_of(connection, head)
        return seal is not None and seal.is_own(head)

    def _seal_of(self, connection: Connection, head: Head) -> AuditSeal | None:
        """The seal that the head must bear; None when it is another's."""
        if head.key_id == self._seal.key_id:
            return self._seal
        if self._first is None or head.key_id != self._first.key_id or is_production(connection):
            return None
        return self._first

    def _append(
        self, connection: Connection, number: int, previous: str, entry: AuditEntry
    ) -> str | None:
        """The new entry's hash; None when the number is taken."""
        row: store.Row = (
            number,
            self._clock.now_ms(),
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
        digest = _hash(previous, row)
        return digest if store.append(connection, row, previous, digest) else None


def _chain(connection: Connection) -> VerifiedChain | BrokenAt:
    """Whether every entry is as it was written and follows the one before it."""
    previous, expected = GENESIS, 1
    for entry in store.rows(connection):
        number = entry.row[0]
        if number != expected:
            return BrokenAt(expected, "an entry is missing")
        if not entry.sound:
            return BrokenAt(number, "the entry was changed: a value is of another kind")
        if entry.previous_hash != previous:
            return BrokenAt(number, "the entry does not follow the one before it")
        if entry.hash != _hash(previous, entry.row):
            return BrokenAt(number, "the entry was changed")
        previous, expected = entry.hash, number + 1
    return VerifiedChain(expected - 1, previous)


def _agrees(head: Head, chain: VerifiedChain) -> bool:
    return (head.number, head.hash) == (chain.count, chain.head)


def page(
    connection: Connection,
    chosen: AuditFilter | None = None,
    *,
    before: int | None = None,
    limit: int = 50,
) -> AuditPage:
    """A page of the entries that match, newest first."""
    wanted = chosen or AuditFilter()
    found = store.matching(connection, _parameters(wanted), before=before, limit=limit + 1)
    records = tuple(_record(entry) for entry in found[:limit])
    return AuditPage(records, records[-1].id if len(found) > limit else None)


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


def _record(entry: store.StoredEntry) -> AuditRecord:
    before, after = _figures(entry.row[8]), _figures(entry.row[9])
    damaged = not entry.sound or before is None or after is None
    row, figures = entry.row, (before or {}, after or {})
    values: tuple[Any, ...] = (*row[:8], *figures, row[10], entry.hash, damaged)
    return AuditRecord(*values)


def _figures(text: str) -> Mapping[str, Any] | None:
    """What was noted; None when it is not what was written here."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _hash(previous: str, row: tuple[Any, ...]) -> str:
    # A list in JSON cannot be read in two ways, as fields glued together could be.
    text = _json([previous, *row])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
