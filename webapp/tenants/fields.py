"""A tenant in JSON: one set of names for the REST API, the terminal and exports."""

from __future__ import annotations

from typing import Any

from webapp.periods import iso_utc
from webapp.tenants.rows import TenantRow


def tenant_fields(tenant: TenantRow) -> dict[str, Any]:
    """One tenant with its counters, limits and times."""
    return {
        "user_id": tenant.user_id,
        "message_count": tenant.message_count,
        "request_count": tenant.request_count,
        "error_count": tenant.error_count,
        "rate_limited_count": tenant.rate_limited_count,
        "total_tokens": tenant.total_tokens,
        "p95_ms": tenant.p95_ms or None,
        "last_active_at": iso_utc(tenant.last_active_at),
        "created_at": iso_utc(tenant.created_at),
        "blocked": tenant.blocked,
        "rate_limit": tenant.rate_limit,
        "token_budget": tenant.token_budget,
        "input_tokens": tenant.input_tokens,
        "output_tokens": tenant.output_tokens,
        "dropped_session_count": tenant.dropped_session_count,
    }
