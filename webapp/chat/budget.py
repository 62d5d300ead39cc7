"""Refuses a turn whose tenant has used up its tokens; counting them is usage's business."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from webapp.allowances import TokenBudget, parse_budget
from webapp.errors import QuotaExhausted
from webapp.tenants.store import Standing


def require_budget(standing: Standing, default: TokenBudget, now_ms: int) -> None:
    """`QuotaExhausted` when the tenant has used up its day's or month's tokens.

    The check comes before the turn, the counting after it: a turn that has begun may end, so
    the last one of a day can go over the budget by its own tokens.
    """
    own = standing.token_budget
    budget = default if own is None else parse_budget(own)
    if budget.day is not None and standing.tokens_of_day(now_ms) >= budget.day:
        raise _exhausted("day", now_ms)
    if budget.month is not None and standing.tokens_of_month(now_ms) >= budget.month:
        raise _exhausted("month", now_ms)


def _exhausted(period: str, now_ms: int) -> QuotaExhausted:
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        end = midnight + timedelta(days=1)
    else:
        end = (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
    return QuotaExhausted(
        f"The token budget of this user for the {period} is used up.",
        retry_after=int((end - now).total_seconds()) + 1,
    )
