"""The SQL of workflows' runs and the journals of their steps.

A run has a fence, which grows whenever a process takes the run up: who holds an older number writes
nothing any more. The first statement of each transaction that writes to a run asks for it, and
holds the run's row until the transaction ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from webapp.storage import Connection

STEP_COLUMNS = (
    *("path", "attempt", "name", "kind", "status", "input_hash", "output", "changes", "visible"),
    *("started_at", "duration_ms", "input_tokens", "output_tokens", "error", "code"),
)
RUN_COLUMNS = (
    *("id", "run_id", "session_id", "workflow", "digest", "status", "input", "output", "state"),
    *("error", "code", "fence", "created_at", "updated_at", "request_id"),
)
_STEPS = ", ".join(STEP_COLUMNS)
_RUN = ", ".join(f"workflow_runs.{name}" for name in RUN_COLUMNS)


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run without its steps. Values of JSON are texts; times are milliseconds since 1970-01-01
    UTC. `number` grows with each run."""

    number: int
    run_id: str
    session_id: str
    workflow: str
    digest: str
    status: str
    input: str
    output: str | None
    state: str | None
    error: str
    code: str
    fence: int
    created_at: int
    updated_at: int
    request_id: str = ""
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A run that has not come to its end, whoever runs it."""

    tenant: int
    number: int
    run_id: str
    workflow: str


def make(connection: Connection, tenant: int, values: dict[str, Any]) -> int | None:
    """A new run with the fence 1; its number, None when there is one with this id already."""
    row = connection.execute(_MAKE, {"tenant": tenant, **values}).fetchone()
    return None if row is None else int(row[0])


def find(connection: Connection, tenant: int, run_id: str) -> RunRow | None:
    """The tenant's run with this id."""
    found = connection.execute(_FIND, {"tenant": tenant, "run_id": run_id}).fetchone()
    return None if found is None else RunRow(*found)


def find_by_key(connection: Connection, tenant: int, key: str, since_ms: int) -> RunRow | None:
    """The newest run that was made with this idempotency key, not before that moment."""
    values = {"tenant": tenant, "key": key, "since": since_ms}
    found = connection.execute(_FIND_BY_KEY, values).fetchone()
    return None if found is None else RunRow(*found)


def body_of(connection: Connection, tenant: int, number: int) -> str:
    """The hash of the body that came with the run's idempotency key."""
    who = {"tenant": tenant, "run": number}
    found = connection.execute(
        "SELECT body_hash FROM workflow_runs WHERE tenant_id = :tenant AND id = :run", who
    ).fetchone()
    return "" if found is None else str(found[0])


def take_up(
    connection: Connection, tenant: int, number: int, now_ms: int
) -> tuple[int, int] | None:
    """Raises the run's fence; gives it, and how often the run was taken up while it was running
    since its last finished step. None when the run is complete, or gone."""
    values = {"tenant": tenant, "run": number, "now": now_ms}
    row = connection.execute(_TAKE_UP, values).fetchone()
    return None if row is None else (int(row[0]), int(row[1]))


def hold(
    connection: Connection,
    tenant: int,
    number: int,
    fence: int,
    now_ms: int,
    *,
    further: bool = False,
) -> bool:
    """Holds the run's row; False when the fence is higher by now, the run has come to its end or is
    gone. With `further` a step is finished, and interruptions are counted anew."""
    values = {"tenant": tenant, "run": number, "fence": fence, "now": now_ms}
    return connection.execute(_HOLD_FURTHER if further else _HOLD, values).rowcount > 0


def add_step(connection: Connection, tenant: int, number: int, values: dict[str, Any]) -> None:
    """One more line of a journal; the run's row is held."""
    connection.execute(_ADD_STEP, {"tenant": tenant, "run": number, **values})


def end(
    connection: Connection,
    tenant: int,
    number: int,
    *,
    status: str,
    output: str | None,
    error: str,
    code: str,
) -> None:
    """The run has come to its end; its row is held. The key of one that failed is free again."""
    connection.execute(
        _END,
        {
            "tenant": tenant,
            "run": number,
            "status": status,
            "output": output,
            "error": error,
            "code": code,
        },
    )


def steps(connection: Connection, tenant: int, number: int) -> Sequence[Any]:
    """The lines of a run's journal in their order; see `STEP_COLUMNS`."""
    return connection.execute(_STEPS_OF, {"tenant": tenant, "run": number}).fetchall()


def page(
    connection: Connection,
    tenant: int,
    *,
    session_id: str | None,
    workflow: str | None,
    before: int,
    most: int,
) -> list[RunRow]:
    """The tenant's runs with lower numbers than that, newest first."""
    values = {
        "tenant": tenant,
        "session": session_id,
        "workflow": workflow,
        "before": before,
        "most": most,
    }
    sql = _PAGE.format(
        session="" if session_id is None else "AND session_id = :session",
        workflow="" if workflow is None else "AND workflow = :workflow",
    )
    return [RunRow(*row) for row in connection.execute(sql, values).fetchall()]


def interrupted(connection: Connection, after: int, most: int) -> list[Interrupted]:
    """Runs of all tenants that have not come to their end, in the order in which they were made."""
    rows = connection.execute(_INTERRUPTED, {"after": after, "most": most}).fetchall()
    return [Interrupted(*row) for row in rows]


def drop_oldest(
    connection: Connection, tenant: int, kept: int, most: int, *, stale_ms: int = 0
) -> int:
    """Drops at most `most` of the tenant's runs that are over, or that nobody has touched since
    `stale_ms`, so that the newest `kept` stay."""
    values = {"tenant": tenant, "kept": kept, "most": most, "stale": stale_ms}
    return connection.execute(_DROP_OLDEST, values).rowcount


