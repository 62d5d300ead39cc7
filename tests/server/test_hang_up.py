"""A client that hangs up: its turn leaves nothing behind, and the next need not wait for it."""

from __future__ import annotations

import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes import until
from tests.server.conftest import Script
from tests.server.running import Server
from tests.server.stored import memory, recorded, require_whole

AT_ONCE = 2.0  # seconds; the model would be held for ten times as long


@pytest.mark.parametrize("streamed", [False, True])
def test_a_hang_up_while_the_model_is_silent_frees_the_place_at_once(
    server: Server, script: Script, streamed: bool
) -> None:
    user = f"gone-{streamed}"
    assert server.chat(user, "echo before").status == 200
    before = memory(server.database, user)
    with script.holding():
        connection = server.say(user, "hold it", stream=streamed)
        until(lambda: script.held == 1)
        connection.close()
        began = time.monotonic()
        assert server.chat(user, "echo after").json["reply"] == "You said: echo after"
        assert time.monotonic() - began < AT_ONCE
        # The model has not even answered yet.
        assert memory(server.database, user) == [
            *before,
            ("user", "echo after"),
            ("assistant", "You said: echo after"),
        ]
    assert sorted(recorded(server.database, user)) == [
        (200, ""),
        (200, ""),
        (499, "client_closed_request"),
    ]
    require_whole(server.database)


def test_a_hang_up_in_the_middle_of_a_stream_stores_nothing(server: Server) -> None:
    with server.say("gone-midway", "drip for a while", stream=True) as connection:
        assert b"drop " in read_until(connection, b"drop ")
    began = time.monotonic()
    assert server.chat("gone-midway", "echo after").status == 200
    assert time.monotonic() - began < AT_ONCE
    assert memory(server.database, "gone-midway") == [
        ("user", "echo after"),
        ("assistant", "You said: echo after"),
    ]
    assert (499, "client_closed_request") in recorded(server.database, "gone-midway")


@pytest.mark.parametrize("streamed", [False, True])
def test_a_hang_up_in_the_queue_makes_room_for_another(
    server: Server, script: Script, streamed: bool
) -> None:
    user = f"waiting-{streamed}"
    with script.holding(), ThreadPoolExecutor() as pool:
        running = pool.submit(server.chat, user, "hold the first")
        until(lambda: script.held == 1)
        with ExitStack() as waiting:
            for number in range(4):
                waiting.enter_context(server.say(user, f"echo {number}", stream=streamed))
            until(lambda: server.metric("switchboard_turns_waiting") == 4)
            assert server.chat(user, "echo too many").status == 429
        until(lambda: recorded(server.database, user).count((499, "client_closed_request")) == 4)
        last = pool.submit(server.chat, user, "echo last")
        script.release.set()
        assert running.result().status == 200
        assert last.result().status == 200
    said = [content for role, content in memory(server.database, user) if role == "user"]
    assert said == ["hold the first", "echo last"]


def test_a_hundred_hang_ups_leave_no_connection_and_no_thread_behind(
    server: Server, script: Script
) -> None:
    def held_by_worker() -> Counter[str]:
        kinds = Counter[str]()
        for entry in Path(f"/proc/{server.worker}/fd").iterdir():
            try:
                kinds[str(entry.readlink()).partition(":")[0]] += 1
            except FileNotFoundError:
                continue
        kinds["threads"] = len(list(Path(f"/proc/{server.worker}/task").iterdir()))
        return kinds

    for kind in ("echo", "drip"):
        server.chat("leak", f"{kind} before")
    before = held_by_worker()
    with script.holding():
        with ExitStack() as connections:
            for number in range(100):
                connections.enter_context(
                    server.say(f"leak-{number}", "hold it", stream=number % 2 == 0)
                )
            until(lambda: script.held == 100, 20)
        # Connections to the model that are whole may be kept; those of the abandoned are not.
        until(lambda: held_by_worker()["socket"] <= before["socket"] + 2, 10)
    # gevent looks names up in a pool of at most ten threads, which it keeps.
    assert held_by_worker()["threads"] <= before["threads"] + 10
    assert all(memory(server.database, f"leak-{number}") == [] for number in range(100))


def read_until(connection: socket.socket, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        chunk = connection.recv(4096)
        assert chunk, data
        data += chunk
    return data
