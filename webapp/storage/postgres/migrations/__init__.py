"""The schema on PostgreSQL, as numbered steps of its own that are never changed once released.

Times are milliseconds since 1970-01-01 UTC. Texts are compared byte by byte, as SQLite does it.
Every key of what is a tenant's begins with the tenant's number, so that these tables can be
spread over several servers by it.
"""

from __future__ import annotations

from webapp.storage.postgres.migrations import steps_001, steps_006

__all__ = ["SEARCH_INDEX", "STEPS", "WITH_USER_IDS"]

STEPS: tuple[tuple[str, str], ...] = steps_001.STEPS + steps_006.STEPS
"""The name of each step and its SQL, in order."""

SEARCH_INDEX = """
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX tenant_search_by_part ON tenant_search USING gin (user_id gin_trgm_ops);
"""
"""Not a step: it is tried with each upgrade until the extension can be made."""

WITH_USER_IDS = ("tenants", "tenant_search", "api_keys")
"""The tables that hold user ids, and are rewritten when these have been encrypted."""
