"""Sends finished spans away in batches; a span that finds the queue full is dropped and counted.

The SDK's own processor, and its provider, start threads in every child of a fork. Under gevent that
child would go on with its parent's requests before it becomes the program that it was made for, so
here nothing is done at a fork.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

logger = logging.getLogger("switchboard.traces")

CLOSE_SECONDS = 3.0
LOOK_SECONDS = 0.25
SAY_SECONDS = 60.0


@dataclass(frozen=True)
class Batching:
    """How spans are put together. A batch is written without a pause for other requests, so it is
    smaller than the SDK's own 512, which would take some 15 ms."""

    delay_seconds: float = 5.0
    queue_spans: int = 2048
    batch_spans: int = 64

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Batching:
        """By the standard variables; one that is no number counts for none."""

        def number(name: str, otherwise: float) -> float:
            text = environ.get(f"OTEL_BSP_{name}", "").strip()
            return float(text) if text.isdecimal() and int(text) else otherwise

        return cls(
            number("SCHEDULE_DELAY", cls.delay_seconds * 1000) / 1000,
            int(number("MAX_QUEUE_SIZE", cls.queue_spans)),
            int(number("MAX_EXPORT_BATCH_SIZE", cls.batch_spans)),
        )


class Provider(TracerProvider):
    """The SDK's, of a process whose children are other programs."""

    def _handle_fork(self) -> None:
        """Would find out anew where it runs, with a thread for each way to do so."""


class SpanSender(SpanProcessor):
    """One thread sends; whoever ends a span never waits."""

    def __init__(self, exporter: SpanExporter, batching: Batching | None = None) -> None:
        self._exporter = exporter
        self._batching = batching or Batching()
        self._queue: deque[ReadableSpan] = deque()
        self._lost = 0
        self._said_at = -SAY_SECONDS
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._send, name="traces", daemon=True)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is None or not span.context.trace_flags.sampled:
            return
        if len(self._queue) >= self._batching.queue_spans or self._ending.is_set():
            self._lost += 1
        else:
            self._queue.append(span)

    def shutdown(self) -> None:
        """Sends what waits. A collector that is away is not waited for beyond `CLOSE_SECONDS`."""
        self._ending.set()
        self._thread.join(CLOSE_SECONDS)

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002  # the SDK's
        """Nothing is sent before its time."""
        return True

    def _send(self) -> None:
        sent_at = time.monotonic()
        while not self._ending.wait(LOOK_SECONDS):
            full = len(self._queue) >= self._batching.batch_spans
            if full or time.monotonic() - sent_at >= self._batching.delay_seconds:
                self._send_all()
                sent_at = time.monotonic()
        self._send_all()
        self._exporter.shutdown()

    def _send_all(self) -> None:
        while self._queue:
            size = min(len(self._queue), self._batching.batch_spans)
            batch = [self._queue.popleft() for _ in range(size)]
            if self._exporter.export(batch) is not SpanExportResult.SUCCESS:
                self._lost += size
        if self._lost and time.monotonic() - self._said_at >= SAY_SECONDS:
            self._said_at = time.monotonic()
            logger.warning("traces_not_sent", extra={"spans": self._lost})
            self._lost = 0
