"""Clearing and forgetting more than fits into one transaction, and what is left of it: nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.conftest import MakeApp, services_of
from tests.fakes import HandClock
from tests.server.stored import opened
from webapp.memory.clearing.parts import clear_part
from webapp.messages import Message
from webapp.storage import Connection, Database
from webapp.storage.slices import ROWS
from webapp.tenant_data import clearing
from webapp.tenant_data.acts import TenantActs
from webapp.tenant_data.forgetting import forget_part
from webapp.tenant_data.storing import store_messages
from webapp.tenants import store
from webapp.tenants.directory import TenantDirectory
from webapp.tenants.notes import AuditNote

DAY = 86_400


def talk(database: Database, user_id: str, turns: int, session: str = "default") -> int:
    def work(connection: Connection) -> int:
        number = store.ensure(connection, user_id, 1)
        messages = [
            message
            for turn in range(turns)
            for message in (Message.user(f"question {turn}"), Message.assistant(f"answer {turn}"))
        ]
        store_messages(connection, number, session, messages, 0, 1)
        return number

    return database.write(work)


def request_rows(database: Database, number: int, count: int) -> None:
    database.write(
        lambda connection: connection.executemany(
            "INSERT INTO requests (tenant_id, at, route, status, latency_ms, request_id)"
            " VALUES (:tenant, 1, 'chat', 200, 1, 'r')",
            [{"tenant": number}] * count,
        )
    )


def counted(database: Database) -> list[tuple[int, int, int]]:
    """Of each tenant: its counter, its sessions' counters together, and its rows."""
    with database.read() as connection:
        return [
            (row[0], row[1], row[2])
            for row in connection.execute("""
                SELECT message_count,
                    (SELECT COALESCE(SUM(message_count), 0) FROM sessions WHERE tenant_id = t.id),
                    (SELECT COUNT(*) FROM messages JOIN sessions ON sessions.id = session
                     WHERE sessions.tenant_id = t.id)
                FROM tenants AS t ORDER BY id
            """).fetchall()
        ]


def first_role(database: Database) -> str | None:
    with database.read() as connection:
        row = connection.execute(
            "SELECT role FROM messages ORDER BY session, seq LIMIT 1", {}
        ).fetchone()
    return None if row is None else str(row[0])


class Watched:
    """A database that calls `between` after each long write, and counts them."""

    def __init__(self, database: Database, between: Any) -> None:
        self._database = database
        self._between = between
        self.writes = 0

    def write_long(self, work: Any) -> Any:
        result = self._database.write_long(work)
        self.writes += 1
        self._between()
        return result


class Stop(Exception):
    pass


def test_between_two_slices_counters_agree_and_whole_turns_stand(database: Database) -> None:
    number = talk(database, "alice", 2 * ROWS)

    def look() -> None:
        ((counter, sessions, messages),) = counted(database)
        assert counter == sessions == messages
        assert first_role(database) in ("user", None)

    watched: Any = Watched(database, look)
    notes: list[AuditNote] = []
    cleared = clearing.clear(watched, lambda _: number, lambda _, note: notes.append(note))
    assert cleared == 4 * ROWS
    assert watched.writes >= 3
    assert [(note.action, note.begun, dict(note.before)) for note in notes] == [
        ("clear_tenant_begun", True, {}),
        ("clear_tenant", False, {"messages": 4 * ROWS}),
    ]


def test_what_fits_into_one_slice_is_one_transaction_and_one_entry(database: Database) -> None:
    number = talk(database, "alice", 10)
    watched: Any = Watched(database, lambda: None)
    notes: list[AuditNote] = []
    assert clearing.clear(watched, lambda _: number, lambda _, note: notes.append(note)) == 20
    assert watched.writes == 1
    assert notes == [AuditNote("clear_tenant", number, {"messages": 20})]


def test_clear_all_is_exact_and_goes_on_where_it_was_stopped(database: Database) -> None:
    for user in range(30):
        talk(database, f"user-{user}", 150)
    talk(database, "large", 3 * ROWS)
    talk(database, "many", 5, "one")
    talk(database, "many", 5, "two")
    store_only = database.write(lambda connection: store.ensure(connection, "silent", 1))
    total = 30 * 300 + 6 * ROWS + 20
    gone: list[int] = []

    def stop() -> None:
        gone.append(sum(row[2] for row in counted(database)))
        if len(gone) == 3:
            raise Stop

    with pytest.raises(Stop):
        clearing.clear_all(Watched(database, stop), None)  # type: ignore[arg-type]  # as much as it asks
    left = sum(row[2] for row in counted(database))
    assert 0 < left < total
    assert all(row[0] == row[1] == row[2] for row in counted(database))
    with_any = sum(1 for row in counted(database) if row[2])
    notes: list[AuditNote] = []
    done = clearing.clear_all(database, lambda _, note: notes.append(note))
    assert done == (left, with_any)
    assert notes[-1] == AuditNote("clear_all", before={"messages": left, "tenants": with_any})
    assert all(row == (0, 0, 0) for row in counted(database))
    assert store_only


