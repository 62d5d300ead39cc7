"""The values of the audit log: entry, actor, page, and the outcomes of a verification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from webapp.accounts.principal import Principal


@dataclass(frozen=True, slots=True)
class Actor:
    """The person or program that acts: `name` as `Principal.actor` gives it, or `cli`, and its
    `address`."""

    name: str
    role: str
    address: str = ""
    request_id: str = ""

    @classmethod
    def of(cls, principal: Principal, *, address: str = "", request_id: str = "") -> Actor:
        return cls(principal.actor, principal.role, address, request_id)

    @classmethod
    def command_line(cls) -> Actor:
        """A person with a shell on the machine, who can read the database anyway."""
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
    """Selects entries: all fields that are set must match. `until` itself is excluded, in ms."""

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
