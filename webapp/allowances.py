"""How limits and token budgets are written, `60/minute;2000/day`; counting them is elsewhere."""

from __future__ import annotations

import re
from dataclasses import dataclass

from webapp.errors import InvalidInput

MAX_LIMIT_CHARS = 200
# Numbers that the limiter's storages and their clocks can hold.
MAX_AMOUNT = 10**9
LONGEST_WINDOW_SECONDS = 10 * 366 * 86_400

_BUDGET_PART = re.compile(r"([0-9]{1,15})\s*(?:/|\s+per\s+)\s*(day|month)", re.ASCII)


@dataclass(frozen=True, slots=True)
class TokenBudget:
    """Tokens a day and a month; None sets no limit."""

    day: int | None = None
    month: int | None = None


def check_rate_limit(text: str) -> str:
    """The text itself when it is a limit such as `60/minute;2000/day`; else `InvalidInput`."""
    # Imported here, because it takes longer than most commands of the terminal.
    from limits import parse_many

    sentence = "rate_limit must look like 60/minute;2000/day"
    if len(text) > MAX_LIMIT_CHARS:
        raise InvalidInput(sentence, fields={"rate_limit": sentence})
    try:
        limits = parse_many(text)
    except ValueError:
        limits = []
    if not limits or not all(
        1 <= limit.amount <= MAX_AMOUNT and 1 <= limit.get_expiry() <= LONGEST_WINDOW_SECONDS
        for limit in limits
    ):
        raise InvalidInput(sentence, fields={"rate_limit": sentence})
    return text


def parse_budget(text: str) -> TokenBudget:
    """Reads `100000/day;2000000/month`; empty sets no limit. `InvalidInput` on anything else."""
    amounts: dict[str, int] = {}
    for part in re.split(r"[;,]", text) if text.strip() else []:
        match = _BUDGET_PART.fullmatch(part.strip().lower())
        if match is None or match[2] in amounts:
            sentence = "token_budget must look like 100000/day;2000000/month"
            raise InvalidInput(sentence, fields={"token_budget": sentence})
        amounts[match[2]] = int(match[1])
    return TokenBudget(**amounts)
