"""A database of its own for each test, and a clock that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from webapp.accounts.audit import Actor, AuditLog
from webapp.storage import Database, open_database
from webapp.tenants.user_ids.forms import PlainUserIds

AUDIT_KEY = b"a key of the tests for the audit"


@dataclass
class StillClock:
    """A clock that moves only when it is told to."""

    ms: int = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    def forward(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'switchboard.db'}")
    opened.upgrade()
    yield opened
    opened.close()


@pytest.fixture
def log(database: Database, clock: StillClock) -> AuditLog:
    """The audit log, sealed from its beginning as `db upgrade` does it."""
    made = AuditLog(AUDIT_KEY, clock)
    database.write(made.begin)
    return made


@pytest.fixture
def user_ids() -> PlainUserIds:
    return PlainUserIds(b"k" * 32)


@pytest.fixture
def alice() -> Actor:
    """An owner who acts."""
    return Actor("admin:alice", "owner", "192.0.2.1", "req-1")
