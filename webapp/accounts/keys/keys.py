"""Makes, checks, rotates and revokes keys of the REST API; the text of a key is in key.py."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any

from webapp.accounts.audit import Actor, AuditEntry, AuditLog
from webapp.accounts.keys import store
from webapp.accounts.keys.key import Key, NewKey, check_key_name, digest_of, id_of, new_key
from webapp.accounts.principal import Principal
from webapp.accounts.roles import Role, check_role
from webapp.accounts.user_pattern import UserPattern
from webapp.clock import Clock, SystemClock
from webapp.errors import Conflict, InvalidInput, NotFound, StorageUnavailable
from webapp.storage import Connection, Database
from webapp.storage.alone import hold
from webapp.tenants.user_ids.forms import UserIds

LAST_USED_EVERY_MS = 60_000
DEFAULT_OVERLAP_SECONDS = 86_400.0
MAX_OVERLAP_SECONDS = 366 * 86_400.0

_ONE_USER = "="
_NO_ROW: Any = ("0" * 64, "chat", "*", None, None, None, "")


@dataclass(frozen=True, slots=True)
class Standing:
    """An active key: for whom it speaks, and until when in milliseconds since 1970-01-01 UTC."""

    principal: Principal
    expires_at: int | None


class Keys:
    """All keys. Each change is in the audit log by the time that it is made."""

    def __init__(
        self,
        database: Database,
        user_ids: UserIds,
        *,
        audit: AuditLog,
        clock: Clock | None = None,
    ) -> None:
        self._database = database
        self._log = audit
        self._user_ids = user_ids
        self._clock = clock or SystemClock()
        self._noted: dict[str, int] = {}

    # -- checking ---------------------------------------------------------------------------------

    def verify(self, presented: str) -> Principal | None:
        """The holder of this key; None when it is malformed, unknown, expired or revoked: all
        alike.

        Costs one indexed read, and once a minute for each key a small write.
        """
        key_id = id_of(presented)
        # The digest comes first and is compared with something in any case, so an unknown id
        # takes as long as a wrong secret.
        digest = digest_of(presented)
        with self._database.read() as connection:
            row = store.find(connection, key_id) or _NO_ROW
        expected, role, users, expires_at, revoked_at, last_used_at, created_by = row
        if not hmac.compare_digest(digest, expected) or row is _NO_ROW:
            return None
        now = self._clock.now_ms()
        if not _is_active(expires_at, revoked_at, now):
            return None
        self._note_use(key_id, now, last_used_at or 0)
        return self._principal(key_id, role, users, created_by)

    def standing(self, key_id: str) -> Standing | None:
        """The key's permissions at this moment; None once it has expired, was revoked, or was
        deleted with its user. The tokens it signed have no more than these."""
        with self._database.read() as connection:
            row = store.find(connection, key_id)
        if row is None:
            return None
        _, role, users, expires_at, revoked_at, _, created_by = row
        if not _is_active(expires_at, revoked_at, self._clock.now_ms()):
            return None
        return Standing(self._principal(key_id, role, users, created_by), expires_at)

    def _principal(self, key_id: str, role: Role, users: str, created_by: str) -> Principal:
        known = created_by != Actor.command_line().name
        return Principal("key", key_id, role, self._pattern(users), known)

    def _note_use(self, key_id: str, now: int, last_used_at: int) -> None:
        noted = max(last_used_at, self._noted.get(key_id, 0))
        if now - noted < LAST_USED_EVERY_MS:
            return
        self._noted[key_id] = now
        try:
            self._database.write(lambda connection: store.touch(connection, key_id, now))
        except StorageUnavailable:
            # When a key was last used is worth less than the request that it came with.
            return

    # -- keeping ----------------------------------------------------------------------------------

    def create(
        self, name: str, *, role: str, users: str, by: Actor, expires_at: int | None = None
    ) -> NewKey:
        """A new key. Raises `InvalidInput` for a bad name, role, pattern or expiry."""
        now = self._clock.now_ms()
        if expires_at is not None and expires_at <= now:
            sentence = "expires_at must be in the future"
            raise InvalidInput(sentence, fields={"expires_at": sentence})
        new = new_key(
            check_key_name(name), check_role(role), UserPattern.parse(users), by, now, expires_at
        )

        def work(connection: Connection) -> None:
            self._insert(connection, new)
            self._audit(connection, by, "create_key", new.key, after=self._facts(new.key))

        self._database.write(work)
        return new

    def list(self) -> tuple[Key, ...]:
        """Every key, revoked ones included, the newest first."""
        with self._database.read() as connection:
            return tuple(self._key(row) for row in store.every(connection))

    def get(self, key_id: str) -> Key:
        """`NotFound` when there is none."""
        with self._database.read() as connection:
            return self._one(connection, key_id)

    def revoke(self, key_id: str, *, by: Actor) -> Key:
        """From now on the key is refused; to revoke it again changes nothing."""

        def work(connection: Connection) -> Key:
            hold(connection, "keys")
            key = self._one(connection, key_id)
            if key.revoked_at is None:
                store.revoke(connection, key_id, self._clock.now_ms())
                self._audit(connection, by, "revoke_key", key, before=self._facts(key))
            return self._one(connection, key_id)

        return self._database.write(work)

    def rotate(
        self, key_id: str, *, by: Actor, overlap_seconds: float = DEFAULT_OVERLAP_SECONDS
    ) -> NewKey:
        """A new key in place of this one, which goes on working for `overlap_seconds`.

        Without an overlap the old key is revoked at once, and its tokens with it. The new one
        lasts as long as the old one was meant to. Raises `Conflict` for a key that is no longer
        active, or that was rotated before.
        """
        if not 0 <= overlap_seconds <= MAX_OVERLAP_SECONDS:
            sentence = "overlap_seconds must be between 0 and a year"
            raise InvalidInput(sentence, fields={"overlap_seconds": sentence})

        def work(connection: Connection) -> NewKey:
            hold(connection, "keys")
            now = self._clock.now_ms()
            old = self._one(connection, key_id)
            if old.state(now) != "active":
                raise Conflict("Only an active key can be rotated.")
            if store.has_successor(connection, key_id):
                raise Conflict("This key was rotated already.")
            lifetime = None if old.expires_at is None else old.expires_at - old.created_at
            expires_at = None if lifetime is None else now + lifetime
            new = new_key(old.name, old.role, old.users, by, now, expires_at, rotated_from=key_id)
            self._insert(connection, new)
            if overlap_seconds == 0:
                store.revoke(connection, key_id, now)
            else:
                end = now + round(overlap_seconds * 1000)
                store.expire(connection, key_id, min(end, old.expires_at or end))
            self._audit(
                connection,
                by,
                "rotate_key",
                old,
                after={"new": new.key.id, "overlap_s": overlap_seconds},
            )
            return new

        return self._database.write(work)

    # -- rows -------------------------------------------------------------------------------------

    def _insert(self, connection: Connection, new: NewKey) -> None:
        key = new.key
        row = {
            "id": key.id,
            "name": key.name,
            "secret_hash": digest_of(new.secret),
            "role": key.role,
            "users": written_pattern(key.users, self._user_ids),
            "created_at": key.created_at,
            "created_by": key.created_by,
            "expires_at": key.expires_at,
            "rotated_from": key.rotated_from,
        }
        store.insert(connection, row)

    def _one(self, connection: Connection, key_id: str) -> Key:
        row = store.one(connection, key_id)
        if row is None:
            raise NotFound("There is no such key.")
        return self._key(row)

    def _key(self, row: Any) -> Key:
        key_id, name, role, users, *rest = row
        return Key(key_id, name, role, self._pattern(users), *rest)

    def _pattern(self, written: str) -> UserPattern:
        if written.startswith(_ONE_USER):
            return UserPattern.only(self._user_ids.readable(written.removeprefix(_ONE_USER)))
        return UserPattern(written.removesuffix("*"), True)

    def _facts(self, key: Key) -> dict[str, Any]:
        users = str(key.users) if key.users.is_prefix else self._user_ids.reference(key.users.text)
        return {"name": key.name, "role": key.role, "users": users, "expires_at": key.expires_at}

    def _audit(
        self, connection: Connection, by: Actor, action: str, key: Key, **figures: Any
    ) -> None:
        entry = AuditEntry(by, action, target=f"key:{key.id}", **figures)
        self._log.record(connection, entry)


def _is_active(expires_at: int | None, revoked_at: int | None, now: int) -> bool:
    return revoked_at is None and (expires_at is None or expires_at > now)


def written_pattern(users: UserPattern, user_ids: UserIds) -> str:
    """The form in the database: one user's id is as encrypted there as anywhere else."""
    return str(users) if users.is_prefix else _ONE_USER + user_ids.stored(users.text)


def forget_user(connection: Connection, user_ids: UserIds, user_id: str) -> int:
    """Deletes the keys of this user alone, as part of forgetting the user; gives their number."""
    hold(connection, "keys")
    return store.forget_users(connection, written_pattern(UserPattern.only(user_id), user_ids))
