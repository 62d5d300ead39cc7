"""GET /metrics: what a Prometheus server scrapes; `prometheus_client` writes its text.

Turns, tokens and latencies come from the database, so every worker and every host answers the same.
What is a host's own carries its name as the label `host`, and what is a worker's its number as
`worker`; a scrape tells of all workers of its host, whichever answers. Nothing carries a tenant: a
million users would be a million series.
"""

from __future__ import annotations

import socket
from bisect import bisect_left
from collections import Counter as Counted
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import accumulate

from flask import Response, current_app
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from webapp.errors import Forbidden, StorageUnavailable
from webapp.tenants.store import count
from webapp.usage.histogram import value_of
from webapp.usage.lifetime import Lifetime, lifetime
from webapp.version import __version__
from webapp.web import model_breaker
from webapp.web.context import caller, services
from webapp.web.mcp_state import servers_now
from webapp.web.request_counts import (
    ANSWERS,
    BOUNDS,
    DURATIONS,
    LABELS,
    REFUSED_BY,
    SECONDS,
    TOOL_CALLS,
    TOOL_DURATIONS,
    TOOL_SECONDS,
    worker_figures,
)
from webapp.web.worker_state import DROPPED, RUNNING, UNCOUNTED, WAITING, note_state
from webapp.worker_figures import Key, Standing

NOTE = "Since the database was made, over all servers"
HERE = "Since this server started, over its workers"


def prometheus() -> Response:
    """The page. Without a database it still tells what the process itself knows."""
    if not caller().users.is_all:
        raise Forbidden("This credential may not see the figures of all users.")
    found: list[Metric] = [_gauge("switchboard_build_info", "The version.", 1, version=__version__)]
    try:
        figures, tenants = services().database.read_long(
            lambda connection: (lifetime(connection), count(connection))
        )
        found.append(_database_up(True))
        found.append(_gauge("switchboard_tenants", "Tenants there are.", tenants))
        found += _of_turns(figures)
    except StorageUnavailable:
        found.append(_database_up(False))
    found += _of_this_server()
    return Response(generate_latest(_Scrape(found)), content_type=CONTENT_TYPE_PLAIN_0_0_4)


class _Scrape(Collector):
    """What one scrape is answered with."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _gauge(name: str, help: str, value: float, **labels: str) -> Metric:  # noqa: A002  # the HELP of the format
    """A gauge of one sample."""
    family = GaugeMetricFamily(name, help, labels=tuple(labels))
    family.add_metric(tuple(labels.values()), value)
    return family


def _counter(name: str, help: str, label: str, values: dict[str, float]) -> Metric:  # noqa: A002  # as above
    """A counter with a sample for each value of its label."""
    family = CounterMetricFamily(name, help, labels=(label,))
    for said, value in values.items():
        family.add_metric((said,), value)
    return family


def _database_up(up: bool) -> Metric:
    return _gauge("switchboard_database_up", "Whether the database answered just now.", int(up))


def _of_turns(figures: Lifetime) -> list[Metric]:
    by_code = {code or "ok": float(number) for code, number in sorted(figures.turns.items())}
    tokens = {"input": float(figures.input_tokens), "output": float(figures.output_tokens)}
    return [
        _counter(
            "switchboard_turns",
            f"Requests for a turn, by the code of their end. {NOTE}.",
            "code",
            by_code,
        ),
        CounterMetricFamily(
            "switchboard_turn_errors",
            f"Requests for a turn that ended 5xx. {NOTE}.",
            value=figures.errors,
        ),
        CounterMetricFamily(
            "switchboard_turns_refused",
            f"Requests for a turn that a limit, the budget or the queue refused. {NOTE}.",
            value=figures.refused,
        ),
        _counter("switchboard_tokens", f"Tokens of all turns. {NOTE}.", "direction", tokens),
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


def _seconds(name: str, help: str, buckets: Counted[int]) -> Metric:  # noqa: A002  # as above
    """A histogram of the database's fine buckets, each put where its middle lies."""
    counts = dict.fromkeys(LABELS, 0.0)
    total = 0.0
    for bucket, number in buckets.items():
        seconds = value_of(bucket) / 1000
        total += seconds * number
        counts[LABELS[bisect_left(BOUNDS, seconds)]] += number
    return HistogramMetricFamily(name, help, buckets=_cumulative(counts), sum_value=round(total, 3))


def _cumulative(counts: Mapping[str, float]) -> list[tuple[str, float]]:
    """The buckets as the format wants them: each with all that are smaller."""
    running = accumulate(counts.get(label, 0.0) for label in LABELS)
    return list(zip(LABELS, running, strict=True))


def _of_this_server() -> list[Metric]:
    """What its workers have counted, and how each that lives is now."""
    note_state(current_app.extensions)
    figures, host = worker_figures().all, socket.gethostname()
    sums, living = figures.sums(), figures.living()
    return [
        *_of_answers(sums, host),
        _of_guardrails(sums, host),
        *_of_tools(sums, host),
        _counter(
            "switchboard_limiter_storage_failures",
            f"Requests let through because the limiter's storage was down. {HERE}.",
            "host",
            {host: sums.get(UNCOUNTED, 0.0)},
        ),
        _counter(
            "switchboard_sessions_dropped",
            f"Sessions that went because their tenant was over a limit. {HERE}.",
            "host",
            {host: sums.get(DROPPED, 0.0)},
        ),
        _gauge("switchboard_workers", "Workers that live.", len(living), host=host),
        _gauge(
            "switchboard_workers_still",
            "Workers that live and have not been seen for seconds.",
            sum(worker.still for worker in living),
            host=host,
        ),
        _counter(
            "switchboard_worker_starts",
            "Workers that began, those that took the place of another too.",
            "host",
            {host: figures.starts},
        ),
        *_of_workers(living, host),
        *_of_the_breaker(living, sums, host),
        *_of_mcp_servers(host),
        *_of_processes(living, host),
    ]


