"""The breaker round the model, from outside: a real server, a real upstream that falls ill."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from benchmarks.processes import free_port
from tests.server.running import Answer, Server, running
from tests.server.stored import memory, require_whole
from tests.upstream import Answer as Said
from tests.upstream import Upstream, counting, saying, upstream

PAUSE = 1
ILL = {
    "unavailable": lambda: Said(b"{}", status=503, headers={"Retry-After": "0.1"}),
    "overloaded": lambda: Said(b"{}", status=429),
    "cut": lambda: saying("a long enough answer", cut=40),
    "hangs": lambda: saying("too late", delay=3.0),
}
_numbers = itertools.count()


class Health:
    """How the upstream is; users whose id stands in `bad` make it fail by their words."""

    def __init__(self) -> None:
        self.ill: str | None = None
        self.asked = 0

    def __call__(self, request: dict[str, Any]) -> Said:
        self.asked += 1
        words = request["messages"][-1]["content"]
        if words.startswith("status "):
            return Said(b'{"error": {"message": "no"}}', status=int(words.split()[1]))
        if self.ill is not None:
            return ILL[self.ill]()
        return counting(request)


@pytest.fixture(scope="module")
def health() -> Health:
    return Health()


@pytest.fixture(scope="module")
def model(health: Health) -> Iterator[Upstream]:
    with upstream(health) as state:
        yield state


@pytest.fixture(scope="module")
def shared(model: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(
        tmp_path_factory.mktemp("breaker"),
        model.base_url,
        MODEL_MAX_RETRIES="0",
        MODEL_TIMEOUT="1s",
        MODEL_BREAKER_PAUSE=f"{PAUSE}s",
    ) as started:
        yield started


@pytest.fixture
def server(shared: Server, health: Health) -> Iterator[Server]:
    """It leaves the breaker closed for the next test."""
    yield shared
    health.ill = None
    until_closed(shared)


def somebody() -> str:
    """A user who was not there before."""
    return f"user-{next(_numbers)}"


def until_closed(server: Server) -> None:
    end = time.monotonic() + 30
    while state_of(server) != "ok":
        assert time.monotonic() < end
        server.chat(somebody(), "hello")
        time.sleep(0.05)


def state_of(server: Server) -> str:
    return str(server.request("GET", "/readyz").json["checks"]["model_breaker"])


def ask(server: Server, number: int, **more: Any) -> list[Answer]:
    """So many turns at once, each of somebody else."""
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(lambda user: server.chat(user, "hello", **more), users(number)))


def users(number: int) -> list[str]:
    return [somebody() for _ in range(number)]


@pytest.mark.parametrize("ill", ILL)
def test_while_the_upstream_is_ill_turns_are_refused_at_once_and_then_it_recovers(
    server: Server, health: Health, ill: str
) -> None:
    loyal = somebody()
    kept = {"Idempotency-Key": somebody()}
    first = server.request("POST", "/chat", {"user_id": loyal, "message": "hello"}, kept)
    assert first.status == 200
    opened = server.metric("switchboard_model_breaker_opened_total")
    health.ill = ill
    while state_of(server) == "ok":
        assert {answer.status for answer in ask(server, 20)} <= {502, 503, 504}
    asked = health.asked
    refused = [server.chat(loyal, "again", stream=streamed) for streamed in (False, True)]
    if health.asked == asked:  # else the pause was over in between
        for answer in refused:
            assert (answer.status, answer.code) == (503, "model_unavailable")
            assert 1 <= int(answer.headers["Retry-After"]) <= 5
    repeated = server.request("POST", "/chat", {"user_id": loyal, "message": "hello"}, kept)
    assert (repeated.status, repeated.body) == (200, first.body)
    readiness = server.request("GET", "/readyz")
    assert (readiness.status, readiness.json["status"]) == (200, "ready")
    assert "model_breaker" in readiness.json["reasons"]
    assert server.metric("switchboard_model_breaker_opened_total") == opened + 1
    assert len(memory(server.database, loyal)) == 2
    health.ill = None
    until_closed(server)
    assert {answer.status for answer in ask(server, 20)} == {200}
    assert server.metric("switchboard_turns_at_model") == 0
    require_whole(server.database)


def test_who_waits_in_line_is_refused_when_the_breaker_opens(
    server: Server, health: Health
) -> None:
    health.ill = "hangs"
    busy = somebody()
    with ThreadPoolExecutor(24) as pool:
        line = [pool.submit(server.chat, busy, "hello") for _ in range(3)]
        others = [pool.submit(server.chat, user, "hello") for user in users(20)]
        assert {each.result().status for each in others} <= {503, 504}
        statuses = sorted(each.result().status for each in line)
    assert statuses[0] == 503
    assert set(statuses) <= {503, 504}


def test_a_third_of_errors_opens_nothing(server: Server) -> None:
    with ThreadPoolExecutor(20) as pool:
        words = ["status 500" if n % 10 in (0, 3, 6) else "hello" for n in range(200)]
        answers = list(pool.map(lambda text: server.chat(somebody(), text), words))
    assert sorted({answer.status for answer in answers}) == [200, 502]
    assert sum(answer.status == 200 for answer in answers) == 140
    assert state_of(server) == "ok"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_what_a_request_is_refused_for_opens_nothing(server: Server, status: int) -> None:
    noisy = somebody()
    for _ in range(12):
        assert server.chat(noisy, f"status {status}").status in (413, 502)
    assert state_of(server) == "ok"


def test_one_user_who_makes_it_fail_is_refused_alone(server: Server) -> None:
    noisy = somebody()
    statuses = [server.chat(noisy, "status 500").status for _ in range(14)]
    assert statuses[:10] == [502] * 10
    assert 503 in statuses
    assert {answer.status for answer in ask(server, 10)} == {200}


def test_clients_that_hang_up_open_nothing(server: Server, health: Health) -> None:
    health.ill = "hangs"
    asked = health.asked
    for user in users(30):
        connection = server.say(user, "hello")
        while health.asked == asked:
            time.sleep(0.01)
        asked = health.asked
        connection.close()
    end = time.monotonic() + 20
    while server.metric("switchboard_turns_at_model"):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert state_of(server) == "ok"


def test_a_server_that_recovers_is_tried_once_a_pause_by_each_worker(
    model: Upstream, health: Health, tmp_path: Path
) -> None:
    server = Server(tmp_path, free_port(), model.base_url, {"MODEL_MAX_RETRIES": "0"})
    server.settings["MODEL_BREAKER_PAUSE"] = f"{PAUSE}s"
    try:
        server.serve("--workers", "2")
        health.ill = "unavailable"
        while "2 of 2 workers" not in server.request("GET", "/readyz").body.decode():
            ask(server, 20)
        began, asked = time.monotonic(), health.asked
        while time.monotonic() - began < 2.5 * PAUSE:
            ask(server, 20)
        assert health.asked - asked <= 2 * ((time.monotonic() - began) / PAUSE + 1)
        health.ill = None
        until_closed(server)
        assert {answer.status for answer in ask(server, 20)} == {200}
    finally:
        health.ill = None
        server.kill_group()


def test_nobody_listens_there_until_somebody_does(tmp_path: Path) -> None:
    port = free_port()
    with running(
        tmp_path,
        f"http://127.0.0.1:{port}/v1",
        MODEL_MAX_RETRIES="0",
        MODEL_BREAKER_PAUSE=f"{PAUSE}s",
        MODEL_BREAKER_FAILURES="4",
    ) as server:
        assert [server.chat(user, "hello").status for user in users(5)] == [502] * 4 + [503]
        refused = server.request("POST", "/chat", {"user_id": "late", "message": "hello"})
        assert json.loads(refused.body)["code"] in ("model_unavailable", "model_error")
        with upstream(port=port):
            until_closed(server)
            assert server.chat("late", "hello").status == 200
