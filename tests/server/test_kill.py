"""kill -9 under load: what a client was told is on disk, no turn is half there."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import re
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from benchmarks.processes import free_port
from tests.fakes import until
from tests.server.crowd import ask, done_of
from tests.server.running import Server, chat_request
from tests.server.stored import memory, require_whole, rows
from tests.upstream import Upstream

USERS = 12


class Load:
    """Users who talk without a pause, whole and streamed in turn; keeps what they were told."""

    def __init__(self, port: int, numbers: Iterator[int]) -> None:
        self._port = port
        self._numbers = numbers
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._everyone()))
        self.told: dict[str, list[str]] = defaultdict(list)

    def __enter__(self) -> Load:
        self._ended.clear()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def answers(self) -> int:
        return sum(map(len, self.told.values()))

    async def _everyone(self) -> None:
        await asyncio.gather(*(self._user(f"user-{number}") for number in range(USERS)))

    async def _user(self, name: str) -> None:
        while not self._ended.is_set():
            number = next(self._numbers)
            message = f"echo {number} {name}"
            request = chat_request(name, message, stream=number % 2 == 0)
            done = done_of(await ask(self._port, request))
            if done is None:
                await asyncio.sleep(0.02)
            else:
                assert done["reply"] == f"You said: {message}"
                self.told[name].append(message)


def rounds(server: Server, kills: Iterable[Callable[[Server], None]]) -> tuple[int, int]:
    """Kills it under load, one way after another; gives how many answers came and were stored."""
    told: dict[str, list[str]] = defaultdict(list)
    numbers = itertools.count()
    for kill in kills:
        with Load(server.port, numbers) as load:
            deadline = time.monotonic() + 10
            while load.answers < 20 + random.randrange(60):
                assert time.monotonic() < deadline, "there was no load"
                time.sleep(0.005)
            kill(server)
        for name, messages in load.told.items():
            told[name] += messages
        assert server.request("GET", "/readyz").status == 200
        require_whole(server.database)
        stored = 0
        for name in told:
            messages = [
                content for role, content in memory(server.database, name) if role == "user"
            ]
            # Each in the order in which it was answered; one whose answer was lost may be between.
            assert len(set(messages)) == len(messages)
            kept = set(told[name])
            assert [message for message in messages if message in kept] == told[name]
            stored += len(messages)
    return sum(map(len, told.values())), stored


def kill_worker(server: Server) -> None:
    worker = server.worker
    os.kill(worker, signal.SIGKILL)
    while True:
        try:
            if server.worker != worker and server.request("GET", "/healthz").status == 200:
                return
        except (OSError, ValueError):
            pass  # the next one is not there yet
        time.sleep(0.01)


def kill_everything(server: Server) -> None:
    server.kill_group()
    server.start()


def fresh(tmp_path: Path, model_server: Upstream) -> Server:
    settings = {"MEMORY_MAX_MESSAGES": "0", "CONTEXT_MAX_MESSAGES": "6", "LOG_LEVEL": "WARNING"}
    return Server(tmp_path, free_port(), model_server.base_url, settings)


def test_what_was_answered_before_a_kill_is_there_after_it(
    tmp_path: Path, model_server: Upstream
) -> None:
    server = fresh(tmp_path, model_server).start()
    kills = (kill_everything, kill_worker, kill_everything, kill_worker, kill_everything)
    try:
        told, stored = rounds(server, kills)
        assert told >= 100
        assert stored >= told
    finally:
        server.kill_group()


def figures(server: Server) -> tuple[int, int, int]:
    """How many requests there were: in the hour, ever, and by the counters of the tenants."""
    hour = server.request("GET", "/api/metrics?window=1h").json["requests"]
    scraped = server.request("GET", "/metrics").body.decode()
    ever = sum(int(float(number)) for number in re.findall(r"_turns_total{.*} (\S+)", scraped))
    tenants = server.request("GET", "/api/tenants?limit=100").json["tenants"]
    return hour, ever, sum(tenant["request_count"] for tenant in tenants)


def test_every_figure_is_exact_at_every_moment(tmp_path: Path, model_server: Upstream) -> None:
    """Sums follow a moment later than requests; nobody who reads a figure sees that."""
    server = fresh(tmp_path, model_server).start()

    def stored() -> int:
        return int(rows(server.database, "SELECT count(*) FROM requests")[0][0])

    numbers = itertools.count()
    try:
        for kill in (kill_worker, kill_everything):
            with Load(server.port, numbers) as load:
                until(lambda: load.answers > 20, 10)  # asked at once
                for _ in range(10):
                    least = stored()
                    found = figures(server)
                    assert least <= found[0] <= found[1] <= found[2] <= stored()
                kill(server)
            assert figures(server) == (stored(),) * 3
            require_whole(server.database)
    finally:
        server.kill_group()
