"""The audit log: written with the act, never changed, and able to show it."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from tests.accounts.conftest import StillClock
from webapp.accounts import audit
from webapp.accounts.audit import Actor, AuditEntry, AuditFilter, BrokenAt, VerifiedChain
from webapp.errors import StorageUnavailable
from webapp.storage import Connection, Database

BOB = Actor("admin:bob", "operator", "192.0.2.2", "req-2")


def add(database: Database, entry: AuditEntry, clock: StillClock | None = None) -> int:
    return database.write(lambda connection: audit.record(connection, entry, clock=clock))


def verify(database: Database) -> VerifiedChain | BrokenAt:
    return database.read_long(audit.verify)


def fill(database: Database, actor: Actor, count: int = 5) -> None:
    for number in range(count):
        add(database, AuditEntry(actor, "clear_tenant", tenant_id=7, before={"messages": number}))


def tamper(database: Database, *statements: str) -> None:
    """What somebody does who has the file and drops the triggers first."""
    path = Path(database.url.removeprefix("sqlite:///"))
    connection = sqlite3.connect(path)
    for change in ("update", "delete"):
        connection.execute(f"DROP TRIGGER IF EXISTS audit_refuses_{change}")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_an_entry_keeps_who_when_from_where_what_on_whom_and_the_figures(
    database: Database, alice: Actor, clock: StillClock
) -> None:
    entry = AuditEntry(
        alice, "clear_tenant", tenant_id=7, before={"messages": 12}, after={"messages": 0}
    )
    add(database, entry, clock)
    with database.read() as connection:
        (found,) = audit.page(connection).records
    assert (found.actor, found.role, found.address) == ("admin:alice", "owner", "192.0.2.1")
    assert (found.action, found.tenant_id, found.request_id) == ("clear_tenant", 7, "req-1")
    assert (found.before, found.after, found.at) == ({"messages": 12}, {"messages": 0}, clock.ms)


def test_an_act_that_fails_leaves_no_entry(database: Database, alice: Actor) -> None:
    def act(connection: Connection) -> None:
        audit.record(connection, AuditEntry(alice, "clear_tenant"))
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011  # raised bare by act
        database.write(act)
    assert verify(database) == VerifiedChain(0, audit.GENESIS)


def test_a_whole_log_is_verified_and_its_head_changes_with_every_entry(
    database: Database, alice: Actor
) -> None:
    fill(database, alice)
    first = verify(database)
    fill(database, alice, 1)
    second = verify(database)
    assert isinstance(first, VerifiedChain)
    assert isinstance(second, VerifiedChain)
    assert (first.count, second.count) == (5, 6)
    assert first.head != second.head


def test_many_at_once_make_one_chain(database: Database, alice: Actor) -> None:
    threads = [Thread(target=fill, args=(database, alice, 20)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = verify(database)
    assert isinstance(found, VerifiedChain)
    assert found.count == 160


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'x'", "DELETE FROM audit"])
def test_the_database_itself_refuses_to_change_the_log(
    database: Database, alice: Actor, statement: str
) -> None:
    fill(database, alice)
    with pytest.raises(StorageUnavailable):
        database.write(lambda connection: connection.execute(statement))
    assert isinstance(verify(database), VerifiedChain)


@pytest.mark.parametrize(
    ("statement", "broken_at"),
    [
        ("UPDATE audit SET actor = 'admin:mallory' WHERE id = 3", 3),
        ("UPDATE audit SET before = '{}' WHERE id = 2", 2),
        ("UPDATE audit SET tenant_id = 8 WHERE id = 4", 4),
        ("UPDATE audit SET at = at + 1 WHERE id = 1", 1),
        ("UPDATE audit SET hash = previous_hash WHERE id = 5", 5),
        ("DELETE FROM audit WHERE id = 1", 1),
        ("DELETE FROM audit WHERE id = 3", 3),
        ("DELETE FROM audit WHERE id = 5", 5),
        ("DELETE FROM audit", 1),
        ("DELETE FROM meta", 1),
        ("UPDATE audit SET id = 9 WHERE id = 5", 5),
        (
            "INSERT INTO audit (at, actor, role, address, action, previous_hash, hash)"
            " SELECT at, actor, role, address, action, hash, hash FROM audit WHERE id = 5",
            6,
        ),
    ],
)
def test_a_change_behind_its_back_is_noticed(
    database: Database, alice: Actor, statement: str, broken_at: int
) -> None:
    fill(database, alice)
    tamper(database, statement)
    found = verify(database)
    assert isinstance(found, BrokenAt)
    assert found.id == broken_at


def test_a_cut_off_end_stays_noticed_after_further_entries(
    database: Database, alice: Actor
) -> None:
    fill(database, alice)
    tamper(database, "DELETE FROM audit WHERE id > 3")
    fill(database, alice)
    assert verify(database) == BrokenAt(4, "an entry is missing")


def test_pages_run_through_every_entry_once_newest_first(database: Database, alice: Actor) -> None:
    fill(database, alice, 23)
    seen: list[int] = []
    before = None
    with database.read() as connection:
        while True:
            found = audit.page(connection, before=before, limit=5)
            seen += [entry.id for entry in found.records]
            before = found.next_before
            if before is None:
                break
    assert seen == list(range(23, 0, -1))


def test_entries_are_found_by_actor_action_tenant_and_time(
    database: Database, alice: Actor, clock: StillClock
) -> None:
    add(database, AuditEntry(alice, "clear_tenant", tenant_id=1), clock)
    clock.forward(60)
    add(database, AuditEntry(BOB, "clear_tenant", tenant_id=2), clock)
    clock.forward(60)
    add(database, AuditEntry(BOB, "create_key", target="k1"), clock)

    def ids(chosen: AuditFilter) -> list[int]:
        with database.read() as connection:
            return [entry.id for entry in audit.page(connection, chosen).records]

    assert ids(AuditFilter(actor="admin:bob")) == [3, 2]
    assert ids(AuditFilter(action="clear_tenant")) == [2, 1]
    assert ids(AuditFilter(tenant_id=2)) == [2]
    assert ids(AuditFilter(since=clock.ms - 60_000)) == [3, 2]
    assert ids(AuditFilter(until=clock.ms - 60_000)) == [1]
    assert ids(AuditFilter(actor="admin:bob", action="clear_tenant")) == [2]
    assert ids(AuditFilter(actor="admin:bob' OR 1=1 --")) == []


def test_an_export_gives_every_entry_that_matches(database: Database, alice: Actor) -> None:
    def many(connection: Connection) -> None:
        for number in range(1200):
            actor = alice if number % 2 else BOB
            audit.record(connection, AuditEntry(actor, "clear_tenant"))

    database.write(many)
    exported = list(audit.export(database, AuditFilter(actor="admin:bob")))
    assert len(exported) == 600
    assert {entry.actor for entry in exported} == {"admin:bob"}


@pytest.mark.parametrize("target", ["", "名前", "a\x00b", "'; DROP TABLE audit; --", "\U0001f600"])
def test_any_text_is_kept_and_verified(database: Database, alice: Actor, target: str) -> None:
    add(database, AuditEntry(replace(alice, address=target), "sign_in", target=target))
    assert isinstance(verify(database), VerifiedChain)
    with database.read() as connection:
        assert audit.page(connection).records[0].target == target
