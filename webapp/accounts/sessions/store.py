"""The SQL of console sessions and of sign-in links; what they mean is in sign_in."""

from __future__ import annotations

from typing import Any

from webapp.storage import Connection

_START_SESSION = (
    "INSERT INTO admin_sessions (token_hash, admin_id, created_at, last_seen_at, address)"
    " VALUES (:token_hash, :admin_id, :now, :now, :address)"
)
_SESSION = (
    "SELECT s.id, s.created_at, s.last_seen_at, s.address, a.id, a.name, a.role, a.created_at,"
    " a.last_sign_in_at, a.disabled_at, a.password_hash, a.dev_only"
    " FROM admin_sessions s JOIN admins a ON a.id = s.admin_id WHERE s.token_hash = :token_hash"
)
_SESSIONS_OF = (
    "SELECT id, created_at, last_seen_at, address FROM admin_sessions WHERE admin_id = :admin_id"
    " ORDER BY last_seen_at DESC, id DESC"
)
_DROP_OLD_SESSIONS = (
    "DELETE FROM admin_sessions WHERE last_seen_at <= :idle_since OR created_at <= :born_before"
)
_USE_LINK = (
    "DELETE FROM sign_in_links WHERE token_hash = :token_hash AND expires_at > :now"
    " RETURNING admin_id"
)


def start_session(
    connection: Connection, token_hash: str, admin_id: int, address: str, now: int
) -> None:
    row = {"token_hash": token_hash, "admin_id": admin_id, "address": address, "now": now}
    connection.execute(_START_SESSION, row)


def session(connection: Connection, token_hash: str) -> Any:
    return connection.execute(_SESSION, {"token_hash": token_hash}).fetchone()


def sessions_of(connection: Connection, admin_id: int) -> list[Any]:
    return connection.execute(_SESSIONS_OF, {"admin_id": admin_id}).fetchall()


def touch_session(connection: Connection, session_id: int, now: int) -> None:
    connection.execute(
        "UPDATE admin_sessions SET last_seen_at = :now WHERE id = :id AND last_seen_at < :now",
        {"id": session_id, "now": now},
    )


def end_session(connection: Connection, session_id: int, admin_id: int) -> int:
    return connection.execute(
        "DELETE FROM admin_sessions WHERE id = :id AND admin_id = :admin_id",
        {"id": session_id, "admin_id": admin_id},
    ).rowcount


def end_sessions_of(connection: Connection, admin_id: int, *, keep: int | None = None) -> int:
    """Ends all but `keep`; unused sign-in links go too."""
    drop_links_of(connection, admin_id)
    return connection.execute(
        "DELETE FROM admin_sessions WHERE admin_id = :admin_id AND id <> :keep",
        {"admin_id": admin_id, "keep": -1 if keep is None else keep},
    ).rowcount


def drop_old(connection: Connection, *, idle_since: int, born_before: int, now: int) -> None:
    connection.execute(_DROP_OLD_SESSIONS, {"idle_since": idle_since, "born_before": born_before})
    connection.execute("DELETE FROM sign_in_links WHERE expires_at <= :now", {"now": now})


# -- sign-in links --------------------------------------------------------------------------------


def add_link(connection: Connection, token_hash: str, admin_id: int, expires_at: int) -> None:
    connection.execute(
        "INSERT INTO sign_in_links (token_hash, admin_id, expires_at)"
        " VALUES (:token_hash, :admin_id, :expires_at)",
        {"token_hash": token_hash, "admin_id": admin_id, "expires_at": expires_at},
    )


def drop_links_of(connection: Connection, admin_id: int) -> None:
    connection.execute(
        "DELETE FROM sign_in_links WHERE admin_id = :admin_id", {"admin_id": admin_id}
    )


def use_link(connection: Connection, token_hash: str, now: int) -> int | None:
    """The link's account. The link is deleted, so that of two simultaneous uses one succeeds."""
    row = connection.execute(_USE_LINK, {"token_hash": token_hash, "now": now}).fetchone()
    return None if row is None else int(row[0])
