"""What belongs to one request: its id, its caller, its tenant; and the way to the services."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from flask import Flask, Request, current_app, g, request

from webapp.accounts.principal import Principal
from webapp.agent.tool_log import ToolLog
from webapp.errors import GuardrailRefused, SwitchboardError, Unauthenticated
from webapp.tracing import NO_SPAN, RequestSpan, Span
from webapp.web.door import Door, doors_of
from webapp.web.ending import Ending

if TYPE_CHECKING:
    from webapp.services import Services

EXTENSION = "switchboard"
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", re.ASCII)


@dataclass(slots=True)
class RequestContext:
    """Filled by the middleware in its order; `tenant` by the view that binds it.

    `outcome` is the status that an answer would have had if its end had been known at its head:
    a stream begins with 200, whatever becomes of it. `refused_by` names the guardrail that refused,
    `tool_log` holds the calls of tools of the turn that was run.
    """

    request_id: str
    started: float
    door: Door
    principal: Principal | None = None
    credential_fault: SwitchboardError | None = None
    tenant: str | None = None
    error_code: str | None = None
    outcome: int | None = None
    refused_by: str = ""
    tool_log: ToolLog | None = None
    span: Span = NO_SPAN
    request_span: RequestSpan | None = None
    limit_headers: dict[str, str] = field(default_factory=dict)
    ending: Ending = field(default_factory=Ending)

    def ended(self, error: SwitchboardError) -> None:
        """The answer broke off with this, after its head was sent."""
        self.outcome = error.status
        self.failed(error)

    def failed(self, error: SwitchboardError) -> None:
        """The request is answered with this failure."""
        self.error_code = error.code
        if isinstance(error, GuardrailRefused):
            self.refused_by = error.guardrail


def services() -> Services:
    """The services of the current application."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # of the proxy
    return cast("Services", app.extensions[EXTENSION])


def context() -> RequestContext:
    """The current request's context."""
    # Not through the proxy, which every access would look up anew: a turn comes here often.
    return cast("RequestContext", g._get_current_object().context)


def current_request() -> Request:
    """The current request itself: Flask's proxy looks for it again at each access."""
    found: Request = request._get_current_object()  # type: ignore[attr-defined]  # of the proxy
    return found


def begin(started: float) -> RequestContext:
    """Makes the context; keeps the caller's request id when it is a sane one."""
    asked = current_request()
    given = asked.headers.get("X-Request-Id", "")
    request_id = given if _SANE_REQUEST_ID.fullmatch(given) else f"req-{secrets.token_hex(12)}"
    here = RequestContext(request_id, started, doors_of(current_app).of(asked.path))
    g.context = here
    return here


def caller() -> Principal:
    """The caller of this request; raises `Unauthenticated` without one."""
    principal = context().principal
    if principal is None:
        raise Unauthenticated("A credential is needed: Authorization: Bearer …")
    return principal
