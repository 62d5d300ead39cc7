"""Three workers over one database: order, length of lines, one call for a key, lost workers."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.processes import free_port, tree
from tests.fakes import until
from tests.server.running import Answer as ServerAnswer
from tests.server.running import Server
from tests.upstream import Answer, saying, upstream
from webapp.cli.serving import usable_cores
from webapp.turns.lines import LEASE_SECONDS

WORKERS = 3


class OneAtATime:
    """A model that takes a moment, and sees whether a user's call came while another ran.

    The user says its name as the first word of each message.
    """

    def __init__(self, seconds: float = 0.02) -> None:
        self.seconds = seconds
        self.lock = threading.Lock()
        self.running: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.faults: list[str] = []
        self.gate: threading.Event | None = None

    def __call__(self, request: dict[str, Any]) -> Answer:
        said = [one["content"] for one in request["messages"] if one["role"] == "user"]
        user = said[-1].split()[0]
        with self.lock:
            self.running[user] += 1
            self.calls[said[-1]] += 1
            if self.running[user] > 1:
                self.faults.append(f"two calls of {user} at once")
            if any(one.split()[0] != user for one in said):
                self.faults.append(f"{user} was sent a foreign word")
        if self.gate is not None:
            self.gate.wait(30)
        time.sleep(self.seconds)
        with self.lock:
            self.running[user] -= 1
        return saying(f"{len(said)}")


@pytest.fixture
def model() -> OneAtATime:
    return OneAtATime()


@pytest.fixture
def server(tmp_path: Path, database_url: str, model: OneAtATime) -> Iterator[Server]:
    """For who ends its workers, or counts from nothing."""
    with several_workers(tmp_path, model, DATABASE_URL=database_url) as server:
        yield server


@pytest.fixture(scope="module")
def shared_model() -> OneAtATime:
    return OneAtATime()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, shared_model: OneAtATime) -> Iterator[Server]:
    """Over SQLite, for who leaves it as it was; each test has users of its own."""
    with several_workers(tmp_path_factory.mktemp("shared"), shared_model) as server:
        yield server


@contextmanager
def several_workers(folder: Path, model: OneAtATime, **settings: str) -> Iterator[Server]:
    with upstream(model) as stub:
        given = {"TENANT_QUEUE": "20", "MODEL_MAX_RETRIES": "0", "TOOLS": "off", **settings}
        server = Server(folder, free_port(), stub.base_url, given)
        server.serve("--workers", str(WORKERS))
        try:
            yield server
        finally:
            server.end()


def workers_of(server: Server) -> list[int]:
    return [pid for pid in tree(server.pid) if pid != server.pid]


@contextmanager
def no_write_under_way(server: Server) -> Iterator[None]:
    """Who is stopped in this block does not stop with the lock of a SQLite file in its hands."""
    database = server.database
    with ExitStack() as held:
        for path in (database, database.with_name(f"{database.name}-turns")):
            if path.exists():
                connection = held.enter_context(
                    closing(sqlite3.connect(path, timeout=30, isolation_level=None))
                )
                connection.execute("BEGIN IMMEDIATE")
        yield


def history_of(server: Server, user: str) -> list[str]:
    found = server.request("GET", f"/api/tenants/{user}/messages?limit=200").json
    return [f"{one['role']}: {one['content']}" for one in found["messages"]]


def test_every_turn_sees_the_one_before_it_whichever_worker_takes_it(
    server: Server, model: OneAtATime
) -> None:
    users, turns = [f"user{number}" for number in range(20)], 8
    with ThreadPoolExecutor(len(users) * 4) as pool:
        answers = list(
            pool.map(
                lambda job: (job[0], server.chat(job[0], f"{job[0]} says {job[1]}")),
                [(user, turn) for turn in range(turns) for user in users],
            )
        )
    assert {answer.status for _, answer in answers} == {200}
    assert model.faults == []
    for user in users:
        # The model says how many of the user's messages it was sent: each turn one more.
        seen = sorted(int(answer.json["reply"]) for name, answer in answers if name == user)
        assert seen == list(range(1, turns + 1))
        spoken = history_of(server, user)
        assert [line for line in spoken if line.startswith("assistant")] == [
            f"assistant: {number}" for number in range(1, turns + 1)
        ]


def test_the_line_of_a_tenant_is_as_long_as_the_setting_says_over_all_workers(
    shared: Server, shared_model: OneAtATime
) -> None:
    shared_model.gate = threading.Event()
    with ThreadPoolExecutor(60) as pool:
        answers = [
            pool.submit(shared.chat, "alice", f"alice says {number}") for number in range(60)
        ]
        deadline = time.monotonic() + 20
        while sum(answer.done() for answer in answers) < 60 - 21 and time.monotonic() < deadline:
            time.sleep(0.02)
        shared_model.gate.set()
        found = Counter((one.result().status, one.result().json.get("code")) for one in answers)
    assert found == {(200, None): 21, (429, "tenant_busy"): 39}
    assert shared_model.faults == []


def test_one_key_is_one_call_of_the_model(shared: Server, shared_model: OneAtATime) -> None:
    def ask(number: int) -> ServerAnswer:
        return shared.request(
            "POST",
            "/chat",
            {"user_id": "bob", "message": "bob says it once"},
            {"Idempotency-Key": "one"},
        )

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(12)))
    assert {answer.status for answer in answers} <= {200, 409}
    assert ask(13).json["reply"] == "1"
    assert shared_model.calls["bob says it once"] == 1


def test_limits_are_counted_together(shared: Server) -> None:
    assert shared.chat("dave", "dave").status == 200
    assert shared.request("PATCH", "/api/tenants/dave", {"rate_limit": "30/hour"}).status == 200
    with ThreadPoolExecutor(10) as pool:
        found = Counter(pool.map(lambda _: shared.chat("dave", "dave").status, range(60)))
    assert found == {200: 30, 429: 30}
    time.sleep(1.5)  # each worker writes its counts of refusals after a second
    for _ in range(WORKERS * 3):
        figures = shared.request("GET", "/api/tenants/dave").json
        assert (figures["request_count"], figures["rate_limited_count"]) == (61, 30)


def test_a_killed_worker_frees_its_places_and_keys(
    server: Server, model: OneAtATime, engine: str
) -> None:
    """At once where the kernel says who is dead; on a database server when its lease is over."""
    model.gate = threading.Event()
    with ThreadPoolExecutor(WORKERS * 2) as pool:
        lost = [pool.submit(ask_with_key, server, f"user{number}") for number in range(6)]
        while sum(model.running.values()) < 6:
            time.sleep(0.02)
        killed = workers_of(server)
        for worker in killed:
            os.kill(worker, signal.SIGKILL)
        assert {one.result() for one in lost} == {0}
    model.running.clear()
    model.gate.set()
    while not set(workers_of(server)) - set(killed):
        time.sleep(0.02)
    if engine == "postgres":
        until(lambda: ask_with_key(server, "user0") == 200, LEASE_SECONDS + 10)
    for number in range(6):
        assert ask_with_key(server, f"user{number}") == 200
    assert history_of(server, "user0") == ["user: user0 says it", "assistant: 1"]


def ask_with_key(server: Server, user: str) -> int:
    """The answer's status; 0 for a connection that broke."""
    for _ in range(50):
        try:
            body = {"user_id": user, "message": f"{user} says it"}
            return server.request("POST", "/chat", body, {"Idempotency-Key": "k"}).status
        except ConnectionRefusedError:
            time.sleep(0.1)
        except OSError:
            return 0
        except json.JSONDecodeError:
            return 0
    return 0


