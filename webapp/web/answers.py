"""The shapes of what the REST API answers: the views write them, and the OpenAPI document shows
them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Response
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

Count = Annotated[int, Field(ge=0)]
Moment = Annotated[
    str,
    WithJsonSchema(
        {
            "type": "string",
            "format": "date-time",
            "description": "UTC with milliseconds",
            "examples": ["2026-11-23T21:00:00.000Z"],
        }
    ),
]
Cursor = Annotated[
    str | None, Field(description="what to send as `cursor` for the next page; null on the last")
]
Milliseconds = Annotated[Count | None, Field(description="null when nothing was measured")]


class Answer(BaseModel):
    """A declared shape of output; made of an object's attributes, or of a dict."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)


def to_json(shape: type[Answer], value: object) -> bytes:
    """The value in this shape. What it does not say is left out."""
    # Cheaper than the methods of the model, on the way of every turn.
    checked = shape.__pydantic_validator__.validate_python(value)
    return shape.__pydantic_serializer__.to_json(checked, by_alias=True, exclude_unset=True)


def answer(shape: type[Answer], value: object, *, status: int = 200) -> Response:
    """An answer in this shape."""
    return Response(to_json(shape, value), status, content_type="application/json")


class Usage(Answer):
    """Tokens of a turn, all its model calls together."""

    input_tokens: Count
    output_tokens: Count
    total_tokens: Count


class PendingCall(Answer):
    """A call of a tool that waits for approval."""

    id: Annotated[str, Field(description="what an approval names as `call_id`")]
    name: str
    arguments: dict[str, Any]


class ChatReply(Answer):
    """A finished turn. It is on disk by the time that this is sent."""

    user_id: str
    reply: str
    session_id: str
    finish_reason: Annotated[
        str,
        Field(
            description="the model's own last one: `stop`, `length` when the answer was cut off,"
            " `content_filter`, …; or `approval_required`"
        ),
    ]
    model: Annotated[str, Field(description="the name under which the model was asked")]
    usage: Usage
    request_id: str
    output: Annotated[
        Any, Field(description="the reply as JSON, where `response_format` asked for JSON")
    ] = None
    pending_calls: Annotated[
        list[PendingCall],
        Field(description="there when the turn waits for the approval of these"),
    ] = []


class Token(Answer):
    """A signed token for one user."""

    token: str
    token_type: Literal["Bearer"]
    user_id: str
    expires_in: Annotated[Count, Field(description="seconds")]
    expires_at: Moment


class ListedTenant(Answer):
    """A tenant as the list shows it."""

    user_id: str
    message_count: Count
    request_count: Count
    error_count: Count
    rate_limited_count: Count
    total_tokens: Count
    p95_ms: Annotated[Count | None, Field(description="null: nothing was measured yet")]
    last_active_at: Moment
    blocked: bool


class TenantList(Answer):
    """A page of tenants."""

    tenants: list[ListedTenant]
    next_cursor: Cursor


class Tenant(ListedTenant):
    """One tenant; a limit of null means the server's default."""

    rate_limit: str | None
    token_budget: str | None
    input_tokens: Count
    output_tokens: Count
    dropped_session_count: Annotated[
        int, Field(ge=0, description="sessions that went because the tenant was over a limit")
    ]
    created_at: Moment


class Session(Answer):
    """One conversation of a tenant; turns and tokens are those of its stored turns."""

    session_id: str
    title: Annotated[
        str | None,
        Field(description="given by a person, or the first question in short; null without one"),
    ]
    message_count: Count
    turn_count: Count
    input_tokens: Count
    output_tokens: Count
    created_at: Moment
    last_active_at: Moment
    has_state: bool


class SessionList(Answer):
    """A page of a tenant's sessions."""

    sessions: list[Session]
    next_cursor: Cursor


class SessionState(Answer):
    """The state of one session. Its version grows with each change and never goes back."""

    user_id: str
    session_id: str
    state: dict[str, Any]
    version: Annotated[Count, Field(description="0 where there never was a state")]


class StoredMessage(Answer):
    """A stored message. The last two are there when the agent used tools."""

    id: str
    role: Literal["system", "user", "assistant", "tool"]
    content: str
    created_at: Moment
    session_id: str
    tool_calls: list[dict[str, Any]] = Field(default_factory=list)
    tool_call_id: str = ""


class MessageList(Answer):
    """A page of a tenant's memory, oldest first."""

    messages: list[StoredMessage]
    next_cursor: Cursor


class Workflow(Answer):
    """A workflow that is on, with the names of its parts in their order."""

    name: str
    description: str
    steps: list[str]


class WorkflowList(Answer):
    """The workflows that are on."""

    workflows: list[Workflow]


