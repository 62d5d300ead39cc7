"""Makes, changes and disables console accounts; signing in is in sign_in/."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from webapp.accounts.admins import store
from webapp.accounts.admins.passwords import Passwords, check_new_password
from webapp.accounts.audit import Actor, AuditEntry, AuditLog
from webapp.accounts.roles import ADMIN_ROLES, Role, check_role
from webapp.accounts.sessions import store as sessions
from webapp.clock import Clock, SystemClock
from webapp.errors import Conflict, InvalidInput, NotFound
from webapp.storage import Connection, Database
from webapp.storage.alone import hold

DEV_NAME = "dev"
# Letters that look alike in two scripts would make two accounts of one name.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._@+-]{0,62}[a-z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Admin:
    """A console account; times are milliseconds since 1970-01-01 UTC.

    `dev_only`: made by `switchboard dev`, whose console alone it opens; no owner to count on.
    """

    id: int
    name: str
    role: Role
    created_at: int
    last_sign_in_at: int | None
    disabled_at: int | None
    has_password: bool
    dev_only: bool = False

    @property
    def is_active(self) -> bool:
        return self.disabled_at is None


class Admins:
    """All accounts. Each change is in the audit log by the time that it is made.

    There is always an owner who can act: the last active one cannot be removed, disabled or
    given another role, which is seen to inside the transaction.
    """

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        *,
        audit: AuditLog,
        clock: Clock | None = None,
    ) -> None:
        self._database = database
        self._log = audit
        self._passwords = passwords
        self._clock = clock or SystemClock()

    def create(
        self, name: str, *, by: Actor, role: str = "owner", password: str | None = None
    ) -> Admin:
        """A new account; without a password it signs in by links only.

        Raises `InvalidInput` for a bad name, role or password and `Conflict` for a taken name.
        """
        known = check_admin_name(name)
        kind = check_role(role, among=ADMIN_ROLES)
        kept = None
        if password is not None:
            kept = self._passwords.hash(check_new_password(password, name=known))

        def work(connection: Connection) -> Admin:
            hold(connection, "accounts")
            # A person who is given the name that `dev` took gets an account of their own.
            store.delete_of_dev(connection, known)
            now = self._clock.now_ms()
            if not store.insert(connection, known, kind, kept, now, dev_only=False):
                raise Conflict("There is an account of this name already.", code="name_taken")
            admin = _one(connection, known)
            self._audit(connection, by, "create_admin", admin, after={"role": kind})
            return admin

        return self._database.write(work)

    def of_dev(self, *, by: Actor) -> Admin:
        """The owner's account that opens the console of `switchboard dev` and no other."""

        def work(connection: Connection) -> Admin:
            hold(connection, "accounts")
            for row in store.every(connection):
                known = admin_of(row)
                if known.dev_only and known.is_active and known.role == "owner":
                    return known
            names = itertools.chain([DEV_NAME], (f"{DEV_NAME}-{n}" for n in itertools.count(2)))
            now = self._clock.now_ms()
            name = next(
                name
                for name in names
                if store.insert(connection, name, "owner", None, now, dev_only=True)
            )
            admin = _one(connection, name)
            self._audit(connection, by, "create_admin", admin, after={"role": "owner"})
            return admin

        return self._database.write(work)

    def list(self) -> tuple[Admin, ...]:
        """Every account, by name."""
        with self._database.read() as connection:
            return tuple(admin_of(row) for row in store.every(connection))

    def get(self, name: str) -> Admin:
        """`NotFound` when there is none."""
        with self._database.read() as connection:
            return _one(connection, fold_name(name))

    def disable(self, name: str, *, by: Actor) -> Admin:
        """The account can no longer sign in, and all its sessions end."""

        def change(connection: Connection, admin: Admin) -> None:
            if admin.is_active:
                _keep_an_owner(connection, admin)
                store.set_disabled(connection, admin.id, self._clock.now_ms())
                sessions.end_sessions_of(connection, admin.id)
                self._audit(connection, by, "disable_admin", admin)

        return self._change(name, change)

    def enable(self, name: str, *, by: Actor) -> Admin:
        def change(connection: Connection, admin: Admin) -> None:
            if not admin.is_active:
                store.set_disabled(connection, admin.id, None)
                self._audit(connection, by, "enable_admin", admin)

        return self._change(name, change)

    def change_role(self, name: str, role: str, *, by: Actor) -> Admin:
        """Its next request is made in the new role."""
        new = check_role(role, among=ADMIN_ROLES)

        def change(connection: Connection, admin: Admin) -> None:
            if admin.role != new:
                if admin.is_active:
                    _keep_an_owner(connection, admin)
                store.set_role(connection, admin.id, new)
                figures = {"before": {"role": admin.role}, "after": {"role": new}}
                self._audit(connection, by, "change_admin_role", admin, **figures)

        return self._change(name, change)

    def set_password(
        self, name: str, password: str, *, by: Actor, keep_session: int | None = None
    ) -> Admin:
        """From now on only this one opens; all sessions end but `keep_session`."""
        folded = fold_name(name)
        kept = self._passwords.hash(check_new_password(password, name=folded))

        def change(connection: Connection, admin: Admin) -> None:
            store.set_password_hash(connection, admin.id, kept)
            sessions.end_sessions_of(connection, admin.id, keep=keep_session)
            self._audit(connection, by, "set_admin_password", admin)

        return self._change(folded, change)

    def remove(self, name: str, *, by: Actor) -> None:
        """The account is gone; what it did stays in the audit log."""

        def work(connection: Connection) -> None:
            hold(connection, "accounts")
            admin = _one(connection, fold_name(name))
            if admin.is_active:
                _keep_an_owner(connection, admin)
            store.delete(connection, admin.id)
            self._audit(connection, by, "remove_admin", admin, before={"role": admin.role})

        self._database.write(work)

    def _change(self, name: str, change: Callable[[Connection, Admin], None]) -> Admin:
        folded = fold_name(name)

        def work(connection: Connection) -> Admin:
            hold(connection, "accounts")
            change(connection, _one(connection, folded))
            return _one(connection, folded)

        return self._database.write(work)

    def _audit(
        self, connection: Connection, by: Actor, action: str, admin: Admin, **figures: Any
    ) -> None:
        entry = AuditEntry(by, action, target=f"admin:{admin.name}", **figures)
        self._log.record(connection, entry)


