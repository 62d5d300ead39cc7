"""How a user id is written in the database and in a log line; not which ids are allowed."""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache
from typing import Protocol

REFERENCE_CHARS = 16
REMEMBERED = 4096


class UserIds(Protocol):
    """Turns a user id into its form at rest and back."""

    @property
    def key_check(self) -> str | None:
        """Tells whether two keys are one, and gives neither away; None when there is no key."""
        ...

    def stored(self, user_id: str) -> str:
        """The form in the database; the same id always gives the same form."""
        ...

    def readable(self, stored: str) -> str:
        """The id again; `stored(readable(x)) == x`."""
        ...

    def reference(self, user_id: str) -> str:
        """A keyed hash for logs: tells ids apart and does not give them away."""
        ...


class PlainUserIds:
    """Ids are stored as they are."""

    def __init__(self, reference_key: bytes) -> None:
        self._key = reference_key
        # A turn needs it three times, and OpenSSL takes longer to begin a hash than to make one.
        self._known = lru_cache(maxsize=REMEMBERED)(self._hashed)

    @property
    def key_check(self) -> str | None:
        return None

    def stored(self, user_id: str) -> str:
        return user_id

    def readable(self, stored: str) -> str:
        return stored

    def reference(self, user_id: str) -> str:
        return self._known(user_id)

    def _hashed(self, user_id: str) -> str:
        digest = hmac.digest(self._key, user_id.encode("utf-8"), hashlib.sha256)
        return digest.hex()[:REFERENCE_CHARS]
