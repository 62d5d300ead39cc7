"""A clock that jumps: order, figures and limits do not."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import MakeApp, services_of
from tests.fakes import FakeModel, HandClock
from tests.server.stored import memory, require_whole, rows
from webapp.agent import ModelRequest
from webapp.chat.values import ChatTurn

HOUR, DAY = 3600, 86_400


def test_turns_keep_their_order_and_no_latency_is_negative(
    make_app: MakeApp, tmp_path: Path
) -> None:
    clock = HandClock()
    jumps = [0, -HOUR, DAY, -30 * DAY, 400 * DAY, -HOUR]

    def jump_and_answer(_: ModelRequest) -> str:
        clock.advance(-DAY)  # in the middle of each turn as well
        return "ok"

    app = make_app(model=FakeModel(otherwise=jump_and_answer), clock=clock)
    for number, seconds in enumerate(jumps):
        clock.advance(seconds)
        turn = ChatTurn("alice", f"message {number}", f"req-{number}", clock.monotonic())
        services_of(app).chat.reply(turn)
    database = tmp_path / "switchboard.db"
    said = [content for role, content in memory(database, "alice") if role == "user"]
    assert said == [f"message {number}" for number in range(len(jumps))]
    assert all(latency == 0 for (latency,) in rows(database, "SELECT latency_ms FROM requests"))
    ((last_active, newest),) = rows(
        database, "SELECT last_active_at, (SELECT max(at) FROM requests) FROM tenants"
    )
    assert last_active >= newest
    page = app.test_client().get("/api/tenants/alice/messages").json
    assert page is not None
    assert [each["content"] for each in page["messages"]][::2] == said
    require_whole(database)


def test_a_clock_set_back_loosens_no_limit_for_long(make_app: MakeApp) -> None:
    clock = HandClock()
    app = make_app(clock=clock, RATE_LIMIT="2/minute")
    client = app.test_client()
    body = {"user_id": "alice", "message": "hello"}
    assert [client.post("/chat", json=body).status_code for _ in range(3)] == [200, 200, 429]
    clock.advance(-DAY)
    answer = client.post("/chat", json=body)
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
