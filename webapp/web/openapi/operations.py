"""What the document says about each endpoint; a route without an entry fails a test."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from webapp.web import answers
from webapp.web.api import chat, metrics, sessions, states, tenants, tokens, transfers, workflows
from webapp.web.openapi.operation import (
    EVENTS,
    HTML,
    JSON,
    JSON_LINES,
    TEXT,
    Header,
    Operation,
    Reply,
)

IDEMPOTENCY_KEY = Header(
    "Idempotency-Key",
    "The same key, user and body within 24 hours get the first answer again without a second turn.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
)

IF_MATCH = Header(
    "If-Match",
    'The version that was read, such as `"3"`; `*` for any state. 409 when it is another by now.',
    {"type": "string", "pattern": '^(\\*|"[0-9]{1,18}")$'},
)
IF_NONE_MATCH = Header(
    "If-None-Match",
    "`*` writes only where there is no state yet; otherwise 409.",
    {"type": "string", "enum": ["*"]},
)

OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType(
    {
        "POST /chat": Operation(
            id="chat",
            summary="Run one turn",
            tag="Chat",
            details=(
                "Sends the user's message to the agent and answers with its reply. With"
                " `stream` true the answer is server-sent events: `delta` {text} and `tool`"
                " {name, status, tool_call_id} as they come, then one `done` with the body that a"
                " whole answer has, or one `error` with the error object. With a token `user_id`"
                " may be left out: the token names its user. With `response_format` the reply is"
                " JSON that was checked, and `output` its value; a model that gives no such answer"
                " in three tries is a 502 `invalid_answer`. Where a tool needs approval, the turn"
                " ends with `pending_calls`; `approvals` in the session's next request, instead of"
                " or beside `message`, let it go on."
            ),
            body=chat.ChatRequest,
            headers=(IDEMPOTENCY_KEY,),
            replies={
                200: Reply("The reply, or its events.", answers.ChatReply, also=(EVENTS,)),
            },
            failures=(404, 409, 422, 502, 504),
            example={"user_id": "user-a", "message": "My name is Alice"},
        ),
        "GET /workflows": Operation(
            id="listWorkflows",
            summary="List the workflows that are on",
            tag="Workflows",
            replies={200: Reply("The workflows.", answers.WorkflowList)},
        ),
        "POST /workflows/{name}/runs": Operation(
            id="runWorkflow",
            summary="Run a workflow for one user",
            tag="Workflows",
            details=(
                "Runs all steps and answers with what the last one gave. With `stream` true the"
                " answer is server-sent events: one `run` {run_id}, `step` as each begins (`status`"
                " is `started`) and ends, `delta` {path, text} and `tool` {path, name, status} of"
                " the agents in it, then one `done` with the body that a whole answer has, or one"
                " `error`. The tenant's limits, queue and budget are those of its turns. A run"
                " whose worker dies goes on in another one; the same `Idempotency-Key` then gives"
                " its answer."
            ),
            body=workflows.RunRequest,
            headers=(IDEMPOTENCY_KEY,),
            replies={
                200: Reply(
                    "What the run gave, or its events.", answers.WorkflowReply, also=(EVENTS,)
                ),
            },
            failures=(409, 422, 502, 504),
            example={"user_id": "user-a", "input": "My parcel is late."},
        ),
        "GET /api/tenants/{user_id}/workflow-runs": Operation(
            id="listWorkflowRuns",
            summary="List one tenant's runs of workflows",
            tag="Workflows",
            query=workflows.RunsQuery,
            replies={200: Reply("A page of runs, newest first.", answers.RunList)},
        ),
        "GET /api/tenants/{user_id}/workflow-runs/{run_id}": Operation(
            id="getWorkflowRun",
            summary="Look at one run of a workflow",
            tag="Workflows",
            replies={200: Reply("The run with its steps.", answers.KeptRun)},
        ),
        "POST /api/tokens": Operation(
            id="issueToken",
            summary="Sign a short-lived token for one user",
            tag="Chat",
            details="So that a browser or an app can call `/chat` itself, as that user only.",
            body=tokens.TokenRequest,
            replies={200: Reply("The token.", answers.Token)},
            failures=(409,),
            example={"user_id": "user-a", "ttl_seconds": 900},
        ),
        "GET /api/tenants": Operation(
            id="listTenants",
            summary="List tenants",
            tag="Tenants",
            query=tenants.TenantsQuery,
            replies={200: Reply("A page of tenants.", answers.TenantList)},
        ),
        "DELETE /api/tenants/messages": Operation(
            id="clearAllTenants",
            summary="Clear every tenant's memory",
            tag="Tenants",
            body=tenants.ClearAll,
            replies={200: Reply("What went.", answers.AllCleared)},
            example={"confirm": "clear all tenants"},
        ),
        "GET /api/tenants/{user_id}": Operation(
            id="getTenant",
            summary="Look at one tenant",
            tag="Tenants",
            replies={200: Reply("The tenant.", answers.Tenant)},
        ),
        "PATCH /api/tenants/{user_id}": Operation(
            id="changeTenant",
            summary="Block, unblock or limit one tenant",
            tag="Tenants",
            details="Only what the body names is changed; null goes back to the default.",
            body=tenants.TenantPatch,
            replies={200: Reply("The tenant as it is now.", answers.Tenant)},
            example={"blocked": True},
        ),
        "DELETE /api/tenants/{user_id}": Operation(
            id="forgetTenant",
            summary="Forget one tenant altogether",
            tag="Tenants",
            details="Messages, sessions, state, metrics and limits go.",
            replies={200: Reply("What went.", answers.Forgotten)},
        ),
        "GET /api/tenants/{user_id}/sessions": Operation(
            id="listSessions",
            summary="List one tenant's sessions",
            tag="Sessions",
            details="`search` is a part of the session's id or of its title.",
            query=sessions.SessionsQuery,
            replies={200: Reply("A page of sessions.", answers.SessionList)},
        ),
        "GET /api/tenants/{user_id}/sessions/{session_id}": Operation(
            id="getSession",
            summary="Look at one session",
            tag="Sessions",
            replies={200: Reply("The session.", answers.Session)},
        ),
        "PATCH /api/tenants/{user_id}/sessions/{session_id}": Operation(
            id="changeSession",
            summary="Rename one session",
            tag="Sessions",
            details="null goes back to the title that is made from the first question.",
            body=sessions.SessionPatch,
            replies={200: Reply("The session as it is now.", answers.Session)},
            example={"title": "Invoice of May"},
        ),
        "DELETE /api/tenants/{user_id}/sessions/{session_id}": Operation(
            id="forgetSession",
            summary="Forget one session altogether",
            tag="Sessions",
            details="Messages, state and title go. The tenant's figures stay.",
            replies={200: Reply("What went.", answers.ForgottenSession)},
        ),
        "DELETE /api/tenants/{user_id}/sessions/{session_id}/messages": Operation(
            id="clearSession",
            summary="Clear one session's memory",
            tag="Sessions",
            details=(
                "The session stays, with its state and the title that a person gave it. A session"
                " that is not known has nothing to clear: that is 0, and no failure."
            ),
            replies={200: Reply("What went.", answers.Cleared)},
        ),
        "GET /api/tenants/{user_id}/sessions/{session_id}/state": Operation(
            id="getState",
            summary="Read the state of a session",
            tag="Sessions",
            details="A session that has none, or is not known, gives {} and version 0.",
            replies={200: Reply("The state.", answers.SessionState, headers=("ETag",))},
        ),
        "PUT /api/tenants/{user_id}/sessions/{session_id}/state": Operation(
            id="putState",
            summary="Replace the state of a session",
            tag="Sessions",
            details=(
                "All of it. With `If-Match`, or a `version`, only if nobody has changed it since;"
                " without, whatever was there. An object without a field `state` is taken as the"
                " state itself. Makes the session, and the tenant, on first use."
            ),
            body=states.StateBody,
            headers=(IF_MATCH, IF_NONE_MATCH),
            replies={200: Reply("The state now.", answers.SessionState, headers=("ETag",))},
            failures=(409,),
            example={"state": {"cart": ["tea"], "visits": 3}},
        ),
        "DELETE /api/tenants/{user_id}/sessions/{session_id}/state": Operation(
            id="deleteState",
            summary="Remove the state of a session",
            tag="Sessions",
            details="The messages stay. A session without a state stays as it is.",
            headers=(IF_MATCH, IF_NONE_MATCH),
            replies={200: Reply("What is left.", answers.SessionState, headers=("ETag",))},
            failures=(409,),
        ),
        "GET /api/tenants/{user_id}/messages": Operation(
            id="listMessages",
            summary="Read one tenant's memory",
            tag="Tenants",
            query=tenants.MessagesQuery,
            replies={200: Reply("A page of messages.", answers.MessageList)},
        ),
        "DELETE /api/tenants/{user_id}/messages": Operation(
            id="clearMessages",
            summary="Clear one tenant's memory",
            tag="Tenants",
            details="A tenant that is not known has nothing to clear: that is 0, and no failure.",
            replies={200: Reply("What went.", answers.Cleared)},
        ),
        "GET /api/tenants/{user_id}/export": Operation(
            id="exportTenant",
            summary="Take one tenant's data out",
            tag="Tenants",
            details=(
                "JSON Lines, streamed. The last line has the type `end`. With `format=openai` a"
                " conversation a line, as `messages` of OpenAI's chat completions."
            ),
            query=transfers.TransferQuery,
            replies={200: Reply("The export.", media=JSON_LINES)},
        ),
        "POST /api/tenants/{user_id}/import": Operation(
            id="importTenant",
            summary="Bring an export in",
            tag="Tenants",
            details=(
                "All of it or nothing; at most 64 MiB. With `format=openai` a line is"
                ' `{"messages": […], "metadata": {"session_id": …}}`.'
            ),
            query=transfers.TransferQuery,
            body_media=JSON_LINES,
            body_note="What an export gave, unchanged.",
            replies={200: Reply("What came.", answers.Imported)},
            failures=(409,),
        ),
        "GET /api/export": Operation(
            id="exportAll",
            summary="Take all tenants' data out",
            tag="Tenants",
            details="JSON Lines, streamed; each tenant as it is at one moment.",
            query=transfers.TransferQuery,
            replies={200: Reply("The export.", media=JSON_LINES)},
        ),
        "POST /api/import": Operation(
            id="importAll",
            summary="Bring an export of all tenants in",
            tag="Tenants",
            details="Each tenant under its own id; all of them or nothing; at most 64 MiB.",
            query=transfers.TransferQuery,
            body_media=JSON_LINES,
            body_note="What an export of all tenants gave, unchanged.",
            replies={200: Reply("What came.", answers.ImportedAll)},
            failures=(409,),
        ),
        "GET /api/metrics": Operation(
            id="allMetrics",
            summary="Figures of all tenants together",
            tag="Metrics",
            query=metrics.MetricsQuery,
            replies={200: Reply("The figures.", answers.Figures)},
        ),
        "GET /api/tenants/{user_id}/metrics": Operation(
            id="tenantMetrics",
            summary="One tenant's figures",
            tag="Metrics",
            query=metrics.MetricsQuery,
            replies={200: Reply("The figures.", answers.Figures)},
        ),
        "GET /metrics": Operation(
            id="prometheus",
            summary="Figures for Prometheus",
            tag="Metrics",
            details="Text exposition format 0.0.4. No figure carries a user id.",
            replies={200: Reply("The figures.", media=TEXT)},
        ),
        "GET /": Operation(
            id="welcome",
            summary="What this is, and where to go on",
            tag="Server",
            details="A page when HTML is asked for, as a browser does.",
            replies={200: Reply("The links.", answers.Welcome, also=(HTML,))},
        ),
        "GET /healthz": Operation(
            id="healthz",
            summary="Whether the process lives",
            tag="Server",
            replies={200: Reply("It does.", answers.Alive)},
        ),
        "GET /readyz": Operation(
            id="readyz",
            summary="Whether turns can run",
            tag="Server",
            replies={
                200: Reply("They can.", answers.Readiness),
                503: Reply("They cannot.", answers.Readiness),
            },
        ),
        "GET /openapi.json": Operation(
            id="openapi",
            summary="This document",
            tag="Server",
            replies={200: Reply("OpenAPI 3.1.", media=JSON)},
        ),
        "GET /docs": Operation(
            id="docs",
            summary="This document as a page",
            tag="Server",
            replies={200: Reply("The page.", media=HTML)},
        ),
    }
)
