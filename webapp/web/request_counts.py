"""Counts the answers by route, method and status; `web/api/prometheus.py` shows the counts."""

from __future__ import annotations

import os

from flask import Flask, Response, current_app, request
from prometheus_client import Counter, disable_created_metrics

from webapp.web.context import context

EXTENSION = "switchboard-request-counts"
KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def count_requests(app: Flask) -> None:
    """Middleware: counts every answer, by its route; a stream when it is over, as it ended."""
    counts = new_counter()
    app.extensions[EXTENSION] = counts

    @app.after_request
    def count(response: Response) -> Response:
        rule = request.url_rule
        # The rule that matched, never the path: a path can hold a user id.
        route = rule.rule if rule is not None else "unmatched"
        method = request.method if request.method in KNOWN_METHODS else "other"
        here, status = context(), response.status_code

        def ended() -> None:
            counts.labels(str(os.getpid()), method, route, str(here.outcome or status)).inc()

        if response.is_streamed:
            here.ending.then(ended)
        else:
            ended()
        return response


def new_counter() -> Counter:
    """The counter of one application's answers; it ends with the process."""
    # When each series began is a second gauge for each of them, which nobody has asked for.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the package leaves it untyped
    return Counter(
        "switchboard_http_requests",
        "Answers by route, method and status. Of one worker, since it started.",
        ("worker", "method", "route", "status"),
        registry=None,
    )


def request_counter() -> Counter:
    """The counter of the current application."""
    counter: Counter = current_app.extensions[EXTENSION]
    return counter
