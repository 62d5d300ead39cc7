"""The whole time of a turn is bounded on the server, whatever the model's server does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.agent.test_turn_timeout import SLOW
from tests.server.running import Server, running
from tests.server.stored import memory, recorded, require_whole
from tests.slow_servers import Asked, raw_server

TURN_SECONDS = 1
LATE = 2.0
CASES = ("silence", "body by bytes", "comments", "text", "tools")


def speak(asked: Asked) -> None:
    name = json.loads(asked.body)["messages"][1]["content"]
    SLOW[name](asked) if name in SLOW else asked.say("done")


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with (
        raw_server(speak) as model,
        running(
            tmp_path_factory.mktemp("timed"),
            model.base_url,
            TURN_TIMEOUT=f"{TURN_SECONDS}s",
            MODEL_MAX_RETRIES="10",
            MAX_LOOPS="100",
            MODEL_BREAKER_FAILURES="0",
        ) as server,
    ):
        yield server


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", CASES)
def test_past_it_the_turn_ends_stores_nothing_and_is_counted(
    timed: Server, name: str, streamed: bool
) -> None:
    user, began = f"{name}-{streamed}".replace(" ", "-"), time.monotonic()
    answer = timed.chat(user, name, stream=streamed)
    assert TURN_SECONDS <= time.monotonic() - began < TURN_SECONDS + LATE
    if streamed:
        *_, last = answer.body.decode().strip().split("\n\n")
        assert answer.body.count(b"event: error") == 1
        assert last.startswith("event: error\n")
        assert json.loads(last.partition("data: ")[2])["code"] == "model_timeout"
    else:
        assert (answer.status, answer.code) == (504, "model_timeout")
    assert memory(timed.database, user) == []
    assert recorded(timed.database, user) == [(504, "model_timeout")]
    assert timed.request("GET", f"/api/tenants/{user}").json["input_tokens"] > 0
    assert timed.chat(user, "hello").status == 200
    require_whole(timed.database)
