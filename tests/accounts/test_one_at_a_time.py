"""Acts that read and then write keep their promise although another comes between any two steps.

Each pair meets at every statement of the first. That the pairs can fail is shown by taking away
what keeps them apart.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.accounts.conftest import AUDIT_KEY, StillClock
from tests.several_writers import SeveralWriters
from webapp.accounts.admins import Admins
from webapp.accounts.admins.passwords import Passwords
from webapp.accounts.audit import Actor, AuditEntry, AuditLog, VerifiedChain, page
from webapp.accounts.keys import Keys, forget_user
from webapp.accounts.sign_in import SignIn
from webapp.accounts.tries.tries import FAILURES_OF_BROWSER, Tries
from webapp.chat.configuration import AgentConfiguration, AgentConfigurations
from webapp.errors import Conflict
from webapp.storage import meta, open_database
from webapp.tenants.user_ids.forms import PlainUserIds

PASSWORD = "correct horse battery"
CLI = Actor.command_line()
AGENT = AgentConfiguration("a", "m", "", 100, 10)


class House:
    """All that keeps accounts, over one database."""

    def __init__(self, database: Any) -> None:
        clock, passwords = StillClock(), Passwords(memory_kib=64, passes=1)
        self.database = database
        self.log = AuditLog(AUDIT_KEY, clock)
        self.admins = Admins(database, passwords, audit=self.log, clock=clock)
        self.user_ids = PlainUserIds(b"k" * 32)
        self.keys = Keys(database, self.user_ids, audit=self.log, clock=clock)
        self.door = SignIn(
            database, passwords, audit=self.log, browser_secret=b"b" * 32, clock=clock
        )
        self.tries = Tries(database, clock)
        self.agent = AgentConfigurations(database, clock, AGENT, _no_agent)

    def record(self) -> None:
        self.database.write(lambda connection: self.log.record(connection, AuditEntry(CLI, "act")))

    def actions(self) -> list[str]:
        with self.database.read() as connection:
            return [entry.action for entry in page(connection).records]

    def one_number(self, sql: str) -> int:
        with self.database.read() as connection:
            return int(connection.execute(sql).fetchone()[0])


def _no_agent(_configuration: AgentConfiguration) -> Any:
    raise NotImplementedError


@dataclass(frozen=True)
class Meeting:
    """Two acts, and what holds whichever way they meet; each is given the key that was made."""

    first: Callable[[House, str], object]
    second: Callable[[House, str], object]
    holds: Callable[[House, Sequence[object]], bool]


def _owners(house: House, _outcomes: Sequence[object]) -> bool:
    return house.one_number("SELECT count(*) FROM admins WHERE disabled_at IS NULL") == 1


def _one_conflict(_house: House, outcomes: Sequence[object]) -> bool:
    return sum(isinstance(outcome, Conflict) for outcome in outcomes) == 1


def _chain(house: House, _outcomes: Sequence[object]) -> bool:
    with house.database.read() as connection:
        return isinstance(house.log.verify(connection), VerifiedChain)


def _counts(sql: str, number: int) -> Callable[[House, Sequence[object]], bool]:
    return lambda house, _outcomes: house.one_number(sql) == number


def _once(action: str) -> Callable[[House, Sequence[object]], bool]:
    return lambda house, _outcomes: house.actions().count(action) == 1


def _disable(name: str) -> Callable[[House, str], object]:
    return lambda house, _key: house.admins.disable(name, by=CLI)


def _rotate(house: House, key: str) -> object:
    return house.keys.rotate(key, by=CLI, overlap_seconds=60)


def _revoke(house: House, key: str) -> object:
    return house.keys.revoke(key, by=CLI)


def _forget(house: House, _key: str) -> object:
    return house.database.write(
        lambda connection: forget_user(connection, house.user_ids, "user-a")
    )


def _sign_in(house: House, _key: str) -> object:
    return house.door.with_password("alice", PASSWORD, address="192.0.2.7")


def _new_password(house: House, _key: str) -> object:
    return house.admins.set_password("alice", PASSWORD + "!", by=CLI)


def _try(house: House, _key: str) -> object:
    return house.tries.admit("alice", "192.0.2.7", "browser")


def _tried(house: House, outcomes: Sequence[object]) -> bool:
    sql = "SELECT failures FROM sign_in_tries WHERE who = 'browser:browser'"
    return house.one_number(sql) == FAILURES_OF_BROWSER - 8 + len(outcomes)


def _change(house: House, _key: str) -> object:
    return house.agent.change(AGENT, by="alice", expected=0)


MEETINGS = {
    "two owners disable each other": Meeting(_disable("alice"), _disable("bob"), _owners),
    "an owner goes and the other loses the role": Meeting(
        lambda house, _key: house.admins.remove("alice", by=CLI),
        lambda house, _key: house.admins.change_role("bob", "viewer", by=CLI),
        _one_conflict,
    ),
    "dev starts twice": Meeting(
        lambda house, _key: house.admins.of_dev(by=CLI),
        lambda house, _key: house.admins.of_dev(by=CLI),
        _counts("SELECT count(*) FROM admins WHERE dev_only = 1", 1),
    ),
    "two acts are written down": Meeting(
        lambda house, _key: house.record(), lambda house, _key: house.record(), _chain
    ),
    "a key is rotated twice": Meeting(_rotate, _rotate, _one_conflict),
    "a key is revoked twice": Meeting(_revoke, _revoke, _once("revoke_key")),
    "a key is rotated while its user is forgotten": Meeting(
        _rotate, _forget, _counts("SELECT count(*) FROM api_keys", 0)
    ),
    "two links are made": Meeting(
        lambda house, _key: house.door.make_link("alice", by=CLI),
        lambda house, _key: house.door.make_link("alice", by=CLI),
        _counts("SELECT count(*) FROM sign_in_links", 1),
    ),
    "the password is changed at a sign-in with the old one": Meeting(
        _sign_in, _new_password, _counts("SELECT count(*) FROM admin_sessions", 0)
    ),
    "a browser tries twice": Meeting(_try, _try, _tried),
    "the agent is changed by two who saw the same": Meeting(_change, _change, _one_conflict),
}


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A database with two owners and a key, as a file to copy; the key's id."""
    path = tmp_path_factory.mktemp("house") / "switchboard.db"
    database = open_database(f"sqlite:///{path}")
    database.upgrade()
    house = House(database)
    database.write(house.log.begin)
    house.admins.create("alice", password=PASSWORD, by=CLI)
    house.admins.create("bob", by=CLI)
    key = house.keys.create("k", role="chat", users="user-a", by=CLI).key.id
    for _ in range(FAILURES_OF_BROWSER - 8):
        _try(house, key)
    database.close()
    return path, key


