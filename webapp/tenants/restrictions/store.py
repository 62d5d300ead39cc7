"""The SQL of what operators restrict: a tenant's block and limits, and blocks without a tenant."""

from __future__ import annotations

from webapp.storage import Connection


def put(
    connection: Connection,
    number: int,
    *,
    blocked_at: int | None,
    rate_limit: str | None,
    token_budget: str | None,
) -> None:
    """Sets the tenant's block and its own limits, checked before; None is none of its own."""
    connection.execute(
        "UPDATE tenants SET blocked_at = :blocked, rate_limit = :rate, token_budget = :budget"
        " WHERE id = :number",
        {"number": number, "blocked": blocked_at, "rate": rate_limit, "budget": token_budget},
    )


def block_of(connection: Connection, number: int) -> tuple[str, int] | None:
    """The stored id and the moment of a tenant's block; None when it has none."""
    row = connection.execute(
        "SELECT user_id, blocked_at FROM tenants WHERE id = :number AND blocked_at IS NOT NULL",
        {"number": number},
    ).fetchone()
    return None if row is None else (row[0], row[1])


def keep_block(connection: Connection, reference: str, blocked_at: int) -> None:
    """A block of somebody who is no tenant any more."""
    connection.execute(
        "INSERT INTO blocked_users (reference, blocked_at) VALUES (:reference, :at)"
        " ON CONFLICT (reference) DO NOTHING",
        {"reference": reference, "at": blocked_at},
    )


def kept_block(connection: Connection, one: str, other: str) -> int | None:
    """Since when there is a block under one of two references."""
    row = connection.execute(
        "SELECT MIN(blocked_at) FROM blocked_users WHERE reference IN (:one, :other)",
        {"one": one, "other": other},
    ).fetchone()
    return None if row[0] is None else int(row[0])


def drop_block(connection: Connection, one: str, other: str) -> None:
    connection.execute(
        "DELETE FROM blocked_users WHERE reference IN (:one, :other)",
        {"one": one, "other": other},
    )
