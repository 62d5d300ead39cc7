"""All tenants out and in again, and conversations in OpenAI's format: the same, or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes import HandClock
from webapp.errors import Conflict, InvalidInput
from webapp.memory.history.store import history
from webapp.memory.notes import store as notes
from webapp.memory.paging.store import message_page
from webapp.memory.workflow_runs import store as runs
from webapp.messages import Message, ToolCall
from webapp.storage import Connection, Database, open_database
from webapp.tenant_data.acts import TenantActs
from webapp.tenant_data.consistency.comparison import compare
from webapp.tenant_data.storing import store_messages, store_request
from webapp.tenant_data.transfer import export, restoring
from webapp.tenant_data.transfers import Transfers
from webapp.tenants import store
from webapp.tenants.directory import TenantDirectory
from webapp.tenants.notes import AuditNote
from webapp.tenants.restrictions.change import TenantChange
from webapp.tenants.user_ids.forms import PlainUserIds
from webapp.usage.records import RequestRecord

CALL = ToolCall("call-1", "add", '{"a": 5}')
TURN = (
    Message.user("¿qué?\u2028"),
    Message.assistant("", tool_calls=(CALL,)),
    Message.tool("8", tool_call_id="call-1"),
    Message.assistant("The result is 8"),
)
USERS = ("alice", "bob", "çelik")


@pytest.fixture
def home(database: Database, acts: TenantActs, clock: HandClock) -> Transfers:
    """A database in which three tenants have said something, in two sessions each."""

    def work(connection: Connection) -> None:
        for user_id in USERS:
            number = store.ensure(connection, user_id, clock.now_ms())
            for session in ("default", "work"):
                for _ in range(2):
                    fresh = [replace(message, id=f"{message.id}-{session}") for message in TURN]
                    store_messages(connection, number, session, fresh, 0, clock.now_ms())
            record = RequestRecord(clock.now_ms(), "chat", 200, 10, f"req-{user_id}")
            for _ in range(3):
                store_request(connection, number, record)
        store.ensure(connection, "silent", clock.now_ms())
        connection.execute(
            "UPDATE sessions SET state = :state, state_version = 3, title = :title"
            " WHERE session_id = 'work'",
            {"state": '{"step": 1}', "title": "Work"},
        )

    database.write(work)
    return acts.transfers


@pytest.fixture
def other(tmp_path: Any, clock: HandClock) -> Any:
    """The transfers of another, empty installation."""
    database = open_database(f"sqlite:///{tmp_path / 'other.db'}")
    database.upgrade()
    ids = PlainUserIds(b"o" * 32)
    directory = TenantDirectory(database, ids, clock)
    yield TenantActs(database, ids, clock, directory, memory_max_messages=0).transfers
    database.close()


def all_of(transfers: Transfers, **how: Any) -> list[bytes]:
    pieces: list[bytes] = []
    transfers.export_all(pieces.append, **how)
    return b"".join(pieces).splitlines(keepends=True)


def told(transfers: Transfers, user_id: str, session_id: str) -> list[Message]:
    with transfers._database.read() as connection:
        number = store.number_of(connection, user_id)
        return [] if number is None else history(connection, number, session_id)


def without_times(lines: list[bytes]) -> list[dict[str, Any]]:
    return [{**json.loads(line), "exported_at": ""} for line in lines]


@pytest.mark.parametrize("at_once", [2, 1000])
def test_all_tenants_come_back_as_they_were(
    home: Transfers, other: Transfers, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(export, "PAGE", at_once)
    monkeypatch.setattr(restoring, "AT_ONCE", at_once)
    home._directory.update("bob", TenantChange(blocked=True, rate_limit="5/minute"))
    lines = all_of(home)
    assert json.loads(lines[-1]) == {"type": "end-of-tenants", "tenants": 4}
    notes: list[AuditNote] = []
    came = other.import_all(lambda: lines, audit=lambda _, note: notes.append(note))
    assert (came.tenants, came.known, came.sessions, came.messages) == (4, 0, 6, 48)
    assert (came.messages_left_out, came.requests) == (0, 9)
    assert without_times(all_of(other)) == without_times(lines)
    assert [note.action for note in notes] == ["import_tenant"] * 4
    with pytest.raises(Conflict, match="line 3 "):
        other.import_all(lambda: lines)
    assert without_times(all_of(other)) == without_times(lines)


def test_what_was_imported_agrees_with_its_figures(
    home: Transfers, acts: TenantActs, database: Database, clock: HandClock
) -> None:
    lines = all_of(home)
    for user_id in (*USERS, "silent"):
        acts.forget(user_id)
    came = home.import_all(lambda: lines)
    assert (came.messages, came.messages_left_out) == (48, 0)
    assert compare(database, clock.now_ms()).first == []


def test_a_run_that_was_under_way_is_not_gone_on_with_elsewhere(
    home: Transfers, other: Transfers, database: Database
) -> None:
    def run(connection: Connection) -> None:
        number = store.number_of(connection, "alice")
        assert number is not None
        values = {"run_id": "run-1", "session_id": "default", "workflow": "triage", "digest": "d"}
        more = dict.fromkeys(("key_hash", "body_hash", "state")) | {
            "input": '"hi"',
            "now": 5,
            "request_id": "",
        }
        assert runs.make(connection, number, {**values, **more})

    database.write(run)
    lines = all_of(home)
    other.import_all(lambda: lines)
    with other._database.read() as connection:
        number = store.number_of(connection, "alice")
        assert number is not None
        assert runs.interrupted(connection, 0, 10) == []
        there = runs.find(connection, number, "run-1")
    assert there is not None
    assert (there.status, there.code, there.input) == ("failed", "interrupted", '"hi"')


def test_notes_of_a_known_tenant_are_added_once(home: Transfers, database: Database) -> None:
    def note(connection: Connection) -> None:
        number = store.number_of(connection, "alice")
        assert number is not None
        for text in ("likes tea", "has a cat"):
            notes.add(connection, number, text, 5)

    database.write(note)
    lines = [line for line in home.export("alice") if b'"type":"session"' not in line]
    lines = [line for line in lines if b'"type":"message"' not in line]
    end = json.loads(lines[-1]) | {"sessions": 0, "messages": 0}
    lines[-1] = json.dumps(end).encode()
    home.import_("bob", lines)
    home.import_("bob", lines)
    with database.read() as connection:
        number = store.number_of(connection, "bob")
        assert number is not None
        kept = [row[:2] for row in notes.page(connection, number, 0, 10)]
    assert kept == [(1, "likes tea"), (2, "has a cat")]


Spoil = Callable[[list[dict[str, Any]]], Any]


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


SPOILT: tuple[tuple[Spoil, str], ...] = (
    (lambda lines: lines.pop(), "Line .* is missing: the export was cut off"),
    (lambda lines: lines.pop(0), "Line 1 .* begins the export of one tenant"),
    (lambda lines: lines[-1].update(tenants=5), "another number of tenants"),
    (lambda lines: lines.append({"type": "tenant"}), "stands behind the end"),
    (lambda lines: lines[4].update(role="robot"), "Line 5 of the import is wrong at role"),
    (lambda lines: lines[3].update(state={"a": nested(70)}), "Line 4 .* is wrong at state"),
    (lambda lines: lines[2].update(rate_limit="often"), "Line 3 of the import: "),
    (lambda lines: lines.insert(-1, {"type": "tenant", "user_id": "x"}), "is not the head"),
    (lambda lines: lines.pop(20), "names other numbers"),
)


@pytest.mark.sqlite
def test_a_spoiled_file_of_all_stores_nothing(home: Transfers, other: Transfers) -> None:
    exported = all_of(home)
    for spoil, sentence in SPOILT:
        lines = [json.loads(line) for line in exported]
        # The first message, wherever its line is, is what one case spoils.
        first = next(index for index, line in enumerate(lines) if line["type"] == "message")
        lines.insert(4, lines.pop(first))
        spoil(lines)
        raw = [json.dumps(line).encode() + b"\n" for line in lines]
        with pytest.raises(InvalidInput, match=sentence):
            other.import_all(lambda raw=raw: raw)  # type: ignore[misc]  # bound now, not later
        assert len(all_of(other)) == 2, sentence


def test_a_tenant_twice_is_refused_and_one_tenant_s_file_is_none_of_all(
    home: Transfers, other: Transfers
) -> None:
    lines = all_of(home)
    end = next(i for i, line in enumerate(lines) if json.loads(line)["type"] == "end") + 1
    twice = [*lines[:end], *lines[1:end], lines[-1]]
    with pytest.raises(InvalidInput, match="names a tenant a second time"):
        other.import_all(lambda: twice)
    with pytest.raises(InvalidInput, match="begins an export of all tenants"):
        other.import_("alice", lines)


def test_hidden_conversations_are_in_no_export_of_all(home: Transfers) -> None:
    text = b"".join(all_of(home, conversations=False))
    assert b"result" not in text
    assert b'"step":1' not in text
    assert b'"user_id":"alice"' in text


# -- OpenAI's format -------------------------------------------------------------------------------


def openai_of(transfers: Transfers, user_id: str = "alice") -> list[bytes]:
    return b"".join(transfers.export(user_id, form="openai")).splitlines(keepends=True)


def test_a_line_is_a_conversation_as_openai_writes_them(home: Transfers) -> None:
    first, second = map(json.loads, openai_of(home))
    assert first["messages"][:4] == [
        {"role": "user", "content": "¿qué?\u2028"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call-1",
                    "type": "function",
                    "function": {"name": "add", "arguments": '{"a": 5}'},
                }
            ],
        },
        {"role": "tool", "content": "8", "tool_call_id": "call-1"},
        {"role": "assistant", "content": "The result is 8"},
    ]
    assert (len(first["messages"]), len(second["messages"])) == (8, 8)
    assert first["metadata"]["session_id"] == "default"
    assert second["metadata"] == {**second["metadata"], "title": "Work", "user_id": "alice"}
    assert all(isinstance(value, str) for value in second["metadata"].values())


@pytest.mark.parametrize("page", [1, 500])
def test_conversations_come_back_the_same(
    home: Transfers, other: Transfers, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr("webapp.tenant_data.transfer.openai_format.PAGE", page)
    imported = other.import_("carol", openai_of(home), form="openai")
    assert (imported.sessions, imported.messages, imported.new_tenant) == (2, 16, True)
    assert (imported.note, imported.messages_left_out) == ("", 0)
    for session in ("default", "work"):
        assert spoken(other, "carol", session) == spoken(home, "alice", session)
    lines = all_of(home, form="openai")
    came = other.import_all(lambda: lines, form="openai")
    assert (came.tenants, came.sessions, came.messages) == (3, 6, 48)
    assert all_of(other, form="openai")[2:] == lines
    with pytest.raises(Conflict, match="line 1 "):
        other.import_("carol", openai_of(home), form="openai")


def spoken(transfers: Transfers, user_id: str, session_id: str) -> list[Any]:
    return [(m.role, m.content, m.tool_calls) for m in told(transfers, user_id, session_id)]


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode() + b"\n"


HELLO = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!"}]


def test_a_file_for_fine_tuning_is_read(other: Transfers) -> None:
    parts = [{"type": "text", "text": text} for text in ("He", "llo")]
    lines = [
        line(messages=[{"role": "developer", "content": "Be kind."}, *HELLO], tools=[]),
        b"\n",
        line(
            messages=[
                {
                    "role": "user",
                    "content": parts,
                },
                {"role": "assistant", "content": None, "refusal": "No.", "weight": 0},
            ],
            parallel_tool_calls=False,
        ).rstrip(),
    ]
    imported = other.import_("alice", lines, form="openai")
    assert (imported.sessions, imported.messages) == (2, 5)
    assert [m.role for m in told(other, "alice", "import-1")] == ["system", "user", "assistant"]
    assert [m.content for m in told(other, "alice", "import-3")] == ["Hello", "No."]


BROKEN: tuple[tuple[bytes, str], ...] = (
    (b"{", "Line 2 of the import is not a JSON object with messages"),
    (line(prompt="x"), "Line 2 .* is not a JSON object with messages"),
    (b"[1]\n", "Line 2 "),
    (line(messages=[]), "Line 2 .* is wrong at messages"),
    (line(messages=[{"role": "robot", "content": "x"}]), "Line 2 .* at messages.0.role"),
    (line(messages=[{"role": "user"}]), "Line 2 .* at messages.0"),
    (line(messages=[{"role": "user", "content": 5}]), "Line 2 .* at messages.0.content"),
    (
        line(messages=[{"role": "user", "content": [{"type": "image_url"}]}]),
        "Line 2 .* at messages.0.content",
    ),
    (line(messages=[{"role": "tool", "content": "x"}]), "messages.0.tool_call_id"),
    (line(messages=HELLO, metadata={"session_id": "a/b"}), "Line 2 .* metadata.session_id"),
    (line(messages=HELLO, metadata={"session_id": "import-1"}), "Line 2 .* a second time"),
    (line(messages=HELLO, metadata={"created_at": "soon"}), "Line 2 .* metadata.created_at"),
    (line(messages=HELLO, metadata={"title": "x" * 5000}), "Line 2 .* metadata.title"),
    (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "Line 2 .* surrogate"),
    (b'{"messages": [{"role": "user", "content": "x"}], "n": 1e999}', "Line 2 "),
)


def test_a_broken_line_is_named_and_nothing_stored(other: Transfers) -> None:
    for bad, sentence in BROKEN:
        with pytest.raises(InvalidInput, match=sentence):
            other.import_("alice", [line(messages=HELLO), bad], form="openai")
        assert len(all_of(other)) == 2, sentence


def test_of_all_each_line_says_whose_it_is_and_an_empty_file_is_none(other: Transfers) -> None:
    with pytest.raises(InvalidInput, match=r"Line 1 .* metadata\.user_id"):
        other.import_all(lambda: [line(messages=HELLO)], form="openai")
    with pytest.raises(InvalidInput, match="no conversation"):
        other.import_all(lambda: [b"\n"], form="openai")


def test_results_of_tools_without_their_calls_are_left_out_and_told(other: Transfers) -> None:
    messages = [*HELLO, {"role": "tool", "content": "8", "tool_call_id": "call-9"}]
    imported = other.import_("alice", [line(messages=messages)], form="openai")
    assert (imported.messages, imported.messages_left_out) == (2, 1)
    assert "without their calls" in imported.note
    with other._database.read() as connection:
        number = store.number_of(connection, "alice")
        assert number is not None
        assert len(message_page(connection, number, None, 10)) == 2
