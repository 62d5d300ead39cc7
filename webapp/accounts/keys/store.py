"""The keys' SQL; what a key is and how it is checked is in keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from webapp.storage import Connection

_INSERT = (
    "INSERT INTO api_keys (id, name, secret_hash, role, users, created_at, created_by,"
    " expires_at, rotated_from) VALUES (:id, :name, :secret_hash, :role, :users, :created_at,"
    " :created_by, :expires_at, :rotated_from)"
)
_FIND = (
    "SELECT secret_hash, role, users, expires_at, revoked_at, last_used_at, created_by"
    " FROM api_keys WHERE id = :id"
)
_ONE = (
    "SELECT id, name, role, users, created_at, created_by, expires_at, last_used_at, revoked_at,"
    " rotated_from FROM api_keys WHERE id = :id"
)
_ALL = (
    "SELECT id, name, role, users, created_at, created_by, expires_at, last_used_at, revoked_at,"
    " rotated_from FROM api_keys ORDER BY created_at DESC, id"
)
_TOUCH = (
    "UPDATE api_keys SET last_used_at = :now"
    " WHERE id = :id AND (last_used_at IS NULL OR last_used_at < :now)"
)
_SUCCESSOR = "SELECT id FROM api_keys WHERE rotated_from = :id AND revoked_at IS NULL"


# A key for one user holds `=` and the stored id, which begins with a slash when it is encrypted.
_PLAIN = "SELECT id, users FROM api_keys WHERE users LIKE '=%' AND substr(users, 2, 1) <> '/'"


def insert(connection: Connection, row: dict[str, Any]) -> None:
    connection.execute(_INSERT, row)


def find(connection: Connection, key_id: str) -> Any:
    """The columns that are needed to check a key; None when there is no such id."""
    return connection.execute(_FIND, {"id": key_id}).fetchone()


def one(connection: Connection, key_id: str) -> Any:
    return connection.execute(_ONE, {"id": key_id}).fetchone()


def every(connection: Connection) -> list[Any]:
    return connection.execute(_ALL).fetchall()


def touch(connection: Connection, key_id: str, now: int) -> None:
    connection.execute(_TOUCH, {"id": key_id, "now": now})


def revoke(connection: Connection, key_id: str, now: int) -> None:
    connection.execute(
        "UPDATE api_keys SET revoked_at = :now WHERE id = :id", {"id": key_id, "now": now}
    )


def expire(connection: Connection, key_id: str, at: int) -> None:
    connection.execute(
        "UPDATE api_keys SET expires_at = :at WHERE id = :id", {"id": key_id, "at": at}
    )


def has_successor(connection: Connection, key_id: str) -> bool:
    return connection.execute(_SUCCESSOR, {"id": key_id}).fetchone() is not None


def forget_users(connection: Connection, users: str) -> int:
    """Deletes the keys with exactly this pattern; gives their number."""
    return connection.execute(
        "DELETE FROM api_keys WHERE users = :users", {"users": users}
    ).rowcount


def has_plain_users(connection: Connection) -> bool:
    """Whether a key for one user holds an id that is not encrypted."""
    return connection.execute(f"{_PLAIN} LIMIT 1").fetchone() is not None


def encrypt_users(connection: Connection, stored: Callable[[str], str]) -> None:
    """Encrypts the user of each key that is for one user; there are few of them."""
    found = connection.execute(_PLAIN).fetchall()
    connection.executemany(
        "UPDATE api_keys SET users = :users WHERE id = :id",
        [{"id": key_id, "users": "=" + stored(users[1:])} for key_id, users in found],
    )
