"""A tenant out of one installation and into another: field by field the same, or said not to be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import HandClock
from webapp.memory.notes import store as notes
from webapp.memory.summaries import store as summaries
from webapp.memory.summary import Summary
from webapp.memory.workflow_runs import store as runs
from webapp.messages import Message, ToolCall
from webapp.storage import Connection, Database, open_database
from webapp.tenant_data.acts import TenantActs
from webapp.tenant_data.storing import store_messages, store_refusals, store_request
from webapp.tenants import store
from webapp.tenants.directory import TenantDirectory
from webapp.tenants.restrictions.change import TenantChange
from webapp.tenants.user_ids.encrypted import EncryptedUserIds
from webapp.tenants.user_ids.forms import PlainUserIds
from webapp.usage.records import Refusal, RequestRecord
from webapp.usage.retention import prune
from webapp.usage.rollup.worker import roll_up
from webapp.usage.store import first_since, latest_requests
from webapp.usage.summary import summary
from webapp.usage.windows import WINDOWS

HOUR = 3600
DAY = 24 * HOUR
TABLES = {
    "tenants": "SELECT * FROM tenants",
    "sessions": "SELECT * FROM sessions ORDER BY id",
    "messages": "SELECT messages.* FROM messages JOIN sessions ON id = session ORDER BY id, seq",
    "notes": "SELECT * FROM notes ORDER BY number",
    "workflow_runs": "SELECT * FROM workflow_runs ORDER BY id",
    "workflow_steps": "SELECT * FROM workflow_steps ORDER BY run, seq",
    "session_summaries": "SELECT * FROM session_summaries ORDER BY session",
    "requests": "SELECT * FROM requests ORDER BY id",
    "usage": "SELECT * FROM usage WHERE tenant_id > 0 ORDER BY period, at, measure, code, bucket",
}
# Numbers of rows, which each database gives for itself.
OWN = {"id", "tenant_id", "session", "seq", "last_seq", "run"}


@dataclass(frozen=True)
class House:
    """What is asked of one database's tenants."""

    directory: TenantDirectory
    acts: TenantActs


Place = Callable[..., "tuple[Database, House]"]


@pytest.fixture
def place(tmp_path: Path, clock: HandClock) -> Iterator[Place]:
    """Makes a database of its own with a directory, encrypted when a key is given."""
    opened: list[Database] = []

    def make(key: str = "") -> tuple[Database, House]:
        database = open_database(f"sqlite:///{tmp_path / f'{len(opened)}.db'}")
        database.upgrade()
        opened.append(database)
        ids = EncryptedUserIds(key, b"k" * 32) if key else PlainUserIds(b"k" * 32)
        directory = TenantDirectory(database, ids, clock, encrypted=bool(key))
        return database, House(directory, TenantActs(database, ids, clock, directory))

    yield make
    for database in opened:
        database.close()


def live(database: Database, clock: HandClock, stored_id: str = "alice") -> None:
    """Forty days of use: turns, failures, refusals, streamed answers, sessions with state."""

    def day(connection: Connection, number: int, index: int) -> None:
        call = ToolCall(f"call-{index}", "add", '{"a": 5}')
        store_messages(
            connection,
            number,
            "default" if index % 2 else f"session {index}",
            [
                Message("user", f"¿qué? {index}\u2028", created_at_ms=clock.now_ms()),
                Message("assistant", "", tool_calls=(call,), created_at_ms=clock.now_ms()),
                Message("tool", "8", tool_call_id=call.id, created_at_ms=clock.now_ms()),
                Message("assistant", "👩‍👩‍👧", created_at_ms=clock.now_ms() + 7),
            ],
            0,
            clock.now_ms(),
        )
        if index < 3:
            _work(connection, number, index, clock.now_ms())
        if index > 36:
            name = "default" if index % 2 else f"session {index}"
            summary = Summary(f"notes 🍵 {index}", "msg-of-before", clock.now_ms())
            summaries.restore(connection, number, name, summary)
        for status, code, first in (
            (200, "", 30),
            (200, "", None),
            (502, "model_error", None),
            (429, "rate_limited", None),
        ):
            store_request(
                connection,
                number,
                RequestRecord(
                    clock.now_ms(),
                    "/chat",
                    status,
                    100 + index * 7,
                    f"req-{index}",
                    code,
                    first,
                    10 + index,
                    3,
                ),
            )

    for index in range(40):
        database.write(
            lambda connection, index=index: day(  # type: ignore[misc]  # bound now, not later
                connection, store.ensure(connection, stored_id, clock.now_ms()), index
            )
        )
        clock.advance(DAY)
    refuse(database, clock)
    database.write(
        lambda connection: connection.execute(
            "UPDATE sessions SET state = :state, state_version = 3 WHERE session_id = 'session 2'",
            {"state": '{"step":1}'},
        )
    )


