"""Follows each request for an OpenTelemetry collector, where the server was told of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask, Response, request

from webapp.web.context import context
from webapp.web.request_counts import KNOWN_METHODS

if TYPE_CHECKING:
    from webapp.tracing import Tracing

EXTENSION = "switchboard-tracing"
# They are asked all the time by machines, and tell nothing of anybody's work.
QUIET = frozenset({"health.healthz", "health.readyz", "prometheus.prometheus", "static"})


def traces(app: Flask) -> None:
    """Middleware: a span for each request, to its end; a stream's is the end of its turn."""
    tracing: Tracing | None = app.extensions.get(EXTENSION)
    if tracing is None:
        return
    followed: Tracing = tracing

    @app.before_request
    def begin() -> None:
        if request.endpoint in QUIET:
            return
        here = context()
        rule = request.url_rule
        route = rule.rule if rule is not None else "unmatched"  # never the path: it can hold an id
        method = request.method if request.method in KNOWN_METHODS else "_OTHER"
        given = {name: request.headers.get(name, "") for name in ("traceparent", "tracestate")}
        spanned = followed.request(method, route, here.request_id, given)
        if spanned is not None:
            here.span = spanned.span
            here.request_span = spanned

    @app.after_request
    def arrange(response: Response) -> Response:
        here = context()
        spanned = here.request_span
        if spanned is not None:
            status = response.status_code
            here.ending.then(lambda: spanned.end(here.outcome or status, here.error_code))
        return response
