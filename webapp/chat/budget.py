"""Refuses a turn whose tenant has used up its tokens; counting them is in usage/."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from webapp.allowances import TokenBudget, parse_budget
from webapp.errors import QuotaExhausted
from webapp.periods import DAY_MS, day_number, month_number, month_span
from webapp.storage import Connection
from webapp.tenants.store import Standing
from webapp.usage.sums.store import tokens_between


def require_budget(
    connection: Connection, standing: Standing, default: TokenBudget, now_ms: int
) -> None:
    """`QuotaExhausted` when the tenant has used up its day's or month's tokens.

    The check comes before the turn, the counting after it: a turn that has begun may end, so
    the last one of a day can go over the budget by its own tokens.
    """
    own = standing.token_budget
    budget = default if own is None else parse_budget(own)
    if budget.day is not None and _of_day(connection, standing, now_ms) >= budget.day:
        raise _exhausted("day", now_ms)
    if budget.month is not None and _of_month(connection, standing, now_ms) >= budget.month:
        raise _exhausted("month", now_ms)


def _of_day(connection: Connection, standing: Standing, now_ms: int) -> int:
    """The counter, or the sums of the day when it is of another one: a clock may go back."""
    if standing.budget_day == day_number(now_ms):
        return standing.day_tokens
    begin = now_ms - now_ms % DAY_MS
    return tokens_between(connection, standing.number, begin, begin + DAY_MS)


def _of_month(connection: Connection, standing: Standing, now_ms: int) -> int:
    if standing.budget_month == month_number(now_ms):
        return standing.month_tokens
    return tokens_between(connection, standing.number, *month_span(now_ms))


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