def _work(connection: Connection, tenant: int, index: int, now_ms: int) -> None:
    """A note, and a run of a workflow with two steps."""
    notes.add(connection, tenant, f"prefers tea {index}", now_ms)
    values = {
        **dict.fromkeys(("key_hash", "body_hash")),
        "run_id": f"run-{now_ms}",
        "session_id": "default",
        "workflow": "triage",
        "request_id": f"req-{index}",
        "digest": "d" * 64,
        "input": '{"text":"¿?"}',
        "now": now_ms,
        "state": None if index else '{"step":1}',
    }
    run = runs.make(connection, tenant, values)
    assert run is not None
    for place in ("0", "1.0"):
        step = {
            "path": place,
            "attempt": 1,
            "name": "sort",
            "kind": "step",
            "status": "completed",
            "input_hash": "h" * 64,
            "output": '{"to":"sales"}',
            "visible": 1,
            "changes": None,
            "started_at": now_ms,
            "duration_ms": 5,
            "input_tokens": 3,
            "output_tokens": 1,
            "error": "",
            "code": "",
        }
        runs.add_step(connection, tenant, run, step)
    runs.end(connection, tenant, run, status="completed", output='"done"', error="", code="")


def refuse(database: Database, clock: HandClock) -> None:
    """Refusals of the last hour, which are counted by the minute and leave no row each."""

    def work(connection: Connection) -> None:
        for number, (code, limited) in enumerate(
            [("tenant_blocked", False), ("rate_limited", True), ("tenant_busy", True)]
        ):
            minute = clock.now_ms() - clock.now_ms() % 60_000 - 60_000 * number
            store_refusals(connection, 1, Refusal(minute, code, limited), 3 + number)

    database.write(work)


def everything(database: Database) -> dict[str, list[dict[str, Any]]]:
    found = {}
    with database.read() as connection:
        for table, sql in TABLES.items():
            columns = [
                row[1] for row in connection.execute(f"PRAGMA table_info({table})", {}).fetchall()
            ]
            rows = [
                {name: row[i] for i, name in enumerate(columns) if name not in OWN}
                for row in connection.execute(sql, {}).fetchall()
            ]
            for row in rows:
                # A dictionary may be written in another order.
                for name in ("latency_histogram", "state", "tool_calls"):
                    if row.get(name) is not None:
                        row[name] = json.loads(row[name])
            found[table] = rows
    return found


@pytest.mark.parametrize("key", ["", "another-key-of-the-tests-0123456789-abcdef"])
def test_a_tenant_comes_back_field_by_field(place: Place, clock: HandClock, key: str) -> None:
    here, home = place()
    live(here, clock)
    home.directory.update(
        "alice", TenantChange(blocked=True, rate_limit="5/minute", token_budget="700/day")
    )
    clock.advance(HOUR)
    there, other = place(key)
    # What is not in the sums yet is exported as well.
    imported = other.acts.import_("alice", home.acts.export("alice"))
    assert (imported.messages, imported.requests, imported.note) == (160, 160, "")
    roll_up(here)
    before, after = everything(here), everything(there)
    if key:
        assert after["tenants"][0]["user_id"] != "alice"
        after["tenants"][0]["user_id"] = "alice"
    assert after == before
    assert len(before["usage"]) > 200
    with here.read() as one, there.read() as two:
        for window in WINDOWS.values():
            figures = [
                summary(connection, number, window, clock.now_ms())
                for connection, number in ((one, home.directory.get("alice").number), (two, 1))
            ]
            assert figures[0] == figures[1]
    assert [json.loads(line) for line in other.acts.export("alice")] == [
        json.loads(line) for line in home.acts.export("alice")
    ]


