"""Recognises browsers in which an account was signed in before, by a signed cookie.

A person who guesses passwords makes sign-ins slow for every unknown browser. A browser with the
account's cookie is known, and its failures are counted apart (OWASP, "Device cookies"). The cookie
does not replace the password.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

from webapp.accounts.admins import Admin
from webapp.clock import Clock

KEPT_SECONDS = 180 * 86_400
_NONCE_BYTES = 12
_MARK = re.compile(r"([\w-]{16})\.(\d{1,12})\.([0-9a-f]{64})", re.ASCII)
MAX_MARK_CHARS = 100


class KnownBrowsers:
    """Makes marks and knows its own again."""

    def __init__(self, secret: bytes, clock: Clock) -> None:
        self._secret = secret
        self._clock = clock

    def mark_for(self, admin: Admin) -> str:
        """A new one, after a good sign-in."""
        nonce, made = secrets.token_urlsafe(_NONCE_BYTES), self._clock.now_ms() // 1000
        return f"{nonce}.{made}.{self._mac(admin, nonce, made)}"

    def recognised(self, mark: str, admin: Admin | None) -> str | None:
        """The name under which this browser's failures are counted; None for an unknown browser."""
        found = _MARK.fullmatch(mark[: MAX_MARK_CHARS + 1])
        if found is None or admin is None:
            return None
        nonce, made = found[1], int(found[2])
        if not hmac.compare_digest(found[3], self._mac(admin, nonce, made)):
            return None
        age = self._clock.now_ms() // 1000 - made
        return nonce if age < KEPT_SECONDS else None

    def _mac(self, admin: Admin, nonce: str, made: int) -> str:
        # The account's number and time of creation too: an account made again under its name is
        # another one.
        text = f"{admin.id} {admin.created_at} {nonce} {made}"
        return hmac.digest(self._secret, text.encode(), "sha256").hex()


def cookie_name(account: str) -> str:
    """One cookie for each account; whose it is does not stand in it."""
    return f"switchboard_browser_{hashlib.sha256(account.encode()).hexdigest()[:12]}"
