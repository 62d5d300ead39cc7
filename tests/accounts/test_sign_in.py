"""Signing in: slowly for those who guess, once for a link, and gone when it is ended."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.accounts.conftest import StillClock
from webapp.accounts import audit
from webapp.accounts.address_groups import address_group
from webapp.accounts.admins import Admins
from webapp.accounts.admins.passwords import Passwords
from webapp.accounts.audit import Actor, AuditLog
from webapp.accounts.sign_in.known_browsers import KEPT_SECONDS, KnownBrowsers
from webapp.accounts.sign_in.sign_in import ABSOLUTE_SECONDS, IDLE_SECONDS, LINK_SECONDS, SignIn
from webapp.accounts.tries import store as try_store
from webapp.accounts.tries.tries import (
    FAILURES_OF_ADDRESS,
    FAILURES_OF_BROWSER,
    FAILURES_OF_SESSION,
    LONGEST_WAIT_MS,
    WINDOW_SECONDS,
    Tries,
)
from webapp.errors import NotFound, RateLimited, Unauthenticated
from webapp.storage import Database

PASSWORD = "correct horse battery"
HERE = "192.0.2.7"
BROWSERS = b"a secret for marks of browsers 32"


@pytest.fixture
def passwords() -> Passwords:
    return Passwords(memory_kib=64, passes=1)


@pytest.fixture
def admins(
    database: Database, passwords: Passwords, log: AuditLog, clock: StillClock, alice: Actor
) -> Admins:
    made = Admins(database, passwords, audit=log, clock=clock)
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
    log: AuditLog,
    clock: StillClock,
    admins: Admins,
    naps: list[float],
) -> SignIn:
    return SignIn(
        database, passwords, audit=log, browser_secret=BROWSERS, clock=clock, sleep=naps.append
    )


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


def wrong(door: SignIn, name: str = "alice", *, address: str, browser: str = "") -> str:
    """What becomes of a wrong password."""
    try:
        door.with_password(name, "wrong password", address=address, browser=browser)
    except RateLimited as error:
        return "stopped" if error.retry_after >= 1 else "stopped for no time"
    except Unauthenticated:
        return "tried"
    return "in"


def somewhere(number: int) -> str:
    return f"198.51.{number // 250}.{number % 250}"


@pytest.mark.parametrize("name", ["alice", "nobody"])
def test_guesses_from_anywhere_are_slowed_and_the_owner_gets_in(
    door: SignIn, naps: list[float], clock: StillClock, name: str
) -> None:
    for number in range(12):
        assert wrong(door, name, address=somewhere(number)) == "tried"
        clock.forward(5)
    naps.clear()
    for number in range(20, 60):
        wrong(door, name, address=somewhere(number))
    assert len(naps) < 6, "the others were refused at once: nobody may wait so long"
    assert naps == sorted(naps)
    assert max(naps) <= LONGEST_WAIT_MS / 1000
    clock.forward(2 * LONGEST_WAIT_MS / 1000)
    if name == "alice":
        assert door.with_password("alice", PASSWORD, address=HERE).admin.name == "alice"


def test_a_known_browser_is_hindered_by_nobodys_failures(
    door: SignIn, naps: list[float], clock: StillClock
) -> None:
    mark = door.with_password("alice", PASSWORD, address=HERE).browser
    for number in range(200):
        wrong(door, address=somewhere(number))
        wrong(door, "other", address=HERE)
    naps.clear()
    again = door.with_password("alice", PASSWORD, address=HERE, browser=mark)
    assert naps == []
    assert again.browser != mark


def test_a_mark_is_good_for_its_account_and_for_a_while(
    door: SignIn, admins: Admins, clock: StillClock, alice: Actor, database: Database
) -> None:
    mark = door.with_password("alice", PASSWORD, address=HERE).browser
    bobs = door.with_link(door.make_link("bob", by=alice), address=HERE).browser
    secret = b"another secret of thirty-two byte"
    foreign = KnownBrowsers(secret, clock).mark_for(admins.get("alice"))
    marks = KnownBrowsers(BROWSERS, clock)
    assert marks.recognised(mark, admins.get("alice")) is not None
    assert marks.recognised(bobs, admins.get("bob")) is not None
    for bad in (
        bobs,
        foreign,
        "",
        "x",
        mark + "x",
        mark[:-1],
        mark.replace(".", ".1", 1),
        "é" * 90,
    ):
        assert marks.recognised(bad, admins.get("alice")) is None
    assert marks.recognised(mark, None) is None
    clock.forward(KEPT_SECONDS)
    assert marks.recognised(mark, admins.get("alice")) is None


def test_a_stolen_mark_is_no_way_around_the_limits(door: SignIn, clock: StillClock) -> None:
    mark = door.with_password("alice", PASSWORD, address=HERE).browser
    outcomes = [
        wrong(door, address="203.0.113.5", browser=mark)
        for _ in range(FAILURES_OF_BROWSER + FAILURES_OF_ADDRESS + 5)
    ]
    assert outcomes[:FAILURES_OF_BROWSER] == ["tried"] * FAILURES_OF_BROWSER
    assert outcomes.count("stopped") > FAILURES_OF_ADDRESS / 2


def test_failures_of_one_address_are_stopped_whatever_the_name(
    door: SignIn, clock: StillClock
) -> None:
    for number in range(FAILURES_OF_ADDRESS):
        assert wrong(door, f"name{number}", address=HERE) == "tried"
    with pytest.raises(RateLimited) as caught:
        door.with_password("alice", PASSWORD, address=HERE)
    assert caught.value.retry_after == WINDOW_SECONDS
    assert door.with_password("alice", PASSWORD, address="198.51.100.1").admin.name == "alice"
    clock.forward(WINDOW_SECONDS)
    assert door.with_password("alice", PASSWORD, address=HERE).admin.name == "alice"


def test_a_refused_try_does_not_lengthen_the_wait(door: SignIn, clock: StillClock) -> None:
    for number in range(FAILURES_OF_ADDRESS):
        wrong(door, f"name{number}", address=HERE)
    for expected in (900, 600, 300):
        with pytest.raises(RateLimited) as caught:
            door.with_password("alice", PASSWORD, address=HERE)
        assert caught.value.retry_after == expected
        clock.forward(300)
    assert wrong(door, address=HERE) == "tried"


def test_one_household_is_one_address(door: SignIn) -> None:
    for number in range(FAILURES_OF_ADDRESS):
        wrong(door, f"name{number}", address=f"2001:db8:1:2::{number:x}")
    assert wrong(door, address="2001:db8:1:2:ffff::1") == "stopped"
    assert wrong(door, address="2001:db8:1:3::1") == "tried"


def test_tries_at_once_do_not_slip_past_the_limit(door: SignIn, naps: list[float]) -> None:
    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(lambda number: wrong(door, address=somewhere(number)), range(60)))
    assert outcomes.count("in") == 0
    assert 3 < outcomes.count("tried") < 10
    assert outcomes.count("stopped") == 60 - outcomes.count("tried")


def test_the_counts_are_shared_by_all_who_share_the_database(
    door: SignIn, database: Database, passwords: Passwords, log: AuditLog, clock: StillClock
) -> None:
    other = SignIn(
        database, passwords, audit=log, browser_secret=BROWSERS, clock=clock, sleep=lambda _: None
    )
    for number in range(FAILURES_OF_ADDRESS):
        wrong(door if number % 2 else other, f"name{number}", address=HERE)
    assert wrong(door, address=HERE) == "stopped"
    assert wrong(other, address=HERE) == "stopped"
    mark = door.with_password("alice", PASSWORD, address=somewhere(1)).browser
    assert other.with_password("alice", PASSWORD, address=HERE, browser=mark).admin.name == "alice"


def test_a_clock_that_was_set_back_locks_nobody_out(door: SignIn, clock: StillClock) -> None:
    for number in range(FAILURES_OF_ADDRESS):
        wrong(door, f"name{number}", address=HERE)
    for number in range(20):
        wrong(door, address=somewhere(number))
    clock.forward(-3600)
    assert door.with_password("alice", PASSWORD, address=HERE).admin.name == "alice"


def test_many_sign_ins_from_one_address_are_no_failures(door: SignIn) -> None:
    for _ in range(FAILURES_OF_ADDRESS + 5):
        door.with_password("alice", PASSWORD, address=HERE)


def test_the_counts_take_little_room_whatever_is_tried(
    database: Database, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(try_store, "MAX_ROWS", 50)
    tries = Tries(database, clock)
    for _ in range(FAILURES_OF_ADDRESS):
        tries.failed_link("203.0.113.5")
    for number in range(300):
        tries.admit(f"name{number}", somewhere(number), None)
    with database.read() as connection:
        count = connection.execute("SELECT count(*) FROM sign_in_tries").fetchone()[0]
    assert count <= 52
    with pytest.raises(RateLimited):
        tries.failed_link("203.0.113.5")
    clock.forward(WINDOW_SECONDS)
    tries.admit("alice", HERE, None)
    with database.read() as connection:
        assert connection.execute("SELECT count(*) FROM sign_in_tries").fetchone()[0] == 2


def test_guesses_at_the_current_password_are_stopped(
    door: SignIn, clock: StillClock, admins: Admins
) -> None:
    session = door.find(door.with_password("alice", PASSWORD, address=HERE).token)
    other = door.find(door.with_password("alice", PASSWORD, address=HERE).token)
    assert session is not None
    assert other is not None
    for _ in range(FAILURES_OF_SESSION + 5):
        assert door.is_own_password(session, PASSWORD)
    for _ in range(FAILURES_OF_SESSION):
        assert not door.is_own_password(session, "wrong password")
    with pytest.raises(RateLimited):
        door.is_own_password(session, PASSWORD)
    assert door.is_own_password(other, PASSWORD)


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


def test_invented_links_are_stopped_by_address_and_a_good_one_works(
    door: SignIn, database: Database
) -> None:
    for number in range(FAILURES_OF_ADDRESS):
        with pytest.raises(Unauthenticated):
            door.with_link(f"invented-{number}", address=HERE)
    with pytest.raises(RateLimited):
        door.with_link("invented", address=HERE)
    link = door.make_link("alice", by=Actor.command_line())
    assert door.with_link(link, address=HERE).admin.name == "alice"


def test_a_new_link_takes_the_place_of_the_old_one(door: SignIn, alice: Actor) -> None:
    old, bobs = door.make_link("alice", by=alice), door.make_link("bob", by=alice)
    new = door.make_link("alice", by=alice)
    with pytest.raises(Unauthenticated):
        door.with_link(old, address=HERE)
    assert door.with_link(new, address=HERE).admin.name == "alice"
    assert door.with_link(bobs, address=HERE).admin.name == "bob"


def test_a_weak_old_hash_is_made_anew_at_the_next_sign_in(
    database: Database, admins: Admins, log: AuditLog, clock: StillClock
) -> None:
    stronger = Passwords(memory_kib=128, passes=2)
    door = SignIn(database, stronger, audit=log, browser_secret=BROWSERS, clock=clock)
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


def test_the_account_of_dev_opens_the_console_of_dev_alone(
    database: Database,
    passwords: Passwords,
    log: AuditLog,
    clock: StillClock,
    admins: Admins,
    alice: Actor,
) -> None:
    def console(*, dev: bool) -> SignIn:
        return SignIn(
            database,
            passwords,
            audit=log,
            browser_secret=BROWSERS,
            clock=clock,
            dev_accounts=dev,
        )

    here, elsewhere = console(dev=True), console(dev=False)
    name = admins.of_dev(by=alice).name
    with pytest.raises(Unauthenticated):
        elsewhere.with_link(here.make_link(name, by=alice), address="127.0.0.1")
    session = here.with_link(here.make_link(name, by=alice), address="127.0.0.1")
    assert here.find(session.token) is not None
    assert elsewhere.find(session.token) is None
    admins.set_password(name, PASSWORD, by=alice)
    with pytest.raises(Unauthenticated):
        elsewhere.with_password(name, PASSWORD, address="127.0.0.1")