def fold_name(name: str) -> str:
    """The form of a name in the database, without the differences that people make when they type
    it.

    Text that is no valid name becomes the empty name, which no account has.
    """
    folded = name.strip().lower()
    return folded if _NAME.fullmatch(folded) else ""


def check_admin_name(name: object) -> str:
    """The folded name: up to 64 of a to z, digits and `. _ @ + -`; an e-mail address will do."""
    folded = fold_name(name) if isinstance(name, str) else ""
    if not folded:
        sentence = "name must be 1 to 64 letters a-z, digits and . _ @ + - inside it"
        raise InvalidInput(sentence, fields={"name": sentence})
    return folded


def admin_of(row: Any) -> Admin:
    """The account in a row of the store."""
    number, name, role, created_at, last_sign_in_at, disabled_at, password_hash, dev_only = row
    return Admin(
        number,
        name,
        role,
        created_at,
        last_sign_in_at,
        disabled_at,
        has_password=password_hash is not None,
        dev_only=bool(dev_only),
    )


def _one(connection: Connection, folded: str) -> Admin:
    row = store.by_name(connection, folded)
    if row is None:
        raise NotFound("There is no such account.")
    return admin_of(row)


def _keep_an_owner(connection: Connection, admin: Admin) -> None:
    if admin.dev_only:
        return
    if admin.role == "owner" and store.other_active_owners(connection, admin.id) == 0:
        raise Conflict("This is the last active owner; make another one first.", code="last_owner")
