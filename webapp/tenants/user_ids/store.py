"""The SQL of encrypting user ids in place; why and when is in rekey."""

from __future__ import annotations

from collections.abc import Callable

from webapp.storage import Connection

_NAME = "user_ids"

# A stored form begins with a slash, which no id does. Keys for one user hold `=` and the id.
_PLAIN_TENANT = "SELECT 1 FROM tenants WHERE substr(user_id, 1, 1) <> '/'"
_PLAIN_KEY = "SELECT 1 FROM api_keys WHERE users LIKE '=%' AND substr(users, 2, 1) <> '/'"
_TENANTS_AFTER = (
    "SELECT id, user_id FROM tenants WHERE id > :after AND substr(user_id, 1, 1) <> '/'"
    " ORDER BY id LIMIT :limit"
)
_KEYS = "SELECT id, users FROM api_keys WHERE users LIKE '=%' AND substr(users, 2, 1) <> '/'"


def noted(connection: Connection) -> str:
    """What `note` wrote; empty when it never did."""
    row = connection.execute(
        "SELECT value FROM meta WHERE name = :name", {"name": _NAME}
    ).fetchone()
    return "" if row is None else str(row[0])


def note(connection: Connection, value: str) -> None:
    connection.execute(
        "INSERT INTO meta (name, value) VALUES (:name, :value)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        {"name": _NAME, "value": value},
    )


def has_plain_ids(connection: Connection) -> bool:
    found = (connection.execute(f"{question} LIMIT 1") for question in (_PLAIN_TENANT, _PLAIN_KEY))
    return any(rows.fetchone() is not None for rows in found)


def count_tenants(connection: Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM tenants").fetchone()[0])


def encrypt_tenants(
    connection: Connection, stored: Callable[[str], str], *, after: int, limit: int
) -> tuple[int, int]:
    """Encrypts up to `limit` ids of tenants numbered above `after`.

    Gives how many there were and the number to go on from.
    """
    found = connection.execute(_TENANTS_AFTER, {"after": after, "limit": limit}).fetchall()
    connection.executemany(
        "UPDATE tenants SET user_id = :stored WHERE id = :id",
        [{"id": number, "stored": stored(user_id)} for number, user_id in found],
    )
    return len(found), found[-1][0] if found else after


def encrypt_keys(connection: Connection, stored: Callable[[str], str]) -> None:
    """Encrypts the user of each key that is for one user; there are few of them."""
    found = connection.execute(_KEYS).fetchall()
    connection.executemany(
        "UPDATE api_keys SET users = :users WHERE id = :id",
        [{"id": key_id, "users": "=" + stored(users[1:])} for key_id, users in found],
    )


def rebuild_search(connection: Connection) -> None:
    """The index of parts of ids keeps deleted parts for a while; made anew it has none."""
    connection.execute("INSERT INTO tenant_search (tenant_search) VALUES ('rebuild')")
