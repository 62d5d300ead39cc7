"""A database of its own for each test, and a clock that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from webapp.accounts.audit import Actor
from webapp.storage import Database, open_database
from webapp.tenants.user_ids import PlainUserIds


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
def user_ids() -> PlainUserIds:
    return PlainUserIds(b"k" * 32)


@pytest.fixture
def alice() -> Actor:
    """An owner who acts."""
    return Actor("admin:alice", "owner", "192.0.2.1", "req-1")
