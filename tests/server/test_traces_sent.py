"""Traces of real workers reach a real receiver; one that is away or hangs costs nobody a turn."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.processes import free_port
from tests.collector import Collector, collector
from tests.fakes import until
from tests.server.running import Server
from tests.upstream import Upstream

TURNS = 40


def serving(folder: Path, base_url: str, url: str) -> Server:
    server = Server(folder, free_port(), base_url, {"MODEL_MAX_RETRIES": "0"})
    server.variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_SERVICE_NAME": "support-desk",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }
    return server.serve("--workers", "2")


def say_all(server: Server, word: str = "echo planted words") -> None:
    with ThreadPoolExecutor(8) as pool:
        turns = [
            pool.submit(server.chat, f"planted-{number}", word, stream=number % 2 == 0)
            for number in range(TURNS)
        ]
        assert {turn.result().status for turn in turns} == {200}


def pids(received: Collector) -> set[int]:
    return {span.resource["process.pid"] for span in received.spans}


def test_every_span_of_every_worker_arrives(tmp_path: Path, model_server: Upstream) -> None:
    with collector() as received:
        server = serving(tmp_path, model_server.base_url, received.url)
        try:
            turns = 1
            while turns == 1 or len(pids(received)) < 2:  # until both workers have had some
                say_all(server)
                turns += TURNS
                until(lambda: len(received.spans) > 0)
            assert server.chat("planted", "fail it").status == 502
            assert server.end() == 0
        finally:
            server.kill_group()
    names = [span.name for span in received.spans]
    assert names.count("POST /chat") == turns
    assert names.count("invoke_agent assistant") == turns
    assert sum(name.startswith("chat ") for name in names) == turns
    by_id = {span.id: span for span in received.spans}
    for span in received.spans:
        if span.name != "POST /chat":
            parent = by_id[span.parent]
            assert parent.trace == span.trace
            assert parent.name == (
                "POST /chat" if span.name.startswith("invoke") else "invoke_agent assistant"
            )
        assert span.resource["service.name"] == "support-desk"
    assert len({span.trace for span in received.spans}) == turns
    assert len(pids(received)) == 2
    failed = [span for span in received.spans if span.failed]
    assert {span.attributes["error.type"] for span in failed} == {"model_error"}
    assert len(failed) == 3
    assert b"planted" not in received.raw


@pytest.mark.parametrize("hangs", [False, True])
def test_a_receiver_that_is_away_or_hangs_holds_up_neither_turns_nor_the_stop(
    tmp_path: Path, model_server: Upstream, hangs: bool
) -> None:
    with collector(answers=False) as received:
        url = received.url if hangs else f"http://127.0.0.1:{free_port()}"
        server = serving(tmp_path, model_server.base_url, url)
        try:
            say_all(server)
            if not hangs:
                until(lambda: "traces_not_sent" in server.printed, 30)
            say_all(server)
            began = time.monotonic()
            assert server.end() == 0
            assert time.monotonic() - began < 15
            assert "Traceback" not in server.printed
            assert url not in server.printed
        finally:
            server.kill_group()
