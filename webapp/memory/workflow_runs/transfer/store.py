"""The SQL that takes a tenant's runs of workflows out, and puts them in elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from webapp.memory.workflow_runs.store import STEP_COLUMNS
from webapp.storage import Connection

RUN_COLUMNS = (
    *("run_id", "session_id", "workflow", "digest", "status", "input", "output", "state"),
    *("error", "code", "created_at", "updated_at", "request_id"),
)
"""What travels of a run. Its fence and its idempotency key belong to where it ran."""


def page(connection: Connection, tenant: int, after: int, limit: int) -> list[tuple[Any, ...]]:
    """id and the columns of `RUN_COLUMNS`, in order of id."""
    asked = {"tenant": tenant, "after": after, "limit": limit}
    return connection.execute(_PAGE, asked).fetchall()


def steps_page(
    connection: Connection, tenant: int, run: int, after: int, limit: int
) -> list[tuple[Any, ...]]:
    """seq and the columns of `STEP_COLUMNS`, in order of seq."""
    asked = {"tenant": tenant, "run": run, "after": after, "limit": limit}
    return connection.execute(_STEPS, asked).fetchall()


def put(connection: Connection, tenant: int, values: Mapping[str, Any]) -> int | None:
    """Makes a run that nobody runs; its number, None when the tenant has one with this id."""
    row = connection.execute(_PUT, {"tenant": tenant, **values}).fetchone()
    return None if row is None else int(row[0])


def put_step(
    connection: Connection, tenant: int, run: int, seq: int, values: Mapping[str, Any]
) -> None:
    """One line of the run's journal."""
    connection.execute(_PUT_STEP, {"tenant": tenant, "run": run, "seq": seq, **values})


_PAGE = f"""
    SELECT id, {", ".join(RUN_COLUMNS)} FROM workflow_runs
    WHERE tenant_id = :tenant AND id > :after ORDER BY id LIMIT :limit
"""  # noqa: S608  # nosec B608  # constants

_STEPS = f"""
    SELECT seq, {", ".join(STEP_COLUMNS)} FROM workflow_steps
    WHERE tenant_id = :tenant AND run = :run AND seq > :after ORDER BY seq LIMIT :limit
"""  # noqa: S608  # nosec B608  # constants

_PUT = f"""
    INSERT INTO workflow_runs (tenant_id, fence, {", ".join(RUN_COLUMNS)})
    VALUES (:tenant, 1, {", ".join(f":{name}" for name in RUN_COLUMNS)})
    ON CONFLICT (tenant_id, run_id) DO NOTHING RETURNING id
"""  # noqa: S608  # nosec B608  # constants

_PUT_STEP = f"""
    INSERT INTO workflow_steps (tenant_id, run, seq, {", ".join(STEP_COLUMNS)})
    VALUES (:tenant, :run, :seq, {", ".join(f":{name}" for name in STEP_COLUMNS)})
"""  # noqa: S608  # nosec B608  # constants
