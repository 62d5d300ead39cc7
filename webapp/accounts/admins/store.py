"""The SQL of console accounts; what an account is stands in admins."""

from __future__ import annotations

from typing import Any

from webapp.storage import Connection

_BY_NAME = (
    "SELECT id, name, role, created_at, last_sign_in_at, disabled_at, password_hash,"
    " dev_only FROM admins WHERE name = :name"
)
_EVERY = (
    "SELECT id, name, role, created_at, last_sign_in_at, disabled_at, password_hash,"
    " dev_only FROM admins ORDER BY name"
)
_INSERT = (
    "INSERT INTO admins (name, role, password_hash, created_at, dev_only)"
    " VALUES (:name, :role, :password_hash, :now, :dev_only) ON CONFLICT (name) DO NOTHING"
)
_OTHER_OWNERS = (
    "SELECT count(*) FROM admins WHERE role = 'owner' AND disabled_at IS NULL AND dev_only = 0"
    " AND id <> :id"
)


def by_name(connection: Connection, name: str) -> Any:
    return connection.execute(_BY_NAME, {"name": name}).fetchone()


def by_id(connection: Connection, admin_id: int) -> Any:
    return connection.execute(
        "SELECT id, name, role, created_at, last_sign_in_at, disabled_at, password_hash,"
        " dev_only FROM admins WHERE id = :id",
        {"id": admin_id},
    ).fetchone()


def every(connection: Connection) -> list[Any]:
    return connection.execute(_EVERY).fetchall()


def insert(
    connection: Connection,
    name: str,
    role: str,
    password_hash: str | None,
    now: int,
    *,
    dev_only: bool,
) -> bool:
    """False when the name is taken."""
    row = {
        "name": name,
        "role": role,
        "password_hash": password_hash,
        "now": now,
        "dev_only": int(dev_only),
    }
    return connection.execute(_INSERT, row).rowcount == 1


def other_active_owners(connection: Connection, admin_id: int) -> int:
    return int(connection.execute(_OTHER_OWNERS, {"id": admin_id}).fetchone()[0])


def set_disabled(connection: Connection, admin_id: int, at: int | None) -> None:
    connection.execute(
        "UPDATE admins SET disabled_at = :at WHERE id = :id", {"id": admin_id, "at": at}
    )


def set_role(connection: Connection, admin_id: int, role: str) -> None:
    connection.execute(
        "UPDATE admins SET role = :role WHERE id = :id", {"id": admin_id, "role": role}
    )


def set_password_hash(connection: Connection, admin_id: int, password_hash: str) -> None:
    connection.execute(
        "UPDATE admins SET password_hash = :hash WHERE id = :id",
        {"id": admin_id, "hash": password_hash},
    )


def delete_of_dev(connection: Connection, name: str) -> None:
    """The account of this name, when it is one of `dev`'s."""
    connection.execute("DELETE FROM admins WHERE name = :name AND dev_only = 1", {"name": name})


def delete(connection: Connection, admin_id: int) -> None:
    connection.execute("DELETE FROM admins WHERE id = :id", {"id": admin_id})


def note_sign_in(connection: Connection, admin_id: int, now: int) -> None:
    connection.execute(
        "UPDATE admins SET last_sign_in_at = :now WHERE id = :id", {"id": admin_id, "now": now}
    )
