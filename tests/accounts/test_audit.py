"""The audit log: written with the act, never changed, and able to show it."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Thread

import pytest

from tests.accounts.conftest import AUDIT_KEY, StillClock
from webapp.access import audit_log
from webapp.accounts import audit
from webapp.accounts.audit import (
    Actor,
    AuditEntry,
    AuditFilter,
    AuditLog,
    BrokenAt,
    NotSealed,
    VerifiedChain,
)
from webapp.accounts.audit.log import GENESIS
from webapp.errors import Conflict, StorageUnavailable
from webapp.instance_secret import instance_secret
from webapp.services import build_services
from webapp.settings import load_settings
from webapp.storage import Connection, Database
from webapp.storage.production import note_production

BOB = Actor("admin:bob", "operator", "192.0.2.2", "req-2")


@pytest.fixture(autouse=True)
def begun(log: AuditLog) -> AuditLog:
    return log


def log_of(clock: StillClock | None = None, key: bytes = AUDIT_KEY) -> AuditLog:
    return AuditLog(key, clock or StillClock())


def add(database: Database, entry: AuditEntry, clock: StillClock | None = None) -> int:
    log = log_of(clock)
    return database.write(lambda connection: log.record(connection, entry))


def verify(database: Database, key: bytes = AUDIT_KEY) -> VerifiedChain | BrokenAt | NotSealed:
    return database.read_long(log_of(key=key).verify)


def fill(database: Database, actor: Actor, count: int = 5, *, key: bytes = AUDIT_KEY) -> None:
    log = log_of(key=key)
    for number in range(count):
        entry = AuditEntry(actor, "clear_tenant", tenant_id=7, before={"messages": number})
        database.write(partial(log.record, entry=entry))


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
        log_of().record(connection, AuditEntry(alice, "clear_tenant"))
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011  # raised bare by act
        database.write(act)
    assert verify(database) == VerifiedChain(0, GENESIS)


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
        ("DELETE FROM audit_head", 6),
        ("UPDATE audit_head SET number = 4", 6),
        ("UPDATE audit_head SET seam = 0", 6),
        ("UPDATE audit_head SET mac = ''", 6),
        ("UPDATE audit_head SET mac = x'ff'", 6),
        ("UPDATE audit_head SET hash = CAST(x'ff' AS TEXT)", 6),
        ("UPDATE audit_head SET number = 'five'", 6),
        ("UPDATE audit SET actor = x'00ff' WHERE id = 3", 3),
        ("UPDATE audit SET action = CAST(x'ff' AS TEXT) WHERE id = 3", 3),
        ("UPDATE audit SET actor = CAST(actor AS BLOB) WHERE id = 3", 3),
        ("UPDATE audit SET at = 'soon' WHERE id = 3", 3),
        ("UPDATE audit SET at = 1e300 WHERE id = 3", 3),
        ("UPDATE audit SET at = 9223372036854775807 WHERE id = 3", 3),
        ("UPDATE audit SET at = -1 WHERE id = 3", 3),
        ("UPDATE audit SET at = x'ff' WHERE id = 3", 3),
        ("UPDATE audit SET tenant_id = 'bob' WHERE id = 3", 3),
        ("UPDATE audit SET tenant_id = x'ff' WHERE id = 3", 3),
        ("UPDATE audit SET before = '{' WHERE id = 3", 3),
        ("UPDATE audit SET after = '[1]' WHERE id = 3", 3),
        (
            'UPDATE audit SET after = \'{"at": 1e999, "x_at": 99999999999999999999}\' WHERE id = 3',
            3,
        ),
        ("UPDATE audit SET hash = x'' WHERE id = 3", 3),
        ("UPDATE audit SET previous_hash = x'00' WHERE id = 3", 3),
        ("UPDATE audit SET request_id = 5.5 WHERE id = 3", 3),
        ("UPDATE audit SET id = -9223372036854775808 WHERE id = 3", 1),
        ("UPDATE audit SET id = 9223372036854775807 WHERE id = 5", 5),
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
    with database.read() as connection:
        assert len(audit.page(connection).records) <= 6
    assert len(list(audit.export(database))) <= 6
    # An act goes on to be written down, and what was done to the log stays noticed.
    if "id = 9223372036854775807" not in statement:
        fill(database, alice, 2)
        with database.read() as connection:
            written = [entry.before for entry in audit.page(connection).records]
        assert {"messages": 1} in written[:4]
    assert not isinstance(verify(database), VerifiedChain)


def test_a_cut_off_end_stays_noticed_after_further_entries(
    database: Database, alice: Actor
) -> None:
    fill(database, alice)
    tamper(database, "DELETE FROM audit WHERE id > 3")
    fill(database, alice)
    assert verify(database) == BrokenAt(4, "an entry is missing")


TO_FOUR = "UPDATE audit_head SET number = 4, hash = (SELECT hash FROM audit WHERE id = 4)"


@pytest.mark.parametrize(
    "statements",
    [
        ("DELETE FROM audit WHERE id > 4", TO_FOUR),
        ("DELETE FROM audit WHERE id > 4", TO_FOUR, "UPDATE audit_head SET mac = 'x'"),
        ("DELETE FROM audit WHERE id > 4", TO_FOUR, "UPDATE audit_head SET key_id = 'x'"),
        ("DELETE FROM audit WHERE id > 4", TO_FOUR, "UPDATE audit_head SET key_id = '', mac = ''"),
        ("DELETE FROM audit WHERE id > 4", "DELETE FROM audit_head"),
        ("DELETE FROM audit", "DELETE FROM audit_head"),
        ("DELETE FROM audit", "DELETE FROM audit_head", "DELETE FROM sqlite_sequence"),
        ("DELETE FROM audit", "UPDATE audit_head SET number = 0, key_id = '', mac = ''"),
    ],
    ids=str,
)
def test_an_end_that_was_cut_off_in_plain_sql_is_noticed_now_and_later(
    database: Database, alice: Actor, statements: tuple[str, ...]
) -> None:
    fill(database, alice, 6)
    tamper(database, *statements)
    assert not isinstance(verify(database), VerifiedChain)
    fill(database, alice, 3)
    assert not isinstance(verify(database), VerifiedChain)
    # An upgrade is no way to have it sealed.
    database.write(log_of().begin)
    assert not isinstance(verify(database), VerifiedChain)


def test_another_key_is_told_from_a_change(database: Database, alice: Actor) -> None:
    other = b"another key, after a rotation of"
    fill(database, alice, 3)
    found = verify(database, other)
    assert isinstance(found, NotSealed)
    assert (found.count, found.up_to) == (3, 3)
    assert "SWITCHBOARD_SECRET_KEY" in found.sentence
    fill(database, alice, 2, key=other)
    found = verify(database, other)
    assert isinstance(found, NotSealed)
    assert (found.count, found.up_to) == (5, 3), "those that were there before"

    before = database.write(lambda connection: log_of(key=other).seal_anew(connection, alice))
    assert before.count == 5
    sealed = verify(database, other)
    assert isinstance(sealed, VerifiedChain)
    assert sealed.count == 6
    with database.read() as connection:
        newest = audit.page(connection, limit=1).records[0]
    assert (newest.action, newest.before["entries"]) == ("seal_audit_log", 5)
    tamper(database, "UPDATE audit SET actor = 'admin:mallory' WHERE id = 2")
    broken = verify(database, other)
    assert isinstance(broken, BrokenAt)
    assert broken.id == 2
    with pytest.raises(Conflict, match="entry 2"):
        database.write(lambda connection: log_of(key=other).seal_anew(connection, alice))


def test_a_log_of_before_the_seals_is_sealed_once_by_the_upgrade(
    database: Database, alice: Actor
) -> None:
    fill(database, alice)
    tamper(database, "UPDATE audit_head SET key_id = '', mac = '', seam = NULL")
    assert isinstance(verify(database), NotSealed)
    database.write(log_of().begin)
    assert isinstance(verify(database), VerifiedChain)


def test_a_damaged_entry_is_shown_as_such(database: Database, alice: Actor) -> None:
    fill(database, alice, 3)
    tamper(
        database,
        "UPDATE audit SET actor = x'61ff', at = 'soon', before = '[' WHERE id = 2",
    )
    with database.read() as connection:
        newest, damaged, oldest = audit.page(connection).records
    assert (newest.damaged, damaged.damaged, oldest.damaged) == (False, True, False)
    assert (damaged.actor, damaged.at, damaged.before) == ("a\ufffd", 0, {})


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
            log_of().record(connection, AuditEntry(actor, "clear_tenant"))

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


SET = {"SWITCHBOARD_SECRET_KEY": "Zk3vQ9xTf0aLrWm2-tests-YpNc7HdUb5EsGj8K"}


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    return tmp_path / "instance"


def test_the_first_secret_that_is_set_takes_over_from_that_of_dev(instance: Path) -> None:
    """README's way: `dev` first, then a SECRET_KEY, then `serve`; nothing looks changed."""
    for environment, entries in (({}, 1), (SET, 2)):
        services = build_services(load_settings(environment, instance))
        services.upgrade_database()
        before = services.database.read_long(services.audit.verify)
        assert isinstance(before, VerifiedChain)
        services.keys.create("k", role="chat", users="*", by=Actor.command_line())
        after = services.database.read_long(services.audit.verify)
        assert isinstance(after, VerifiedChain)
        assert after.count == entries
        services.close()