def test_the_second_import_of_one_export_changes_nothing(place: Place, clock: HandClock) -> None:
    here, home = place()
    live(here, clock)
    lines = list(home.acts.export("alice"))
    there, other = place()
    other.acts.import_("alice", lines)
    before = everything(there)
    with pytest.raises(Exception, match="nothing was imported"):
        other.acts.import_("alice", lines)
    assert everything(there) == before


def test_what_was_forgotten_comes_back_with_a_block(place: Place, clock: HandClock) -> None:
    database, home = place()
    live(database, clock)
    home.directory.update("alice", TenantChange(blocked=True))
    lines = list(home.acts.export("alice"))
    roll_up(database)
    before = everything(database)
    home.acts.forget("alice")
    clock.advance(DAY)
    home.acts.import_("alice", lines)
    assert everything(database) == before


def test_imported_requests_do_not_disturb_those_made_here(place: Place, clock: HandClock) -> None:
    here, home = place()
    live(here, clock)
    there, other = place()
    live(there, clock, "bob")
    clock.advance(10 * DAY)
    other.acts.import_("alice", home.acts.export("alice"))
    other.acts.import_("carol", home.acts.export("alice"))
    live(there, clock, "bob")
    with there.read() as connection:
        bob = other.directory.get("bob").number
        bobs = latest_requests(connection, bob, 1000)
        assert [request.at_ms for request in bobs] == sorted(
            (request.at_ms for request in bobs), reverse=True
        )
        carols = latest_requests(connection, other.directory.get("carol").number, 1000)
        assert [each.at_ms for each in carols] == sorted(
            (each.at_ms for each in carols), reverse=True
        )
        middle = bobs[80].at_ms
        first = first_since(connection, middle)
        assert [each.id for each in bobs if each.at_ms >= middle][-1] == first
    kept_since = clock.now_ms() - 95 * DAY * 1000
    wanted = sum(each["at"] >= kept_since for each in everything(there)["requests"])
    prune(there, clock.now_ms(), 95 * DAY)
    left = everything(there)["requests"]
    assert len(left) == wanted
    assert all(each["at"] >= kept_since for each in left)
    assert len(left) > 160


def test_an_import_adds_nothing_to_what_happened_here(place: Place, clock: HandClock) -> None:
    here, home = place()
    live(here, clock)
    there, other = place()
    other.acts.import_("alice", home.acts.export("alice"))
    with there.read() as connection:
        sums = connection.execute("SELECT COUNT(*) FROM usage WHERE tenant_id = 0", {}).fetchone()
    assert sums[0] == 0


def test_times_in_the_future_are_now(place: Place, clock: HandClock) -> None:
    here, home = place()
    live(here, clock)
    lines = list(home.acts.export("alice"))
    _, other = place()
    clock.advance(-45 * DAY)
    other.acts.import_("alice", lines)
    alice = other.directory.get("alice")
    assert alice.created_at == alice.last_active_at == clock.now_ms()


