"""How the journal's lines and runs stand in rows: values as JSON text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from webapp.memory.workflow_runs.store import STEP_COLUMNS, RunRow
from webapp.messages import Usage
from webapp.session_state import StateChanges
from webapp.workflow.events import StepResult
from webapp.workflow.journal import RunSummary, StepRecord


def json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def step_values(record: StepRecord) -> dict[str, Any]:
    """The columns of a line."""
    result = record.result
    return {
        "path": result.path,
        "attempt": result.attempt,
        "name": result.name,
        "kind": result.kind,
        "status": result.status,
        "input_hash": record.given,
        "output": json_text(result.output),
        "changes": _changes_text(record.changes),
        "visible": int(record.visible),
        "started_at": result.started_at_ms,
        "duration_ms": round(result.seconds * 1000),
        "input_tokens": result.usage.input_tokens,
        "output_tokens": result.usage.output_tokens,
        "error": result.error,
        "code": result.code,
    }


def step_of(row: Sequence[Any]) -> StepRecord:
    """The line again."""
    values = dict(zip(STEP_COLUMNS, row, strict=True))
    result = StepResult(
        path=values["path"],
        name=values["name"],
        kind=values["kind"],
        status=values["status"],
        output=json.loads(values["output"] or "null"),
        usage=Usage(int(values["input_tokens"]), int(values["output_tokens"])),
        started_at_ms=int(values["started_at"]),
        seconds=values["duration_ms"] / 1000,
        attempt=int(values["attempt"]),
        error=values["error"],
        code=values["code"],
    )
    changes = _changes_of(values["changes"])
    return StepRecord(result, values["input_hash"], changes, bool(values["visible"]))


def summary_of(row: RunRow, steps: Sequence[Sequence[Any]] = ()) -> RunSummary:
    """The run as its user sees it."""
    return RunSummary(
        run_id=row.run_id,
        workflow=row.workflow,
        session_id=row.session_id,
        status=row.status,  # type: ignore[arg-type]  # only these are written
        created_at_ms=int(row.created_at),
        updated_at_ms=int(row.updated_at),
        input=json.loads(row.input),
        content=None if row.output is None else json.loads(row.output),
        usage=Usage(int(row.input_tokens), int(row.output_tokens)),
        error=row.error,
        code=row.code,
        request_id=row.request_id,
        steps=tuple(step_of(step).result for step in steps),
    )


def _changes_text(changes: StateChanges | None) -> str | None:
    if changes is None:
        return None
    return json_text({"set": dict(changes.sets), "delete": sorted(changes.deletes)})


def _changes_of(text: str | None) -> StateChanges | None:
    if text is None:
        return None
    read = json.loads(text)
    return StateChanges(read["set"], frozenset(read["delete"]))
