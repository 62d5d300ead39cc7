"""User ids that are encrypted at rest; tenant_data/encryption.py moves a database to them.

AES-SIV (RFC 5297) is deterministic and authenticated: one id always gives one text, so it can be
looked up and be unique, and a text that was changed is noticed. What it does give away is that
two rows are of one user, and about how long the id is.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from webapp.errors import ConfigurationError, StorageUnavailable
from webapp.tenants.user_ids.forms import PlainUserIds

MIN_KEY_CHARS = 32
KEY_BYTES = 64

# No user id holds a slash, so a stored form is never taken for an id, nor an id for one.
MARK = "/1/"


class EncryptedUserIds:
    """Ids are stored as `/1/` and URL-safe base64 of their AES-SIV text."""

    def __init__(self, key: str, reference_key: bytes) -> None:
        """`key` is `SWITCHBOARD_USER_ID_KEY`; references stay what they are without encryption."""
        if len(key) < MIN_KEY_CHARS:
            raise ConfigurationError(
                f"SWITCHBOARD_USER_ID_KEY must have at least {MIN_KEY_CHARS} characters."
            )
        secret = key.encode("utf-8")
        self._cipher = AESSIV(_derived(secret, b"switchboard user ids"))
        self._check = hmac.digest(
            _derived(secret, b"switchboard user id check"), b"check", hashlib.sha256
        ).hex()
        self._references = PlainUserIds(reference_key)

    @property
    def key_check(self) -> str:
        """Tells whether two keys are one, and gives neither away."""
        return self._check

    def stored(self, user_id: str) -> str:
        sealed = self._cipher.encrypt(user_id.encode("utf-8"), None)
        return MARK + base64.urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")

    def readable(self, stored: str) -> str:
        try:
            if not stored.startswith(MARK):
                raise ValueError("no encrypted user id")
            text = stored.removeprefix(MARK).encode("ascii")
            sealed = base64.b64decode(text + b"=" * (-len(text) % 4), b"-_", validate=True)
            return self._cipher.decrypt(sealed, None).decode("utf-8")
        except (InvalidTag, ValueError, binascii.Error) as error:
            raise StorageUnavailable("A user id in the database cannot be decrypted.") from error

    def reference(self, user_id: str) -> str:
        return self._references.reference(user_id)


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose).derive(secret)
