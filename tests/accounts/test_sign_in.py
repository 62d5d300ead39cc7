"""Signing in: slowly for those who guess, once for a link, and gone when it is ended."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.accounts.conftest import StillClock
from webapp.accounts import audit
from webapp.accounts.admins import Admins
from webapp.accounts.audit import Actor
from webapp.accounts.passwords import Passwords
from webapp.accounts.sign_in import (
    ABSOLUTE_SECONDS,
    FAILURE_WINDOW_SECONDS,
    FAILURES_OF_ADDRESS,
    FAILURES_OF_NAME,
    IDLE_SECONDS,
    LINK_SECONDS,
    LONGEST_DELAY_SECONDS,
    SignIn,
)
from webapp.accounts.throttle import FailureThrottle, address_group
from webapp.errors import NotFound, RateLimited, Unauthenticated
from webapp.storage import Database

PASSWORD = "correct horse battery"
HERE = "192.0.2.7"


@pytest.fixture
def passwords() -> Passwords:
    return Passwords(memory_kib=64, passes=1)


@pytest.fixture
def admins(database: Database, passwords: Passwords, clock: StillClock, alice: Actor) -> Admins:
    made = Admins(database, passwords, clock=clock)
    made.create("alice", password=PASSWORD, by=alice)
    made.create("bob", role="viewer", password=PASSWORD + "!", by=alice)
    return made


@pytest.fixture
def naps() -> list[float]:
    return []


@pytest.fixture
def door(
    database: Database,
    passwords: Passwords,
    clock: StillClock,
    admins: Admins,
    naps: list[float],
) -> SignIn:
    return SignIn(database, passwords, clock=clock, sleep=naps.append)


def test_the_right_password_opens_a_session(door: SignIn, admins: Admins) -> None:
    new = door.with_password(" Alice", PASSWORD, address=HERE)
    found = door.find(new.token)
    assert found is not None
    assert (found.admin.name, found.session.address) == ("alice", HERE)
    assert found.principal.actor == "admin:alice"
    assert found.principal.role == "owner"
    assert new.token not in repr(new)
    assert admins.get("alice").last_sign_in_at is not None


def test_the_database_holds_no_token_and_no_password(door: SignIn, database: Database) -> None:
    new = door.with_password("alice", PASSWORD, address=HERE)
    link = door.make_link("bob", by=Actor.command_line())
    database.close()
    for file in Path(database.url.removeprefix("sqlite:///")).parent.iterdir():
        content = file.read_bytes()
        for secret in (new.token, link, PASSWORD):
            assert secret.encode() not in content


def test_a_wrong_name_and_a_wrong_password_look_alike(
    door: SignIn, admins: Admins, alice: Actor
) -> None:
    admins.create("carol", role="viewer", by=alice)
    admins.create("dave", role="viewer", password=PASSWORD, by=alice)
    admins.disable("dave", by=alice)
    sentences = set()
    for name, password in (
        ("alice", "wrong password"),
        ("alice", ""),
        ("nobody", PASSWORD),
        ("carol", PASSWORD),
        ("dave", PASSWORD),
        ("", ""),
        ("x" * 10_000, "y" * 10_000),
        ("alice\x00", PASSWORD),
        ("\udcff", "\udcff"),
    ):
        with pytest.raises(Unauthenticated) as caught:
            door.with_password(name, password, address=HERE)
        sentences.add((caught.value.message, caught.value.code))
    assert len(sentences) == 1


def test_failures_of_one_name_are_slowed_and_then_stopped(
    door: SignIn, naps: list[float], clock: StillClock
) -> None:
    for number in range(FAILURES_OF_NAME):
        with pytest.raises(Unauthenticated):
            door.with_password("alice", "wrong password", address=f"198.51.100.{number}")
    assert naps == sorted(naps)
    assert len(naps) == FAILURES_OF_NAME - 1
    assert naps[-1] == LONGEST_DELAY_SECONDS
    with pytest.raises(RateLimited) as caught:
        door.with_password("alice", PASSWORD, address=HERE)
    assert caught.value.retry_after == FAILURE_WINDOW_SECONDS
    clock.forward(FAILURE_WINDOW_SECONDS)
    assert door.with_password("alice", PASSWORD, address=HERE).admin.name == "alice"


def test_a_name_that_does_not_exist_is_slowed_and_stopped_alike(
    door: SignIn, naps: list[float]
) -> None:
    for number in range(FAILURES_OF_NAME):
        with pytest.raises(Unauthenticated):
            door.with_password("nobody", "wrong password", address=f"198.51.100.{number}")
    assert len(naps) == FAILURES_OF_NAME - 1
    with pytest.raises(RateLimited):
        door.with_password("nobody", "wrong password", address=HERE)


def test_failures_of_one_address_are_stopped_whatever_the_name(door: SignIn) -> None:
    for number in range(FAILURES_OF_ADDRESS):
        with pytest.raises(Unauthenticated):
            door.with_password(f"name{number}", "wrong password", address=HERE)
    with pytest.raises(RateLimited):
        door.with_password("alice", PASSWORD, address=HERE)
    assert door.with_password("alice", PASSWORD, address="198.51.100.1").admin.name == "alice"


def test_tries_at_once_do_not_slip_past_the_limit(door: SignIn) -> None:
    def attempt(number: int) -> str:
        try:
            door.with_password("alice", f"wrong password {number}", address=f"198.51.100.{number}")
        except Unauthenticated:
            return "tried"
        except RateLimited:
            return "stopped"
        return "in"

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(attempt, range(60)))
    assert outcomes.count("tried") == FAILURES_OF_NAME
    assert outcomes.count("stopped") == 60 - FAILURES_OF_NAME


def test_a_success_forgives_the_failures_of_its_name(door: SignIn) -> None:
    for _ in range(3):
        for _ in range(FAILURES_OF_NAME - 1):
            with pytest.raises(Unauthenticated):
                door.with_password("alice", "wrong password", address="")
        door.with_password("alice", PASSWORD, address=HERE)


def test_many_sign_ins_from_one_address_are_no_failures(door: SignIn) -> None:
    for _ in range(FAILURES_OF_ADDRESS + 5):
        door.with_password("alice", PASSWORD, address=HERE)


@pytest.mark.parametrize("token", [None, "", "x", "A" * 43, "A" * 10_000, "\udcff", "é"])
def test_an_invented_session_is_nobodys(door: SignIn, token: str | None) -> None:
    assert door.find(token) is None


def test_a_session_ends_when_it_is_idle(door: SignIn, clock: StillClock) -> None:
    token = door.with_password("alice", PASSWORD, address=HERE).token
    for _ in range(5):
        clock.forward(IDLE_SECONDS - 1)
        assert door.find(token) is not None
    clock.forward(IDLE_SECONDS)
    assert door.find(token) is None


def test_a_page_that_refreshes_itself_does_not_keep_a_session_alive(
    door: SignIn, clock: StillClock
) -> None:
    token = door.with_password("alice", PASSWORD, address=HERE).token
    clock.forward(IDLE_SECONDS - 1)
    assert door.find(token, active=False) is not None
    clock.forward(1)
    assert door.find(token, active=False) is None


def test_a_session_ends_after_its_longest_time_however_busy(
    door: SignIn, clock: StillClock
) -> None:
    token = door.with_password("alice", PASSWORD, address=HERE).token
    for _ in range(int(ABSOLUTE_SECONDS // 1000)):
        clock.forward(1000)
        assert door.find(token) is not None
    clock.forward(1000)
    assert door.find(token) is None


def test_signing_out_ends_this_session_only(door: SignIn, alice: Actor) -> None:
    first = door.with_password("alice", PASSWORD, address=HERE).token
    second = door.with_password("alice", PASSWORD, address=HERE).token
    found = door.find(first)
    assert found is not None
    door.sign_out(found, by=alice)
    assert door.find(first) is None
    assert door.find(second) is not None


def test_signing_out_everywhere_ends_all_but_the_one_to_keep(door: SignIn, alice: Actor) -> None:
    tokens = [door.with_password("alice", PASSWORD, address=HERE).token for _ in range(3)]
    bobs = door.with_password("bob", PASSWORD + "!", address=HERE).token
    here = door.find(tokens[0])
    assert here is not None
    assert len(door.sessions(here.admin)) == 3
    assert door.sign_out_everywhere(here.admin, by=alice, keep=here.session.id) == 2
    assert [door.find(token) is not None for token in tokens] == [True, False, False]
    assert door.find(bobs) is not None


def test_one_account_cannot_end_anothers_session(door: SignIn, alice: Actor) -> None:
    mine = door.find(door.with_password("alice", PASSWORD, address=HERE).token)
    token = door.with_password("bob", PASSWORD + "!", address=HERE).token
    his = door.find(token)
    assert mine is not None
    assert his is not None
    assert not door.end_session(mine.admin, his.session.id, by=alice)
    assert door.find(token) is not None
    assert door.end_session(his.admin, his.session.id, by=alice)
    assert door.find(token) is None


def test_disabling_an_account_and_a_new_password_end_its_sessions(
    door: SignIn, admins: Admins, alice: Actor
) -> None:
    token = door.with_password("bob", PASSWORD + "!", address=HERE).token
    admins.disable("bob", by=alice)
    assert door.find(token) is None
    admins.enable("bob", by=alice)
    assert door.find(token) is None

    token = door.with_password("bob", PASSWORD + "!", address=HERE).token
    kept = door.with_password("bob", PASSWORD + "!", address=HERE).token
    here = door.find(kept)
    assert here is not None
    admins.set_password("bob", "another long password", by=alice, keep_session=here.session.id)
    assert door.find(token) is None
    assert door.find(kept) is not None


def test_another_role_holds_from_the_next_request(
    door: SignIn, admins: Admins, alice: Actor
) -> None:
    token = door.with_password("bob", PASSWORD + "!", address=HERE).token
    admins.change_role("bob", "operator", by=alice)
    found = door.find(token)
    assert found is not None
    assert found.principal.role == "operator"


def test_a_link_opens_once(door: SignIn) -> None:
    link = door.make_link("alice", by=Actor.command_line())
    assert door.find(door.with_link(link, address=HERE).token) is not None
    with pytest.raises(Unauthenticated):
        door.with_link(link, address=HERE)


def test_of_many_who_use_one_link_at_once_one_gets_in(door: SignIn) -> None:
    link = door.make_link("alice", by=Actor.command_line())

    def attempt(_: int) -> bool:
        try:
            door.with_link(link, address=HERE)
        except Unauthenticated:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == 1


def test_a_link_grows_old_and_goes_with_its_account(
    door: SignIn, admins: Admins, alice: Actor, clock: StillClock
) -> None:
    link = door.make_link("bob", by=alice)
    clock.forward(LINK_SECONDS)
    with pytest.raises(Unauthenticated):
        door.with_link(link, address=HERE)
    link = door.make_link("bob", by=alice)
    admins.disable("bob", by=alice)
    with pytest.raises(Unauthenticated):
        door.with_link(link, address=HERE)
    for name in ("bob", "nobody"):
        with pytest.raises(NotFound):
            door.make_link(name, by=alice)


def test_invented_links_are_stopped_by_address(door: SignIn) -> None:
    for number in range(FAILURES_OF_ADDRESS):
        with pytest.raises(Unauthenticated):
            door.with_link(f"invented-{number}", address=HERE)
    with pytest.raises(RateLimited):
        door.with_link(door.make_link("alice", by=Actor.command_line()), address=HERE)


def test_a_weak_old_hash_is_made_anew_at_the_next_sign_in(
    database: Database, admins: Admins, clock: StillClock
) -> None:
    stronger = Passwords(memory_kib=128, passes=2)
    door = SignIn(database, stronger, clock=clock)
    door.with_password("alice", PASSWORD, address=HERE)
    with database.read() as connection:
        kept = connection.execute(
            "SELECT password_hash FROM admins WHERE name = :name", {"name": "alice"}
        ).fetchone()[0]
    assert "m=128,t=2" in kept
    assert door.with_password("alice", PASSWORD, address=HERE).admin.name == "alice"


def test_signing_in_and_out_is_in_the_audit_log(
    door: SignIn, database: Database, alice: Actor
) -> None:
    found = door.find(door.with_password("alice", PASSWORD, address=HERE, request_id="r").token)
    assert found is not None
    door.sign_out(found, by=alice)
    with database.read() as connection:
        ended, begun = audit.page(connection, limit=2).records
    assert (begun.action, begun.actor, begun.address) == ("sign_in", "admin:alice", HERE)
    assert begun.request_id == "r"
    assert ended.action == "sign_out"


def test_old_sessions_are_swept_when_somebody_signs_in(
    door: SignIn, database: Database, clock: StillClock
) -> None:
    for _ in range(5):
        door.with_password("alice", PASSWORD, address=HERE)
    clock.forward(IDLE_SECONDS)
    door.with_password("alice", PASSWORD, address=HERE)
    with database.read() as connection:
        assert connection.execute("SELECT count(*) FROM admin_sessions").fetchone()[0] == 1


def test_the_throttles_memory_is_bounded(clock: StillClock) -> None:
    throttle = FailureThrottle(3, 60, clock=clock, max_entries=100)
    for number in range(10_000):
        throttle.enter(str(number))
    assert throttle.enter("9999") == 1
    assert throttle.enter("0") == 0


def test_a_refused_try_does_not_lengthen_the_wait(clock: StillClock) -> None:
    throttle = FailureThrottle(2, 60, clock=clock)
    throttle.enter("a")
    throttle.enter("a")
    for expected in (60, 50, 40):
        with pytest.raises(RateLimited) as caught:
            throttle.enter("a")
        assert caught.value.retry_after == expected
        clock.forward(10)
    clock.forward(30)
    assert throttle.enter("a") == 0


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("64:ff9b::192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:50123", "192.0.2.1"),
        ("[2001:db8:1:2::9]:443", "2001:db8:1:2::/64"),
        ("[::ffff:192.0.2.1]", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("not an address" * 100, ("not an address" * 100)[:64]),
    ],
)
def test_addresses_are_counted_by_household(address: str, group: str) -> None:
    assert address_group(address) == group
