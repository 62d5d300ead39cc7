"""Remembers that a forgotten user is blocked, without remembering the user.

What is kept is a hash of the id under a random key of the database: it can be asked whether an id
is in it, and nobody can read from it who is. It was made of the form of the id that the database
had then: where ids were encrypted since, it can only be asked with the plain id as well.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from webapp.storage import Connection, meta
from webapp.tenants.restrictions import store

_KEY = "block_key"


def keep(connection: Connection, stored_id: str, blocked_at: int) -> None:
    """The user goes and its block stays."""
    meta.put_first(connection, _KEY, secrets.token_hex(32))
    (reference,) = _references(connection, stored_id)
    store.keep_block(connection, reference, blocked_at)


def kept_since(connection: Connection, stored_id: str, user_id: str) -> int | None:
    """Since when a user is blocked that is not there any more; None when it is not."""
    references = _references(connection, stored_id, user_id)
    return store.kept_block(connection, references[0], references[-1]) if references else None


def lift(connection: Connection, stored_id: str, user_id: str) -> None:
    """The user may come again, or is there again with its block in its own row."""
    references = _references(connection, stored_id, user_id)
    if references:
        store.drop_block(connection, references[0], references[-1])


def _references(connection: Connection, *ids: str) -> list[str]:
    """The hash of each id; none when no block was ever kept."""
    key = meta.value(connection, _KEY)
    if key is None:
        return []
    secret = bytes.fromhex(key)
    return [
        hmac.digest(secret, each.encode("utf-8"), hashlib.sha256).hex()
        for each in dict.fromkeys(ids)
    ]