def _every_way(meeting: Meeting, furnished: tuple[Path, str], where: Path) -> list[bool]:
    """Whether it holds, for each statement of the first act before which they meet."""
    path, key = furnished
    held: list[bool] = []
    while True:
        copy = where / f"{len(held)}.db"
        shutil.copy(path, copy)
        database = SeveralWriters(copy)
        house = House(database)
        outcomes = database.meet(
            partial(meeting.first, house, key),
            partial(meeting.second, house, key),
            before=len(held) + 1,
        )
        if outcomes is None:
            return held
        for outcome in outcomes:
            assert not isinstance(outcome, AssertionError), outcome
        held.append(meeting.holds(house, outcomes))


@pytest.mark.parametrize("name", MEETINGS)
def test_it_holds_whichever_way_two_acts_meet(
    name: str, furnished: tuple[Path, str], tmp_path: Path
) -> None:
    held = _every_way(MEETINGS[name], furnished, tmp_path)
    assert len(held) > 2
    assert all(held), held


@pytest.mark.parametrize("name", MEETINGS)
def test_it_would_not_hold_if_nothing_kept_them_apart(
    name: str, furnished: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meta, "put", lambda *_: None)  # all that `hold` does
    assert not all(_every_way(MEETINGS[name], furnished, tmp_path))
