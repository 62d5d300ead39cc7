"""Console accounts: there is always an owner, and every act leaves a trace."""

from __future__ import annotations

from threading import Barrier, Thread

import pytest

from tests.accounts.conftest import StillClock
from tests.accounts.having import has_password
from webapp.accounts import audit
from webapp.accounts.admins import Admins
from webapp.accounts.admins.passwords import Passwords
from webapp.accounts.audit import Actor, AuditLog
from webapp.errors import Conflict, InvalidInput, NotFound
from webapp.storage import Database

PASSWORD = "correct horse battery"


@pytest.fixture
def admins(database: Database, log: AuditLog, clock: StillClock) -> Admins:
    return Admins(database, Passwords(memory_kib=64, passes=1), audit=log, clock=clock)


def actions(database: Database) -> list[tuple[str, str]]:
    with database.read() as connection:
        records = audit.page(connection).records
    return [(entry.action, entry.target) for entry in reversed(records)]


def test_an_account_is_made_listed_and_found(
    admins: Admins, alice: Actor, clock: StillClock
) -> None:
    made = admins.create("Bob@Example.com", role="viewer", password=PASSWORD, by=alice)
    assert (made.name, made.role, made.has_password) == ("bob@example.com", "viewer", True)
    assert (made.created_at, made.last_sign_in_at, made.disabled_at) == (clock.ms, None, None)
    assert admins.get("BOB@example.com ") == made
    assert admins.list() == (made,)
    assert not admins.create("alice", by=alice).has_password


def test_two_accounts_cannot_have_one_name(admins: Admins, alice: Actor) -> None:
    admins.create("bob", by=alice)
    with pytest.raises(Conflict):
        admins.create("BOB", by=alice)


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a/b", "-a", "a-", "x" * 65, "b\u043eb", "é", "a\nb", "<b>", None]
)
def test_a_name_that_could_be_mistaken_is_refused(admins: Admins, alice: Actor, name: str) -> None:
    with pytest.raises(InvalidInput):
        admins.create(name, by=alice)


@pytest.mark.parametrize("role", ["chat", "root", "", "Owner"])
def test_an_account_has_the_role_of_a_person(admins: Admins, alice: Actor, role: str) -> None:
    with pytest.raises(InvalidInput):
        admins.create("bob", role=role, by=alice)


def test_a_weak_password_is_refused_and_nothing_made(admins: Admins, alice: Actor) -> None:
    with pytest.raises(InvalidInput):
        admins.create("bob", password="short", by=alice)
    assert admins.list() == ()


def test_a_new_password_replaces_the_old(admins: Admins, database: Database, alice: Actor) -> None:
    admins.create("bob", password=PASSWORD, by=alice)
    assert has_password(database, "bob", PASSWORD)
    admins.set_password("bob", "another long password", by=alice)
    assert not has_password(database, "bob", PASSWORD)
    assert has_password(database, "bob", "another long password")
    assert not has_password(database, "nobody", PASSWORD)


def test_the_last_active_owner_stays_one(admins: Admins, alice: Actor) -> None:
    admins.create("alice", by=alice)
    admins.create("bob", role="operator", by=alice)
    for act in (
        lambda: admins.disable("alice", by=alice),
        lambda: admins.change_role("alice", "viewer", by=alice),
        lambda: admins.remove("alice", by=alice),
    ):
        with pytest.raises(Conflict) as caught:
            act()
        assert caught.value.code == "last_owner"
    assert admins.get("alice").role == "owner"

    admins.change_role("bob", "owner", by=alice)
    admins.disable("alice", by=alice)
    with pytest.raises(Conflict):
        admins.remove("bob", by=alice)
    admins.remove("alice", by=alice)
    assert [admin.name for admin in admins.list()] == ["bob"]


def test_a_disabled_owner_does_not_count_and_can_come_back(admins: Admins, alice: Actor) -> None:
    admins.create("alice", by=alice)
    admins.create("bob", by=alice)
    admins.disable("bob", by=alice)
    with pytest.raises(Conflict):
        admins.disable("alice", by=alice)
    assert admins.enable("bob", by=alice).is_active
    assert not admins.disable("alice", by=alice).is_active


@pytest.mark.parametrize("times", range(5))
def test_two_owners_who_remove_each_other_at_once_leave_one(
    admins: Admins, alice: Actor, times: int
) -> None:
    admins.create("alice", by=alice)
    admins.create("bob", by=alice)
    start = Barrier(2)

    def demote(name: str) -> None:
        start.wait()
        try:
            admins.change_role(name, "viewer", by=alice)
        except Conflict:
            return

    threads = [Thread(target=demote, args=(name,)) for name in ("alice", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(admin.role for admin in admins.list()) == ["owner", "viewer"]


def test_what_is_done_to_accounts_is_in_the_audit_log_once(
    admins: Admins, alice: Actor, database: Database
) -> None:
    admins.create("alice", by=alice)
    admins.create("bob", role="viewer", password=PASSWORD, by=alice)
    admins.change_role("bob", "operator", by=alice)
    admins.change_role("bob", "operator", by=alice)
    admins.set_password("bob", "another long password", by=alice)
    admins.disable("bob", by=alice)
    admins.disable("bob", by=alice)
    admins.enable("bob", by=alice)
    admins.remove("bob", by=alice)
    assert actions(database) == [
        ("create_admin", "admin:alice"),
        ("create_admin", "admin:bob"),
        ("change_admin_role", "admin:bob"),
        ("set_admin_password", "admin:bob"),
        ("disable_admin", "admin:bob"),
        ("enable_admin", "admin:bob"),
        ("remove_admin", "admin:bob"),
    ]


def test_an_unknown_account_is_not_found(admins: Admins, alice: Actor) -> None:
    for act in (
        lambda: admins.get("nobody"),
        lambda: admins.disable("nobody", by=alice),
        lambda: admins.enable("nobody", by=alice),
        lambda: admins.change_role("nobody", "viewer", by=alice),
        lambda: admins.set_password("nobody", PASSWORD, by=alice),
        lambda: admins.remove("nobody", by=alice),
    ):
        with pytest.raises(NotFound):
            act()


def test_the_account_of_dev_is_no_owner_to_count_on(admins: Admins, alice: Actor) -> None:
    made = admins.of_dev(by=alice)
    assert (made.name, made.role, made.dev_only) == ("dev", "owner", True)
    assert admins.of_dev(by=alice) == made
    admins.create("carol", by=alice, password=PASSWORD)
    with pytest.raises(Conflict, match="last active owner"):
        admins.disable("carol", by=alice)
    # It is nobody's: it can be disabled or removed whoever else there is, and comes again.
    admins.disable("dev", by=alice)
    assert admins.of_dev(by=alice).name == "dev-2"
    admins.remove("dev-2", by=alice)


def test_a_person_may_have_the_name_that_dev_took(admins: Admins, alice: Actor) -> None:
    admins.of_dev(by=alice)
    person = admins.create("dev", by=alice, password=PASSWORD)
    assert not person.dev_only
    assert admins.of_dev(by=alice).name == "dev-2"
