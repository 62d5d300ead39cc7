"""Adds entries to the audit log and verifies all of it; the SQL is in store.py.

Each entry carries the hash of the one before it, and the newest entry's number and hash stand in
the head as well, written in the same transaction and sealed under SECRET_KEY. So a changed, removed
or inserted entry breaks the chain, and a log that was cut off at its end no longer agrees with its
head, which cannot be made without the key. Putting back a whole earlier database, head included, is
not noticed: against that, keep the head that `switchboard check` prints somewhere else, and
compare.

Under another SECRET_KEY the chain is still proved entry by entry, and what was sealed before is
told from what was changed: it waits for `switchboard audit seal`. The first one that is
set takes over from the instance's own secret by itself, until `serve` has used the database.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from webapp.accounts.audit import store
from webapp.accounts.audit.entries import Actor, AuditEntry, BrokenAt, NotSealed, VerifiedChain
from webapp.accounts.audit.seal import NO_KEY, AuditSeal, Head
from webapp.clock import Clock
from webapp.errors import Conflict, StorageUnavailable
from webapp.storage import Connection
from webapp.storage.alone import hold
from webapp.storage.production import is_production

GENESIS = "0" * 64


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
        hold(connection, "audit")
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
        hold(connection, "audit")
        head = store.head(connection)
        if head is not None and head.key_id != NO_KEY:
            return
        chain = _chain(connection)
        if isinstance(chain, VerifiedChain) and (head is None or _agrees(head, chain)):
            store.put_head(connection, self._seal.sealed(chain.count, chain.head, None))

    def begin_production(self, connection: Connection) -> None:
        """From now on the key of `dev` counts no more: what it sealed is sealed under this one."""
        hold(connection, "audit")
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
        hold(connection, "audit")
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


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _hash(previous: str, row: tuple[Any, ...]) -> str:
    # A list in JSON cannot be read in two ways, as fields glued together could be.
    text = _json([previous, *row])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
