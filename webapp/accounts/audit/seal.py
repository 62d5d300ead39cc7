"""The seal on the audit log's head, which cannot be made without SECRET_KEY; the log is in log.py.

The entries' own hashes need no key, so a person who can write to the database could compute a whole
new chain, or end it earlier. The head's seal is over the newest entry's number and hash, and by
that over everything before it.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

NO_KEY = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest entry's number and hash, and the seal on them.

    `seam` is the last entry that was there before this key sealed anything and that nobody has
    vouched for since; None when there is none. 0 says that the log had no sealed beginning.
    """

    number: int
    hash: str
    seam: int | None
    key_id: str
    mac: str


class AuditSeal:
    """Seals heads under one key and knows its own seals again."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        # Tells keys apart and gives nothing of them away.
        self.key_id = hmac.digest(key, b"key id", "sha256").hex()[:16]

    def sealed(self, number: int, digest: str, seam: int | None) -> Head:
        return Head(number, digest, seam, self.key_id, self._mac(number, digest, seam))

    def is_own(self, head: Head) -> bool:
        """Whether this key sealed it, just so."""
        expected = self._mac(head.number, head.hash, head.seam)
        return head.key_id == self.key_id and hmac.compare_digest(
            expected.encode(), head.mac.encode()
        )

    def _mac(self, number: int, digest: str, seam: int | None) -> str:
        text = f"head {number} {digest} {'-' if seam is None else seam}"
        return hmac.digest(self._key, text.encode(), "sha256").hex()
