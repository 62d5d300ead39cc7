"""The SQL of encrypting user ids in place; why and when is in rekey."""

from __future__ import annotations

from collections.abc import Callable

from webapp.storage import Connection

_NAME = "user_ids"

# A stored form begins with a slash, which no id does; `0` is the character after it, so the
# conditions can use the unique index. Keys for one user hold `=` and the id.
_PLAIN_TENANTS = "user_id < '/' OR user_id >= '0'"
_PLAIN_KEYS = "(users >= '=' AND users < '=/') OR (users >= '=0' AND users < '>')"


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
    row = connection.execute(
        f"SELECT EXISTS (SELECT 1 FROM tenants WHERE {_PLAIN_TENANTS})"  # noqa: S608 - constants
        f" OR EXISTS (SELECT 1 FROM api_keys WHERE {_PLAIN_KEYS})"
    ).fetchone()
    return bool(row[0])


def count_plain(connection: Connection) -> int:
    row = connection.execute(
        f"SELECT (SELECT count(*) FROM tenants WHERE {_PLAIN_TENANTS})"  # noqa: S608 - constants
        f" + (SELECT count(*) FROM api_keys WHERE {_PLAIN_KEYS})"
    ).fetchone()
    return int(row[0])


def encrypt_some(connection: Connection, stored: Callable[[str], str], limit: int) -> int:
    """Encrypts up to `limit` tenants' ids, then those of keys; gives how many it changed."""
    rows = connection.execute(
        f"SELECT id, user_id FROM tenants WHERE {_PLAIN_TENANTS} LIMIT :limit",  # noqa: S608
        {"limit": limit},
    ).fetchall()
    connection.executemany(
        "UPDATE tenants SET user_id = :stored WHERE id = :id",
        [{"id": number, "stored": stored(user_id)} for number, user_id in rows],
    )
    if rows:
        return len(rows)
    keys = connection.execute(
        f"SELECT id, users FROM api_keys WHERE {_PLAIN_KEYS} LIMIT :limit",  # noqa: S608
        {"limit": limit},
    ).fetchall()
    connection.executemany(
        "UPDATE api_keys SET users = :users WHERE id = :id",
        [{"id": key_id, "users": "=" + stored(users[1:])} for key_id, users in keys],
    )
    return len(keys)


def rebuild_search(connection: Connection) -> None:
    """The index of parts of ids keeps deleted parts for a while; made anew it has none."""
    connection.execute("INSERT INTO tenant_search (tenant_search) VALUES ('rebuild')")
