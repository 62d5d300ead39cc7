"""Spans of requests, turns, calls to the model and tools: names, order, and no content."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from tests.conftest import services_of, settings_for
from tests.fakes import FakeModel, calls, said, until
from webapp import create_app
from webapp.agent import Model, TextDelta, Toolkit
from webapp.chat.values import ChatTurn
from webapp.errors import ModelError
from webapp.observability.genai import provider_of
from webapp.observability.otel import OtelTracing, asked_for, fault, open_tracing
from webapp.tracing import NO_SPAN, Span

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

current: list[str] = []


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: one
        b: another
    """
    span = trace.get_current_span()
    current.append(getattr(span, "name", ""))
    if a == 13:
        raise RuntimeError("planted words of a tool")
    return a + b


class Traced:
    """An application whose spans are kept."""

    def __init__(self, folder: Path, model: Model, provider: TracerProvider | None = None) -> None:
        self.kept = InMemorySpanExporter()
        provider = provider or TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.kept))
        self.tracing = OtelTracing(provider, provider_of("http://model.example:8000/v1"))
        self.app: Flask = create_app(
            settings_for(folder),
            model=model,
            toolkits=[Toolkit("sums", [add])],
            tracing=self.tracing,
        )
        services_of(self.app).upgrade_database()
        self.client = self.app.test_client()

    def say(self, **more: Any) -> int:
        body = {"user_id": "planted-user", "session_id": "planted-session", **more}
        body.setdefault("message", "planted question")
        headers = {"traceparent": CALLER}
        return self.client.post("/chat", json=body, headers=headers, buffered=True).status_code

    def span(self) -> Span:
        """One of a request that somebody else makes."""
        request = self.tracing.request("POST", "/chat", "req-1", {})
        assert request is not None
        return request.span

    def spans(self) -> dict[str, ReadableSpan]:
        """By name, once the request is over."""
        until(lambda: any(span.name == "POST /chat" for span in self.kept.get_finished_spans()))
        return {span.name: span for span in self.kept.get_finished_spans()}


Make = Callable[..., Traced]


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Make]:
    made: list[Traced] = []

    def make(model: Model, provider: TracerProvider | None = None) -> Traced:
        made.append(Traced(tmp_path, model, provider))
        return made[-1]

    current.clear()
    yield make
    for one in made:
        services_of(one.app).close()


def told(span: ReadableSpan, name: str) -> Any:
    return (span.attributes or {}).get(name)


def is_child(child: ReadableSpan, parent: ReadableSpan) -> bool:
    assert child.context is not None
    assert parent.context is not None
    return child.parent is not None and child.parent.span_id == parent.context.span_id


@pytest.mark.parametrize("stream", [False, True])
def test_a_turn_with_a_tool(traced: Make, stream: bool) -> None:
    model = FakeModel.of(calls(("add", {"a": 1, "b": 2})), said("planted answer", 30, 12))
    one = traced(model)
    assert one.say(stream=stream) == 200
    spans = one.spans()
    request, turn = spans["POST /chat"], spans["invoke_agent assistant"]
    call, tool = spans[f"chat {model.name}"], spans["execute_tool add"]
    assert len(one.kept.get_finished_spans()) == 5, "the model was asked twice"
    assert is_child(turn, request)
    assert is_child(call, turn)
    assert is_child(tool, turn)
    assert request.kind is trace.SpanKind.SERVER
    assert call.kind is trace.SpanKind.CLIENT
    assert request.context is not None
    assert f"{request.context.trace_id:032x}" == CALLER.split("-")[1]
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == CALLER.split("-")[2]
    assert told(request, "http.route") == "/chat"
    assert told(request, "http.response.status_code") == 200
    assert told(turn, "gen_ai.operation.name") == "invoke_agent"
    assert told(turn, "gen_ai.agent.name") == "assistant"
    assert told(turn, "gen_ai.usage.input_tokens") == 30
    assert told(turn, "gen_ai.usage.output_tokens") == 12
    assert told(call, "gen_ai.operation.name") == "chat"
    assert told(call, "gen_ai.provider.name") == "openai"
    assert told(call, "gen_ai.request.model") == model.name
    assert told(call, "gen_ai.response.finish_reasons") == ("stop",)
    assert told(call, "server.address") == "model.example"
    assert told(tool, "gen_ai.operation.name") == "execute_tool"
    assert told(tool, "gen_ai.tool.name") == "add"
    assert current == ["execute_tool add"], "what a tool begins itself belongs to it"
    assert not any(span.status.status_code is trace.StatusCode.ERROR for span in spans.values())