def _of_mcp_servers(host: str) -> list[Metric]:
    servers = servers_now()
    if not servers:
        return []
    up = GaugeMetricFamily(
        "switchboard_mcp_server_up",
        "Workers in which the MCP server is connected.",
        labels=("host", "server"),
    )
    for server in servers:
        up.add_metric((host, server.name), server.connected)
    return [up]


def _of_answers(sums: Mapping[Key, float], host: str) -> list[Metric]:
    answers = CounterMetricFamily(
        "switchboard_http_requests",
        f"Answers by route, method and status. {HERE}.",
        labels=("host", "method", "route", "status"),
    )
    durations = HistogramMetricFamily(
        "switchboard_http_request_duration_seconds",
        f"How long answers took to their end, by route and method. {HERE}.",
        labels=("host", "method", "route"),
    )
    buckets: defaultdict[Key, dict[str, float]] = defaultdict(dict)
    for (kind, *labels), number in sorted(sums.items()):
        if kind == ANSWERS:
            answers.add_metric((host, *labels), number)
        elif kind == DURATIONS:
            method, route, bound = labels
            buckets[method, route][bound] = number
    for (method, route), counts in buckets.items():
        durations.add_metric(
            (host, method, route),
            buckets=_cumulative(counts),
            sum_value=round(sums.get((SECONDS, method, route), 0.0), 6),
        )
    return [answers, durations]


def _of_guardrails(sums: Mapping[Key, float], host: str) -> Metric:
    refusals = CounterMetricFamily(
        "switchboard_guardrail_refusals",
        f"Turns that a guardrail refused, by its name. {HERE}.",
        labels=("host", "guardrail"),
    )
    for (kind, *names), number in sorted(sums.items()):
        if kind == REFUSED_BY:
            refusals.add_metric((host, *names), number)
    return refusals


def _of_tools(sums: Mapping[Key, float], host: str) -> list[Metric]:
    calls = CounterMetricFamily(
        "switchboard_tool_calls",
        f"Calls of tools, by how they ended. {HERE}.",
        labels=("host", "tool", "outcome"),
    )
    durations = HistogramMetricFamily(
        "switchboard_tool_call_duration_seconds",
        f"How long calls of tools took. {HERE}.",
        labels=("host", "tool"),
    )
    buckets: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for (kind, *labels), number in sorted(sums.items()):
        if kind == TOOL_CALLS:
            calls.add_metric((host, *labels), number)
        elif kind == TOOL_DURATIONS:
            tool, bound = labels
            buckets[tool][bound] = number
    for tool, counts in buckets.items():
        seconds = round(sums.get((TOOL_SECONDS, tool), 0.0), 6)
        durations.add_metric((host, tool), buckets=_cumulative(counts), sum_value=seconds)
    return [calls, durations]


def _of_workers(living: list[Standing], host: str) -> list[Metric]:
    running = GaugeMetricFamily(
        "switchboard_turns_running", "Turns that run just now.", labels=("host", "worker")
    )
    waiting = GaugeMetricFamily(
        "switchboard_turns_waiting",
        "Turns that wait for room or for their tenant's turn before them.",
        labels=("host", "worker"),
    )
    for worker in living:
        labels = (host, str(worker.pid))
        running.add_metric(labels, worker.gauges.get(RUNNING, 0.0))
        waiting.add_metric(labels, worker.gauges.get(WAITING, 0.0))
    return [running, waiting]


def _of_the_breaker(living: list[Standing], sums: Mapping[Key, float], host: str) -> list[Metric]:
    states = GaugeMetricFamily(
        "switchboard_model_breaker",
        "1 for the state that the worker's breaker round the model is in.",
        labels=("host", "worker", "state"),
    )
    at_model = GaugeMetricFamily(
        "switchboard_turns_at_model",
        "Turns that wait for the model's server just now.",
        labels=("host", "worker"),
    )
    for worker in living:
        pid, state = str(worker.pid), model_breaker.state_of(worker)
        for name in model_breaker.STATES:
            states.add_metric((host, pid, name), int(name == state))
        at_model.add_metric((host, pid), worker.gauges.get(model_breaker.AT_MODEL, 0.0))
    return [
        states,
        at_model,
        _counter(
            "switchboard_model_breaker_opened",
            f"How often a breaker has opened. {HERE}.",
            "host",
            {host: sums.get(model_breaker.OPENED, 0.0)},
        ),
        _counter(
            "switchboard_model_breaker_refused",
            f"Turns refused because a breaker was open. {HERE}.",
            "host",
            {host: sums.get(model_breaker.REFUSED, 0.0)},
        ),
    ]


def _of_processes(living: list[Standing], host: str) -> list[Metric]:
    """Memory, processor time, files: of each worker, as the system tells."""
    families: dict[str, Metric] = {}
    for worker in living:
        pid = worker.pid
        for found in ProcessCollector(pid=partial(int, pid), registry=None).collect():
            family = families.setdefault(
                found.name, Metric(found.name, found.documentation, found.type)
            )
            for sample in found.samples:
                family.add_sample(sample.name, {"host": host, "worker": str(pid)}, sample.value)
    return list(families.values())
