"""Counts the answers by route, method and status, and how long they took, and what guardrails
refused and tools did; web/api/prometheus.py shows it."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, defaultdict

from flask import Flask, Response, current_app

from webapp.agent.tool_log import ToolLog
from webapp.web.context import context, current_request
from webapp.worker_figures import Key, OwnFigures, own_figures

EXTENSION = "switchboard-worker-figures"
KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Seconds; the last one has no bound.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
LABELS = (*map(str, BOUNDS), "+Inf")
REFUSED_BY = "guardrail_refusals"
ANSWERS, DURATIONS, SECONDS = "http_requests", "http_durations", "http_seconds"
TOOL_CALLS, TOOL_DURATIONS, TOOL_SECONDS = "tool_calls", "tool_durations", "tool_seconds"


def count_requests(app: Flask) -> None:
    """Middleware: counts every answer, by its route; a stream when it is over, as it ended."""
    figures = own_figures()
    app.extensions[EXTENSION] = figures

    @app.after_request
    def count(response: Response) -> Response:
        asked = current_request()
        rule = asked.url_rule
        # The rule that matched, never the path: a path can hold a user id.
        route = rule.rule if rule is not None else "unmatched"
        method = asked.method if asked.method in KNOWN_METHODS else "other"
        here, status = context(), response.status_code

        def ended() -> None:
            took = time.monotonic() - here.started
            if here.tool_log is not None and here.tool_log.uses:
                figures.count(_of_tools(here.tool_log))
            if here.refused_by:
                figures.count({(REFUSED_BY, here.refused_by): 1})
            figures.count(
                {
                    (ANSWERS, method, route, str(here.outcome or status)): 1,
                    (DURATIONS, method, route, LABELS[bisect_left(BOUNDS, took)]): 1,
                    (SECONDS, method, route): took,
                }
            )

        if response.is_streamed:
            here.ending.then(ended)
        else:
            ended()
        return response


def _of_tools(log: ToolLog) -> dict[Key, float]:
    counts: Counter[Key] = Counter()
    seconds: defaultdict[Key, float] = defaultdict(float)
    for use in list(log.uses):
        counts[TOOL_CALLS, use.name, use.outcome] += 1
        counts[TOOL_DURATIONS, use.name, LABELS[bisect_left(BOUNDS, use.seconds)]] += 1
        seconds[TOOL_SECONDS, use.name] += use.seconds
    return {**counts, **seconds}


def worker_figures() -> OwnFigures:
    """What this worker counts, and through it what all do."""
    figures: OwnFigures = current_app.extensions[EXTENSION]
    return figures


def guardrail_refusals() -> dict[str, int]:
    """How many turns each guardrail has refused, in all workers of this server."""
    sums = worker_figures().all.sums()
    return {key[1]: int(number) for key, number in sorted(sums.items()) if key[0] == REFUSED_BY}