def test_a_worker_that_stood_still_past_its_lease_writes_nothing_when_it_wakes(
    server: Server, model: OneAtATime
) -> None:
    assert server.chat("carol", "carol begins").status == 200
    model.gate = threading.Event()
    stopped = workers_of(server)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(server.chat, "carol", "carol goes first", 120)
        while not model.running["carol"]:
            time.sleep(0.02)
        # Whichever worker has the turn: all that are there stand still, and one more comes.
        with no_write_under_way(server):
            for worker in stopped:
                os.kill(worker, signal.SIGSTOP)
        try:
            os.kill(server.pid, signal.SIGTTIN)
            while not set(workers_of(server)) - set(stopped):
                time.sleep(0.05)
            model.running.clear()
            model.gate.set()
            second = server.chat("carol", "carol goes second", 120)
        finally:
            for worker in stopped:
                os.kill(worker, signal.SIGCONT)
        late = first.result()
    assert (second.status, second.json["reply"]) == (200, "2")
    assert (late.status, late.code) == (503, "place_lost")
    assert history_of(server, "carol") == [
        "user: carol begins",
        "assistant: 1",
        "user: carol goes second",
        "assistant: 2",
    ]


def scraped(server: Server) -> dict[str, float]:
    """The sums of all samples of a name, whatever their labels."""
    found: defaultdict[str, float] = defaultdict(float)
    text = server.request("GET", "/metrics").body.decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name.removeprefix("switchboard_")] += sample.value
    return found