VERSION_1 = [
    {"type": "switchboard-tenant", "version": 1, "exported_at": "2026-11-20T00:00:00.000Z",
     "conversations": True},
    {"type": "tenant", "user_id": "alice", "message_count": 2, "request_count": 3,
     "error_count": 1, "rate_limited_count": 0, "last_active_at": "2026-11-19T10:00:00.000Z",
     "created_at": "2026-11-01T09:00:00.000Z", "blocked": True, "rate_limit": "5/minute",
     "token_budget": None, "input_tokens": 30, "output_tokens": 9},
    {"type": "session", "session_id": "default", "created_at": "2026-11-01T09:00:00.000Z",
     "last_active_at": "2026-11-19T10:00:00.000Z"},
    {"type": "message", "id": "msg-1", "role": "user", "content": "hello",
     "created_at": "2026-11-19T10:00:00.000Z", "session_id": "default"},
    {"type": "message", "id": "msg-2", "role": "assistant", "content": "hi",
     "created_at": "2026-11-19T10:00:00.001Z", "session_id": "default"},
    {"type": "request", "at": "2026-11-19T10:00:00.000Z", "route": "/chat", "status": 200,
     "code": "", "latency_ms": 12, "first_token_ms": None, "input_tokens": 10,
     "output_tokens": 3, "request_id": "req-1"},
    {"type": "usage", "day": "2026-11-18", "requests": 2, "errors": 1, "rate_limited": 0,
     "input_tokens": 20, "output_tokens": 6},
    {"type": "usage", "day": "2026-11-19", "requests": 1, "errors": 0, "rate_limited": 0,
     "input_tokens": 10, "output_tokens": 3},
    {"type": "end", "sessions": 1, "messages": 2, "requests": 1, "usages": 2},
]  # fmt: skip


def test_an_export_of_version_1_is_read_and_what_it_lacks_is_said(
    place: Place, clock: HandClock
) -> None:
    clock.ms = 1_795_000_000_000  # 2026-11-18 and later
    clock.advance(30 * DAY)
    database, home = place()
    lines = [json.dumps(line).encode() + b"\n" for line in VERSION_1]
    imported = home.acts.import_("alice", lines)
    assert imported.note.startswith("The export is of version 1, which holds no latencies")
    whole = everything(database)
    (tenant,) = whole["tenants"]
    assert (tenant["request_count"], tenant["error_count"], tenant["total_tokens"]) == (3, 1, 39)
    assert tenant["rate_limit"] == "5/minute"
    assert tenant["blocked_at"] == clock.now_ms()
    assert [row["requests"] for row in whole["usage"]] == [2, 1]
    assert [row["created_at"] for row in whole["messages"]] == [1795082400000, 1795082400001]
    assert whole["sessions"][0]["created_at"] == tenant["created_at"]
    assert len(whole["requests"]) == 1


# What is kept of a tenant and not exported, with the reason.
NOT_EXPORTED = {
    "idempotency": "the words of a day's answers, which are in the messages",
    "paused_turns": "turns that wait for a decision here, and are no part of the memory yet",
    "refusals": "counts that wait for the sums; an export adds them to these",
    "audit": "what was done, kept when the tenant is gone",
}


def tables_of_tenants(database: Database) -> set[str]:
    with database.read() as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'", {})
        return {
            name
            for (name,) in names.fetchall()
            if any(
                column[1] == "tenant_id"
                for column in connection.execute(f"PRAGMA table_info({name})", {}).fetchall()
            )
        }


def test_every_table_of_tenants_is_exported_or_said_not_to_be(place: Place) -> None:
    here, _ = place()
    assert tables_of_tenants(here) | {"tenants", "messages"} == TABLES.keys() | NOT_EXPORTED.keys()


def test_a_forgotten_tenant_is_in_none_of_them(place: Place, clock: HandClock) -> None:
    here, home = place()
    live(here, clock)
    with here.read() as connection:
        number = store.number_of(connection, "alice")
    home.acts.forget("alice")
    with here.read() as connection:
        left = {
            table: connection.execute(
                f"SELECT COUNT(*) FROM {table} WHERE tenant_id = :number", {"number": number}
            ).fetchone()[0]
            for table in tables_of_tenants(here) - {"audit"}
        }
    assert set(left.values()) == {0}, left
