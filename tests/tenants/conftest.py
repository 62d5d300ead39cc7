"""A database of its own for each test, a clock moved by hand, and a directory over both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import HandClock
from webapp.allowances import parse_budget
from webapp.storage import Database, open_database
from webapp.tenants.directory import TenantDirectory
from webapp.tenants.user_ids import PlainUserIds


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'switchboard.db'}")
    opened.upgrade()
    yield opened
    opened.close()


@pytest.fixture
def directory(database: Database, clock: HandClock) -> TenantDirectory:
    return TenantDirectory(
        database, PlainUserIds(b"k" * 32), clock, check_token_budget=parse_budget
    )
