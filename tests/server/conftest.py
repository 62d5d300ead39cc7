"""One server and one upstream for most tests of this folder; each test has users of its own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.server.running import Server, running
from tests.upstream import Answer, Upstream, completion, counting, saying, streaming, upstream

HASTE = 1  # MODEL_TIMEOUT of the hasty server, in seconds


class Script:
    """What the upstream does, by the first word of the newest user message.

    `hold` and whatever else waits does so until `release` is set, so that nobody sleeps for luck.
    """

    def __init__(self) -> None:
        self.release = threading.Event()
        self.held = 0
        self.failures_left = 0

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Whoever says `hold` in this block waits until `release` is set or the block ends."""
        self.release.clear()
        self.held = 0
        try:
            yield
        finally:
            self.release.set()

    def __call__(self, request: dict[str, Any]) -> Answer:
        text = next(m["content"] for m in reversed(request["messages"]) if m["role"] == "user")
        word = text.split()[0]
        streamed = bool(request.get("stream"))
        if word == "hang":
            return saying("too late", delay=HASTE + 1.5)
        if word == "nap":
            time.sleep(float(text.split()[1]))
        if word == "hold":
            self.held += 1
            self.release.wait(20)
        if word == "fail":
            return Answer(b'{"error": {"message": "PROVIDERWORDS"}}', status=500)
        if word == "once" and self.failures_left > 0:
            self.failures_left -= 1
            return Answer(b"{}", status=503)
        if word == "cut":
            whole = streaming("a", "b") if streamed else saying("a long enough answer")
            whole.cut = 60
            return whole
        if word == "rubbish":
            return Answer(b"<html>\xff\xfe", content_type="text/html")
        if word == "empty":
            return streaming() if streamed else saying("")
        if word == "drip":
            return streaming(*["drop "] * 40, pause=0.1)
        if word == "tool" and request["messages"][-1]["role"] == "user":
            function = {"name": "no_such", "arguments": "{}"}
            call = {"id": "c1", "type": "function", "function": function}
            return Answer(json.dumps(completion(None, tool_calls=[call])).encode())
        if word == "echo":
            return streaming("You said: ", text) if streamed else saying(f"You said: {text}")
        return counting(request)


@pytest.fixture(scope="session")
def script() -> Script:
    return Script()


@pytest.fixture(scope="session")
def model_server(script: Script) -> Iterator[Upstream]:
    with upstream(script) as state:
        yield state


@pytest.fixture(scope="session")
def server(model_server: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Shared by all tests; its log is at DEBUG, and no test may stop it or harm its database."""
    with running(
        tmp_path_factory.mktemp("shared"),
        model_server.base_url,
        MODEL_MAX_RETRIES="1",
        LOG_LEVEL="DEBUG",
    ) as shared:
        yield shared


@pytest.fixture(scope="session")
def hasty(model_server: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Another, which gives up on its model soon and logs as JSON at INFO."""
    with running(
        tmp_path_factory.mktemp("hasty"),
        model_server.base_url,
        MODEL_TIMEOUT=str(HASTE),
        MODEL_MAX_RETRIES="1",
        LOG_FORMAT="json",
    ) as shared:
        yield shared
