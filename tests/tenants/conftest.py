"""A directory of the tenants in a test's database, and the acts on them."""

from __future__ import annotations

import pytest

from tests.fakes import HandClock
from webapp.storage import Database
from webapp.tenant_data.acts import TenantActs
from webapp.tenants.directory import TenantDirectory
from webapp.tenants.user_ids.forms import PlainUserIds


@pytest.fixture
def directory(database: Database, clock: HandClock) -> TenantDirectory:
    return TenantDirectory(database, PlainUserIds(b"k" * 32), clock)


@pytest.fixture
def acts(database: Database, clock: HandClock, directory: TenantDirectory) -> TenantActs:
    return TenantActs(database, PlainUserIds(b"k" * 32), clock, directory)
