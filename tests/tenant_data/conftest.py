"""A directory over a test's database."""

from __future__ import annotations

import pytest

from tests.fakes import HandClock
from webapp.allowances import parse_budget
from webapp.storage import Database
from webapp.tenants.directory import TenantDirectory
from webapp.tenants.user_ids.forms import PlainUserIds


@pytest.fixture
def directory(database: Database, clock: HandClock) -> TenantDirectory:
    return TenantDirectory(
        database, PlainUserIds(b"k" * 32), clock, check_token_budget=parse_budget
    )
