"""What one worker is told holds in every other at once: the agent, the throttle of sign-ins."""

from __future__ import annotations

import http.client
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest

from benchmarks.processes import free_port
from tests.server.running import COMMAND, Server
from tests.upstream import Answer, saying, upstream
from webapp.accounts.tries.tries import FAILURES_OF_ADDRESS

WORKERS = 3


def repeating(request: dict[str, Any]) -> Answer:
    """A model that says what its instructions are."""
    return saying(request["messages"][0]["content"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with upstream(repeating) as stub:
        server = Server(
            tmp_path_factory.mktemp("workers"), free_port(), stub.base_url, {"TOOLS": "off"}
        )
        server.serve("--workers", str(WORKERS))
        try:
            yield server
        finally:
            server.end()


def test_changed_instructions_are_in_force_at_once_in_every_worker(server: Server) -> None:
    with (
        closing(server.services()) as services,
        ThreadPoolExecutor(8) as pool,
    ):
        for number in range(10):
            wanted = replace(services.configurations.original, instructions=f"Say {number}.")
            services.configurations.change(wanted, by="tests")
            answers = pool.map(lambda user: server.chat(f"user-{user}", "hello"), range(8))
            assert all(f"Say {number}." in answer.json["reply"] for answer in answers)


def sign_in(server: Server, name: str) -> int:
    """The status of a try with a wrong password, from a browser that nobody knows."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with closing(connection):
        connection.request("GET", "/admin/login")
        answer = connection.getresponse()
        token = re.search(r'name="csrf_token" value="([^"]+)"', answer.read().decode())
        cookies = [value.split(";")[0] for value in answer.headers.get_all("Set-Cookie", [])]
        assert token
        form = {"csrf_token": token[1], "name": name, "password": "a wrong password"}
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": "; ".join(cookies),
            "Origin": f"http://127.0.0.1:{server.port}",
        }
        connection.request("POST", "/admin/login", urlencode(form), headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status


def test_failed_sign_ins_are_counted_over_all_workers(server: Server) -> None:
    tries = FAILURES_OF_ADDRESS + 10
    with ThreadPoolExecutor(10) as pool:
        statuses = Counter(pool.map(lambda number: sign_in(server, f"n{number}"), range(tries)))
    assert statuses == {401: FAILURES_OF_ADDRESS, 429: 10}


def test_figures_are_the_same_in_every_worker_and_agree_with_their_rows(
    server: Server,
) -> None:
    for number in range(5):
        assert server.chat("alice", f"turn {number}").status == 200
    for _ in range(WORKERS * 3):
        figures = server.request("GET", "/api/tenants/alice").json
        assert (figures["request_count"], figures["message_count"]) == (5, 10)
    done = subprocess.run(
        [str(COMMAND), "check", "--data"], env=server.environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert "every counter and sum agrees" in done.stdout
