"""Calls of tools: counted with the turn that made them, summed up, and shown by window."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.conftest import services_of, settings_for
from tests.fakes import FakeModel, HandClock, calls, said
from tests.web.admin.person import sign_in
from webapp import create_app
from webapp.agent import Toolkit, tool
from webapp.errors import ModelError
from webapp.housekeeping import forget_and_prune
from webapp.periods import DAY_MS, HOUR_MS
from webapp.storage import Connection, Database
from webapp.usage.tool_calls import store
from webapp.usage.tool_calls.figures import KEPT_MS, tidy_up, tool_figures
from webapp.usage.windows import WINDOWS
from webapp.workflow import ExecutionContext, Step, Workflow

NOW = 1_700_000_000_000


def note(database: Database, at_ms: int, *made: tuple[str, str, float]) -> None:
    database.write(lambda connection: store.add(connection, store.counted(made), at_ms))


def figures(database: Database, window: str = "24h", now_ms: int = NOW) -> Any:
    with database.read() as connection:
        return tool_figures(connection, WINDOWS[window], now_ms)


def rows(database: Database, table: str) -> int:
    def count(connection: Connection) -> int:
        return int(connection.execute(f"SELECT COUNT(*) FROM {table}", {}).fetchone()[0])

    with database.read() as connection:
        return count(connection)


def test_calls_are_counted_by_outcome_and_time(database: Database) -> None:
    note(
        database,
        NOW - 1000,
        *[("add", "ok", 0.01)] * 18,
        ("add", "error", 0.01),
        ("add", "timeout", 60.0),
        ("clock", "cancelled", 0.5),
    )
    assert rows(database, "tool_calls") == 4
    found = figures(database)
    add = found["add"]
    assert (add.calls, add.errors, add.timeouts) == (20, 2, 1)
    assert add.p50 == pytest.approx(10, rel=0.06)
    assert add.p95 == pytest.approx(10, rel=0.06)
    assert (found["clock"].calls, found["clock"].errors) == (1, 1)
    assert figures(database, "1h") == found
    assert figures(database, now_ms=NOW + 2 * DAY_MS) == {}


def test_sums_say_what_the_facts_said(database: Database) -> None:
    for hours in range(30):
        for _ in range(2):
            note(database, NOW - hours * HOUR_MS, ("add", "ok", 0.1), ("add", "error", 0.2))
    before = {window: figures(database, window) for window in WINDOWS}
    tidy_up(database, NOW)
    assert {window: figures(database, window) for window in WINDOWS} == before
    assert (rows(database, "tool_calls"), rows(database, "tool_sums")) == (12, 54)
    tidy_up(database, NOW)
    assert {window: figures(database, window) for window in WINDOWS} == before
    tidy_up(database, NOW + KEPT_MS + DAY_MS)
    tidy_up(database, NOW + KEPT_MS + 2 * DAY_MS)
    assert (rows(database, "tool_calls"), rows(database, "tool_sums")) == (0, 0)


def test_several_who_sum_up_at_once_count_each_call_once(database: Database) -> None:
    for number in range(40):
        note(database, NOW - 5 * HOUR_MS, (f"tool-{number % 3}", "ok", 0.1))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: tidy_up(database, NOW), range(4)))
    assert sum(each.calls for each in figures(database).values()) == 40
    assert rows(database, "tool_calls") == 0


def test_turns_count_their_calls_also_when_they_fail(
    tmp_path: Any, database_url: str, clock: HandClock
) -> None:
    @tool(requires_approval=True)
    def pay(cents: int) -> str:
        """Pay.

        Args:
            cents: how much
        """
        raise ValueError("secret")

    def look(what: str = "<b>all</b>") -> str:
        """Look <i>around</i>."""
        return "seen"

    model = FakeModel.of(
        calls(("look", {}), ("look", {}), ("nothing", {}), ("look", {"what": 5})),
        said("Seen.", 1, 1),
        calls(("look", {})),
        ModelError("x"),
        calls(("pay", {"cents": 5}), usage=said("", 1, 1).usage),
        said("Sorry.", 1, 1),
        said("Hello.", 1, 1),
    )
    app = create_app(
        settings_for(tmp_path, DATABASE_URL=database_url),
        model=model,
        toolkits=[Toolkit("own", [pay, look])],
        clock=clock,
    )
    services, client = services_of(app), app.test_client()
    services.upgrade_database()

    def chat(**body: Any) -> Any:
        return client.post("/chat", json={"user_id": "alice", **body})

    assert chat(message="Look.").status_code == 200
    assert chat(message="Look.").status_code == 502
    (call,) = chat(message="Pay.").json["pending_calls"]
    assert chat(approvals=[{"call_id": call["id"], "approved": True}]).status_code == 200
    assert chat(message="Hi").status_code == 200
    found = figures(services.database, now_ms=clock.now_ms())
    assert set(found) == {"look", "pay"}
    assert (found["look"].calls, found["look"].errors) == (4, 1)
    assert (found["pay"].calls, found["pay"].errors) == (1, 1)
    assert rows(services.database, "tool_calls") <= 5
    text = client.get("/metrics").text
    (line,) = [each for each in text.splitlines() if 'outcome="ok"' in each]
    assert line.startswith("switchboard_tool_calls_total{")
    assert line.endswith(" 3.0")
    assert 'tool="look"' in line
    assert "switchboard_tool_call_duration_seconds_count{" in text
    clock.advance(5 * 3600)
    forget_and_prune(services)
    assert rows(services.database, "tool_calls") == 0

    page = sign_in(app, "alice", "owner").read("/admin/tools?window=7d")
    for shown in (
        "Needs approval",
        "cents",
        "how much",
        "integer",
        "Look &lt;i&gt;around&lt;/i&gt;.",
    ):
        assert shown in page
    assert "4</" in page
    services.close()


def test_calls_in_runs_of_workflows_are_counted_whole_or_failed(
    tmp_path: Any, database_url: str, clock: HandClock
) -> None:
    @tool
    def look() -> str:
        """Look around."""
        return "seen"

    def breaks(context: ExecutionContext) -> None:
        if context.input == "Break.":
            raise RuntimeError

    app = create_app(
        settings_for(tmp_path, DATABASE_URL=database_url),
        model=FakeModel.of(
            calls(("look", {}), ("look", {})), said("Seen."), calls(("look", {})), said("Seen.")
        ),
        toolkits=[Toolkit("own", [look])],
        workflows=[Workflow("w", [Step("ask", instructions="Look."), breaks])],
        clock=clock,
    )
    services, client = services_of(app), app.test_client()
    services.upgrade_database()
    for words, status, number in (("Look.", 200, 2), ("Break.", 500, 3)):
        answer = client.post("/workflows/w/runs", json={"user_id": "alice", "input": words})
        assert answer.status_code == status
        found = figures(services.database, now_ms=clock.now_ms())
        assert found["look"].calls == number
    (line,) = [each for each in client.get("/metrics").text.splitlines() if 'outcome="ok"' in each]
    assert line.endswith(" 3.0")
