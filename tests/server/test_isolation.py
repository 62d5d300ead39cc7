"""Many users at once: nobody sees another's words, each one's turns stay in order and bounded."""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from tests.fakes import until
from tests.server.conftest import Script
from tests.server.crowd import all_at_once
from tests.server.running import Server, chat_request
from tests.server.stored import memory, recorded, require_whole
from tests.upstream import Upstream

QUEUE = 4  # TENANT_QUEUE, as it is when nobody sets it


def calls_of(model_server: Upstream, mark: str) -> dict[str, list[list[dict[str, Any]]]]:
    """The calls of a test's users, by user: every message of theirs ends in a word for them."""
    found = defaultdict(list)
    for request in list(model_server.requests):
        said = [message for message in request["messages"] if message["role"] != "system"]
        owner = said[-1]["content"].split()[-1]
        if owner.startswith(mark):
            found[owner].append(said)
    return found


@pytest.mark.parametrize(("users", "mark"), [(10, "ten"), (200, "manyusers")])
def test_a_thousand_requests_at_once_never_mix_two_users(
    server: Server, model_server: Upstream, users: int, mark: str
) -> None:
    names = [f"{mark}-{number}" for number in range(users)]
    wanted = [(number, names[number % users]) for number in range(1000)]
    answers = all_at_once(
        server.port, [chat_request(name, f"echo {number} {name}") for number, name in wanted]
    )
    assert all(answer is not None and answer.status in (200, 429) for answer in answers)
    answered = Counter[str]()
    for (number, name), answer in zip(wanted, answers, strict=True):
        assert answer is not None
        if answer.status == 200:
            assert answer.json["reply"] == f"You said: echo {number} {name}"
            answered[name] += 1
        else:
            assert answer.code == "tenant_busy"
            assert int(answer.headers["Retry-After"]) >= 1
    for name, calls in calls_of(model_server, mark).items():
        assert len(calls) == answered[name]
        for said in calls:
            assert all(message["content"].split()[-1] == name for message in said)
            roles = [message["role"] for message in said]
            assert roles == (["user", "assistant"] * len(said))[: len(said)]
        # Each call sees the turn before it, and nothing runs beside it.
        assert all(later[: len(earlier)] == earlier for earlier, later in pairwise(calls))
    # At least the running turn and those that may wait behind it are answered.
    assert all(answered[name] >= min(QUEUE + 1, 1000 // users) for name in names)
    assert server.request("GET", "/api/metrics").status == 200  # has the refusals written
    for name in names[:20]:
        assert len(memory(server.database, name)) == min(2 * answered[name], 100)
        assert len(recorded(server.database, name)) == 1000 // users
    require_whole(server.database)


def test_two_hundred_at_once_of_one_user_are_answered_or_refused_exactly(
    server: Server, script: Script
) -> None:
    def refused() -> int:
        figures = server.request("GET", "/api/tenants/crowded/metrics")
        return int(figures.json["rate_limited"]) if figures.status == 200 else 0

    with script.holding(), ThreadPoolExecutor() as pool:
        first = pool.submit(server.chat, "crowded", "hold the line")
        until(lambda: script.held == 1)
        requests = [chat_request("crowded", f"echo {number} crowded") for number in range(200)]
        others = pool.submit(all_at_once, server.port, requests)
        # Nobody who waits is let in while the first turn is held.
        until(lambda: refused() == 200 - QUEUE, 20)
        assert server.request("GET", "/healthz").status == 200
        assert server.chat("somebody-else", "echo hello").status == 200
        script.release.set()
        assert first.result().status == 200
        answers = others.result()
    statuses = Counter(answer.status for answer in answers if answer is not None)
    assert statuses == {200: QUEUE, 429: 200 - QUEUE}
    assert len(memory(server.database, "crowded")) == 2 * (QUEUE + 1)
    assert Counter(recorded(server.database, "crowded")) == {
        (200, ""): QUEUE + 1,
        (429, "tenant_busy"): 200 - QUEUE,
    }


def test_a_noisy_user_delays_nobody_else(server: Server) -> None:
    nap = 0.25
    noise = [chat_request("noisy", f"nap {nap} noisy") for _ in range(200)]
    with ThreadPoolExecutor() as pool:
        noisy = pool.submit(all_at_once, server.port, noise)
        waits: list[float] = []
        while not noisy.done() and len(waits) < 10:
            began = time.monotonic()
            assert server.chat("quiet", f"echo {len(waits)} quiet").status == 200
            waits.append(time.monotonic() - began)
        statuses = Counter(answer.status for answer in noisy.result() if answer is not None)
    assert statuses[200] >= QUEUE + 1
    assert sum(statuses.values()) == 200
    # The first one meets all 200 as they arrive; none waits for one of their turns.
    assert statistics.median(waits) < nap, waits
