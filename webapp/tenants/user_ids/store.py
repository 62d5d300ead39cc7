"""The SQL of encrypting user ids in place; why and when is in tenant_data/encryption.py."""

from __future__ import annotations

from collections.abc import Callable

from webapp.storage import Connection

# A stored form begins with a slash, which no id does.
_PLAIN = "SELECT 1 FROM tenants WHERE substr(user_id, 1, 1) <> '/' LIMIT 1"
_AFTER = (
    "SELECT id, user_id FROM tenants WHERE id > :after AND substr(user_id, 1, 1) <> '/'"
    " ORDER BY id LIMIT :limit"
)


def has_plain(connection: Connection) -> bool:
    return connection.execute(_PLAIN).fetchone() is not None


def encrypt(
    connection: Connection, stored: Callable[[str], str], *, after: int, limit: int
) -> tuple[int, int]:
    """Encrypts up to `limit` ids of tenants numbered above `after`.

    Gives how many there were and the number to go on from.
    """
    found = connection.execute(_AFTER, {"after": after, "limit": limit}).fetchall()
    connection.executemany(
        "UPDATE tenants SET user_id = :stored WHERE id = :id",
        [{"id": number, "stored": stored(user_id)} for number, user_id in found],
    )
    return len(found), found[-1][0] if found else after
