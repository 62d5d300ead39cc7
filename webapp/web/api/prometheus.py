"""GET /metrics: what a Prometheus server scrapes; `prometheus_client` writes its text.

Turns, tokens and latencies come from the database, so every worker answers the same. What only a
process can know carries its number as the label `worker`, because a scrape reaches any of them.
Nothing carries a tenant: a million users would be a million series.
"""

from __future__ import annotations

import os
from collections import Counter as Counted
from collections.abc import Iterable
from itertools import accumulate

from flask import Response
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from webapp.errors import Forbidden, StorageUnavailable
from webapp.tenants.store import count
from webapp.usage.histogram import value_of
from webapp.usage.lifetime import Lifetime, lifetime
from webapp.version import __version__
from webapp.web.context import caller, services
from webapp.web.limits import limits
from webapp.web.request_counts import request_counter

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
NOTE = "Since the database was made, over all workers"


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
    found += _of_this_process()
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
    bounds = (*BOUNDS, float("inf"))
    counts = dict.fromkeys(bounds, 0)
    total = 0.0
    for bucket, number in buckets.items():
        seconds = value_of(bucket) / 1000
        total += seconds * number
        counts[next(bound for bound in bounds if seconds <= bound)] += number
    running = accumulate(counts[bound] for bound in bounds)
    cumulative = [
        ("+Inf" if bound == float("inf") else str(bound), float(number))
        for bound, number in zip(bounds, running, strict=True)
    ]
    return HistogramMetricFamily(name, help, buckets=cumulative, sum_value=round(total, 3))


def _of_this_process() -> list[Metric]:
    worker = str(os.getpid())
    load = services().chat.load
    return [
        *request_counter().collect(),
        _gauge(
            "switchboard_turns_running",
            "Turns that run just now. Of one worker.",
            load.running,
            worker=worker,
        ),
        _gauge(
            "switchboard_turns_waiting",
            "Turns that wait for their tenant's turn before them. Of one worker.",
            load.waiting,
            worker=worker,
        ),
        _counter(
            "switchboard_limiter_storage_failures",
            "Requests let through because the limiter's storage was down. Of one worker.",
            "worker",
            {worker: float(limits().storage_failures)},
        ),
    ]
