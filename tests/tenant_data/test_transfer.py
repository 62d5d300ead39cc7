"""A tenant's data out and in again: the same conversations, or nothing at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes import HandClock
from webapp.errors import Conflict, InvalidInput
from webapp.memory.history.store import history
from webapp.messages import Message, ToolCall
from webapp.storage import Connection, Database
from webapp.tenant_data.acts import TenantActs
from webapp.tenant_data.storing import store_messages, store_request
from webapp.tenant_data.transfer import export
from webapp.tenants import store
from webapp.tenants.directory import TenantDirectory
from webapp.tenants.notes import AuditNote
from webapp.tenants.restrictions.change import TenantChange
from webapp.usage.records import RequestRecord

Line = dict[str, Any]


def tell(database: Database, clock: HandClock, user_id: str = "alice", turns: int = 2) -> None:
    def work(connection: Connection) -> None:
        number = store.ensure(connection, user_id, clock.now_ms())
        for turn in range(turns):
            call = ToolCall("call-1", "add", '{"a": 5}')
            messages = [
                Message.user(f"\u00bfqu\u00e9? {turn}\u2028\x0b\n"),
                Message.assistant("", tool_calls=(call,)),
                Message.tool("8", tool_call_id="call-1"),
                Message.assistant("The result is 8"),
            ]
            for session in ("default", "second"):
                store_messages(connection, number, session, messages, 0, clock.now_ms())
            record = RequestRecord(
                clock.now_ms(), "chat", 200, 10, "req", input_tokens=1, output_tokens=2
            )
            store_request(connection, number, record)
        connection.execute(
            "UPDATE sessions SET state = :state, state_version = 3 WHERE session_id = 'second'",
            {"state": '{"step": 1}'},
        )

    database.write(work)


def told(database: Database, user_id: str, session_id: str = "default") -> list[Message]:
    with database.read() as connection:
        number = store.number_of(connection, user_id)
        return [] if number is None else history(connection, number, session_id)


def lines_of(acts: TenantActs, user_id: str = "alice") -> list[Line]:
    return [json.loads(line) for line in acts.export(user_id)]


def raw(lines: list[Line]) -> list[bytes]:
    return [json.dumps(line).encode() + b"\n" for line in lines]


def test_what_was_exported_comes_back_the_same(
    database: Database, clock: HandClock, directory: TenantDirectory, acts: TenantActs
) -> None:
    tell(database, clock)
    directory.update("alice", TenantChange(rate_limit="5/minute", token_budget="7/day"))
    imported = acts.import_("bob", acts.export("alice"))
    assert (imported.sessions, imported.messages) == (2, 16)
    for session in ("default", "second"):
        assert told(database, "bob", session) == told(database, "alice", session)
    bob = directory.get("bob")
    assert (bob.message_count, bob.request_count) == (16, 2)
    assert (bob.rate_limit, bob.token_budget) == ("5/minute", "7/day")
    with database.read() as connection:
        state = connection.execute(
            "SELECT state, state_version FROM sessions"
            " WHERE tenant_id = :bob AND session_id = 'second'",
            {"bob": bob.number},
        ).fetchone()
    assert (json.loads(state[0]), state[1]) == ({"step": 1}, 3)


def test_an_export_says_how_much_there_is(
    database: Database, clock: HandClock, acts: TenantActs
) -> None:
    tell(database, clock)
    lines = lines_of(acts)
    kinds = [line["type"] for line in lines]
    assert kinds[0] == "switchboard-tenant"
    assert kinds[1] == "tenant"
    assert lines[-1] == {
        "type": "end",
        "sessions": 2,
        "messages": 16,
        "requests": 2,
        "usages": 2,
        "notes": 0,
        "workflow_runs": 0,
        "workflow_steps": 0,
    }
    assert [line["period"] for line in lines if line["type"] == "usage"] == ["day", "hour"]
    assert lines[1]["user_id"] == "alice"


def test_hidden_conversations_are_not_in_an_export(
    database: Database, clock: HandClock, acts: TenantActs
) -> None:
    tell(database, clock)
    text = b"".join(acts.export("alice", conversations=False))
    assert b"result" not in text
    assert b'"step":1' not in text
    assert json.loads(text.splitlines()[-1])["messages"] == 0


def test_a_long_conversation_is_exported_whole(
    database: Database, clock: HandClock, acts: TenantActs, monkeypatch: Any
) -> None:
    monkeypatch.setattr(export, "PAGE", 3)
    tell(database, clock, turns=4)
    lines = lines_of(acts)
    assert lines[-1]["messages"] == 32
    assert len({json.dumps(line) for line in lines if line["type"] == "request"}) >= 1
    assert sum(line["type"] == "request" for line in lines) == 4


def test_an_import_joins_a_known_tenant_and_leaves_its_limits(
    database: Database, clock: HandClock, directory: TenantDirectory, acts: TenantActs
) -> None:
    tell(database, clock)
    exported = list(acts.export("alice"))
    database.write(lambda connection: store.ensure(connection, "bob", clock.now_ms()))
    directory.update("bob", TenantChange(blocked=True))
    before = directory.get("bob")
    imported = acts.import_("bob", exported)
    assert (imported.new_tenant, imported.messages, imported.requests) == (False, 16, 0)
    assert imported.note.startswith("The tenant was known already, so its limits, block, times,")
    assert directory.get("bob") == replace(before, message_count=16)


def test_two_conversations_are_not_mixed(
    database: Database, clock: HandClock, acts: TenantActs
) -> None:
    tell(database, clock)
    before = told(database, "alice")
    with pytest.raises(Conflict):
        acts.import_("alice", list(acts.export("alice")))
    assert told(database, "alice") == before


def test_an_import_keeps_to_the_cap(
    database: Database, clock: HandClock, directory: TenantDirectory, acts: TenantActs
) -> None:
    tell(database, clock, turns=40)
    imported = acts.import_("bob", acts.export("alice"))
    assert imported.messages == directory.get("bob").message_count == 200
    assert imported.messages_left_out == 120
    assert imported.note == "120 messages were left out, because a session keeps at most 100."
    assert told(database, "bob") == told(database, "alice")[-100:]


Spoil = Callable[[list[Line]], object]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda lines: lines.clear(), "Line 1 of the import is missing"),
        (lambda lines: lines.pop(0), "Line 1"),
        (lambda lines: lines.pop(), "cut off"),
        (lambda lines: lines.pop(1), "stands before it"),
        (lambda lines: lines.pop(5), "other numbers"),
        (lambda lines: lines.append({"type": "usage"}), "behind the end"),
        (lambda lines: lines.insert(2, lines[1]), "Line 3"),
        (lambda lines: lines.insert(2, lines[2]), "second time"),
        (lambda lines: lines.insert(2, {"type": "surprise"}), "unknown type"),
        (lambda lines: lines.insert(2, {}), "not a JSON object"),
        (lambda lines: lines[0].update(version=4), "version 1 to 3"),
        (lambda lines: lines[1].update(rate_limit="often"), "rate_limit"),
        (lambda lines: lines[1].update(token_budget="much"), "token_budget"),
        (lambda lines: lines[1].update(user_id=" x"), "Line 2"),
        (lambda lines: lines[2].update(session_id="a/b"), "Line 3"),
        (lambda lines: lines[2].update(state={"\ud800": 1}), "Unicode"),
        (lambda lines: lines[2].update(state_version=-1), "wrong at state_version"),
        (lambda lines: lines[4].update(role="wizard"), "wrong at role"),
        (lambda lines: lines[4].update(content=7), "wrong at content"),
        (lambda lines: lines[4].update(content="\ud800"), "Unicode"),
        (lambda lines: lines[4].update(content="a\0b"), "NUL"),
        (lambda lines: lines[2].update(state={"a": ["\0"]}), "NUL"),
        (lambda lines: lines[4].update(created_at="yesterday"), "wrong at created_at"),
        (lambda lines: lines[4].update(created_at="2026-01-01T00:00:00"), "wrong at created_at"),
        (lambda lines: lines[4].update(id=""), "wrong at id"),
        (lambda lines: lines[4].update(tool_calls=[{"id": "x"}]), "wrong at tool_calls"),
        (lambda lines: lines[1].update(created_at="soon"), "wrong at created_at"),
        (lambda lines: lines[1].update(request_count=-1), "wrong at request_count"),
        (lambda lines: lines[1].update(request_count=2**63), "wrong at request_count"),
        (lambda lines: lines[1].update(latency_histogram={"x": 1}), "wrong at latency_histogram"),
        (lambda lines: lines[1].update(budget={"day": "now"}), "wrong at budget.day"),
        (lambda lines: lines[2].update(last_active_at="soon"), "wrong at last_active_at"),
        (lambda lines: lines[-4].update(status="fine"), "wrong at status"),
        (lambda lines: lines[-4].update(latency_ms=None), "wrong at latency_ms"),
        (lambda lines: lines[-2].update(period="week"), "wrong at period"),
        (lambda lines: lines[-2].update(bucket=10**6), "wrong at bucket"),
        (lambda lines: lines[-3].update(lines[-2]), "second time"),
        (lambda lines: lines.pop(-4), "other numbers"),
        (lambda lines: lines.pop(-2), "other numbers"),
    ],
)
def test_a_faulty_import_leaves_nothing(
    database: Database,
    clock: HandClock,
    directory: TenantDirectory,
    acts: TenantActs,
    spoil: Spoil,
    sentence: str,
) -> None:
    tell(database, clock)
    lines = lines_of(acts)
    spoil(lines)
    with pytest.raises(InvalidInput, match=sentence):
        acts.import_("bob", raw(lines))
    assert directory.find("bob") is None


@pytest.mark.parametrize(
    "line", [b"\xff\n", b"null\n", b"[]\n", b"[" * 5000, b"\n", b'{"type": ' + b"9" * 5000 + b"}"]
)
def test_a_line_that_is_no_object_is_refused(acts: TenantActs, line: bytes) -> None:
    with pytest.raises(InvalidInput, match="Line 1"):
        acts.import_("bob", [line])


def test_a_line_that_is_too_long_is_refused(acts: TenantActs, monkeypatch: Any) -> None:
    monkeypatch.setattr("webapp.tenant_data.transfer.reading.MAX_LINE_BYTES", 10)
    with pytest.raises(InvalidInput, match="longer than 10 bytes"):
        acts.import_("bob", [b'{"type": "switchboard-tenant"}\n'])


def test_an_export_is_written_down_before_its_first_line(
    database: Database, clock: HandClock, directory: TenantDirectory, acts: TenantActs
) -> None:
    tell(database, clock)
    notes: list[AuditNote] = []
    lines = acts.export("alice", conversations=False, audit=lambda _, note: notes.append(note))
    number = directory.get("alice").number
    figures = {"messages": 16, "conversations": False}
    assert notes == [AuditNote("export_tenant", number, figures)]
    assert next(lines)