def drop_older(connection: Connection, before_ms: int, most: int) -> int:
    """Drops at most `most` runs that nobody has touched since then, of all tenants."""
    values = {"before": before_ms, "most": most}
    return connection.execute(_DROP_OLDER, values).rowcount


def drop_some(connection: Connection, tenant: int, most: int) -> int:
    """Drops at most `most` of the tenant's runs, whatever their status; gives their number."""
    return connection.execute(_DROP_SOME, {"tenant": tenant, "most": most}).rowcount


def drop_of_session(connection: Connection, tenant: int, session_id: str, most: int) -> int:
    """Drops at most `most` runs of one session, whatever their status; gives their number."""
    values = {"tenant": tenant, "session": session_id, "most": most}
    return connection.execute(_DROP_OF_SESSION, values).rowcount


def drop_left(connection: Connection, most: int) -> int:
    """Drops at most `most` runs of any tenants; gives their number."""
    return connection.execute(_DROP_LEFT, {"most": most}).rowcount


_MAKE = """
    INSERT INTO workflow_runs
        (tenant_id, run_id, session_id, workflow, digest, status, input, state, fence, key_hash,
         body_hash, request_id, created_at, updated_at)
    VALUES
        (:tenant, :run_id, :session_id, :workflow, :digest, 'running', :input, :state, 1,
         :key_hash, :body_hash, :request_id, :now, :now)
    ON CONFLICT (tenant_id, run_id) DO NOTHING RETURNING id
"""

_TOKENS = """
    (SELECT CAST(COALESCE(SUM(input_tokens), 0) AS BIGINT) FROM workflow_steps AS s
     WHERE s.tenant_id = workflow_runs.tenant_id AND s.run = workflow_runs.id),
    (SELECT CAST(COALESCE(SUM(output_tokens), 0) AS BIGINT) FROM workflow_steps AS s
     WHERE s.tenant_id = workflow_runs.tenant_id AND s.run = workflow_runs.id)
"""

_SELECT = f"SELECT {_RUN}, {_TOKENS} FROM workflow_runs"  # noqa: S608  # nosec B608  # constants

_FIND = f"{_SELECT} WHERE tenant_id = :tenant AND run_id = :run_id"

_FIND_BY_KEY = f"""
    {_SELECT} WHERE tenant_id = :tenant AND key_hash = :key AND created_at > :since
    ORDER BY id DESC LIMIT 1
"""

_PAGE = (
    _SELECT
    + """
    WHERE tenant_id = :tenant AND id < :before {session} {workflow}
    ORDER BY id DESC LIMIT :most
"""
)

_TAKE_UP = """
    UPDATE workflow_runs
    SET fence = fence + 1, status = 'running', error = '', code = '', updated_at = :now,
        interruptions = CASE WHEN status = 'running' THEN interruptions + 1 ELSE 0 END
    WHERE tenant_id = :tenant AND id = :run AND status <> 'completed'
    RETURNING fence, interruptions
"""

_HOLD = """
    UPDATE workflow_runs SET updated_at = :now
    WHERE tenant_id = :tenant AND id = :run AND fence = :fence AND status = 'running'
"""

_HOLD_FURTHER = _HOLD.replace("SET updated_at", "SET interruptions = 0, updated_at")

_ADD_STEP = f"""
    INSERT INTO workflow_steps (tenant_id, run, seq, {_STEPS})
    VALUES (:tenant, :run,
        (SELECT COALESCE(MAX(seq), 0) + 1 FROM workflow_steps
         WHERE tenant_id = :tenant AND run = :run),
        {", ".join(f":{name}" for name in STEP_COLUMNS)})
"""  # noqa: S608  # nosec B608  # constants

_END = """
    UPDATE workflow_runs SET status = :status, output = :output, error = :error, code = :code,
        key_hash = CASE WHEN :status = 'completed' THEN key_hash END
    WHERE tenant_id = :tenant AND id = :run
"""

_STEPS_OF = f"""
    SELECT {_STEPS} FROM workflow_steps WHERE tenant_id = :tenant AND run = :run ORDER BY seq
"""  # noqa: S608  # nosec B608  # constants

_INTERRUPTED = """
    SELECT tenant_id, id, run_id, workflow FROM workflow_runs
    WHERE status = 'running' AND id > :after ORDER BY id LIMIT :most
"""

_DROP_OLDEST = """
    DELETE FROM workflow_runs WHERE tenant_id = :tenant AND id IN (
        SELECT id FROM workflow_runs WHERE tenant_id = :tenant
        AND (status <> 'running' OR updated_at < :stale) AND id <= (
            SELECT id FROM workflow_runs WHERE tenant_id = :tenant
            ORDER BY id DESC LIMIT 1 OFFSET :kept
        ) ORDER BY id LIMIT :most
    )
"""

_DROP_OLDER = """
    DELETE FROM workflow_runs WHERE (tenant_id, id) IN (
        SELECT tenant_id, id FROM workflow_runs
        WHERE updated_at < :before LIMIT :most
    )
"""

_DROP_SOME = """
    DELETE FROM workflow_runs WHERE tenant_id = :tenant AND id IN (
        SELECT id FROM workflow_runs WHERE tenant_id = :tenant ORDER BY id LIMIT :most
    )
"""

_DROP_OF_SESSION = """
    DELETE FROM workflow_runs WHERE tenant_id = :tenant AND id IN (
        SELECT id FROM workflow_runs WHERE tenant_id = :tenant AND session_id = :session
        ORDER BY id LIMIT :most
    )
"""

_DROP_LEFT = """
    DELETE FROM workflow_runs WHERE (tenant_id, id) IN (
        SELECT tenant_id, id FROM workflow_runs ORDER BY id LIMIT :most
    )
"""
