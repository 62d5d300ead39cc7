"""/workflows: what is on, and one run for a tenant; /api/tenants/…/workflow-runs: what was run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any, cast

from flask import Response, request

from webapp.chat.values import ChatEvent, ChatTurn
from webapp.errors import InvalidInput, NotFound, SwitchboardError
from webapp.ids import DEFAULT_SESSION
from webapp.periods import iso_utc
from webapp.served_workflows.reading import RunPlace, run_of, run_page
from webapp.served_workflows.values import ROUTE, AskedRun, RunAnswer, RunEvent
from webapp.web.answers import (
    KeptRun,
    RunList,
    WorkflowList,
    WorkflowReply,
    answer,
    to_json,
)
from webapp.web.api.tenants import Limit, tenant_of_path
from webapp.web.binding import (
    QueryShape,
    SessionId,
    Shape,
    UserId,
    bind_json,
    bind_query,
    require_no_query,
)
from webapp.web.context import caller, context, services
from webapp.web.cursors import Cursor, read_cursor, write_cursor
from webapp.web.hang_up import HangUp
from webapp.web.sse import NAMED_EVENTS, event, raw_event, stream_response
from webapp.web.turn import admit
from webapp.workflow import (
    RunSummary,
    StepFinished,
    StepResult,
    StepStarted,
    StepText,
    StepTool,
    WorkflowStarted,
)


class RunRequest(Shape):
    """The body of POST /workflows/{name}/runs; `user_id` may be left out with a token, which names
    its user."""

    input: str | dict[str, Any] | list[Any]
    user_id: UserId | None = None
    session_id: SessionId | None = None
    stream: bool = False


class RunsQuery(QueryShape):
    """The query of GET /api/tenants/{user_id}/workflow-runs."""

    session_id: SessionId | None = None
    workflow: str | None = None
    limit: Limit = 50
    cursor: Cursor | None = None


def list_workflows() -> Response:
    """The workflows that are on."""
    found = services().workflows.workflows.values()
    listed = [
        {
            "name": workflow.name,
            "description": workflow.description,
            "steps": [step.name for step in workflow.steps],
        }
        for workflow in found
    ]
    return answer(WorkflowList, {"workflows": listed})


def run_workflow(name: str) -> Response:
    """Runs the workflow for the tenant and answers with what it gave."""
    require_no_query()
    services().workflows.find(name)
    body = bind_json(RunRequest)
    user_id = body.user_id if body.user_id is not None else caller().user_id
    if user_id is None:
        raise InvalidInput("user_id is required", fields={"user_id": "user_id is required"})
    caller().speaks_for(user_id)
    hang_up = HangUp.of_request()
    turn = ChatTurn(
        user_id=user_id,
        message=_text_of(body.input),
        request_id=context().request_id,
        started=context().started,
        session_id=body.session_id or DEFAULT_SESSION,
        route=ROUTE,
        idempotency_key=request.headers.get("Idempotency-Key"),
        cancel=hang_up,
        span=context().span,
    )
    _admit(turn)
    asked = AskedRun(name, body.input, turn)
    if not body.stream:
        return answer(WorkflowReply, reply_fields(services().workflows.reply(asked)))
    return _stream(asked, hang_up)


def list_runs(user_id: str) -> Response:
    """A page of the tenant's runs, newest first; an unknown tenant has none."""
    user_id = tenant_of_path(user_id)
    asked = bind_query(RunsQuery)
    number = services().directory.number(user_id)
    of_list = ("workflow-runs", number, asked.session_id, asked.workflow)
    page = run_page(
        services().database,
        number,
        session_id=asked.session_id,
        workflow=asked.workflow,
        limit=asked.limit,
        place=read_cursor(asked.cursor, RunPlace, *of_list),
    )
    return answer(
        RunList,
        {
            "runs": [run_fields(run) for run in page.rows],
            "next_cursor": write_cursor(page.following, *of_list),
        },
    )


