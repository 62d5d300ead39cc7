"""Two servers of two workers on one PostgreSQL, with a real PgBouncer in transaction mode between:
whatever a unit of work needs comes with its transaction."""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Any

import pytest

from benchmarks.processes import free_port
from tests.databases.pgbouncer import PgBouncer
from tests.databases.postgres import PostgresServer
from tests.fakes import until
from tests.server.running import Server
from tests.server.test_several_workers import OneAtATime, history_of
from tests.upstream import upstream

USERS = [f"user{number}" for number in range(8)]
TURNS = 5
pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def pooler(postgres: PostgresServer) -> Iterator[PgBouncer]:
    """One that may be killed, with fewer connections than there are workers."""
    made = PgBouncer(postgres, pool=3)
    yield made
    made.close()


@pytest.fixture(scope="module")
def model() -> OneAtATime:
    return OneAtATime()


@pytest.fixture(scope="module")
def hosts(
    tmp_path_factory: pytest.TempPathFactory,
    postgres: PostgresServer,
    pooler: PgBouncer,
    model: OneAtATime,
) -> Iterator[list[Server]]:
    url = pooler.url(postgres.create_database())
    settings = {
        "DATABASE_URL": url,
        "TENANT_QUEUE": "20",
        "MODEL_MAX_RETRIES": "0",
        "TOOLS": "off",
        # Both count in one file, as they would in one Redis.
        "RATE_LIMIT_STORAGE_URL": f"sqlite:///{tmp_path_factory.mktemp('limits')}/limits.db",
    }
    with upstream(model) as stub, contextlib.ExitStack() as ends:
        made = []
        for name in ("one", "two"):
            server = Server(tmp_path_factory.mktemp(name), free_port(), stub.base_url, settings)
            server.serve("--workers", "2")
            ends.callback(server.end)
            made.append(server)
        yield made


def test_turns_of_both_hosts_keep_their_order(hosts: list[Server], model: OneAtATime) -> None:
    jobs = zip(
        [(user, turn) for turn in range(TURNS) for user in USERS], cycle(hosts), strict=False
    )
    with ThreadPoolExecutor(24) as pool:
        answers = list(
            pool.map(lambda job: (job[0][0], job[1].chat(job[0][0], f"{job[0][0]} says")), jobs)
        )
    assert Counter(answer.status for _, answer in answers) == {200: len(USERS) * TURNS}
    assert model.faults == []
    for user in USERS:
        seen = sorted(int(answer.json["reply"]) for name, answer in answers if name == user)
        assert seen == list(range(1, TURNS + 1))
        assert len(history_of(hosts[0], user)) == 2 * TURNS


def test_the_line_and_a_key_are_one_over_both_hosts(hosts: list[Server], model: OneAtATime) -> None:
    model.gate = threading.Event()
    with ThreadPoolExecutor(40) as pool:
        waiting = [
            pool.submit(host.chat, "alice", f"alice {number}")
            for number, host in zip(range(40), cycle(hosts), strict=False)
        ]
        until(lambda: sum(one.done() for one in waiting) >= 40 - 21)
        model.gate.set()
        found = Counter((one.result().status, one.result().json.get("code")) for one in waiting)
    assert found == {(200, None): 21, (429, "tenant_busy"): 19}
    body = {"user_id": "bob", "message": "bob once"}
    with ThreadPoolExecutor(8) as pool:
        asked = pool.map(
            lambda host: host.request("POST", "/chat", body, {"Idempotency-Key": "one"}).status,
            hosts * 4,
        )
        assert set(asked) <= {200, 409}
    assert model.calls["bob once"] == 1
    assert model.faults == []


def test_acts_on_tenants_and_their_figures_hold_on_the_other_host(hosts: list[Server]) -> None:
    here, there = hosts
    for user in ("carol", "dave", "erin"):
        for host in (*hosts, *hosts):
            assert host.chat(user, f"{user} says").status == 200
    exported = here.request("GET", "/api/tenants/carol/export").body
    assert bring(there, "frank", exported)["messages"] == 8
    assert history_of(here, "frank") == history_of(there, "carol")
    assert here.request("DELETE", "/api/tenants/carol/messages").json == {"cleared": 8}
    assert history_of(there, "carol") == []
    assert there.chat("carol", "carol begins anew").json["reply"] == "1"
    assert there.request("DELETE", "/api/tenants/dave").status == 200
    assert here.request("GET", "/api/tenants/dave").status == 404
    assert here.request("PATCH", "/api/tenants/erin", {"blocked": True}).status == 200
    assert there.chat("erin", "erin says").json["code"] == "tenant_blocked"
    # Sums are rolled up in the background; a reader adds what is not in them yet.
    figures = there.request("GET", "/api/tenants/carol/metrics?window=1h").json
    assert (figures["requests"], figures["errors"]) == (5, 0)
    checked = here.run("check", "--data")
    assert "second wall" not in checked


def bring(host: Server, user: str, exported: bytes) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{host.port}/api/tenants/{user}/import",
        exported,
        {"Content-Type": "application/x-ndjson", **host.credential},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_a_pooler_that_dies_loses_nothing_and_is_used_again(
    hosts: list[Server], pooler: PgBouncer
) -> None:
    said = [host.chat("grace", "grace says").status for host in hosts]
    pooler.kill()
    failed = hosts[0].chat("grace", "grace in vain")
    assert (failed.status, failed.code) == (503, "storage_unavailable")
    pooler.start()
    until(lambda: hosts[1].chat("grace", "grace again").status == 200)
    spoken = history_of(hosts[0], "grace")
    assert said == [200, 200]
    assert not any("in vain" in line for line in spoken)
    assert spoken[-2:] == ["user: grace again", "assistant: 3"]
