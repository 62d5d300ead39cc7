"""A tenant as the lists and pages show it, as a value; reading it is store.py's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NOBODY = -1  # no tenant's number, nor that of everyone together
COLUMNS = (
    "tenants.id, tenants.user_id, created_at, last_active_at, message_count, request_count,"
    " error_count, refused_count, input_tokens, output_tokens, total_tokens, p95_ms, blocked_at,"
    " rate_limit, token_budget, budget_day, day_tokens, budget_month, month_tokens,"
    " dropped_sessions"
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
    dropped_session_count: int

    @property
    def blocked(self) -> bool:
        return self.blocked_at is not None


def row_of(columns: tuple[Any, ...]) -> TenantRow:
    """The tenant in a row of `COLUMNS`."""
    return TenantRow(*columns)


def only_blocked(user_id: str, blocked_at: int) -> TenantRow:
    """A user that was forgotten while it was blocked: nothing is known of it but that."""
    zeros = (0,) * 8
    return TenantRow(
        NOBODY, user_id, blocked_at, blocked_at, *zeros, blocked_at, None, None, 0, 0, 0, 0, 0
    )