@pytest.mark.sqlite
def test_whichever_worker_is_scraped_tells_of_all(server: Server, model: OneAtATime) -> None:
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda number: server.chat(f"user{number}", "hello"), range(60)))
    asked = scraped(server)["http_requests_total"]
    for number in range(WORKERS * 4):
        found = scraped(server)
        assert found["http_requests_total"] == asked + number + 1
        assert found["http_request_duration_seconds_count"] == asked + number + 1
        assert found["turns_total"] == found["tenants"] == 60
        assert found["workers"] == WORKERS
    model.gate = threading.Event()
    with ThreadPoolExecutor(9) as pool:
        turns = [pool.submit(server.chat, f"user{number % 6}", "wait") for number in range(9)]
        until(lambda: scraped(server)["turns_running"] == 6)
        until(lambda: scraped(server)["turns_waiting"] == 3)
        model.gate.set()
        assert {turn.result().status for turn in turns} == {200}


@pytest.mark.sqlite
def test_figures_never_go_down_when_workers_are_killed_and_replaced(server: Server) -> None:
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda number: server.chat(f"user{number}", "hello"), range(30)))
    before, killed = scraped(server), workers_of(server)
    for worker in killed:
        os.kill(worker, signal.SIGKILL)
    until(lambda: len(set(workers_of(server)) - set(killed)) == WORKERS)
    server.wait()
    after = scraped(server)
    assert after["turns_total"] == before["turns_total"] == 30
    assert after["http_requests_total"] > before["http_requests_total"]
    assert after["worker_starts_total"] == 2 * WORKERS
    assert after["workers"] == WORKERS
    assert after["turns_running"] == 0
    text = server.request("GET", "/metrics").body.decode()
    assert not any(f'worker="{worker}"' in text for worker in killed)


def test_readiness_tells_of_a_worker_that_stands_still(shared: Server) -> None:
    until(lambda: shared.request("GET", "/readyz").json["checks"]["workers"] == "ok")
    stopped = workers_of(shared)[0]
    with no_write_under_way(shared):
        os.kill(stopped, signal.SIGSTOP)
    try:

        def told() -> bool:
            try:
                answer = shared.request("GET", "/readyz", timeout=1)
            except TimeoutError:
                return False  # the one that stands still had taken it
            assert answer.status == 200
            return bool(answer.json["checks"]["workers"] == "fewer")

        until(told, 30)
    finally:
        os.kill(stopped, signal.SIGCONT)
    until(lambda: shared.request("GET", "/readyz").json["checks"]["workers"] == "ok")


def test_without_being_told_it_starts_a_worker_for_each_core(tmp_path: Path) -> None:
    with upstream() as stub:
        server = Server(tmp_path, free_port(), stub.base_url)
        server.serve()
        try:
            until(lambda: len(workers_of(server)) == usable_cores(8))
        finally:
            server.end()
