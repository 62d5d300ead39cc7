"""Token budgets for a tenant's UTC day and month; the counting itself is usage's business."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from webapp.errors import InvalidInput, QuotaExhausted
from webapp.tenants.store import Standing

_PART = re.compile(r"([0-9]{1,15})\s*(?:/|\s+per\s+)\s*(day|month)", re.ASCII)


@dataclass(frozen=True, slots=True)
class TokenBudget:
    """Tokens a day and a month; None sets no limit."""

    day: int | None = None
    month: int | None = None


def parse_budget(text: str) -> TokenBudget:
    """Reads `100000/day;2000000/month`; empty sets no limit. `InvalidInput` on anything else."""
    amounts: dict[str, int] = {}
    for part in re.split(r"[;,]", text) if text.strip() else []:
        match = _PART.fullmatch(part.strip().lower())
        if match is None or match[2] in amounts:
            sentence = "token_budget must look like 100000/day;2000000/month"
            raise InvalidInput(sentence, fields={"token_budget": sentence})
        amounts[match[2]] = int(match[1])
    return TokenBudget(**amounts)


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
