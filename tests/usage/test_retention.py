"""What is old goes, in batches, and no window loses anything by it."""

from __future__ import annotations

import pytest

from webapp.periods import DAY_MS, HOUR_MS
from webapp.storage import Connection, Database
from webapp.tenant_data.storing import store_request
from webapp.tenants import store
from webapp.usage import retention
from webapp.usage.figures import EVERYONE
from webapp.usage.records import RequestRecord
from webapp.usage.summary import summary
from webapp.usage.windows import WINDOWS

NOW = 1_795_471_966_062


def test_old_requests_and_sums_go_and_the_windows_stay(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 7)

    def work(connection: Connection) -> None:
        numbers = [store.ensure(connection, name, NOW) for name in ("alice", "bob")]
        for step in range(0, 62 * 24, 5):
            at = NOW - (62 * 24 - step) * HOUR_MS
            for number in numbers:
                store_request(connection, number, RequestRecord(at, "chat", 200, 5, "req"))

    database.write(work)

    def seen() -> list[object]:
        with database.read() as connection:
            return [
                summary(connection, tenant, window, NOW)
                for tenant in (EVERYONE, 1, 2)
                for window in WINDOWS.values()
            ]

    before = seen()
    pruned = retention.prune(database, NOW, 35 * DAY_MS / 1000)
    assert pruned.requests > 0
    assert pruned.sums > 0
    assert seen() == before
    with database.read() as connection:
        oldest = connection.execute("SELECT MIN(at) FROM requests", {}).fetchone()[0]
        assert oldest >= NOW - 35 * DAY_MS
        for period, kept in retention.KEPT_MS.items():
            oldest = connection.execute(
                "SELECT MIN(at) FROM usage WHERE period = :period", {"period": period}
            ).fetchone()[0]
            assert oldest is None or oldest >= NOW - kept
    assert retention.prune(database, NOW, 35 * DAY_MS / 1000) == retention.Pruned()