@pytest.mark.parametrize("act", ["nothing", "production", "another entry", "no such file"])
def test_the_secret_of_dev_counts_until_production_begins(instance: Path, act: str) -> None:
    dev = build_services(load_settings({}, instance))
    dev.upgrade_database()
    dev.keys.create("k", role="chat", users="*", by=Actor.command_line())
    later = audit_log(load_settings(SET, instance))
    if act == "production":
        dev.database.write(later.begin_production)
        dev.database.write(note_production)
    elif act == "another entry":
        dev.database.write(note_production)
        dev.keys.create("l", role="chat", users="*", by=Actor.command_line())
    elif act == "no such file":
        (instance / "secret_key").unlink()
        later = audit_log(load_settings(SET, instance))
    found = dev.database.read_long(later.verify)
    whole = act in ("nothing", "production")
    assert isinstance(found, VerifiedChain if whole else NotSealed)
    dev.close()


def test_a_head_of_dev_that_was_changed_is_found_under_the_first_secret(instance: Path) -> None:
    dev = build_services(load_settings({}, instance))
    dev.upgrade_database()
    dev.keys.create("k", role="chat", users="*", by=Actor.command_line())
    tamper(dev.database, "UPDATE audit_head SET mac = 'x'")
    assert instance_secret(instance)
    found = dev.database.read_long(audit_log(load_settings(SET, instance)).verify)
    assert isinstance(found, BrokenAt)
    dev.close()
