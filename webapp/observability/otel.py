"""Traces for an OpenTelemetry collector, over OTLP/HTTP, as the standard variables say.

Only here and in span_sender.py is OpenTelemetry known; it is imported when a variable asks for it,
and set up in each worker, because the thread that sends does not survive a fork.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from webapp.errors import SwitchboardError
from webapp.observability import genai
from webapp.tracing import Span
from webapp.version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

    from webapp.messages import Usage

logger = logging.getLogger("switchboard.traces")

SERVICE = "switchboard"
_OURS = "webapp"


def asked_for(environ: Mapping[str, str]) -> bool:
    """Whether the variables ask for traces: an address, or an exporter, and no veto."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporter:
        return exporter != "none"
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return any(environ.get(name, "").strip() for name in names)


def fault(environ: Mapping[str, str]) -> str:
    """Why traces that are asked for cannot be sent, as a sentence; empty when they can."""
    if not asked_for(environ):
        return ""
    exporter = environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() or "otlp"
    if exporter != "otlp":
        return "OTEL_TRACES_EXPORTER must be otlp or none; no traces are sent."
    protocol = ""
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = protocol or environ.get(name, "").strip().lower()
    if protocol not in ("", "http/protobuf"):
        return "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf; no traces are sent."
    try:
        import opentelemetry.exporter.otlp.proto.http
        import opentelemetry.sdk.trace  # noqa: F401  # whether it is there
    except ImportError:
        return (
            "Traces need the packages of the extra otel; install them with:"
            " pip install 'switchboard-agent[otel]'. No traces are sent."
        )
    return ""


def open_tracing(environ: Mapping[str, str], model_url: str) -> OtelTracing | None:
    """Traces as the variables say; None, and a line in the log when they cannot be sent.

    `model_url` is where the model is asked, empty for OpenAI's own server.
    """
    if not asked_for(environ):
        return None
    sentence = fault(environ)
    if sentence:
        logger.warning("no_traces", extra={"advice": sentence})
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    from webapp.observability.span_sender import Batching, Provider, SpanSender

    try:
        # Its own end would wait for half a minute.
        provider = Provider(resource=_resource(), shutdown_on_exit=False)
        provider.add_span_processor(SpanSender(OTLPSpanExporter(), Batching.of(environ)))
    except ValueError as error:
        logger.warning("no_traces", extra={"exception": type(error).__name__})
        return None
    # Its own lines come with traces of its code, and with the collector's address.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    return OtelTracing(provider, genai.provider_of(model_url))


def _resource() -> Any:
    from opentelemetry.sdk.resources import Resource

    told = Resource.create()
    own: dict[str, Any] = {
        "service.version": __version__,
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
    }
    if str(told.attributes.get("service.name", "")).startswith("unknown_service"):
        told = told.merge(Resource({"service.name": SERVICE}))
    return Resource(own).merge(told)


class OtelTracing:
    """See `Tracing`."""

    def __init__(
        self, provider: TracerProvider, model: Mapping[str, str | int] | None = None
    ) -> None:
        """`model` are the attributes of the model's server."""
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer(_OURS, __version__)
        self._model = dict(model or genai.provider_of(""))
        self._propagator = TraceContextTextMapPropagator()

    def request(
        self, method: str, route: str, request_id: str, headers: Mapping[str, str]
    ) -> OtelRequest | None:
        """See `Tracing.request`; a `traceparent` of the caller is gone on with."""
        from opentelemetry.trace import SpanKind

        parent = self._propagator.extract(headers)
        attributes = {genai.METHOD: method, genai.ROUTE: route, genai.REQUEST_ID: request_id}
        span = self._tracer.start_span(
            f"{method} {route}", context=parent, kind=SpanKind.SERVER, attributes=attributes
        )
        if not span.is_recording():
            return None
        return OtelRequest(OtelSpan(self._tracer, self._model, span))

    def close(self) -> None:
        """See `Tracing.close`."""
        self._provider.shutdown()


class OtelSpan(Span):
    """A span that is recorded."""

    __slots__ = ("_model", "_span", "_token", "_tracer")

    recording = True

    def __init__(self, tracer: Tracer, model: Mapping[str, str | int], span: Any) -> None:
        self._tracer = tracer
        self._model = model
        self._span = span
        self._token: Any = None

    def turn(self, conversation: str) -> Span:
        attributes = {
            genai.OPERATION: genai.INVOKE_AGENT,
            genai.PROVIDER: self._model[genai.PROVIDER],
            genai.CONVERSATION: conversation,
        }
        return self._child(genai.INVOKE_AGENT, attributes)

    def agent(self, name: str, model: str) -> None:
        self._span.update_name(f"{genai.INVOKE_AGENT} {name}")
        self._span.set_attributes({genai.AGENT_NAME: name, genai.REQUEST_MODEL: model})

    def model_call(self, model: str) -> Span:
        attributes = {**self._model, genai.OPERATION: genai.CHAT, genai.REQUEST_MODEL: model}
        return self._child(f"{genai.CHAT} {model}", attributes, calls_out=True)

    def tool_call(self, name: str, call_id: str) -> Span:
        attributes = {
            genai.OPERATION: genai.EXECUTE_TOOL,
            genai.TOOL_NAME: name,
            genai.TOOL_CALL: call_id,
            genai.TOOL_TYPE: genai.FUNCTION,
        }
        return self._child(f"{genai.EXECUTE_TOOL} {name}", attributes)

    def answered(self, usage: Usage, finish_reason: str) -> None:
        self._span.set_attributes(
            {
                genai.INPUT_TOKENS: usage.input_tokens,
                genai.OUTPUT_TOKENS: usage.output_tokens,
                genai.FINISH_REASONS: (finish_reason,),
            }
        )

    def failed(self, error: BaseException) -> None:
        if isinstance(error, GeneratorExit):
            self.failed_as("cancelled")
        elif isinstance(error, SwitchboardError):
            self.failed_as(error.code)
        else:
            self.failed_as(type(error).__name__)

    def failed_as(self, kind: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attribute(genai.ERROR, kind)
        self._span.set_status(Status(StatusCode.ERROR))

    def answer(self, status: int) -> None:
        """The HTTP status of a request's answer."""
        self._span.set_attribute(genai.STATUS, status)

    def end(self) -> None:
        if self._span.is_recording():  # a second end would be a warning
            self._span.end()

    def __enter__(self) -> Self:
        from opentelemetry import context, trace

        self._token = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(self, *failure: object) -> None:
        from opentelemetry import context

        context.detach(self._token)
        self.end()

    def _child(
        self, name: str, attributes: Mapping[str, Any], *, calls_out: bool = False
    ) -> OtelSpan:
        from opentelemetry import trace

        span = self._tracer.start_span(
            name,
            # An empty one: nothing of the thread that is just here belongs to the turn.
            context=trace.set_span_in_context(self._span, _nothing()),
            kind=trace.SpanKind.CLIENT if calls_out else trace.SpanKind.INTERNAL,
            attributes=attributes,
        )
        return OtelSpan(self._tracer, self._model, span)


def _nothing() -> Any:
    from opentelemetry.context import Context

    return Context()


class OtelRequest:
    """See `RequestSpan`."""

    def __init__(self, span: OtelSpan) -> None:
        self._span = span

    @property
    def span(self) -> Span:
        return self._span

    def end(self, status: int, code: str | None) -> None:
        """See `RequestSpan.end`. What the caller did wrong is no failure of ours."""
        self._span.answer(status)
        if status >= 500:
            self._span.failed_as(code or str(status))
        self._span.end()