def test_the_conversation_is_told_apart_and_nothing_of_anybody_is_told(traced: Make) -> None:
    def fails(_request: object) -> str:
        raise ModelError("planted words of a provider")

    model = FakeModel.of(
        "planted answer", calls(("add", {"a": 13, "b": 2})), "planted end", fails, otherwise="x"
    )
    one = traced(model)
    for message in ("planted question", "planted second", "planted third"):
        one.say(message=message)
    one.say(session_id="planted-other")
    one.client.get("/api/tenants/planted-user/messages", buffered=True)
    one.client.get("/planted/path", buffered=True)
    kept = one.kept.get_finished_spans()
    turns = [span for span in kept if span.name.startswith("invoke_agent")]
    conversations = [told(span, "gen_ai.conversation.id") for span in turns]
    assert conversations[0] == conversations[1] == conversations[2] != conversations[3]
    assert {span.name for span in kept} >= {"GET unmatched", "GET /api/tenants/<user_id>/messages"}
    assert "planted" not in "".join(span.to_json() for span in kept)


def test_how_it_failed_is_told_by_a_code(traced: Make) -> None:
    one = traced(FakeModel.of(ModelError("planted")))
    assert one.say() == 502
    spans = one.spans()
    for name in ("POST /chat", "invoke_agent assistant", "chat fake"):
        assert told(spans[name], "error.type") == "model_error"
        assert spans[name].status.status_code is trace.StatusCode.ERROR
        assert not spans[name].events
        assert not spans[name].status.description


def test_a_tool_that_fails_and_one_that_there_is_not(traced: Make) -> None:
    wishes = calls(("add", {"a": 13, "b": 2}), ("planted_tool", {}))
    one = traced(FakeModel.of(wishes, "Sorry"))
    assert one.say() == 200
    spans = one.spans()
    assert told(spans["execute_tool add"], "error.type") == "tool_error"
    assert not any("planted" in name for name in spans)
    assert spans["invoke_agent assistant"].status.status_code is not trace.StatusCode.ERROR


def test_a_client_s_own_fault_is_none_of_the_server(traced: Make) -> None:
    one = traced(FakeModel())
    assert one.say(message="") == 400
    request = one.spans()["POST /chat"]
    assert told(request, "http.response.status_code") == 400
    assert told(request, "error.type") is None


def test_a_stream_that_is_closed_early_ends_its_spans(traced: Make) -> None:
    one = traced(FakeModel(otherwise="word " * 50))
    turn = ChatTurn("alice", "Hello", "req-1", 0.0, span=one.span())
    events = services_of(one.app).chat.stream(turn)
    assert isinstance([next(events), next(events)][1], TextDelta)
    events.close()
    spans = {span.name: span for span in one.kept.get_finished_spans()}
    assert told(spans["invoke_agent assistant"], "error.type") == "cancelled"
    assert told(spans["chat fake"], "error.type") == "cancelled"


def test_what_is_not_sampled_costs_nothing_further(traced: Make) -> None:
    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF), shutdown_on_exit=False)
    one = traced(FakeModel(otherwise="Hi"), provider)
    body = {"user_id": "alice", "message": "Hello"}
    assert one.client.post("/chat", json=body).status_code == 200
    assert one.kept.get_finished_spans() == ()
    assert one.say() == 200, "its caller asks for it"
    assert len(one.kept.get_finished_spans()) == 3


def test_machines_that_look_are_not_followed(traced: Make) -> None:
    one = traced(FakeModel())
    for path in ("/healthz", "/readyz", "/metrics"):
        assert one.client.get(path).status_code == 200
    assert one.kept.get_finished_spans() == ()


ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


@pytest.mark.parametrize(
    ("environ", "asked"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"}, False),
    ],
)
def test_they_are_off_until_a_variable_asks(environ: dict[str, str], asked: bool) -> None:
    assert asked_for(environ) is asked
    if not asked:
        assert open_tracing(environ, "") is None
        assert fault(environ) == ""


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http/protobuf"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
    ],
)
def test_what_cannot_be_is_said(more: dict[str, str], word: str) -> None:
    assert word in fault({**ENDPOINT, **more})
    assert open_tracing({**ENDPOINT, **more}, "") is None


def test_without_the_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    assert "switchboard-agent[otel]" in fault(ENDPOINT)
    assert open_tracing(ENDPOINT, "") is None


def test_a_span_of_nobody_does_nothing() -> None:
    assert NO_SPAN.turn("x") is NO_SPAN.model_call("x") is NO_SPAN.tool_call("x", "y") is NO_SPAN
    with NO_SPAN as span:
        span.failed_as("x")
    assert not NO_SPAN.recording


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("", "openai"),
        ("https://x.openai.azure.com/openai/v1", "azure.ai.openai"),
        ("https://api.mistral.ai/v1", "mistral_ai"),
        ("http://127.0.0.1:8000/v1", "openai"),
        ("https://notx.ai/v1", "openai"),
    ],
)
def test_the_provider_by_its_host(url: str, provider: str) -> None:
    assert provider_of(url)["gen_ai.provider.name"] == provider
