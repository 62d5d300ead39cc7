"""One key as a value, and how its text is made and parsed; storing keys is in keys.py.

A key is `sb_<id>_<secret>`. The id is public and shows in lists; the secret is 256 random bits,
so one SHA-256 of the whole keeps it, and a slow hash would only slow down every request.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Literal

from webapp.accounts.audit import Actor
from webapp.accounts.roles import Role
from webapp.accounts.user_pattern import UserPattern
from webapp.errors import InvalidInput
from webapp.ids import has_control_characters

SCHEME = "sb"
ID_BYTES = 6
SECRET_BYTES = 32
MAX_PRESENTED_CHARS = 100
MAX_NAME_CHARS = 100


@dataclass(frozen=True, slots=True)
class Key:
    """A key without its secret; times are milliseconds since 1970-01-01 UTC."""

    id: str
    name: str
    role: Role
    users: UserPattern
    created_at: int
    created_by: str
    expires_at: int | None
    last_used_at: int | None
    revoked_at: int | None
    rotated_from: str | None

    @property
    def prefix(self) -> str:
        """The part that is no secret."""
        return f"{SCHEME}_{self.id}"

    def state(self, now_ms: int) -> Literal["active", "expired", "revoked"]:
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now_ms:
            return "expired"
        return "active"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made: the only moment at which its secret is known."""

    key: Key
    secret: str = field(repr=False)


def check_key_name(value: object) -> str:
    """1 to 100 characters for people to read; `InvalidInput` names the field."""
    text = value.strip() if isinstance(value, str) else ""
    if not text or len(text) > MAX_NAME_CHARS or has_control_characters(text):
        sentence = f"name must be 1 to {MAX_NAME_CHARS} characters, none of them control characters"
        raise InvalidInput(sentence, fields={"name": sentence})
    return text


def new_key(
    name: str,
    role: Role,
    users: UserPattern,
    by: Actor,
    now: int,
    expires_at: int | None,
    *,
    rotated_from: str | None = None,
) -> NewKey:
    """A key with a fresh id and a fresh secret; nothing is stored yet."""
    key_id = secrets.token_hex(ID_BYTES)
    secret = f"{SCHEME}_{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}"
    key = Key(key_id, name, role, users, now, by.name, expires_at, None, None, rotated_from)
    return NewKey(key, secret)


def id_of(presented: str) -> str:
    """The id in a presented key; the empty id, which no key has, when it has no such shape."""
    scheme, _, rest = presented.partition("_")
    if scheme != SCHEME or len(presented) > MAX_PRESENTED_CHARS:
        return ""
    key_id = rest.partition("_")[0]
    return key_id if key_id.isascii() and key_id.isalnum() else ""


def digest_of(presented: str) -> str:
    """The digest of a key, which is stored instead of it."""
    # The whole is hashed as it came: a cut, padded or re-cased key is another text.
    return hashlib.sha256(
        presented[: MAX_PRESENTED_CHARS + 1].encode("utf-8", "replace")
    ).hexdigest()