def test_turns_between_the_slices_are_stored_whole(database: Database) -> None:
    numbers = [talk(database, f"user-{user}", 400) for user in range(10)]
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        talk(database, "user-0", 1)

    clearing.clear_all(Watched(database, turn), None)  # type: ignore[arg-type]  # as above
    assert turns >= 4
    assert counted(database)[0][0] == 2 * turns, "whoever is clear already keeps what comes then"
    assert all(row[0] == row[1] == row[2] for row in counted(database))
    assert len(numbers) == 10


def test_forgetting_a_large_tenant_is_exact(
    database: Database, directory: TenantDirectory, acts: TenantActs
) -> None:
    number = talk(database, "alice", ROWS)
    talk(database, "alice", 3, "work")
    request_rows(database, number, 2 * ROWS + 7)
    talk(database, "bob", 2)
    notes: list[AuditNote] = []
    gone = acts.forget("alice", audit=lambda _, note: notes.append(note))
    assert gone.as_dict() == {"messages": 2 * ROWS + 6, "sessions": 2, "requests": 2 * ROWS + 7}
    assert [note.action for note in notes] == ["forget_tenant_begun", "forget_tenant"]
    assert dict(notes[-1].before) == gone.as_dict()
    assert directory.find("alice") is None
    assert counted(database) == [(4, 4, 4)]


def test_one_clean_up_forgets_a_bounded_number_and_says_how_many_are_left(
    database: Database, clock: HandClock, acts: TenantActs
) -> None:
    for user in range(25):
        talk(database, f"user-{user}", 1)
    clock.advance(2 * DAY)
    done = acts.cleanup(DAY, at_most=10)
    assert (done.tenants, done.messages, done.left) == (10, 20, 15)
    assert acts.cleanup(DAY, at_most=10, dry_run=True).left == 5
    done = acts.cleanup(DAY)
    assert (done.tenants, done.left) == (15, 0)


@pytest.mark.parametrize("address", ["/api/tenants/alice/messages", "/api/tenants/messages", None])
def test_the_same_key_after_a_clear_or_forget_is_a_new_turn(
    client: FlaskClient, database: Database, address: str | None
) -> None:
    def ask() -> str:
        answer = client.post(
            "/chat",
            json={"user_id": "alice", "message": "my secret word"},
            headers={"Idempotency-Key": "k"},
        )
        assert answer.status_code == 200
        return str(answer.json["request_id"])  # type: ignore[index]  # it is an object

    first = ask()
    assert ask() == first
    body = {"confirm": "clear all tenants"} if address == "/api/tenants/messages" else None
    assert client.delete(address or "/api/tenants/alice", json=body).status_code == 200
    with database.read() as connection:
        kept = connection.execute("SELECT COUNT(*) FROM idempotency", {}).fetchone()
    assert kept == (0,)
    assert ask() != first


@pytest.mark.sqlite
def test_after_a_forget_and_a_stop_no_file_holds_a_word_of_it(
    make_app: MakeApp, tmp_path: Path
) -> None:
    app = make_app()
    client = app.test_client()
    for user in ("bob", "zqxwvkj-forgotten"):
        body = {"user_id": user, "message": f"the word of {user} is wombatsecret-{user}"}
        assert client.post("/chat", json=body).status_code == 200
    assert client.delete("/api/tenants/zqxwvkj-forgotten").status_code == 200
    path = tmp_path / "switchboard.db"
    with opened(path) as connection:
        blocks = b"".join(
            bytes(row[0]) for row in connection.execute("SELECT block FROM tenant_search_data")
        )
    assert not [word for word in (b"zqx", b"qxw", b"xwv", b"wvk") if word in blocks]
    services_of(app).database.close()
    for file in tmp_path.glob("switchboard.db*"):
        content = file.read_bytes()
        assert b"zqxwvkj" not in content, file
        assert b"wombatsecret-z" not in content, file
    assert b"wombatsecret-bob" in path.read_bytes()


class Recorded:
    """A connection that notes the table's row or rows that each statement changes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.changes: list[str] = []

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        if not sql.lstrip().startswith(("SELECT", "WITH")):
            self.changes.append(" ".join(sql.split()))
        return self._connection.execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        self.changes.append(" ".join(sql.split()))
        return self._connection.executemany(sql, parameters)


@pytest.mark.parametrize("act", [clear_part, forget_part])
def test_what_reads_and_then_deletes_holds_the_tenants_row_first(
    database: Database, act: Callable[[Any, int], object]
) -> None:
    number = talk(database, "alice", 3)

    def work(connection: Connection) -> list[str]:
        recorded = Recorded(connection)
        act(recorded, number)
        return recorded.changes

    changes = database.write(work)
    assert changes[0].startswith("UPDATE tenants SET created_at = created_at WHERE id")
    assert len(changes) > 3
