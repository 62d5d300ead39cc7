"""GET /metrics: what a Prometheus server scrapes; the format is in observability/metrics_text.py.

Turns, tokens and latencies come from the database, so every worker answers the same. What only a
process can know carries its number as the label `worker`, because a scrape reaches any of them.
Nothing carries a tenant: a million users would be a million series.
"""

from __future__ import annotations

import os
from collections import Counter
from importlib.metadata import version
from itertools import accumulate

from flask import Flask, Response, current_app, request

from webapp.errors import Forbidden, StorageUnavailable
from webapp.observability.metrics_text import (
    CONTENT_TYPE,
    Metric,
    Sample,
    histogram,
    metric,
    text_of,
)
from webapp.observability.request_counts import RequestCounts
from webapp.usage.histogram import value_of
from webapp.usage.lifetime import Lifetime, lifetime, tenant_count
from webapp.web.context import caller, limits, services

COUNTS_EXTENSION = "switchboard-request-counts"
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
NOTE = "Since the database was made, over all workers"


def count_requests(app: Flask) -> None:
    """Middleware: counts every answer, by its route; a stream when it begins."""
    counts = RequestCounts()
    app.extensions[COUNTS_EXTENSION] = counts

    @app.after_request
    def count(response: Response) -> Response:
        rule = request.url_rule
        route = rule.rule if rule is not None else "unmatched"
        method = request.method if request.method in KNOWN_METHODS else "other"
        counts.add(method, route, response.status_code)
        return response


KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def prometheus() -> Response:
    """The page. Without a database it still tells what the process itself knows."""
    if not caller().users.is_all:
        raise Forbidden("This credential may not see the figures of all users.")
    found = [metric("switchboard_build_info", "gauge", "The version.", 1, version=_version())]
    try:
        figures, tenants = services().database.read_long(
            lambda connection: (lifetime(connection), tenant_count(connection))
        )
        found.append(_database_up(True))
        found.append(metric("switchboard_tenants", "gauge", "Tenants there are.", tenants))
        found += _of_turns(figures)
    except StorageUnavailable:
        found.append(_database_up(False))
    found += _of_this_process()
    return Response(text_of(found), content_type=CONTENT_TYPE)


def _database_up(up: bool) -> Metric:
    return metric(
        "switchboard_database_up", "gauge", "Whether the database answered just now.", int(up)
    )


def _of_turns(figures: Lifetime) -> list[Metric]:
    by_code = tuple(
        Sample(number, {"code": code or "ok"}) for code, number in sorted(figures.turns.items())
    )
    tokens = (
        Sample(figures.input_tokens, {"direction": "input"}),
        Sample(figures.output_tokens, {"direction": "output"}),
    )
    return [
        Metric(
            "switchboard_turns_total",
            "counter",
            f"Requests for a turn, by the code of their end. {NOTE}.",
            by_code,
        ),
        metric(
            "switchboard_turn_errors_total",
            "counter",
            f"Requests for a turn that ended 5xx. {NOTE}.",
            figures.errors,
        ),
        metric(
            "switchboard_turns_refused_total",
            "counter",
            f"Requests for a turn that a limit, the budget or the queue refused. {NOTE}.",
            figures.refused,
        ),
        Metric("switchboard_tokens_total", "counter", f"Tokens of all turns. {NOTE}.", tokens),
        _seconds(
            "switchboard_turn_duration_seconds",
            f"How long turns took, within 5 %. {NOTE}.",
            figures.latency,
        ),
        _seconds(
            "switchboard_first_token_seconds",
            f"How long streamed turns took to their first text, within 5 %. {NOTE}.",
            figures.first_token,
        ),
    ]


def _seconds(name: str, help: str, buckets: Counter[int]) -> Metric:  # noqa: A002  # the HELP of the format
    """A histogram of the database's fine buckets, each put where its middle lies."""
    bounds = (*BOUNDS, float("inf"))
    counts = dict.fromkeys(bounds, 0)
    total = 0.0
    for bucket, number in buckets.items():
        seconds = value_of(bucket) / 1000
        total += seconds * number
        counts[next(bound for bound in bounds if seconds <= bound)] += number
    running = accumulate(counts[bound] for bound in bounds)
    return histogram(name, help, dict(zip(bounds, running, strict=True)), round(total, 3))


def _of_this_process() -> list[Metric]:
    worker = str(os.getpid())
    counts: RequestCounts = current_app.extensions[COUNTS_EXTENSION]
    load = services().chat.load
    return [
        Metric(
            "switchboard_http_requests_total",
            "counter",
            "Answers by route, method and status. Of one worker, since it started.",
            tuple(
                Sample(
                    number,
                    {"worker": worker, "method": method, "route": route, "status": str(status)},
                )
                for (method, route, status), number in counts.snapshot()
            ),
        ),
        metric(
            "switchboard_turns_running",
            "gauge",
            "Turns that run just now. Of one worker.",
            load.running,
            worker=worker,
        ),
        metric(
            "switchboard_turns_waiting",
            "gauge",
            "Turns that wait for their tenant's turn before them. Of one worker.",
            load.waiting,
            worker=worker,
        ),
        metric(
            "switchboard_limiter_storage_failures_total",
            "counter",
            "Requests let through because the limiter's storage was down. Of one worker.",
            limits().storage_failures,
            worker=worker,
        ),
    ]


def _version() -> str:
    return version("switchboard")
