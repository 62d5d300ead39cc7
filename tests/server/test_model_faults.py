"""A model's server that fails in every way: a clear error, memory whole, the failure counted."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from benchmarks.processes import free_port
from tests.server.conftest import HASTE, Script
from tests.server.running import Answer, Server, running
from tests.server.stored import memory, recorded, require_whole
from tests.upstream import upstream

ERROR, TIMEOUT = "model_error", "model_timeout"


def failure_of(answer: Answer) -> tuple[int, dict[str, Any]]:
    """Status and error object; of a stream, those that its one `error` event says."""
    if answer.headers["Content-Type"] == "application/json":
        return answer.status, answer.json
    assert answer.status == 200
    *_, last = answer.body.decode().strip().split("\n\n")
    name, data = last.splitlines()
    assert name == "event: error", last
    body: dict[str, Any] = json.loads(data.removeprefix("data: "))
    return 504 if body["code"] == TIMEOUT else 502, body


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("fault", ["fail", "cut", "rubbish", "empty"])
def test_a_model_that_fails_is_a_502_and_leaves_no_trace_but_a_count(
    server: Server, fault: str, streamed: bool
) -> None:
    user = f"fault-{fault}-{streamed}"
    assert server.chat(user, "echo before").status == 200
    before = memory(server.database, user)
    status, body = failure_of(server.chat(user, f"{fault} please", stream=streamed))
    assert (status, body["code"]) == (502, ERROR)
    assert set(body) == {"error", "code", "request_id"}
    assert "PROVIDERWORDS" not in json.dumps(body)
    assert memory(server.database, user) == before
    assert recorded(server.database, user) == [(200, ""), (502, ERROR)]
    assert server.chat(user, "echo after").status == 200
    require_whole(server.database)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_model_that_hangs_is_a_504_soon_after_the_time_that_is_set(
    hasty: Server, streamed: bool
) -> None:
    user = f"hung-{streamed}"
    began = time.monotonic()
    status, body = failure_of(hasty.chat(user, "hang please", stream=streamed))
    assert HASTE <= time.monotonic() - began < HASTE + 1
    assert (status, body["code"]) == (504, TIMEOUT)
    assert memory(hasty.database, user) == []
    assert recorded(hasty.database, user) == [(504, TIMEOUT)]
    assert hasty.chat(user, "echo after").status == 200


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_passing_fault_is_not_noticed(server: Server, script: Script, streamed: bool) -> None:
    script.failures_left = 1
    assert server.chat(f"passing-{streamed}", "once only", stream=streamed).status == 200
    assert script.failures_left == 0
    assert len(memory(server.database, f"passing-{streamed}")) == 2


def test_a_tool_that_is_not_there_is_said_to_the_model(server: Server) -> None:
    answer = server.chat("toolless", "tool please")
    assert answer.status == 200
    roles = [role for role, _ in memory(server.database, "toolless")]
    assert roles == ["user", "assistant", "tool", "assistant"]
    assert "no_such" in memory(server.database, "toolless")[2][1]
    server.request("DELETE", "/api/tenants/toolless/messages")


def test_a_model_that_is_not_there_is_a_502_until_it_comes(tmp_path: Any) -> None:
    port = free_port()
    with running(tmp_path, f"http://127.0.0.1:{port}/v1", MODEL_MAX_RETRIES="1") as server:
        for streamed in (False, True):
            status, body = failure_of(server.chat("early", "hello", stream=streamed))
            assert (status, body["code"]) == (502, ERROR)
        assert server.request("GET", "/readyz").status == 200
        assert memory(server.database, "early") == []
        with upstream(port=port):
            assert server.chat("early", "hello").status == 200
        assert recorded(server.database, "early") == [(502, ERROR), (502, ERROR), (200, "")]
        assert len(memory(server.database, "early")) == 2
        require_whole(server.database)
