"""Spans are sent in batches by one thread; who ends one never waits; a fork starts no thread."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from tests.fakes import until
from webapp.observability import span_sender
from webapp.observability.span_sender import Batching, SpanSender


class Exporter(SpanExporter):
    """Keeps the sizes of what it was given; held up until it may answer."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.open = threading.Event()
        self.open.set()
        self.result = SpanExportResult.SUCCESS
        self.closed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.sizes.append(len(spans))
        self.open.wait(20)
        return self.result

    def shutdown(self) -> None:
        self.closed = True


def end_spans(sender: SpanSender, number: int) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(sender)
    tracer = provider.get_tracer("tests")
    for _ in range(number):
        tracer.start_span("one").end()


def test_batches_are_no_larger_than_set_and_the_rest_goes_at_the_end() -> None:
    exporter = Exporter()
    sender = SpanSender(exporter, Batching(60, 100, 20))
    end_spans(sender, 50)
    sender.shutdown()
    assert sum(exporter.sizes) == 50
    assert max(exporter.sizes) == 20
    assert exporter.closed


def test_a_full_queue_drops_and_a_hung_collector_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(span_sender, "CLOSE_SECONDS", 0.1)
    exporter = Exporter()
    exporter.open.clear()
    sender = SpanSender(exporter, Batching(0.01, 10, 5))
    end_spans(sender, 5)
    until(lambda: exporter.sizes == [5])
    end_spans(sender, 30)
    sender.shutdown()
    exporter.open.set()
    until(lambda: exporter.closed)
    assert sum(exporter.sizes) == 15
    until(lambda: "traces_not_sent" in caplog.text)
    (line,) = [one for one in caplog.records if one.getMessage() == "traces_not_sent"]
    assert vars(line)["spans"] == 20


FORK = """
import os, threading
from webapp.observability.otel import open_tracing
tracing = open_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, "")
assert tracing is not None
started, start = [], threading.Thread.start
threading.Thread.start = lambda thread: (started.append(thread), start(thread))
child = os.fork()
if child == 0:
    os._exit(len(started))
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_of_a_fork_starts_no_thread() -> None:
    # In a program of its own: here the providers of other tests have their own ways.
    assert subprocess.run([sys.executable, "-c", FORK], timeout=60).returncode == 0


def test_the_standard_variables_say_how() -> None:
    assert Batching.of({}) == Batching()
    told = {
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_BSP_MAX_QUEUE_SIZE": "rubbish",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "512",
    }
    assert Batching.of(told) == Batching(0.2, Batching().queue_spans, 512)
