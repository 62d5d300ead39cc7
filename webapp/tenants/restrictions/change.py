"""What is to be changed of a tenant's block and limits, and whether it may be; no SQL."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from webapp.allowances import check_rate_limit, parse_budget
from webapp.tenants.rows import TenantRow


class Unset:
    """Says that a field of a change was not given, which is not the same as None."""


UNSET: Final = Unset()


@dataclass(frozen=True, slots=True)
class TenantChange:
    """The changes to make; a limit of None goes back to the default."""

    blocked: bool | Unset = UNSET
    rate_limit: str | Unset | None = UNSET
    token_budget: str | Unset | None = UNSET

    def check(self) -> None:
        """Raises `InvalidInput` for a limit or a budget that is none."""
        if isinstance(self.rate_limit, str):
            check_rate_limit(self.rate_limit)
        if isinstance(self.token_budget, str):
            parse_budget(self.token_budget)

    def of(self, row: TenantRow, now_ms: int) -> TenantRow:
        """The tenant as it is when this is done; one that is blocked stays so since then."""
        blocked_at = row.blocked_at
        if not isinstance(self.blocked, Unset) and self.blocked != row.blocked:
            blocked_at = now_ms if self.blocked else None
        rate_limit, token_budget = self.rate_limit, self.token_budget
        return replace(
            row,
            blocked_at=blocked_at,
            rate_limit=row.rate_limit if isinstance(rate_limit, Unset) else rate_limit,
            token_budget=row.token_budget if isinstance(token_budget, Unset) else token_budget,
        )
