"""A tenant as the lists and pages show it; the hot reads of a turn are in store.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from webapp.storage import Connection
from webapp.tenants.store import NOBODY

COLUMNS = (
    "tenants.id, tenants.user_id, created_at, last_active_at, message_count, request_count,"
    " error_count, refused_count, input_tokens, output_tokens, total_tokens, p95_ms, blocked_at,"
    " rate_limit, token_budget, budget_day, day_tokens, budget_month, month_tokens"
)


@dataclass(frozen=True, slots=True)
class TenantRow:
    """One tenant with its counters; `user_id` is in the stored form until `TenantDirectory`
    has read it. Times are milliseconds UTC; a `p95_ms` of 0 means that nothing was measured.
    """

    number: int
    user_id: str
    created_at: int
    last_active_at: int
    message_count: int
    request_count: int
    error_count: int
    rate_limited_count: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    p95_ms: int
    blocked_at: int | None
    rate_limit: str | None
    token_budget: str | None
    budget_day: int
    day_tokens: int
    budget_month: int
    month_tokens: int

    @property
    def blocked(self) -> bool:
        return self.blocked_at is not None


def row_of(columns: tuple[Any, ...]) -> TenantRow:
    """What a SELECT of `COLUMNS` gave."""
    return TenantRow(*columns)


def only_blocked(user_id: str, blocked_at: int) -> TenantRow:
    """A user that was forgotten while it was blocked: nothing is known of it but that."""
    zeros = (0,) * 8
    return TenantRow(
        NOBODY, user_id, blocked_at, blocked_at, *zeros, blocked_at, None, None, 0, 0, 0, 0
    )


def find(connection: Connection, stored_id: str) -> TenantRow | None:
    """The tenant, or None; never makes one."""
    found = connection.execute(
        f"SELECT {COLUMNS} FROM tenants WHERE user_id = :user",  # noqa: S608  # nosec B608  # a constant list
        {"user": stored_id},
    ).fetchone()
    return None if found is None else row_of(found)


def find_number(connection: Connection, number: int) -> TenantRow | None:
    """The tenant that a row elsewhere (an audit entry, a ranking) names by its number."""
    found = connection.execute(
        f"SELECT {COLUMNS} FROM tenants WHERE id = :number",  # noqa: S608  # nosec B608  # a constant list
        {"number": number},
    ).fetchone()
    return None if found is None else row_of(found)


def count(connection: Connection) -> int:
    """How many tenants there are; walks the smallest index: 2 ms for a million."""
    return int(connection.execute("SELECT COUNT(*) FROM tenants", {}).fetchone()[0])


def count_active(connection: Connection, since_ms: int) -> int:
    """How many were active since then; walks that part of an index."""
    found = connection.execute(
        "SELECT COUNT(*) FROM tenants WHERE last_active_at >= :since", {"since": since_ms}
    )
    return int(found.fetchone()[0])
