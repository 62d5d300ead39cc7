"""A call to the model's server that is called off while it is under way, with real threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes import until
from tests.upstream import Answer, Upstream, saying, streaming, upstream
from webapp.agent import ModelRequest
from webapp.agent.openai_model import OpenAIModel
from webapp.errors import ModelError
from webapp.messages import Message

AT_ONCE = 2.0


class Held:
    """Answers `quick` at once and everything else when it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def __call__(self, request: dict[str, Any]) -> Answer:
        if request["messages"][-1]["content"] != "quick":
            self.let_go.wait(20)
        return streaming("late") if request.get("stream") else saying("late")


@pytest.fixture
def held() -> Iterator[tuple[Upstream, OpenAIModel]]:
    behave = Held()
    with upstream(behave) as server:
        model = OpenAIModel("m", api_key="x", base_url=server.base_url, max_retries=2)
        yield server, model
        behave.let_go.set()
        model.close()


def ask(text: str, cancel: threading.Event | None = None) -> ModelRequest:
    return ModelRequest([Message.user(text)], cancel=cancel)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_call_ends_soon_after_it_is_called_off_and_is_not_tried_again(
    held: tuple[Upstream, OpenAIModel], streamed: bool
) -> None:
    server, model = held
    cancel, ended = threading.Event(), []

    def call() -> None:
        try:
            if streamed:
                list(model.named("other").stream(ask("slow", cancel)))
            else:
                model.complete(ask("slow", cancel))
        except ModelError:
            ended.append(time.monotonic())

    thread = threading.Thread(target=call)
    thread.start()
    until(lambda: len(server.requests) == 1)
    called_off = time.monotonic()
    cancel.set()
    thread.join(10)
    assert len(ended) == 1
    assert ended[0] - called_off < AT_ONCE
    assert len(server.requests) == 1


def test_what_is_called_off_before_it_begins_is_never_sent(
    held: tuple[Upstream, OpenAIModel],
) -> None:
    server, model = held
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(ModelError):
        model.complete(ask("quick", cancel))
    assert server.requests == []


def test_calling_off_one_call_leaves_the_others_and_the_kept_connections_alone(
    held: tuple[Upstream, OpenAIModel],
) -> None:
    _, model = held
    done = threading.Event()
    assert model.complete(ask("quick", done)).content == "late"
    done.set()  # its connection is kept by now, and serves the next call
    time.sleep(0.4)  # longer than the watchdog waits between two looks
    for _ in range(3):
        assert model.complete(ask("quick", threading.Event())).content == "late"