def get_run(user_id: str, run_id: str) -> Response:
    """One run of the tenant, with its steps."""
    user_id = tenant_of_path(user_id)
    run = run_of(services().database, services().directory.number(user_id), run_id)
    if run is None:
        raise NotFound("There is no such run.")
    return answer(KeptRun, {**run_fields(run), "steps": [step_fields(s) for s in run.steps]})


def run_fields(run: RunSummary) -> dict[str, Any]:
    """A run as lists show it."""
    return {
        "run_id": run.run_id,
        "workflow": run.workflow,
        "session_id": run.session_id,
        "status": run.status,
        "input": run.input,
        "output": run.content,
        "usage": run.usage,
        "error": run.error or None,
        "code": run.code or None,
        "request_id": run.request_id,
        "created_at": iso_utc(run.created_at_ms),
        "updated_at": iso_utc(run.updated_at_ms),
    }


def step_fields(step: StepResult) -> dict[str, Any]:
    """An attempt at a step."""
    return {
        "path": step.path,
        "name": step.name,
        "kind": step.kind,
        "status": step.status,
        "attempt": step.attempt,
        "output": step.output,
        "usage": step.usage,
        "started_at": iso_utc(step.started_at_ms),
        "duration_ms": round(step.seconds * 1000),
        "error": step.error or None,
        "code": step.code or None,
    }


def reply_fields(done: RunAnswer) -> dict[str, Any]:
    """A finished run as its caller is told of it."""
    return {
        "run_id": done.run_id,
        "workflow": done.workflow,
        "user_id": done.user_id,
        "session_id": done.session_id,
        "status": done.status,
        "output": done.output,
        "usage": done.usage,
        "steps": [step_fields(step) for step in done.steps],
        "request_id": done.request_id,
    }


class RunEvents:
    """The events `run`, `step`, `delta`, `tool`, `done` and `error`, each with a JSON object."""

    def event(self, item: RunEvent) -> bytes:
        if isinstance(item, StepText):
            return event("delta", {"path": item.path, "text": item.text})
        if isinstance(item, StepStarted):
            return event("step", {**_named(item), "status": "started", "attempt": item.attempt})
        if isinstance(item, StepFinished):
            return event("step", step_fields_as_json(item.result))
        if isinstance(item, StepTool):
            return event("tool", {"path": item.path, "name": item.name, "status": item.status})
        if isinstance(item, WorkflowStarted):
            return event("run", {"run_id": item.run_id})
        if isinstance(item, RunAnswer):
            return raw_event("done", to_json(WorkflowReply, reply_fields(item)))
        return b""

    def error(self, error: SwitchboardError, request_id: str) -> bytes:
        return NAMED_EVENTS.error(error, request_id)


def step_fields_as_json(step: StepResult) -> dict[str, Any]:
    """The same with plain numbers in the place of `Usage`."""
    usage = step.usage
    return {
        **step_fields(step),
        "usage": {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "total_tokens": usage.total_tokens,
        },
    }


def _named(item: StepStarted) -> dict[str, str]:
    return {"path": item.path, "name": item.name, "kind": item.kind}


def _stream(asked: AskedRun, hang_up: HangUp) -> Response:
    """Waits for the tenant's place, so that a refusal has its own status; then streams."""
    events = services().workflows.stream(asked)
    inside = copy_context()
    inside.run(next, events)  # `Started`
    return stream_response(
        cast("Iterator[ChatEvent]", events),  # what they are is the writer's
        hang_up.closed,
        asked.turn.request_id,
        inside=inside,
        here=context(),
        writer=RunEvents(),  # type: ignore[arg-type]  # as above
    )


def _admit(turn: ChatTurn) -> None:
    """The tenant's limits; the field is named as it is here."""
    try:
        admit(turn)
    except InvalidInput as error:
        if "message" not in error.fields:
            raise
        sentence = error.message.replace("message", "input", 1)
        raise InvalidInput(sentence, fields={"input": sentence}, code=error.code) from None


def _text_of(given: str | dict[str, Any] | list[Any]) -> str:
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