class WorkflowStep(Answer):
    """One attempt at a step. A condition, a router and a loop have what they decided as output."""

    path: str
    name: str
    kind: Literal["agent", "function", "workflow", "parallel", "condition", "loop", "router"]
    status: Literal["completed", "failed"]
    attempt: Count
    output: Any
    usage: Usage
    started_at: Moment
    duration_ms: Count
    error: str | None
    code: str | None


class WorkflowReply(Answer):
    """A finished run. It is on disk by the time that this is sent."""

    run_id: str
    workflow: str
    user_id: str
    session_id: str
    status: Literal["completed"]
    output: Any
    usage: Usage
    steps: list[WorkflowStep]
    request_id: str


class Run(Answer):
    """One run of a workflow. Of one that is `running` a worker has it, or will take it up."""

    run_id: str
    workflow: str
    session_id: str
    status: Literal["running", "completed", "failed", "cancelled"]
    input: Any
    output: Any
    usage: Usage
    error: str | None
    code: str | None
    request_id: str
    created_at: Moment
    updated_at: Moment


class KeptRun(Run):
    """The same with its steps, in the order in which they ended, failed attempts included."""

    steps: list[WorkflowStep]


class RunList(Answer):
    """A page of a tenant's runs, newest first."""

    runs: list[Run]
    next_cursor: Cursor


class Cleared(Answer):
    """How many messages went."""

    cleared: Count


class AllCleared(Answer):
    """How many messages went, and of how many tenants."""

    cleared: Count
    tenants: Count


class Forgotten(Answer):
    """What went with the tenant."""

    messages: Count
    sessions: Count
    requests: Count


class ForgottenSession(Answer):
    """What went with the session."""

    messages: Count


class ImportedAll(Answer):
    """What came with an import of all tenants; `known` of them were there before, and keep their
    limits, blocks, times and figures."""

    tenants: Count
    known: Count
    sessions: Count
    messages: Count
    messages_left_out: Count
    requests: Count


class Imported(Answer):
    """What came with an import, and in `note` what did not; empty for nothing.

    A tenant that was known already keeps its limits, block, times and figures.
    """

    sessions: Count
    messages: Count
    messages_left_out: Count
    requests: Count
    new_tenant: bool
    note: str


class Latency(Answer):
    """Milliseconds that half, 95 % and 99 % of the turns did not exceed."""

    p50: Milliseconds
    p95: Milliseconds
    p99: Milliseconds


class Point(Answer):
    """One step of a series, from `at` on."""

    at: Moment
    requests: Count
    errors: Count
    tokens: Count


class Figures(Answer):
    """What happened in a window of time.

    `errors` ended 5xx; `rate_limited` were refused by a limit or the queue.
    """

    requests: Count
    errors: Count
    rate_limited: Count
    input_tokens: Count
    output_tokens: Count
    latency_ms: Latency
    series: list[Point]


class Links(Answer):
    """Addresses on this server."""

    chat: str
    console: str
    docs: str
    openapi: str
    health: str
    ready: str


class Welcome(Answer):
    """What this is."""

    name: str
    description: str
    version: str
    links: Links


class Alive(Answer):
    """The process answers."""

    status: Literal["ok"]


class Checks(Answer):
    """`ok`, or the code of what is wrong."""

    database: str
    schema_: Annotated[str, Field(alias="schema")]
    turn_lines: Literal["ok", "down"]
    limiter: Literal["ok", "down"]
    workers: Annotated[
        Literal["ok", "fewer"] | None, Field(description="under `serve` and `dev`")
    ] = None
    model_breaker: Annotated[
        Literal["ok", "open", "half_open"] | None,
        Field(description="`open` while turns are refused because the model's server is ill"),
    ] = None
    model: Annotated[
        Literal["ok", "away"] | None, Field(description="where an embedded one answers")
    ] = None
    mcp_servers: Annotated[
        Literal["ok", "away"] | None,
        Field(description="where there are any; `away` while one of them is, in some worker"),
    ] = None


class Readiness(Answer):
    """Whether turns can run."""

    status: Literal["ready", "not_ready"]
    checks: Checks
    reasons: Annotated[
        dict[str, str], Field(description="a sentence for each part that is not `ok`")
    ]
    reason: Annotated[str | None, Field(description="the first that stops turns")] = None
    limiter_failures: Annotated[
        Count, Field(description="requests let through because the limiter's storage was down")
    ]


class Error(Answer):
    """What every failure is answered with."""

    error: Annotated[str, Field(description="a sentence")]
    code: Annotated[str, Field(pattern="^[a-z0-9_]+$", description="a stable name")]
    request_id: str
    fields: Annotated[
        dict[str, str], Field(description="a sentence for each field that was wrong")
    ] = Field(default_factory=dict)
    guardrail: Annotated[
        str, Field(description="which guardrail refused or failed, if one did")
    ] = ""
